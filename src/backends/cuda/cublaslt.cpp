// Loading libcublasLt.
#include "backends/cuda/cublaslt.h"

#include <fmt/format.h>

#include <cstdlib>

#include "backends/cuda/libraries.h"
#include "base/error.h"

namespace hussar::cuda::lt {
namespace {

// From 12.9 on.
bool has_scale_of_each(const std::string& version) {
  const int major = std::atoi(version.c_str());
  const size_t dot = version.find('.');
  return major > 12 || (major == 12 && dot != std::string::npos && std::atoi(version.c_str() + dot + 1) >= 9);
}

Result<Functions> load() {
  const LibraryUse& use = library_named("cuBLASLt");
  const Library library = HUSSAR_TRY(open_library(use));
  Functions functions{};
  bool found = true;
  auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(find_function(library, name));
    found = found && function != nullptr;
  };
  find(functions.create, "cublasLtCreate");
  find(functions.destroy, "cublasLtDestroy");
  find(functions.status_name, "cublasLtGetStatusName");
  find(functions.layout_create, "cublasLtMatrixLayoutCreate");
  find(functions.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(functions.matmul_create, "cublasLtMatmulDescCreate");
  find(functions.matmul_destroy, "cublasLtMatmulDescDestroy");
  find(functions.matmul_set, "cublasLtMatmulDescSetAttribute");
  find(functions.preference_create, "cublasLtMatmulPreferenceCreate");
  find(functions.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(functions.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(functions.find_algorithms, "cublasLtMatmulAlgoGetHeuristic");
  find(functions.multiply, "cublasLtMatmul");
  HUSSAR_CHECK(found, ErrorCode::kDeviceUnavailable, "{} is too old: CUDA 12 or newer is needed", library.path);
  const std::string version = use.version(library);
  functions.version = fmt::format("cuBLASLt {}", version);
  functions.has_scale_of_each = has_scale_of_each(version);
  return functions;
}

}  // namespace

Result<const Functions*> functions() {
  static const Result<Functions> loaded = load();
  if (!loaded) return tl::unexpected(loaded.error());
  return &*loaded;
}

}  // namespace hussar::cuda::lt
