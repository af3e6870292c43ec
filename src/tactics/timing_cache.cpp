// Reading and writing timing caches.
#include "tactics/timing_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace hussar {

static constexpr std::string_view kFirstLine = "# hussar timing cache 1";

static std::string key_of(const std::string& machine, const std::string& problem, const std::string& rival) {
  return machine + '\t' + problem + '\t' + rival;
}

Status TimingCache::merge(std::string_view text) {
  int number = 0;
  bool is_headed = false;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line == kFirstLine) is_headed = true;
    HUSSAR_CHECK(is_headed, ErrorCode::kUsage, "not a timing cache: it does not begin with '{}'", kFirstLine);
    if (line.empty() || line[0] == '#') continue;
    size_t tab = line.rfind('\t');
    double time = 0;
    const char* stop = line.data() + line.size();
    bool ok = tab != std::string_view::npos && std::count(line.begin(), line.end(), '\t') == 3;
    if (ok) {
      auto [last, error] = std::from_chars(line.data() + tab + 1, stop, time);
      ok = error == std::errc() && last == stop && time > 0 && time < 1e12;
    }
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "line {} is not 'machine, problem, rival, microseconds'", number);
    auto [entry, inserted] = microseconds_.emplace(line.substr(0, tab), time);
    if (!inserted) entry->second = std::min(entry->second, time);
  }
  return {};
}

std::string TimingCache::to_string() const {
  std::string text = std::string(kFirstLine) + "\n";
  for (const auto& [key, time] : microseconds_) text += fmt::format("{}\t{:.4g}\n", key, time);
  return text;
}

std::optional<double> TimingCache::find(const std::string& machine, const std::string& problem,
                                        const std::string& rival) const {
  auto it = microseconds_.find(key_of(machine, problem, rival));
  return it == microseconds_.end() ? std::nullopt : std::optional<double>(it->second);
}

void TimingCache::record(const std::string& machine, const std::string& problem, const std::string& rival,
                         double microseconds) {
  // As the file will have it, so that what is decided by it is decided again.
  microseconds_[key_of(machine, problem, rival)] = std::strtod(fmt::format("{:.4g}", microseconds).c_str(), nullptr);
}

}  // namespace hussar
