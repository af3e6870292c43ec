// Files: whole or not at all.
#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "plan/plan.h"
#include "tests/support/folder.h"

namespace hussar {
namespace {

namespace fs = std::filesystem;
using tests::Folder;

std::vector<std::byte> some_bytes(size_t count) { return std::vector<std::byte>(count, std::byte{42}); }

TEST(Files, WriteReplacesWhatWasThere) {
  Folder folder;
  auto path = folder.file("a");
  auto first = some_bytes(10), second = some_bytes(5);
  ASSERT_TRUE(write_file_atomically(path, {first}));
  ASSERT_TRUE(write_file_atomically(path, {second, second}));
  EXPECT_EQ(fs::file_size(path), 10U);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"a"});
}

TEST(Files, WhetherAFileCanBeWritten) {
  Folder folder;
  EXPECT_TRUE(check_can_write(folder.file("a")));
  EXPECT_TRUE(folder.names().empty());
  EXPECT_EQ(check_can_write(folder.file("missing/a")).error().code, ErrorCode::kRunFailed);
  fs::create_directory(folder.file("b"));
  EXPECT_EQ(check_can_write(folder.file("b")).error().code, ErrorCode::kUsage);
}

TEST(Files, NewFilesHaveTheUsualMode) {
  Folder folder;
  auto path = folder.file("a"), usual = folder.file("b");
  ASSERT_TRUE(write_file_atomically(path, {some_bytes(1)}));
  std::ofstream(usual) << "x";
  EXPECT_EQ(fs::status(path).permissions(), fs::status(usual).permissions());
}

TEST(Files, MissingFolderLeavesNothing) {
  Folder folder;
  auto status = write_file_atomically(folder.file("no/such/a.plan"), {some_bytes(10)});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kRunFailed);
  EXPECT_NE(status.error().message.find("a.plan"), std::string::npos);
  EXPECT_TRUE(folder.names().empty());
}

TEST(Files, UnwritableFolderLeavesNothing) {
  if (::geteuid() == 0) {
    // Root may write anywhere but here.
    EXPECT_FALSE(write_file_atomically("/proc/hussar.plan", {some_bytes(10)}));
    return;
  }
  Folder folder;
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  auto status = write_file_atomically(folder.file("a"), {some_bytes(10)});
  fs::permissions(folder.path(), fs::perms::owner_all);
  EXPECT_FALSE(status);
  EXPECT_TRUE(folder.names().empty());
}

TEST(Files, TargetThatIsAFolderSurvives) {
  Folder folder;
  fs::create_directory(folder.file("a"));
  EXPECT_FALSE(write_file_atomically(folder.file("a"), {some_bytes(10)}));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"a"});
}

// A limit on file sizes stands for the full disk: write() fails half way through.
TEST(Files, FullDiskLeavesTheOldFile) {
  Folder folder;
  auto path = folder.file("m.plan");
  ASSERT_TRUE(write_file_atomically(path, {some_bytes(100)}));
  Plan plan;
  std::vector<std::byte> constants = some_bytes(1 << 20);
  plan.constants = constants;
  pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{64 << 10, 64 << 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Status status = write_plan(plan, path);
    bool right = !status && status.error().code == ErrorCode::kRunFailed &&
                 status.error().message.find("cannot write") != std::string::npos;
    ::_exit(right ? 0 : 1);
  }
  int state = 0;
  ASSERT_EQ(::waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"m.plan"});
  EXPECT_EQ(fs::file_size(path), 100U);
}

TEST(Files, OnlyRegularFilesAreMapped) {
  Folder folder;
  EXPECT_FALSE(MappedFile::open(folder.path()));
  EXPECT_FALSE(MappedFile::open(folder.file("missing")));
  EXPECT_FALSE(MappedFile::open("/dev/null"));
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(MappedFile::open(folder.file("pipe")));
  std::ofstream(folder.file("empty")).flush();
  auto empty = MappedFile::open(folder.file("empty"));
  ASSERT_TRUE(empty);
  EXPECT_TRUE((*empty)->bytes().empty());
}

}  // namespace
}  // namespace hussar
