// TimingCache: what was measured once need not be measured again.
//
// A cache file is text: a first line that names the format, then one line per measurement, sorted:
//   MACHINE <tab> PROBLEM <tab> RIVAL <tab> MICROSECONDS
// so that two files merge by concatenation, in any order; of lines that differ only in the time the least time holds.
// Not thread-safe.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "hussar/status.h"

namespace hussar {

class TimingCache {
 public:
  // Adds what the text of a cache file holds. The message names the line that is malformed.
  Status merge(std::string_view text);
  std::string to_string() const;

  std::optional<double> find(const std::string& machine, const std::string& problem, const std::string& rival) const;
  void record(const std::string& machine, const std::string& problem, const std::string& rival, double microseconds);
  size_t size() const { return microseconds_.size(); }

 private:
  std::map<std::string, double> microseconds_;  // by the line up to the time
};

}  // namespace hussar
