// The files that the fuzz targets start from, and those that they have found: any answer is fine, a crash is not.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "tests/support/fuzz_targets.h"

namespace hussar {
namespace {

// Calls `try_any` with the bytes of every file in the folder of one fuzz target.
void replay(const char* target, void (*try_any)(std::span<const std::byte>)) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(HUSSAR_TESTS "/fuzz/corpus")) {
    if (entry.is_regular_file() && entry.path().parent_path().filename() == target) paths.push_back(entry.path());
  }
  ASSERT_FALSE(paths.empty());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    SCOPED_TRACE(path.string());
    auto file = MappedFile::open(path.string());
    ASSERT_TRUE(file) << file.error().message;
    try_any((*file)->bytes());
  }
}

TEST(BadInputCorpus, ModelsDoNotCrash) { replay("onnx", tests::try_any_model); }
TEST(BadInputCorpus, PlansDoNotCrash) { replay("plan", tests::try_any_plan); }

}  // namespace
}  // namespace hussar
