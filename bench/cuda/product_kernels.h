// The matrix product kernels that the ladder checks and times: their tiles, their epilogues, and NVRTC.
#pragma once

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#define CHECK_CUDA(call)                                                                                  \
  do {                                                                                                    \
    if (const auto status = (call); static_cast<int>(status) != 0) {                                      \
      std::fprintf(stderr, "%s:%d: %s: error %d\n", __FILE__, __LINE__, #call, static_cast<int>(status)); \
      std::exit(1);                                                                                       \
    }                                                                                                     \
  } while (0)

enum Input { kFp16, kTf32, kFp32 };
enum Epilogue { kNone, kBias, kBiasGelu, kBiasResidual };
const char* const kEpilogueNames[] = {"none", "bias", "gelu", "residual"};

struct Config {
  const char* name;
  bool hopper;
  Input input;
  int bm, bn, stages;
  int warps_m, warps_n;                // ampere
  int pingpong, cluster_m, cluster_n;  // hopper
  int split, raster;
  int blocks_per_sm = 1;
};

const Config kConfigs[] = {
    {"a-fp16-128x128-8w", false, kFp16, 128, 128, 3, 2, 4, 0, 1, 1, 1, 8},
    {"a-fp16-128x128-4w", false, kFp16, 128, 128, 3, 2, 2, 0, 1, 1, 1, 8},
    {"a-fp16-128x64", false, kFp16, 128, 64, 3, 4, 1, 0, 1, 1, 1, 8},
    {"a-fp16-64x128", false, kFp16, 64, 128, 3, 2, 2, 0, 1, 1, 1, 8},
    {"a-fp16-64x64", false, kFp16, 64, 64, 4, 2, 2, 0, 1, 1, 1, 8},
    {"a-tf32-128x128-8w", false, kTf32, 128, 128, 3, 2, 4, 0, 1, 1, 1, 8},
    {"a-tf32-64x64", false, kTf32, 64, 64, 4, 2, 2, 0, 1, 1, 1, 8},
    {"a-fp32-128x128", false, kFp32, 128, 128, 3, 4, 2, 0, 1, 1, 1, 8},
    {"a-fp32-64x64", false, kFp32, 64, 64, 3, 2, 1, 0, 1, 1, 1, 8},
    {"h-pp-128x128", true, kFp16, 128, 128, 7, 0, 0, 1, 1, 1, 1, 8},
    {"h-pp-128x128-c2x1", true, kFp16, 128, 128, 7, 0, 0, 1, 2, 1, 1, 8},
    {"h-pp-128x128-c2x2", true, kFp16, 128, 128, 7, 0, 0, 1, 2, 2, 1, 8},
    {"h-pp-64x64-c2x1", true, kFp16, 64, 64, 12, 0, 0, 1, 2, 1, 1, 8},
    {"h-pp-64x64-c1x2", true, kFp16, 64, 64, 12, 0, 0, 1, 1, 2, 1, 8},
    {"h-pp-64x64-c2x2", true, kFp16, 64, 64, 12, 0, 0, 1, 2, 2, 1, 8},
    {"h-pp-128x64", true, kFp16, 128, 64, 8, 0, 0, 1, 1, 1, 1, 8},
    {"h-pp-64x128", true, kFp16, 64, 128, 8, 0, 0, 1, 1, 1, 1, 8},
    {"h-pp-64x64", true, kFp16, 64, 64, 12, 0, 0, 1, 1, 1, 1, 8},
    {"h-pp-64x64-2b", true, kFp16, 64, 64, 6, 0, 0, 1, 1, 1, 1, 8, 2},
    {"h-co-128x256", true, kFp16, 128, 256, 4, 0, 0, 0, 1, 1, 1, 8},
    {"h-co-128x256-c2x1", true, kFp16, 128, 256, 4, 0, 0, 0, 2, 1, 1, 8},
    {"h-co-128x256-w16", true, kFp16, 128, 256, 4, 0, 0, 0, 1, 1, 1, 16},
    {"h-co-256x128", true, kFp16, 256, 128, 4, 0, 0, 0, 1, 1, 1, 8},
    {"h-co-256x128-c1x2", true, kFp16, 256, 128, 4, 0, 0, 0, 1, 2, 1, 8},
    {"h-co-128x192", true, kFp16, 128, 192, 5, 0, 0, 0, 1, 1, 1, 8},
    {"h-co-128x192-c2x1", true, kFp16, 128, 192, 5, 0, 0, 0, 2, 1, 1, 8},
    {"h-co-128x128", true, kFp16, 128, 128, 7, 0, 0, 0, 1, 1, 1, 8},
    {"h-co-128x128-c2x1", true, kFp16, 128, 128, 7, 0, 0, 0, 2, 1, 1, 8},
    {"h-co-128x64", true, kFp16, 128, 64, 9, 0, 0, 0, 1, 1, 1, 8},
    {"h-co-128x64-2b", true, kFp16, 128, 64, 4, 0, 0, 0, 1, 1, 1, 8, 2},
    {"h-co-128x64-s2", true, kFp16, 128, 64, 9, 0, 0, 0, 1, 1, 2, 8},
    {"h-co-128x64-s4", true, kFp16, 128, 64, 9, 0, 0, 0, 1, 1, 4, 8},
    {"h-co-128x64-s4-2b", true, kFp16, 128, 64, 4, 0, 0, 0, 1, 1, 4, 8, 2},
    {"h-co-128x64-s8-2b", true, kFp16, 128, 64, 4, 0, 0, 0, 1, 1, 8, 8, 2},
    {"h-co-128x128-s2", true, kFp16, 128, 128, 7, 0, 0, 0, 1, 1, 2, 8},
    {"h-co-128x128-s4", true, kFp16, 128, 128, 7, 0, 0, 0, 1, 1, 4, 8},
    {"h-co-128x256-s2", true, kFp16, 128, 256, 4, 0, 0, 0, 1, 1, 2, 8},
    {"h-co-128x256-s4", true, kFp16, 128, 256, 4, 0, 0, 0, 1, 1, 4, 8},
    {"h-co-256x128-s4", true, kFp16, 256, 128, 4, 0, 0, 0, 1, 1, 4, 8},
    {"h-tf32-pp-128x128-c2x1", true, kTf32, 128, 128, 7, 0, 0, 1, 2, 1, 1, 8},
    {"h-tf32-co-128x64-s4", true, kTf32, 128, 64, 9, 0, 0, 0, 1, 1, 4, 8},
};

struct Variant {
  const Config* config;
  Epilogue epilogue;
  bool half_output, dependent;
  int n = 0, k = 0;  // fixed sizes
  std::string name() const {
    return std::string(config->name) + "." + kEpilogueNames[epilogue] + (half_output ? ".f16" : ".f32") +
           (dependent ? ".pdl" : "") + (n > 0 ? "." + std::to_string(n) + "x" + std::to_string(k) : "");
  }
};

// The same for every epilogue; a plan has only what its region needs.
struct Operands {
  const void* bias;
  const void* residual;
  long long residual_pitch;
};

const char* const kOperandsText = R"(
struct EpilogueOperands {
  const unsigned short* bias;
  const unsigned short* residual;
  long long residual_pitch;
};
template <int N>
struct SumMeaning {};
__device__ __forceinline__ void load_meaning(SumMeaning<8>&, const EpilogueOperands&, int) {}
struct RowMeaning {};
__device__ __forceinline__ RowMeaning row_meaning(const EpilogueOperands&, long long) { return {}; }
__device__ __forceinline__ void real_sums(const float (&sum)[8], float (&value)[8], const SumMeaning<8>&,
                                          const RowMeaning&) {
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] = sum[i];
}
)";

