// NVRTC's functions, found at run time, and the code that this process has compiled.
#include "backends/cuda/nvrtc.h"

#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/emulation.h"
#include "backends/cuda/libraries.h"
#include "base/error.h"

namespace hussar::cuda {
namespace {

struct ProgramHandle;

struct Compiler {
  Library loaded;
  int (*version)(int*, int*);
  int (*create)(ProgramHandle**, const char* source, const char* name, int headers, const char* const*,
                const char* const*);
  int (*compile)(ProgramHandle*, int count, const char* const* options);
  int (*log_size)(ProgramHandle*, size_t*);
  int (*log)(ProgramHandle*, char*);
  int (*code_size)(ProgramHandle*, size_t*);
  int (*code)(ProgramHandle*, char*);
  int (*destroy)(ProgramHandle**);
};

Result<Compiler> load_compiler() {
  Compiler compiler{};
  compiler.loaded = HUSSAR_TRY(open_library(library_named("NVRTC")));
  bool found = true;
  auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(find_function(compiler.loaded, name));
    found = found && function != nullptr;
  };
  find(compiler.version, "nvrtcVersion");
  find(compiler.create, "nvrtcCreateProgram");
  find(compiler.compile, "nvrtcCompileProgram");
  find(compiler.log_size, "nvrtcGetProgramLogSize");
  find(compiler.log, "nvrtcGetProgramLog");
  find(compiler.code_size, "nvrtcGetCUBINSize");
  find(compiler.code, "nvrtcGetCUBIN");
  find(compiler.destroy, "nvrtcDestroyProgram");
  HUSSAR_CHECK(found, ErrorCode::kDeviceUnavailable, "{} is too old: CUDA 12 or newer is needed", compiler.loaded.path);
  return compiler;
}

const Result<Compiler>& compiler() {
  static const Result<Compiler> loaded = load_compiler();
  return loaded;
}

std::string log_of(const Compiler& nvrtc, ProgramHandle* program) {
  size_t bytes = 0;
  std::string text;
  if (nvrtc.log_size(program, &bytes) == 0) text.resize(bytes);
  if (!text.empty()) nvrtc.log(program, text.data());
  return text;
}

// resources: where it is not null, gets what the assembler says of registers and spills.
Result<Tensor> compile_now(const Compiler& nvrtc, const std::string& source, int sm, std::string* resources = nullptr) {
  ProgramHandle* program = nullptr;
  HUSSAR_CHECK(nvrtc.create(&program, source.c_str(), "hussar.cu", 0, nullptr, nullptr) == 0, ErrorCode::kRunFailed,
               "NVRTC cannot begin to compile");
  const std::string architecture = fmt::format("--gpu-architecture=sm_{}{}", sm, sm == 90 ? "a" : "");
  const char* const options[] = {architecture.c_str(), "--std=c++17", "--device-as-default-execution-space",
                                 "--ptxas-options=-v"};
  const int result = nvrtc.compile(program, resources != nullptr ? 4 : 3, options);
  size_t bytes = 0;
  if (resources != nullptr) *resources = log_of(nvrtc, program);
  if (result != 0) {
    const std::string text = log_of(nvrtc, program);
    nvrtc.destroy(&program);
    return fail(ErrorCode::kRunFailed, "NVRTC cannot compile a kernel for sm_{}: {}", sm, text);
  }
  bool ok = nvrtc.code_size(program, &bytes) == 0 && bytes > 0;
  Tensor code(DType::kUInt8, Shape{ok ? static_cast<int64_t>(bytes) : 0});
  ok = ok && nvrtc.code(program, reinterpret_cast<char*>(code.raw())) == 0;
  nvrtc.destroy(&program);
  HUSSAR_CHECK(ok, ErrorCode::kRunFailed, "NVRTC gives no code for sm_{}", sm);
  return code;
}

}  // namespace

Result<Tensor> compile_cuda(const std::string& source, int sm) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, Tensor> compiled;
  if (const Emulation* stand_in = emulation()) return stand_in->compile(source, sm);
  const Result<Compiler>& nvrtc = compiler();
  if (!nvrtc) return tl::unexpected(nvrtc.error());
  {
    std::lock_guard lock(mutex);
    auto it = compiled.find({source, sm});
    if (it != compiled.end()) return it->second;
  }
  Tensor code = HUSSAR_TRY(compile_now(*nvrtc, source, sm));
  std::lock_guard lock(mutex);
  return compiled[{source, sm}] = std::move(code);
}

Result<std::string> compiler_resources(const std::string& source, int sm) {
  const Result<Compiler>& nvrtc = compiler();
  if (!nvrtc) return tl::unexpected(nvrtc.error());
  std::string resources;
  HUSSAR_TRY(compile_now(*nvrtc, source, sm, &resources));
  return resources;
}

Result<CompilerFacts> find_compiler() {
  const Result<Compiler>& nvrtc = compiler();
  if (!nvrtc) return tl::unexpected(nvrtc.error());
  CompilerFacts facts{nvrtc->loaded.path, 0, 0};
  nvrtc->version(&facts.major, &facts.minor);
  return facts;
}

}  // namespace hussar::cuda
