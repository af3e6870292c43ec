// How many cores this process may use, and which of them a thread is kept to.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <thread>

namespace hussar {

// What the scheduler and control groups leave to this process, at least 1.
int usable_cores();

// Control groups limit processor time rather than cores: 150 ms in every 100 ms count as 2 cores. The least of this
// process's group and those around it, version 1 or 2; 0: no limit. `root` is where control groups are mounted,
// `membership` tells this process's groups.
int control_group_cores(const std::string& root = "/sys/fs/cgroup",
                        const std::string& membership = "/proc/self/cgroup");

// The core that the calling thread runs on; -1 where the system does not tell.
int current_core();

// As std::thread::native_handle() tells of another one.
std::thread::native_handle_type current_thread();

// The cores that the thread which makes the object may run on. Any thread may call the functions, on any thread that
// has not been joined; they do nothing where there is nothing to choose from or the system refuses.
class CoreSet {
 public:
  CoreSet();
  // Moves the thread off a core at once, whether it runs or waits for that core, and keeps it off.
  void keep_off(std::thread::native_handle_type thread, int core) const;
  // Lets the thread run on any core of the set again.
  void release(std::thread::native_handle_type thread) const;

 private:
  void keep_to(std::thread::native_handle_type thread, const std::array<uint64_t, 16>& cores) const;
  std::array<uint64_t, 16> cores_{};  // bit i % 64 of word i / 64: core i
  int count_ = 0;
};

}  // namespace hussar