const char* const kEpilogueTexts[] = {
    R"(
template <class Near>
__device__ __forceinline__ void epilogue_of(float (&)[8], const EpilogueOperands&, long long, int, const Near&) {}
)",
    R"(
template <class Near>
__device__ __forceinline__ void epilogue_of(float (&value)[8], const EpilogueOperands& operands, long long, int column,
                                         const Near&) {
  float bias[8];
  load_constant_halves(operands.bias + column, bias);
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] += bias[i];
}
)",
    // x / 2 * (1 + erf(x / sqrt(2))) with erf(x / sqrt(2)) = tanh(x * p(x * x)): p's fit is off by 2.6e-5 in the
    // result, the tanh instruction by half a unit in the last place of a half.
    R"(
__device__ __forceinline__ float gelu(float x) {
  const float square = fminf(x * x, 36.0f);
  const float p = fmaf(square, fmaf(square, -3.51519832e-4f, 3.70056331e-2f), 7.97507923e-1f);
  float t;
  asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(x * p));
  const float half_x = 0.5f * x;
  return fmaf(half_x, t, half_x);
}
template <class Near>
__device__ __forceinline__ void epilogue_of(float (&value)[8], const EpilogueOperands& operands, long long, int column,
                                         const Near&) {
  float bias[8];
  load_constant_halves(operands.bias + column, bias);
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] = gelu(value[i] + bias[i]);
}
)",
    R"(
