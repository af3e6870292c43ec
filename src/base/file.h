// Files: read-only mappings, and writes that either happen completely or not at all.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hussar/status.h"

namespace hussar {

// A file mapped read-only into memory. Immutable; safe to read from several threads. The file must not be truncated
// while mapped.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Writes the pieces one after another to a temporary file beside `path`, syncs it, and renames it to `path`. On failure
// (unwritable folder, full disk) nothing is left behind and an old file at `path` is untouched.
Status write_file_atomically(const std::string& path, const std::vector<std::span<const std::byte>>& pieces);

// Fails as write_file_atomically would at once: where `path` is a folder, or its folder is missing or takes no files.
// For work whose result would be lost.
Status check_can_write(const std::string& path);

// Deletes the temporary file that write_file_atomically is writing in any thread, if there is one. Async-signal-safe:
// for handlers of signals that end the process.
void remove_unfinished_file();

}  // namespace hussar
