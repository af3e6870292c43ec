// Reading /proc and /sys. What is not there limits nothing.
#include "base/cores.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace hussar {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The quota of one group: "150000 100000" or "max 100000" in version 2, two files with -1 for none in version 1.
int cores_of_group(const std::string& folder) {
  const std::string words = first_line(folder + "/cpu.max") + " " + first_line(folder + "/cpu.cfs_quota_us") + " " +
                            first_line(folder + "/cpu.cfs_period_us");
  std::istringstream line(words);
  double quota = 0, period = 0;
  if (!(line >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, 1e6));
}

// Of the group at `path` below `mount` and of all around it.
int least_cores(const std::string& mount, std::string path) {
  int least = 0;
  for (;;) {
    const int cores = cores_of_group(mount + path);
    if (cores > 0) least = least == 0 ? cores : std::min(least, cores);
    if (path.empty()) return least;
    path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
  }
}

bool lists_cpu(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}

}  // namespace

int control_group_cores(const std::string& root, const std::string& membership) {
  // In a container the membership may be told as seen from outside, where the root is the container's own group.
  int least = 0;
  auto limit = [&least](int cores) {
    if (cores > 0) least = least == 0 ? cores : std::min(least, cores);
  };
  limit(least_cores(root, ""));
  limit(least_cores(root + "/cpu", ""));
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // "0::/a/b", "4:cpu,cpuacct:/a/b"
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) limit(least_cores(root, path));
    if (!lists_cpu(controllers)) continue;
    limit(least_cores(root + "/cpu", path));
    limit(least_cores(root + "/" + controllers, path));
  }
  return least;
}

int usable_cores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) cores = CPU_COUNT(&allowed);
#endif
  const int quota = control_group_cores();
  return std::max(1, quota > 0 ? std::min(cores, quota) : cores);
}

#if defined(__linux__)

int current_core() { return sched_getcpu(); }
std::thread::native_handle_type current_thread() { return pthread_self(); }

CoreSet::CoreSet() {
  static_assert(sizeof(cpu_set_t) == sizeof cores_);
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  std::memcpy(&cores_, &allowed, sizeof allowed);
  count_ = CPU_COUNT(&allowed);
}

void CoreSet::keep_to(std::thread::native_handle_type thread, const std::array<uint64_t, 16>& cores) const {
  cpu_set_t allowed;
  std::memcpy(&allowed, &cores, sizeof allowed);
  pthread_setaffinity_np(thread, sizeof allowed, &allowed);
}

#else

int current_core() { return -1; }
std::thread::native_handle_type current_thread() { return {}; }
CoreSet::CoreSet() = default;
void CoreSet::keep_to(std::thread::native_handle_type, const std::array<uint64_t, 16>&) const {}

#endif

void CoreSet::keep_off(std::thread::native_handle_type thread, int core) const {
  if (core < 0 || core >= static_cast<int>(64 * cores_.size())) return;
  std::array<uint64_t, 16> others = cores_;
  const uint64_t bit = uint64_t{1} << (core % 64);
  if (count_ < 2 || (others[core / 64] & bit) == 0) return;
  others[core / 64] &= ~bit;
  keep_to(thread, others);
}

void CoreSet::release(std::thread::native_handle_type thread) const {
  if (count_ > 1) keep_to(thread, cores_);
}

}  // namespace hussar