template <class Near>
__device__ __forceinline__ void epilogue_of(float (&value)[8], const EpilogueOperands& operands, long long row,
                                         int column, const Near&) {
  float bias[8], residual[8];
  load_constant_halves(operands.bias + column, bias);
  load_halves(operands.residual + row * operands.residual_pitch + column, residual);
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] += bias[i] + residual[i];
}
)"};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty()) std::fprintf(stderr, "cannot read %s\n", path.c_str()), std::exit(1);
  return text.str();
}

inline std::string without_pragma_once(std::string text) {
  const std::string line = "#pragma once\n";
  if (const auto at = text.find(line); at != std::string::npos) text.replace(at, line.size(), "\n");
  return text;
}

inline std::string source_text(const Variant& variant, const std::string& device_dir) {
  const Config& c = *variant.config;
  std::ostringstream text;
  const char* const inputs[] = {"PRODUCT_FP16", "PRODUCT_TF32", "PRODUCT_FP32"};
  const auto define = [&](const char* name, auto value) { text << "#define " << name << " " << value << "\n"; };
  define("PRODUCT_INPUT", inputs[c.input]);
  define("PRODUCT_OUTPUT", variant.half_output ? "PRODUCT_HALVES" : "PRODUCT_FLOATS");
  define("PRODUCT_BM", c.bm);
  define("PRODUCT_BN", c.bn);
  define("PRODUCT_STAGES", c.stages);
  define("PRODUCT_RASTER", c.raster);
  define("PRODUCT_EPILOGUE_BATCH", c.hopper && c.pingpong == 0 && variant.epilogue == kBiasResidual ? 8 : 4);
  define("PRODUCT_N", variant.n);
  define("PRODUCT_K", variant.k);
  define("PRODUCT_DEPENDENT_LAUNCH", variant.dependent ? 1 : 0);
  std::vector<const char*> files = {"half.cuh", nullptr, "product_contract.cuh"};
  if (c.hopper) {
    define("PRODUCT_PINGPONG", c.pingpong);
    define("PRODUCT_CLUSTER_M", c.cluster_m);
    define("PRODUCT_CLUSTER_N", c.cluster_n);
    define("PRODUCT_SPLIT", c.split);
    define("PRODUCT_BLOCKS_PER_SM", c.blocks_per_sm);
    for (const char* file : {"hopper_wgmma.cuh", "hopper_pipeline.cuh", "hopper_work.cuh", "product_hopper.cuh"})
      files.push_back(file);
  } else {
    define("PRODUCT_WARPS_M", c.warps_m);
    define("PRODUCT_WARPS_N", c.warps_n);
    files.push_back("product_ampere.cuh");
  }
  for (const char* file : files) {
    if (file != nullptr)
      text << without_pragma_once(read_file(device_dir + "/" + file)) << "\n";
    else
      text << kOperandsText << kEpilogueTexts[variant.epilogue];
  }
  return text.str();
}

