// POSIX file mappings and atomic writes.
#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace hussar {

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK, a named pipe would wait for a writer.
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  HUSSAR_CHECK(file >= 0, ErrorCode::kRunFailed, "cannot open '{}': {}", path, std::strerror(errno));
  struct stat info {};
  bool regular = ::fstat(file, &info) == 0 && S_ISREG(info.st_mode);
  if (!regular) ::close(file);
  HUSSAR_CHECK(regular, ErrorCode::kRunFailed, "'{}' is not a regular file", path);
  std::shared_ptr<MappedFile> mapping(new MappedFile);
  mapping->size_ = static_cast<size_t>(info.st_size);
  if (mapping->size_ > 0) {
    void* address = ::mmap(nullptr, mapping->size_, PROT_READ, MAP_PRIVATE, file, 0);
    int error = errno;
    if (address == MAP_FAILED) ::close(file);
    HUSSAR_CHECK(address != MAP_FAILED, ErrorCode::kRunFailed, "cannot map '{}': {}", path, std::strerror(error));
    mapping->data_ = static_cast<const std::byte*>(address);
  }
  ::close(file);
  return std::shared_ptr<const MappedFile>(std::move(mapping));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

namespace {

// What open() with 0666 would give. The mask can only be read by setting it, so it is read once.
mode_t new_file_mode() {
  static const mode_t kMask = [] {
    mode_t mask = ::umask(0);
    ::umask(mask);
    return mask;
  }();
  return 0666 & ~kMask;
}

Status write_all(int file, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    HUSSAR_CHECK(written > 0, ErrorCode::kRunFailed, "cannot write '{}': {}", path, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

// The temporary file of the write in progress, for remove_unfinished_file(). One write at a time is remembered.
char unfinished_path[4096];
std::atomic<bool> has_unfinished{false};

class Unfinished {
 public:
  explicit Unfinished(const std::string& path) {
    if (path.size() >= sizeof(unfinished_path) || has_unfinished.load()) return;
    std::memcpy(unfinished_path, path.c_str(), path.size() + 1);
    has_unfinished.store(true);
    is_mine_ = true;
  }
  ~Unfinished() {
    if (is_mine_) has_unfinished.store(false);
  }

 private:
  bool is_mine_ = false;
};

}  // namespace

void remove_unfinished_file() {
  if (has_unfinished.load()) ::unlink(unfinished_path);
}

// An open file beside `path`, whose name goes to `temporary`.
static Result<int> create_beside(const std::string& path, std::string& temporary) {
  temporary = path + ".XXXXXX";
  int file = ::mkostemp(temporary.data(), O_CLOEXEC);
  HUSSAR_CHECK(file >= 0, ErrorCode::kRunFailed, "cannot create a file beside '{}': {}", path, std::strerror(errno));
  return file;
}

Status check_can_write(const std::string& path) {
  struct stat info {};
  bool is_folder = ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  HUSSAR_CHECK(!is_folder, ErrorCode::kUsage, "'{}' is a folder; the name of a file is needed", path);
  std::string temporary;
  ::close(HUSSAR_TRY(create_beside(path, temporary)));
  ::unlink(temporary.c_str());
  return {};
}

Status write_file_atomically(const std::string& path, const std::vector<std::span<const std::byte>>& pieces) {
  std::string temporary;
  int file = HUSSAR_TRY(create_beside(path, temporary));
  Unfinished unfinished(temporary);
  Status status;
  for (const auto& piece : pieces) {
    if (status) status = write_all(file, piece, path);
  }
  if (status && ::fsync(file) != 0)
    status = fail(ErrorCode::kRunFailed, "cannot write '{}': {}", path, std::strerror(errno));
  ::fchmod(file, new_file_mode());
  if (::close(file) != 0 && status)
    status = fail(ErrorCode::kRunFailed, "cannot write '{}': {}", path, std::strerror(errno));
  if (status && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = fail(ErrorCode::kRunFailed, "cannot rename to '{}': {}", path, std::strerror(errno));
  }
  if (!status) ::unlink(temporary.c_str());
  return status;
}

}  // namespace hussar
