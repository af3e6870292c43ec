// Queue: the Device of NVIDIA GPUs, a stream of the primary context and the kernels that were loaded for it. Tests
// derive one that needs no GPU (emulation.h).
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/driver.h"
#include "hussar/tensor.h"
#include "plan/device.h"

namespace hussar::cuda {

// From sm_90 on kernels are launched while those before them still run: every one begins with begin_kernel()
// (device/numbers.cuh), or waits in another place for what they write. Those of libraries are launched without that and
// begin when all before them has ended; what is launched behind one of them waits for its end, too, as it does not say
// when others may begin.
struct Launch {
  FunctionHandle* function = nullptr;
  unsigned grid[3] = {1, 1, 1};
  unsigned threads = 1;
  unsigned shared_bytes = 0;  // dynamic
};

// A tensor of bytes, halves, BF16 or floats in the memory of the GPU, as tiles that the copy engine brings to shared
// memory with 128-byte swizzling, or 64-byte; zeros outside; floats rounded to TF32. Strides in bytes, of the
// dimensions from the second on.
struct TileMap {
  DType dtype = DType::kFloat16;
  int rank = 0;
  uint64_t sizes[5] = {}, strides[4] = {};
  uint32_t box[5] = {};
  int swizzle_bytes = 128;
};

// Columns of windows of pictures (im2col): channels, then across, down, pictures; else as TileMap. The place of a
// window is that of its first tap: from `lower` to the last pixel + `upper`, in steps of `step`.
struct WindowMap {
  DType dtype = DType::kFloat16;
  uint64_t sizes[4] = {}, strides[3] = {};
  int32_t lower[2] = {}, upper[2] = {};  // across, down
  uint32_t channels = 0, pixels = 0;     // of one column
  uint32_t step[4] = {1, 1, 1, 1};
  int swizzle_bytes = 128;
};

class Queue : public Device {
 public:
  static Result<std::unique_ptr<Queue>> create(int index);
  ~Queue() override;
  int index() const override { return index_; }

  Result<std::byte*> allocate(size_t bytes) override;
  void release(std::byte* memory) override;
  Result<std::shared_ptr<std::byte>> allocate_pinned(size_t bytes) override;
  Residence residence(const std::byte* memory) override;
  Status copy_in(std::byte* to, const std::byte* from, size_t bytes) override;
  Status copy_out(std::byte* to, const std::byte* from, size_t bytes) override;
  Status copy_within(std::byte* to, const std::byte* from, size_t bytes) override;
  Status wait() override;
  Status follow(void* stream) override;
  Status lead(void* stream) override;
  Status begin_recording() override;
  Result<int> end_recording() override;
  Status replay(int recording) override;
  void drop_recording(int recording) override;
  void drop_recordings() override;
  std::string describe() const override;
  std::string identity() const override;

  const DeviceFacts& facts() const { return facts_; }
  // The function of compiled code (a cubin). Loaded once; `code` must outlive the queue. shared_bytes: the most dynamic
  // shared memory that it will be launched with.
  virtual Result<FunctionHandle*> load(std::span<const std::byte> code, const std::string& function,
                                       unsigned shared_bytes = 0);
  // Enqueues a kernel; `arguments` are pointers to its parameters.
  virtual Status launch(const Launch& launch, std::span<void* const> arguments);
  virtual Result<TensorMap> encode(const TileMap& map, const std::byte* data);
  virtual Result<TensorMap> encode(const WindowMap& map, const std::byte* data);
  // The stream, as others take it: a CUstream.
  virtual void* stream() { return stream_; }
  // For calls of libraries, whose context is that of the thread.
  virtual Status make_current() { return use_context(); }
  // What a library keeps for this queue, which goes with it; null until it has put something there. `whose`: an address
  // that nobody else has.
  std::shared_ptr<void>& kept(const void* whose) { return kept_[whose]; }

 protected:
  Queue() = default;  // without a GPU: who emulates one overrides everything above
  // Before what allocates and releases memory goes: what is kept has some.
  void drop_kept() { kept_.clear(); }

  DeviceFacts facts_;
  int index_ = 0;

 private:
  Status check(int code, const char* what);
  Status use_context();

  const Driver* driver_ = nullptr;
  ContextHandle* context_ = nullptr;
  StreamHandle* stream_ = nullptr;
  EventHandle* event_ = nullptr;  // what one stream waits for in another
  std::map<const std::byte*, ModuleHandle*> modules_;
  std::map<const void*, std::shared_ptr<void>> kept_;
  std::vector<GraphExecHandle*> recordings_;  // null: dropped
  std::string fault_;                         // not empty: the device has failed, and why
};

// The queue behind the Device of a kernel's Prepare or Run.
inline Queue& queue_of(Device* device) { return static_cast<Queue&>(*device); }

}  // namespace hussar::cuda
