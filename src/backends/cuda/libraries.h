// Finding and opening NVIDIA's libraries. None is linked: a machine without them runs the same program.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"

namespace hussar::cuda {

struct Library {
  std::string path;  // as the loader found it
  void* handle = nullptr;
};

// Opens the first of the names that is found: in $HUSSAR_CUDA_LIBRARIES (folders, colon-separated), where the loader
// looks, in /usr/local/cuda, and in the packages nvidia-* of the Python installations on PATH. The error says what was
// looked for and how to install it; `package` is what pip calls it.
Result<Library> open_library(const std::vector<std::string>& names, std::string_view package);

// The libraries that Hussar makes use of where they are, and what for.
struct LibraryUse {
  std::string_view name;
  std::vector<std::string> files;  // newest first
  std::string_view package;
  std::string_view use;
  std::string (*version)(const Library& library);  // asked without a GPU; empty: it does not tell
};
extern const std::vector<LibraryUse> kLibraries;
// The one with the name, which is one of the list.
const LibraryUse& library_named(std::string_view name);
Result<Library> open_library(const LibraryUse& library);
// "13.1.0, /usr/lib/libcublasLt.so.13: multiplies matrices", "libcublasLt.so.13 or libcublasLt.so.12 was not found;
// ..."
std::string describe_library(const LibraryUse& library);

// The function of the library; null when it is too old to have it.
void* find_function(const Library& library, const char* name);

}  // namespace hussar::cuda
