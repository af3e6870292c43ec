// What a person at a terminal sees: data on stdout, notes and progress on stderr, tables.
#pragma once
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"

namespace hussar::cli {

// To stdout. A failure (closed pipe, full disk) is remembered for finish_output().
void print_out(std::string_view text);
// Flushes stdout; fails when not everything could be written.
Status finish_output();

// --quiet: notes and progress say nothing.
void set_quiet(bool quiet);
void note(std::string_view text);
void warn(std::string_view text);
// "hussar build: error: ..."; in red on a terminal unless NO_COLOR is set.
void print_error(std::string_view verb, std::string_view message);

// Progress of something long. On a terminal: one line that is rewritten and shows the time that is left; elsewhere one
// plain line per stage.
class Progress {
 public:
  explicit Progress(std::string title);
  ~Progress();
  void stage(std::string_view name);
  // fraction: of the current stage, 0..1.
  void update(double fraction);
  // Removes the line from the terminal.
  void finish();

 private:
  std::string title_, stage_;
  std::chrono::steady_clock::time_point begin_, shown_;
  bool visible_ = false;
};

// A table in plain text: columns as wide as their widest cell.
class Table {
 public:
  // A header that begins with '>' makes a column flush right. A header of empty cells is not printed.
  explicit Table(std::vector<std::string> header);
  void add(std::vector<std::string> row);
  std::string to_string() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

// "1.2 MB", "345 B"
std::string format_bytes(double bytes);
// "1.23 ms", "45.6 us", "7.8 s"
std::string format_milliseconds(double milliseconds);

}  // namespace hussar::cli
