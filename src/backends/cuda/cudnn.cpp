// Loading libcudnn, which loads its parts from where it lies, and others by their names: what this process has loaded
// by such a name is found wherever it lies.
#include "backends/cuda/cudnn.h"

#include <fmt/format.h>

#include "backends/cuda/libraries.h"
#include "base/error.h"

namespace hussar::cuda::dnn {
namespace {

Result<Functions> load() {
  const LibraryUse& use = library_named("cuDNN");
  const Library library = HUSSAR_TRY(open_library(use));
  for (const char* other : {"cuBLASLt", "NVRTC"}) static_cast<void>(open_library(library_named(other)));
  Functions functions{};
  bool found = true;
  auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(find_function(library, name));
    found = found && function != nullptr;
  };
  find(functions.create, "cudnnCreate");
  find(functions.destroy, "cudnnDestroy");
  find(functions.set_stream, "cudnnSetStream");
  find(functions.error_text, "cudnnGetErrorString");
  find(functions.tensor_create, "cudnnCreateTensorDescriptor");
  find(functions.tensor_destroy, "cudnnDestroyTensorDescriptor");
  find(functions.tensor_set, "cudnnSetTensor4dDescriptor");
  find(functions.filter_create, "cudnnCreateFilterDescriptor");
  find(functions.filter_destroy, "cudnnDestroyFilterDescriptor");
  find(functions.filter_set, "cudnnSetFilter4dDescriptor");
  find(functions.convolution_create, "cudnnCreateConvolutionDescriptor");
  find(functions.convolution_destroy, "cudnnDestroyConvolutionDescriptor");
  find(functions.convolution_set, "cudnnSetConvolution2dDescriptor");
  find(functions.convolution_set_groups, "cudnnSetConvolutionGroupCount");
  find(functions.convolution_set_math, "cudnnSetConvolutionMathType");
  find(functions.activation_create, "cudnnCreateActivationDescriptor");
  find(functions.activation_destroy, "cudnnDestroyActivationDescriptor");
  find(functions.activation_set, "cudnnSetActivationDescriptor");
  find(functions.find_algorithms, "cudnnGetConvolutionForwardAlgorithm_v7");
  find(functions.workspace, "cudnnGetConvolutionForwardWorkspaceSize");
  find(functions.convolve, "cudnnConvolutionForward");
  find(functions.convolve_and_activate, "cudnnConvolutionBiasActivationForward");
  HUSSAR_CHECK(found, ErrorCode::kDeviceUnavailable, "{} is not cuDNN 9 as it is known", library.path);
  functions.version = fmt::format("cuDNN {}", use.version(library));
  return functions;
}

}  // namespace

Result<const Functions*> functions() {
  static const Result<Functions> loaded = load();
  if (!loaded) return tl::unexpected(loaded.error());
  return &*loaded;
}

}  // namespace hussar::cuda::dnn
