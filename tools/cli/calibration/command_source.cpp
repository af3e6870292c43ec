// Batches that a command writes to a pipe: .npy records without anything between them.
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "tools/cli/calibration/source.h"
#include "tools/cli/npy.h"

namespace hussar::cli {
namespace {

class CommandSource : public DataSource {
 public:
  CommandSource(std::vector<InputFacts> inputs, std::string command, std::FILE* pipe)
      : inputs_(std::move(inputs)), command_(std::move(command)), pipe_(pipe) {}
  ~CommandSource() override {
    if (pipe_ != nullptr) ::pclose(pipe_);
  }

  Result<bool> next(DataBatch& batch) override {
    batch.tensors.clear();
    batch.where = fmt::format("batch {} of the command", batches_);
    for (const InputFacts& input : inputs_) {
      std::optional<Tensor> tensor = HUSSAR_TRY(read_record(batch.where));
      if (!tensor) {
        HUSSAR_CHECK(batch.tensors.empty(), ErrorCode::kUsage,
                     "{}: its records end before that for input '{}'; a batch has one for each of {}", batch.where,
                     input.name, describe(inputs_));
        return finish();
      }
      batch.tensors.emplace_back(input.name, std::move(*tensor));
    }
    ++batches_;
    return true;
  }

 private:
  Result<bool> finish() {
    int status = ::pclose(pipe_);
    pipe_ = nullptr;
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    HUSSAR_CHECK(ok, ErrorCode::kRunFailed, "the command '{}' failed ({} {}) after {} batches", command_,
                 WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                 batches_);
    return false;
  }

  // False at the end of the stream.
  bool append(std::vector<std::byte>& bytes, size_t count) {
    size_t old_size = bytes.size();
    bytes.resize(old_size + count);
    size_t read = std::fread(bytes.data() + old_size, 1, count, pipe_);
    bytes.resize(old_size + read);
    return read == count;
  }

  // nullopt: there are no more.
  Result<std::optional<Tensor>> read_record(const std::string& where) {
    std::vector<std::byte> bytes;
    auto cut_off = [&] { return fail(ErrorCode::kUsage, "{}: its last record is cut off", where); };
    if (!append(bytes, kNpyPrefix)) {
      if (bytes.empty()) return std::optional<Tensor>();
      return cut_off();
    }
    const std::string what = where + " (consecutive .npy records are expected)";
    if (!append(bytes, HUSSAR_TRY(npy_header_bytes(bytes, what)) - bytes.size())) return cut_off();
    NpyHeader header = HUSSAR_TRY(parse_npy_header(bytes, what));
    auto wanted = bytes_needed(header.dtype, header.shape);
    HUSSAR_CHECK(wanted, ErrorCode::kUsage, "{}: a record of shape {} is too large", where, header.shape.to_string());
    if (!append(bytes, *wanted)) return cut_off();
    return std::optional<Tensor>(HUSSAR_TRY(read_npy(bytes, what)));
  }

  std::vector<InputFacts> inputs_;
  std::string command_;
  std::FILE* pipe_;
  int64_t batches_ = 0;
};

}  // namespace

Result<std::unique_ptr<DataSource>> open_command(const std::vector<InputFacts>& inputs, const std::string& command) {
  HUSSAR_CHECK(command.find_first_not_of(' ') != std::string::npos, ErrorCode::kUsage,
               "cmd: is followed by the command that writes the batches");
  std::FILE* pipe = ::popen(command.c_str(), "re");
  HUSSAR_CHECK(pipe != nullptr, ErrorCode::kRunFailed, "cannot run '{}': {}", command, std::strerror(errno));
  return std::make_unique<CommandSource>(inputs, command, pipe);
}

}  // namespace hussar::cli
