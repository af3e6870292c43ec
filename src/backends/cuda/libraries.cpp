// The places where NVIDIA's libraries lie.
#include "backends/cuda/libraries.h"

#include <dlfcn.h>
#include <fmt/ranges.h>

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

const std::vector<LibraryUse> kLibraries = {
    {"NVRTC", {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}, "nvidia-cuda-nvrtc", "compiles kernels for plans"},
};

std::string describe_library(const LibraryUse& library) {
  auto found = open_library(library.files, library.package);
  return found ? fmt::format("{}: {}", found->path, library.use) : found.error().message;
}

void* find_function(const Library& library, const char* name) { return dlsym(library.handle, name); }

}  // namespace hussar::cuda
