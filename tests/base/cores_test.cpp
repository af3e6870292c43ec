// Cores that control groups leave to a process, from made-up folders, and threads that are kept off cores.
#include "base/cores.h"

#include <gtest/gtest.h>
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/folder.h"

namespace hussar {
namespace {

using tests::Folder;

struct Groups {
  Folder folder;
  void write(const std::string& name, const std::string& text) {
    std::filesystem::path path = folder.file(name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
  }
  int cores() const { return control_group_cores(folder.path(), folder.file("membership")); }
};

TEST(FilesOfControlGroups, NoLimit) {
  Groups groups;
  EXPECT_EQ(groups.cores(), 0);
  groups.write("cpu.max", "max 100000");
  groups.write("cpu/cpu.cfs_quota_us", "-1");
  groups.write("cpu/cpu.cfs_period_us", "100000");
  groups.write("membership", "0::/\nnonsense\n1:cpu");
  EXPECT_EQ(groups.cores(), 0);
  groups.write("cpu.max", "100000 0");
  EXPECT_EQ(groups.cores(), 0);
}

TEST(FilesOfControlGroups, Version2) {
  Groups groups;
  groups.write("cpu.max", "200000 100000");
  EXPECT_EQ(groups.cores(), 2);
  groups.write("cpu.max", "250000 100000");
  EXPECT_EQ(groups.cores(), 3);
  groups.write("cpu.max", "10000 100000");
  EXPECT_EQ(groups.cores(), 1);
}

TEST(FilesOfControlGroups, TheTightestGroupAround) {
  Groups groups;
  groups.write("membership", "0::/outer/inner");
  groups.write("outer/inner/cpu.max", "400000 100000");
  EXPECT_EQ(groups.cores(), 4);
  groups.write("outer/cpu.max", "300000 100000");
  EXPECT_EQ(groups.cores(), 3);
  groups.write("other/cpu.max", "100000 100000");
  EXPECT_EQ(groups.cores(), 3);
}

TEST(FilesOfControlGroups, Version1) {
  Groups groups;
  groups.write("membership", "5:memory:/box\n4:cpu,cpuacct:/box");
  groups.write("cpu,cpuacct/box/cpu.cfs_quota_us", "500000");
  groups.write("cpu,cpuacct/box/cpu.cfs_period_us", "200000");
  EXPECT_EQ(groups.cores(), 3);
  // A container sees its own group as the root.
  groups.write("membership", "4:cpu,cpuacct:/not/visible");
  groups.write("cpu/cpu.cfs_quota_us", "200000");
  groups.write("cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(groups.cores(), 2);
}

TEST(FilesOfControlGroups, UsableCores) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

#if defined(__linux__)

// A thread that tells where it runs, until the object goes.
class Wanderer {
 public:
  Wanderer() {
    thread_ = std::thread([this] {
      while (!stop_) core_ = current_core();
    });
    while (core_ < 0) std::this_thread::yield();
  }
  ~Wanderer() {
    stop_ = true;
    thread_.join();
  }
  int core() const { return core_; }
  std::thread::native_handle_type handle() { return thread_.native_handle(); }
  int allowed() {
    cpu_set_t cores;
    EXPECT_EQ(pthread_getaffinity_np(handle(), sizeof cores, &cores), 0);
    return CPU_COUNT(&cores);
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> core_{-1};
  std::thread thread_;
};

TEST(CoreSet, ThreadsAreKeptOffACoreAndReleased) {
  CoreSet cores;
  Wanderer wanderer;
  const int all = wanderer.allowed();
  if (all < 2) GTEST_SKIP() << "there is one core only";
  for (int repeat = 0; repeat < 20; ++repeat) {
    const int here = wanderer.core();
    cores.keep_off(wanderer.handle(), here);
    EXPECT_EQ(wanderer.allowed(), all - 1);
    while (wanderer.core() == here) std::this_thread::yield();  // for ever if it stayed
    cores.release(wanderer.handle());
    EXPECT_EQ(wanderer.allowed(), all);
  }
}

TEST(CoreSet, CoresThatAreNotInTheSetChangeNothing) {
  CoreSet cores;
  Wanderer wanderer;
  const int all = wanderer.allowed();
  for (int core : {-1, 1023, 1024, 1 << 20}) cores.keep_off(wanderer.handle(), core);
  EXPECT_EQ(wanderer.allowed(), all);
}

#endif

}  // namespace
}  // namespace hussar
