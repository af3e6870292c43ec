// Device: memory of its own and a queue of work, for steps that do not run on the CPU.
//
// A Device serves one thread at a time, like the session that owns it; any number may share the hardware. Work is
// enqueued and done in order; wait() returns when all of it is done. A fault of the hardware makes that call and all
// later ones fail.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "hussar/status.h"

namespace hussar {

// What an address is of.
struct Residence {
  int device = -1;          // the device with this index; -1: the host
  bool is_pinned = false;   // of the host, kept in its place: devices copy it at the speed of the bus
  bool is_managed = false;  // moves between host and device by itself
};

class Device {
 public:
  virtual ~Device() = default;
  // Which of the machine's it is.
  virtual int index() const = 0;
  // At least 256-byte aligned. Fails with kRunFailed when there is not enough.
  virtual Result<std::byte*> allocate(size_t bytes) = 0;
  virtual void release(std::byte* memory) = 0;
  // Pinned memory of the host, 64-byte aligned; it may outlive the device.
  virtual Result<std::shared_ptr<std::byte>> allocate_pinned(size_t bytes) = 0;
  virtual Residence residence(const std::byte* memory) = 0;

  // Enqueued: pinned memory of the host must stay as it is until wait(); what is to be copied from other memory of the
  // host has been read when copy_in returns.
  virtual Status copy_in(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Status copy_out(std::byte* to, const std::byte* from, size_t bytes) = 0;
  // From one place on the device to another.
  virtual Status copy_within(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Status wait() = 0;

  // Others enqueue work, too, on streams of the same device. What is enqueued here from now on comes after what
  // `stream` has been given; what it is given from now on comes after what has been enqueued here. Neither waits.
  virtual Status follow(void* stream) = 0;
  virtual Status lead(void* stream) = 0;

  // What kernels enqueue between the two is recorded instead of done.
  virtual Status begin_recording() = 0;
  virtual Result<int> end_recording() = 0;
  // Enqueues all that was recorded.
  virtual Status replay(int recording) = 0;
  // Also while what it did is not done yet.
  virtual void drop_recording(int recording) = 0;
  virtual void drop_recordings() = 0;

  // "NVIDIA H200, sm_90"
  virtual std::string describe() const = 0;
  // What measured times depend on: "NVIDIA H200 sm_90 driver 13.0 nvrtc 13.0 kernels 0123456789abcdef".
  virtual std::string identity() const = 0;
};

// Memory of a device that is given back.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(Device& device, std::byte* data) : device_(&device), data_(data) {}
  DeviceMemory(DeviceMemory&& other) noexcept : device_(other.device_), data_(other.data_) { other.data_ = nullptr; }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~DeviceMemory() {
    if (data_ != nullptr) device_->release(data_);
  }
  std::byte* data() const { return data_; }

 private:
  Device* device_ = nullptr;
  std::byte* data_ = nullptr;
};

// Whether a plan's target ("cpu:avx2", "cuda:sm_90") is a device of its own.
bool is_device_target(std::string_view target);
// The device with the index (0: the first) for plans of such a target. Fails with kDeviceUnavailable when there is none
// or no driver, with kPlanIncompatible when it is another kind than the target's.
Result<std::unique_ptr<Device>> open_device(std::string_view target, int index);

}  // namespace hussar
