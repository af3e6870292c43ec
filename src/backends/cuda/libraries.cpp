// The places where NVIDIA's libraries lie.
#include "backends/cuda/libraries.h"

#include <dlfcn.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace hussar::cuda {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const char* list) {
  std::vector<std::string> parts;
  std::string_view rest = list == nullptr ? "" : list;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(':'), rest.size());
    if (end > 0) parts.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return parts;
}

// Adds PREFIX/lib/python3*/{site,dist}-packages/nvidia/*/lib.
void add_packages(const fs::path& prefix, std::vector<std::string>& folders) {
  std::error_code ignored;
  for (const auto& python : fs::directory_iterator(prefix / "lib", ignored)) {
    if (!python.path().filename().string().starts_with("python3")) continue;
    for (const char* packages : {"site-packages", "dist-packages"}) {
      for (const auto& library : fs::directory_iterator(python.path() / packages / "nvidia", ignored)) {
        if (fs::is_directory(library.path() / "lib", ignored)) folders.push_back(library.path() / "lib");
      }
    }
  }
}

std::vector<std::string> folders_to_search() {
  std::vector<std::string> folders = {"/usr/local/cuda/lib64"};
  std::vector<std::string> prefixes;
  if (const char* environment = std::getenv("VIRTUAL_ENV")) prefixes.emplace_back(environment);
  for (const std::string& folder : split(std::getenv("PATH"))) {
    std::error_code ignored;
    if (fs::exists(fs::path(folder) / "python3", ignored)) prefixes.push_back(fs::path(folder).parent_path());
  }
  for (const char* usual : {"/usr/local", "/usr"}) prefixes.emplace_back(usual);
  for (const std::string& prefix : prefixes) add_packages(prefix, folders);
  return folders;
}

bool try_open(const std::string& path, Library& library) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return false;
  library = {path, handle};
  return true;
}

}  // namespace

Result<Library> open_library(const std::vector<std::string>& names, std::string_view package) {
  Library library;
  auto try_folders = [&](const std::vector<std::string>& folders) {
    for (const std::string& folder : folders) {
      for (const std::string& name : names) {
        if (try_open(folder + "/" + name, library)) return true;
      }
    }
    return false;
  };
  if (try_folders(split(std::getenv("HUSSAR_CUDA_LIBRARIES")))) return library;
  for (const std::string& name : names) {
    if (try_open(name, library)) return library;
  }
  if (try_folders(folders_to_search())) return library;
  return fail(ErrorCode::kDeviceUnavailable, "{} was not found{}", fmt::join(names, " or "),
              package.empty() ? std::string() : fmt::format("; `pip install {}` installs it", package));
}

// nvrtcResult nvrtcVersion(int* major, int* minor)
static std::string nvrtc_version(const Library& library) {
  auto* ask = reinterpret_cast<int (*)(int*, int*)>(find_function(library, "nvrtcVersion"));
  int major = 0, minor = 0;
  return ask != nullptr && ask(&major, &minor) == 0 ? fmt::format("{}.{}", major, minor) : std::string();
}

// By cublasLtGetProperty(libraryPropertyType, int*) and its like in the other libraries; properties 0, 1 and 2 of
// library_types.h are MAJOR_VERSION, MINOR_VERSION and PATCH_LEVEL.
static std::string version_by_properties(const Library& library, const char* function) {
  auto* ask = reinterpret_cast<int (*)(int, int*)>(find_function(library, function));
  int parts[3] = {};
  for (int i = 0; i < 3; ++i) {
    if (ask == nullptr || ask(i, &parts[i]) != 0) return {};
  }
  return fmt::format("{}.{}.{}", parts[0], parts[1], parts[2]);
}

const std::vector<LibraryUse> kLibraries = {
    {"NVRTC",
     {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"},
     "nvidia-cuda-nvrtc",
     "compiles kernels for plans",
     nvrtc_version},
    {"cuBLASLt",
     {"libcublasLt.so.13", "libcublasLt.so.12"},
     "nvidia-cublas",
     "multiplies matrices in plans that are built with --libraries on",
     [](const Library& library) { return version_by_properties(library, "cublasLtGetProperty"); }},
    {"cuDNN",
     {"libcudnn.so.9"},
     "nvidia-cudnn-cu13",
     "convolves in plans that are built with --libraries on",
     [](const Library& library) { return version_by_properties(library, "cudnnGetProperty"); }},
    {"cuSPARSELt",
     {"libcusparseLt.so.0"},
     "nvidia-cusparselt-cu13",
     "multiplies by 2:4 weights in plans that are built with --libraries on",
     [](const Library& library) { return version_by_properties(library, "cusparseLtGetProperty"); }},
};

const LibraryUse& library_named(std::string_view name) {
  return *std::find_if(kLibraries.begin(), kLibraries.end(), [&](const LibraryUse& it) { return it.name == name; });
}

Result<Library> open_library(const LibraryUse& library) { return open_library(library.files, library.package); }

std::string describe_library(const LibraryUse& library) {
  auto found = open_library(library);
  if (!found) return found.error().message;
  const std::string version = library.version(*found);
  return fmt::format("{}{}: {}", version.empty() ? version : version + ", ", found->path, library.use);
}

void* find_function(const Library& library, const char* name) { return dlsym(library.handle, name); }

}  // namespace hussar::cuda
