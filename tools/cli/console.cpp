// Terminal output.
#include "tools/cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace hussar::cli {
namespace {

bool is_quiet = false;
int output_error = 0;

bool is_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) != 0 && (kind == nullptr || std::strcmp(kind, "dumb") != 0);
}

// https://no-color.org: any non-empty value.
bool wants_color() {
  const char* refused = std::getenv("NO_COLOR");
  return is_terminal() && (refused == nullptr || *refused == '\0');
}

void print_error_line(std::string_view text) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

// Columns that the text takes: bytes that do not continue a UTF-8 sequence.
size_t display_width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

void print_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() && output_error == 0) output_error = errno;
}

Status finish_output() {
  if (std::fflush(stdout) != 0 && output_error == 0) output_error = errno;
  HUSSAR_CHECK(output_error == 0, ErrorCode::kRunFailed, "cannot write to stdout: {}", std::strerror(output_error));
  return {};
}

void set_quiet(bool quiet) { is_quiet = quiet; }

void note(std::string_view text) {
  if (!is_quiet) print_error_line(text);
}

void warn(std::string_view text) {
  if (!is_quiet)
    print_error_line(
        fmt::format("{}warning:{} {}", wants_color() ? "\x1b[33m" : "", wants_color() ? "\x1b[0m" : "", text));
}

void print_error(std::string_view verb, std::string_view message) {
  const char* begin = wants_color() ? "\x1b[31m" : "";
  const char* end = wants_color() ? "\x1b[0m" : "";
  print_error_line(fmt::format("hussar{}{}: {}error:{} {}", verb.empty() ? "" : " ", verb, begin, end, message));
}

Progress::Progress(std::string title) : title_(std::move(title)), begin_(std::chrono::steady_clock::now()) {}

Progress::~Progress() { finish(); }

void Progress::stage(std::string_view name) {
  stage_ = name;
  begin_ = std::chrono::steady_clock::now();
  if (is_quiet) return;
  if (!is_terminal()) return print_error_line(title_ + ": " + stage_);
  shown_ = {};
  update(0);
}

void Progress::update(double fraction) {
  auto now = std::chrono::steady_clock::now();
  if (is_quiet || !is_terminal() || now - shown_ < std::chrono::milliseconds(100)) return;
  shown_ = now;
  double elapsed = std::chrono::duration<double>(now - begin_).count();
  std::string text = title_ + ": " + stage_;
  if (fraction > 0) {
    double left = elapsed / fraction * (1 - fraction);
    text += fmt::format(" {:3.0f} %, {:.0f} s left", 100 * std::min(fraction, 1.0), std::max(left, 0.0));
  }
  std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
  std::fflush(stderr);
  visible_ = true;
}

void Progress::finish() {
  if (visible_) std::fprintf(stderr, "\r\x1b[K");
  visible_ = false;
}

Table::Table(std::vector<std::string> header) {
  for (std::string& name : header) {
    right_.push_back(!name.empty() && name[0] == '>');
    if (right_.back()) name.erase(0, 1);
  }
  rows_.push_back(std::move(header));
}

void Table::add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

std::string Table::to_string() const {
  std::vector<size_t> widths(right_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    bool is_header = &row == rows_.data();
    if (is_header && std::all_of(row.begin(), row.end(), [](const std::string& cell) { return cell.empty(); }))
      continue;
    std::string line;
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      std::string gap(widths[i] - display_width(row[i]), ' ');
      line += (i == 0 ? "" : "  ") + (right_[i] ? gap + row[i] : row[i] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string format_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 4) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.{}f} {}", bytes, bytes < 10 ? 2 : 1, units[unit]);
}

std::string format_milliseconds(double milliseconds) {
  if (milliseconds >= 1000) return fmt::format("{:.3g} s", milliseconds / 1000);
  if (milliseconds >= 1) return fmt::format("{:.3f} ms", milliseconds);
  return fmt::format("{:.1f} us", milliseconds * 1000);
}

}  // namespace hussar::cli