template <typename Function>
Function symbol(void* library, const char* name) {
  void* found = library != nullptr ? dlsym(library, name) : nullptr;
  if (found == nullptr) std::fprintf(stderr, "missing: %s (%s)\n", name, dlerror()), std::exit(1);
  return reinterpret_cast<Function>(found);
}

inline void* open_library(const char* variable, const char* fallback) {
  const char* name = std::getenv(variable);
  void* library = dlopen(name != nullptr ? name : fallback, RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) std::fprintf(stderr, "%s\n", dlerror()), std::exit(1);
  return library;
}

inline bool compile_one(const Variant& variant, const std::string& device_dir, const std::string& arch,
                        const std::string& to) {
  static void* library = open_library("NVRTC_LIBRARY", "libnvrtc.so.13");
  using Program = void*;
  const auto create = symbol<int (*)(Program*, const char*, const char*, int, const char* const*, const char* const*)>(
      library, "nvrtcCreateProgram");
  const auto compile = symbol<int (*)(Program, int, const char* const*)>(library, "nvrtcCompileProgram");
  const auto log_size = symbol<int (*)(Program, size_t*)>(library, "nvrtcGetProgramLogSize");
  const auto get_log = symbol<int (*)(Program, char*)>(library, "nvrtcGetProgramLog");
  const auto cubin_size = symbol<int (*)(Program, size_t*)>(library, "nvrtcGetCUBINSize");
  const auto get_cubin = symbol<int (*)(Program, char*)>(library, "nvrtcGetCUBIN");
  const std::string text = source_text(variant, device_dir), arch_option = "--gpu-architecture=" + arch;
  const char* const options[] = {arch_option.c_str(), "--std=c++17", "--ptxas-options=-v",
                                 "--device-as-default-execution-space"};
  Program program = nullptr;
  CHECK_CUDA(create(&program, text.c_str(), "product.cu", 0, nullptr, nullptr));
  const int status = compile(program, 3, options);
  size_t size = 0;
  CHECK_CUDA(log_size(program, &size));
  std::string log(size, '\0');
  CHECK_CUDA(get_log(program, log.data()));
  const bool remarkable = status != 0 || log.find("warning") != std::string::npos ||
                          log.find("C75") != std::string::npos ||
                          log.find(" 0 bytes spill stores") == std::string::npos;
  if (remarkable) std::fprintf(stderr, "%s (%s): %s\n", variant.name().c_str(), arch.c_str(), log.c_str());
  if (status != 0) return false;
  CHECK_CUDA(cubin_size(program, &size));
  std::string cubin(size, '\0');
  CHECK_CUDA(get_cubin(program, cubin.data()));
  std::ofstream(to, std::ios::binary).write(cubin.data(), static_cast<std::streamsize>(cubin.size()));
  return true;
}

// Compiles in as many processes as there are cores; must run before CUDA is used.
inline bool compile_all(const std::vector<Variant>& variants, const std::string& device_dir, const std::string& arch,
                        const std::string& folder) {
  const int workers = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  std::vector<pid_t> children;
  for (int worker = 0; worker < workers; ++worker) {
    const pid_t child = fork();
    if (child == 0) {
      bool good = true;
      for (size_t i = static_cast<size_t>(worker); i < variants.size(); i += static_cast<size_t>(workers))
        good &= compile_one(variants[i], device_dir, arch, folder + "/" + variants[i].name() + ".cubin");
      std::_Exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  bool good = true;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    good &= status == 0;
  }
  return good;
}
