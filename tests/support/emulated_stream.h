// What the emulated device has of a GPU's memory and streams: memory is known by its address, and work is done as late
// as a GPU may do it, when somebody waits for it.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "hussar/status.h"
#include "plan/device.h"

namespace hussar::tests {

// All memory of all emulated devices, and the host's that is pinned. What is a device's can be read and written by its
// work only: elsewhere an access ends the process, as with a GPU.
class EmulatedMemory {
 public:
  std::byte* allocate(size_t bytes, Residence residence);
  void release(std::byte* memory);
  Residence residence(const std::byte* memory);
  // Work of a device begins and ends.
  void open();
  void close();

 private:
  struct Block {
    size_t bytes;
    Residence residence;
  };
  void protect();

  std::mutex mutex_;
  int working_ = 0;
  std::map<const std::byte*, Block> blocks_;
};
EmulatedMemory& emulated_memory();

class EmulatedStream : public std::enable_shared_from_this<EmulatedStream> {
 public:
  void push(std::function<Status()> work) { work_.push_back(std::move(work)); }
  // What comes from now on is done after what `other` has been given.
  void follow(EmulatedStream& other) {
    push([stream = other.shared_from_this(), count = other.given()] { return stream->finish(count); });
  }
  // Does what has been given. The first failure is that of all later calls.
  Status wait() { return finish(given()); }
  size_t pending() const { return work_.size(); }

  // What is enqueued from now on is recorded instead of given; null: no longer.
  using Recording = std::vector<std::function<Status()>>;
  void record_to(std::shared_ptr<Recording> recording) { recording_ = std::move(recording); }
  bool is_recording() const { return recording_ != nullptr; }
  void enqueue(std::function<Status()> work) {
    if (is_recording()) {
      recording_->push_back(std::move(work));
    } else {
      push(std::move(work));
    }
  }

 private:
  size_t given() const { return begun_ + work_.size(); }
  Status finish(size_t count) {
    if (begun_ >= count || !failure_) return failure_;
    emulated_memory().open();
    while (begun_ < count && failure_) {
      const std::function<Status()> work = std::move(work_.front());
      work_.pop_front();
      ++begun_;
      if (Status status = work(); !status) failure_ = status;
    }
    emulated_memory().close();
    return failure_;
  }

  std::deque<std::function<Status()>> work_;
  std::shared_ptr<Recording> recording_;
  size_t begun_ = 0;
  Status failure_;
};

}  // namespace hussar::tests
