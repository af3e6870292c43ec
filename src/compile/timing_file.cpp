// Reading and writing the file of a timing cache.
#include "compile/timing_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <span>

#include "base/error.h"
#include "base/file.h"

namespace hussar {

Result<TimingFile> TimingFile::open(const std::string& path) {
  TimingFile file;
  file.path_ = path;
  HUSSAR_TRY(file.merge());
  return file;
}

Status TimingFile::merge() {
  struct stat info {};
  if (path_.empty() || (::stat(path_.c_str(), &info) != 0 && errno == ENOENT)) return {};
  auto mapped = HUSSAR_TRY(MappedFile::open(path_));
  auto bytes = mapped->bytes();
  auto status = cache.merge({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!status) return fail(status.error().code, "timing cache {}: {}", path_, status.error().message);
  return {};
}

Status TimingFile::save() {
  if (path_.empty()) return {};
  HUSSAR_TRY(merge());
  std::string text = cache.to_string();
  return write_file_atomically(path_, {std::as_bytes(std::span(text.data(), text.size()))});
}

}  // namespace hussar
