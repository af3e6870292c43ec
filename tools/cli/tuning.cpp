// Budget and timing cache.
#include "tools/cli/tuning.h"

#include <sys/stat.h>

#include <charconv>

#include "base/error.h"
#include "base/file.h"

namespace hussar::cli {

// "60s", "1.5", "2m"
static Result<double> parse_seconds(std::string_view text) {
  std::string_view number = text;
  double unit = 1;
  if (number.ends_with('m')) unit = 60;
  if (number.ends_with('s') || number.ends_with('m')) number.remove_suffix(1);
  double value = 0;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  bool ok = error == std::errc() && end == number.data() + number.size() && value >= 0 && value <= 1e6;
  HUSSAR_CHECK(ok, ErrorCode::kUsage, "--budget '{}' is not a time such as 60s, 2m or 0", text);
  return value * unit;
}

void Tuning::declare(Command& command) {
  command.option("--budget", "TIME", budget_,
                 "measures rival kernels inside the model for at most so long (60s, 2m); default 0: the predicted "
                 "times decide");
  command.option("--timing-cache", "FILE", path_,
                 "where measurements are kept: equal problems are not measured again; made if it is not there");
}

Status Tuning::merge_file() {
  struct stat info {};
  if (::stat(path_.c_str(), &info) != 0 && errno == ENOENT) return {};
  auto file = HUSSAR_TRY(MappedFile::open(path_));
  auto bytes = file->bytes();
  auto status = cache_.merge({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!status) return fail(status.error().code, "--timing-cache {}: {}", path_, status.error().message);
  return {};
}

Status Tuning::begin(CompileOptions& options) {
  options.tune_seconds = HUSSAR_TRY(parse_seconds(budget_));
  if (!path_.empty()) HUSSAR_TRY(merge_file());
  options.timings = &cache_;
  return {};
}

Status Tuning::end() {
  if (path_.empty()) return {};
  HUSSAR_TRY(merge_file());
  std::string text = cache_.to_string();
  return write_file_atomically(path_, {std::as_bytes(std::span(text.data(), text.size()))});
}

}  // namespace hussar::cli
