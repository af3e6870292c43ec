// Loading libcusparseLt.
#include "backends/cuda/cusparselt.h"

#include <fmt/format.h>

#include <cstdlib>

#include "backends/cuda/libraries.h"
#include "base/error.h"

namespace hussar::cuda::sparselt {
namespace {

// "0.8.1": the number between the dots. Versions before 0.7 number their arithmetic in another way.
bool is_new_enough(const std::string& version) {
  constexpr int kLeastMinor = 7;
  const size_t dot = version.find('.');
  if (dot == std::string::npos) return false;
  return std::atoi(version.c_str()) > 0 || std::atoi(version.c_str() + dot + 1) >= kLeastMinor;
}

Result<Functions> load() {
  const LibraryUse& use = library_named("cuSPARSELt");
  const Library library = HUSSAR_TRY(open_library(use));
  Functions functions{};
  bool found = true;
  auto find_if_there = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(find_function(library, name));
  };
  auto find = [&](auto& function, const char* name) {
    find_if_there(function, name);
    found = found && function != nullptr;
  };
  find(functions.create, "cusparseLtInit");
  find(functions.destroy, "cusparseLtDestroy");
  find_if_there(functions.status_name, "cusparseLtGetErrorName");
  find(functions.dense, "cusparseLtDenseDescriptorInit");
  find(functions.structured, "cusparseLtStructuredDescriptorInit");
  find(functions.matrix_destroy, "cusparseLtMatDescriptorDestroy");
  find(functions.matmul, "cusparseLtMatmulDescriptorInit");
  find(functions.matmul_set, "cusparseLtMatmulDescSetAttribute");
  find(functions.select, "cusparseLtMatmulAlgSelectionInit");
  find_if_there(functions.selection_destroy, "cusparseLtMatmulAlgSelectionDestroy");
  find(functions.selection_set, "cusparseLtMatmulAlgSetAttribute");
  find(functions.selection_get, "cusparseLtMatmulAlgGetAttribute");
  find(functions.plan, "cusparseLtMatmulPlanInit");
  find(functions.plan_destroy, "cusparseLtMatmulPlanDestroy");
  find(functions.workspace_bytes, "cusparseLtMatmulGetWorkspace");
  find(functions.compressed_bytes, "cusparseLtSpMMACompressedSize2");
  find(functions.compress, "cusparseLtSpMMACompress2");
  find(functions.multiply, "cusparseLtMatmul");
  const std::string version = use.version(library);
  HUSSAR_CHECK(found && is_new_enough(version), ErrorCode::kDeviceUnavailable,
               "{} is too old: cuSPARSELt 0.7 or newer is needed; `pip install {}` installs it", library.path,
               use.package);
  functions.version = fmt::format("cuSPARSELt {}", version);
  return functions;
}

}  // namespace

Result<const Functions*> functions() {
  static const Result<Functions> loaded = load();
  if (!loaded) return tl::unexpected(loaded.error());
  return &*loaded;
}

}  // namespace hussar::cuda::sparselt
