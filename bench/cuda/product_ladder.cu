// Checks and times the matrix product kernels of src/backends/cuda/device, put together and compiled by NVRTC as the
// plan builder does, beside cuBLASLt.
//
//   nvcc -O2 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -cudart static -o product_ladder product_ladder.cu -ldl
//   NVRTC_LIBRARY=libnvrtc.so.13 CUBLASLT_LIBRARY=libcublasLt.so.13 product_ladder DEVICE_DIR COMMAND [only NAME_PART]
//     compile ARCH   compiles every kernel for ARCH (sm_80, sm_90a, ...) and prints what spills; needs no GPU
//     check          every kernel against a plain one, over sizes with tails
//     time OUT.csv   BERT-Large's products
#include <cuda.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "product_kernels.h"

namespace {

struct Driver {
  void* library = open_library("CUDA_LIBRARY", "libcuda.so.1");
#define HUSSAR_DRIVER(name) decltype(&::name) name = symbol<decltype(&::name)>(library, #name)
  HUSSAR_DRIVER(cuModuleLoadData);
  HUSSAR_DRIVER(cuModuleGetFunction);
  HUSSAR_DRIVER(cuFuncSetAttribute);
  HUSSAR_DRIVER(cuLaunchKernelEx);
  HUSSAR_DRIVER(cuTensorMapEncodeTiled);
  HUSSAR_DRIVER(cuOccupancyMaxActiveClusters);
#undef HUSSAR_DRIVER
};

const Driver& driver() {
  static const Driver instance;
  return instance;
}

struct Problem {
  long long x_pitch, w_pitch, y_pitch, x_stride, w_stride, y_stride;
  int m, n, k, batch;
};

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// A kernel, ready to be launched with the tensor maps of one set of buffers.
struct Launch {
  CUfunction function = nullptr;
  CUlaunchConfig config = {};
  CUlaunchAttribute attributes[1] = {};
  CUtensorMap x_map, w_map;
  Problem problem = {};
  Operands operands = {};
  const void *x = nullptr, *w = nullptr;
  void* y = nullptr;
  bool hopper = false;

  void run(cudaStream_t stream) {
    config.hStream = stream;
    config.attrs = attributes;
    const int* rows = nullptr;
    void* hopper_arguments[] = {&x_map, &w_map, &y, &problem, &operands, &rows};
    void* arguments[] = {&x, &w, &y, &problem, &operands, &rows};
    CHECK_CUDA(driver().cuLaunchKernelEx(&config, function, hopper ? hopper_arguments : arguments, nullptr));
  }
};

void encode_maps(const Config& c, Launch& launch) {
  const Problem& p = launch.problem;
  const cuuint64_t bytes = c.input == kFp16 ? 2 : 4;
  const cuuint32_t block_k = static_cast<cuuint32_t>(128 / bytes);
  const auto type = c.input == kFp16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  const auto u64 = [](long long v) { return static_cast<cuuint64_t>(v); };
  const cuuint64_t x_dims[] = {u64(p.k), u64(p.m), u64(p.batch)};
  const cuuint64_t x_strides[] = {u64(p.x_pitch) * bytes, u64(p.x_stride) * bytes};
  const cuuint32_t x_box[] = {block_k, static_cast<cuuint32_t>(c.bm / c.cluster_n), 1};
  CHECK_CUDA(driver().cuTensorMapEncodeTiled(&launch.x_map, type, 3, const_cast<void*>(launch.x), x_dims, x_strides,
                                             x_box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  const cuuint64_t w_dims[] = {u64(p.k), 2, u64(p.n / 8), 4, u64(p.batch)};
  const cuuint64_t w_pitch = u64(p.w_pitch) * bytes;
  const cuuint64_t w_strides[] = {w_pitch, 8 * w_pitch, 2 * w_pitch, u64(p.w_stride) * bytes};
  const cuuint32_t w_box[] = {block_k, 2, 4, 4, 1};
  CHECK_CUDA(driver().cuTensorMapEncodeTiled(&launch.w_map, type, 5, const_cast<void*>(launch.w), w_dims, w_strides,
                                             w_box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
}

struct Kernel {
  Variant variant;
  CUfunction function = nullptr;
  int shared_bytes = 0;
  int clusters_at_once = 0;

  Launch prepare(const Problem& problem, const void* x, const void* w, void* y, const Operands& operands) const {
    const Config& c = *variant.config;
    Launch launch;
    launch.function = function;
    launch.problem = problem;
    launch.operands = operands;
    launch.x = x, launch.w = w, launch.y = y;
    launch.hopper = c.hopper;
    const int rows = ceil_div(problem.m, c.bm), columns = ceil_div(problem.n, c.bn);
    launch.config.gridDimX = static_cast<unsigned>(rows * columns);
    launch.config.gridDimY = 1;
    launch.config.gridDimZ = static_cast<unsigned>(problem.batch);
    launch.config.blockDimX = static_cast<unsigned>(c.hopper ? 384 : 32 * c.warps_m * c.warps_n);
    launch.config.blockDimY = launch.config.blockDimZ = 1;
    launch.config.sharedMemBytes = static_cast<unsigned>(shared_bytes);
    if (c.hopper) {
      const int groups = ceil_div(rows, c.cluster_m) * ceil_div(columns, c.cluster_n) * problem.batch;
      const int clusters = c.split > 1 ? groups : std::min(groups, clusters_at_once);
      launch.config.gridDimX = static_cast<unsigned>(clusters * c.cluster_m * c.cluster_n * c.split);
      launch.config.gridDimZ = 1;
      encode_maps(c, launch);
    }
    if (variant.dependent) {
      launch.attributes[0].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
      launch.attributes[0].value.programmaticStreamSerializationAllowed = 1;
      launch.config.numAttrs = 1;
    }
    return launch;
  }
};

Kernel load_kernel(const Variant& variant, const std::string& folder) {
  const Config& c = *variant.config;
  Kernel kernel{variant};
  const std::string cubin = read_file(folder + "/" + variant.name() + ".cubin");
  CUmodule module = nullptr;
  CHECK_CUDA(driver().cuModuleLoadData(&module, cubin.data()));
  CHECK_CUDA(driver().cuModuleGetFunction(&kernel.function, module, "hussar_product"));
  kernel.shared_bytes = c.hopper ? 1024 + c.stages * ((c.bm + c.bn) * 128 + 16) : c.stages * (c.bm + c.bn) * 128;
  CHECK_CUDA(driver().cuFuncSetAttribute(kernel.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                         kernel.shared_bytes));
  int multiprocessors = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  kernel.clusters_at_once = multiprocessors * c.blocks_per_sm;
  if (const int cluster = c.cluster_m * c.cluster_n * c.split; c.hopper && cluster > 1) {
    CUlaunchConfig config = {};
    config.gridDimX = static_cast<unsigned>(cluster), config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = 384, config.blockDimY = config.blockDimZ = 1;
    config.sharedMemBytes = static_cast<unsigned>(kernel.shared_bytes);
    CUlaunchAttribute attribute = {};
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = static_cast<unsigned>(cluster);
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
    CHECK_CUDA(driver().cuOccupancyMaxActiveClusters(&kernel.clusters_at_once, kernel.function, &config));
  }
  return kernel;
}

__global__ void fill(__half* halves, float* floats, long long count, unsigned seed) {
  for (long long i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    unsigned long long z = (static_cast<unsigned long long>(seed) << 40) + static_cast<unsigned long long>(i);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    const float value = static_cast<float>(static_cast<unsigned>(z >> 40)) * (2.0f / 16777216.0f) - 1.0f;
    if (halves != nullptr) halves[i] = __float2half(value);
    if (floats != nullptr) floats[i] = value;
  }
}

template <typename Element>
__global__ void plain_product(const Element* x, const Element* w, float* y, Problem p) {
  const int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 8 + threadIdx.y;
  x += blockIdx.z * p.x_stride, w += blockIdx.z * p.w_stride, y += static_cast<long long>(blockIdx.z) * p.m * p.n;
  __shared__ float x_tile[8][32], w_tile[32][33];
  float sum = 0;
  for (int first = 0; first < p.k; first += 32) {
    const int i = first + threadIdx.x;
    x_tile[threadIdx.y][threadIdx.x] = row < p.m && i < p.k ? static_cast<float>(x[row * p.x_pitch + i]) : 0.0f;
    for (int j = threadIdx.y; j < 32; j += 8) {
      const int w_row = blockIdx.x * 32 + j;
      w_tile[j][threadIdx.x] = w_row < p.n && i < p.k ? static_cast<float>(w[w_row * p.w_pitch + i]) : 0.0f;
    }
    __syncthreads();
    for (int j = 0; j < 32; ++j) sum = fmaf(x_tile[threadIdx.y][j], w_tile[threadIdx.x][j], sum);
    __syncthreads();
  }
  if (row < p.m && column < p.n) y[static_cast<long long>(row) * p.n + column] = sum;
}

struct Verdict {
  unsigned worst, range;  // bits of non-negative floats
  unsigned touched, different;
};

__device__ float value_of(const void* y, long long i, bool half) {
  return half ? __half2float(static_cast<const __half*>(y)[i]) : static_cast<const float*>(y)[i];
}

// Compares y with the epilogue of the plain product, the bytes around it with the poison, and a second run with the
// first.
__global__ void judge(const float* plain, const void* y, const void* again, bool half, int epilogue, Operands operands,
                      Problem p, int guard_rows, Verdict* verdict) {
  const long long count = p.batch * p.y_stride;
  float worst = 0, range = 0;
  bool touched = false, different = false;
  for (long long i = blockIdx.x * 256ll + threadIdx.x; i < count; i += gridDim.x * 256ll) {
    const long long column = i % p.y_pitch, entry = i / p.y_stride;
    const long long within = i / p.y_pitch - entry * (p.m + guard_rows), row = entry * p.m + within;
    const unsigned bits = half ? static_cast<const unsigned short*>(y)[i] : static_cast<const unsigned*>(y)[i];
    const unsigned bits_again =
        half ? static_cast<const unsigned short*>(again)[i] : static_cast<const unsigned*>(again)[i];
    different |= bits != bits_again;
    if (within >= p.m || column >= p.n) {
      touched |= bits != (half ? 0xffffu : 0xffffffffu);
      continue;
    }
    float expected = plain[row * p.n + column];
    if (epilogue != kNone) expected += __half2float(static_cast<const __half*>(operands.bias)[column]);
    if (epilogue == kBiasGelu) expected = 0.5f * expected * (1.0f + erff(expected * 0.70710678f));
    if (epilogue == kBiasResidual)
      expected += __half2float(static_cast<const __half*>(operands.residual)[row * operands.residual_pitch + column]);
    const float error = fabsf(value_of(y, i, half) - expected);
    worst = error <= 3e38f ? fmaxf(worst, error) : INFINITY;
    range = fmaxf(range, fabsf(expected));
  }
  atomicMax(&verdict->worst, __float_as_uint(worst));
  atomicMax(&verdict->range, __float_as_uint(range));
  if (touched) verdict->touched = 1;
  if (different) verdict->different = 1;
}

template <typename Element = void>
Element* allocate(long long bytes) {
  void* memory = nullptr;
  CHECK_CUDA(cudaMalloc(&memory, static_cast<size_t>(bytes)));
  return static_cast<Element*>(memory);
}

float as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Shape {
  int m, n, k, batch;
};

// One kernel over all shapes; says what is wrong and returns the worst error relative to the range of the outputs.
float check_kernel(const Kernel& kernel, const std::vector<Shape>& shapes, const std::vector<float*>& plain,
                   const void* x, const void* w, void* y, void* again, const Operands& operands, Verdict* verdicts,
                   bool& good) {
  constexpr int kGuardRows = 3;
  const bool half = kernel.variant.half_output;
  const float limit = kernel.variant.config->input == kFp32 && !half ? 1e-5f : 2e-3f;
  CHECK_CUDA(cudaMemset(verdicts, 0, sizeof(Verdict) * shapes.size()));
  std::vector<Problem> problems;
  for (size_t s = 0; s < shapes.size(); ++s) {
    const auto [m, n, k, batch] = shapes[s];
    const long long x_pitch = k + 8, w_pitch = k + 16, y_pitch = n + 8;
    const Problem p = {x_pitch, w_pitch, y_pitch, x_pitch * m, w_pitch * n, y_pitch * (m + kGuardRows), m, n, k, batch};
    const size_t bytes = static_cast<size_t>(p.y_stride * batch) * (half ? 2 : 4);
    for (void* to : {y, again}) {
      CHECK_CUDA(cudaMemsetAsync(to, 0xff, bytes));
      kernel.prepare(p, x, w, to, operands).run(nullptr);
    }
    judge<<<1024, 256>>>(plain[s], y, again, half, kernel.variant.epilogue, operands, p, kGuardRows, verdicts + s);
    problems.push_back(p);
  }
  if (const auto status = cudaDeviceSynchronize(); status != cudaSuccess) {
    std::printf("%s: %s\n", kernel.variant.name().c_str(), cudaGetErrorString(status));
    std::exit(1);
  }
  std::vector<Verdict> found(shapes.size());
  CHECK_CUDA(cudaMemcpy(found.data(), verdicts, sizeof(Verdict) * shapes.size(), cudaMemcpyDeviceToHost));
  float worst = 0;
  int told = 0;
  for (size_t s = 0; s < shapes.size(); ++s) {
    const float error = as_float(found[s].worst) / as_float(found[s].range);
    worst = std::max(worst, error);
    if (error <= limit && found[s].touched == 0 && found[s].different == 0) continue;
    good = false;
    if (++told <= 3)
      std::printf(
          "WRONG %s m=%d n=%d k=%d batch=%d: error %.2e of range %.3g, wrote outside %u, differs from run to run %u\n",
          kernel.variant.name().c_str(), shapes[s].m, shapes[s].n, shapes[s].k, shapes[s].batch, error,
          as_float(found[s].range), found[s].touched, found[s].different);
  }
  return worst;
}

bool check(const std::vector<Variant>& variants, const std::string& folder) {
  std::vector<Shape> shapes;
  for (const int m : {1, 7, 128, 200, 4096})
    for (const int n : {64, 72, 1000, 1024, 4096})
      for (const int k : {64, 72, 1024, 4096}) shapes.push_back({m, n, k, 1});
  for (const Shape& shape : {Shape{7, 72, 72, 3}, Shape{200, 1000, 1024, 3}, Shape{128, 64, 64, 5}})
    shapes.push_back(shape);
  constexpr long long kElements = 4200ll * 4200;
  auto* const halves = allocate<__half>(kElements * 2 * 4);
  auto* const floats = allocate<float>(kElements * 4 * 2);
  fill<<<1024, 256>>>(halves, nullptr, kElements * 4, 1);
  fill<<<1024, 256>>>(nullptr, floats, kElements * 2, 2);
  void* const y = allocate(kElements * 4);
  void* const again = allocate(kElements * 4);
  auto* const verdicts = allocate<Verdict>(static_cast<long long>(sizeof(Verdict) * shapes.size()));
  std::vector<float*> plain_half, plain_float;
  for (const auto& [m, n, k, batch] : shapes) {
    const Problem p = {k + 8, k + 16, n, (k + 8ll) * m, (k + 16ll) * n, 0, m, n, k, batch};
    const dim3 grid(static_cast<unsigned>(ceil_div(n, 32)), static_cast<unsigned>(ceil_div(m, 8)),
                    static_cast<unsigned>(batch));
    plain_half.push_back(allocate<float>(4ll * m * n * batch));
    plain_product<<<grid, dim3(32, 8)>>>(halves, halves + kElements, plain_half.back(), p);
    plain_float.push_back(allocate<float>(4ll * m * n * batch));
    plain_product<<<grid, dim3(32, 8)>>>(floats, floats + kElements, plain_float.back(), p);
  }
  CHECK_CUDA(cudaDeviceSynchronize());
  const Operands operands = {halves + kElements * 2, halves + kElements * 3, 4104};
  bool good = true;
  std::map<std::string, float> worst;
  for (const Variant& variant : variants) {
    const bool half = variant.config->input == kFp16;
    const void* const x = half ? static_cast<const void*>(halves) : floats;
    const void* const w = half ? static_cast<const void*>(halves + kElements) : floats + kElements;
    const float error = check_kernel(load_kernel(variant, folder), shapes, half ? plain_half : plain_float, x, w, y,
                                     again, operands, verdicts, good);
    worst[variant.config->name] = std::max(worst[variant.config->name], error);
  }
  for (const auto& [name, error] : worst)
    std::printf("checked %-26s worst error %.2e of the outputs' range\n", name.c_str(), error);
  return good;
}

// Microseconds per launch: graphs of 20 launches, median of 7; of one if that shows more than `enough`.
double time_launches(cudaStream_t stream, double enough, const std::function<void(int)>& launch) {
  constexpr int kLaunches = 20, kRuns = 7;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; ++i) launch(i);
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t before = nullptr, after = nullptr;
  CHECK_CUDA(cudaEventCreate(&before));
  CHECK_CUDA(cudaEventCreate(&after));
  std::vector<float> times;
  for (int run = -2; run < kRuns; ++run) {
    CHECK_CUDA(cudaEventRecord(before, stream));
    CHECK_CUDA(cudaGraphLaunch(executable, stream));
    CHECK_CUDA(cudaEventRecord(after, stream));
    CHECK_CUDA(cudaEventSynchronize(after));
    float milliseconds = 0;
    CHECK_CUDA(cudaEventElapsedTime(&milliseconds, before, after));
    if (run >= -1) times.push_back(milliseconds);
    if (run == -1 && 1e3 * milliseconds / kLaunches > enough) break;
    if (run == -1) times.clear();
  }
  CHECK_CUDA(cudaEventDestroy(before));
  CHECK_CUDA(cudaEventDestroy(after));
  CHECK_CUDA(cudaGraphExecDestroy(executable));
  CHECK_CUDA(cudaGraphDestroy(graph));
  std::sort(times.begin(), times.end());
  return 1e3 * times[times.size() / 2] / kLaunches;
}

struct Buffers {
  static constexpr long long kBytes = 1ll << 30;
  char *x = allocate<char>(kBytes), *w = allocate<char>(kBytes), *y = allocate<char>(kBytes),
       *residual = allocate<char>(kBytes);
  char *bias = allocate<char>(1 << 20), *workspace = allocate<char>(64 << 20);
  Buffers() {
    fill<<<4096, 256>>>(reinterpret_cast<__half*>(x), nullptr, kBytes / 2, 1);
    fill<<<4096, 256>>>(reinterpret_cast<__half*>(w), nullptr, kBytes / 2, 2);
    fill<<<4096, 256>>>(reinterpret_cast<__half*>(residual), nullptr, kBytes / 2, 3);
    fill<<<64, 256>>>(reinterpret_cast<__half*>(bias), nullptr, 1 << 19, 4);
    CHECK_CUDA(cudaDeviceSynchronize());
  }
};

struct Product {
  const char* name;
  int n, k;
  Epilogue epilogue;
};

const Product kProducts[] = {{"qkv", 3072, 1024, kBias},
                             {"out", 1024, 1024, kBiasResidual},
                             {"ffn1", 4096, 1024, kBiasGelu},
                             {"ffn2", 1024, 4096, kBiasResidual}};

// cuBLASLt through the few entry points needed; the numbers are its documented enumerators.
struct CublasLt {
  void* library = open_library("CUBLASLT_LIBRARY", "libcublasLt.so.13");
  struct Heuristic {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
  };
  void* handle = nullptr;
  CublasLt() { CHECK_CUDA(symbol<int (*)(void**)>(library, "cublasLtCreate")(&handle)); }

  void* layout(int rows, int columns) const {
    void* made = nullptr;
    constexpr int kHalf = 2;
    const auto create =
        symbol<int (*)(void**, int, uint64_t, uint64_t, int64_t)>(library, "cublasLtMatrixLayoutCreate");
    CHECK_CUDA(create(&made, kHalf, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows));
    return made;
  }

  // Best of the first eight proposals, in microseconds. Column-major: Y^T = W * X^T.
  double best(const Product& product, int m, const Buffers& buffers, int sets, cudaStream_t stream) const {
    const auto set = symbol<int (*)(void*, int, const void*, size_t)>(library, "cublasLtMatmulDescSetAttribute");
    void *operation = nullptr, *preference = nullptr;
    constexpr int kCompute32F = 68, kFloat = 0, kTransA = 3, kEpilogue = 7, kBiasPointer = 8, kTransposed = 1;
    CHECK_CUDA(symbol<int (*)(void**, int, int)>(library, "cublasLtMatmulDescCreate")(&operation, kCompute32F, kFloat));
    const int transposed = kTransposed, epilogue = product.epilogue == kBiasGelu ? 36 : 4;
    const void* bias = buffers.bias;
    CHECK_CUDA(set(operation, kTransA, &transposed, sizeof transposed));
    CHECK_CUDA(set(operation, kEpilogue, &epilogue, sizeof epilogue));
    CHECK_CUDA(set(operation, kBiasPointer, &bias, sizeof bias));
    CHECK_CUDA(symbol<int (*)(void**)>(library, "cublasLtMatmulPreferenceCreate")(&preference));
    const size_t workspace = 64 << 20;
    constexpr int kMaxWorkspace = 1;
    CHECK_CUDA(symbol<int (*)(void*, int, const void*, size_t)>(library, "cublasLtMatmulPreferenceSetAttribute")(
        preference, kMaxWorkspace, &workspace, sizeof workspace));
    void *const a = layout(product.k, product.n), *const b = layout(product.k, m), *const c = layout(product.n, m);
    Heuristic found[8];
    int count = 0;
    using Get = int (*)(void*, void*, void*, void*, void*, void*, void*, int, Heuristic*, int*);
    CHECK_CUDA(symbol<Get>(library, "cublasLtMatmulAlgoGetHeuristic")(handle, operation, a, b, c, c, preference, 8,
                                                                      found, &count));
    using Run = int (*)(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*,
                        void*, void*, void*, const void*, void*, size_t, cudaStream_t);
    const auto run = symbol<Run>(library, "cublasLtMatmul");
    const float one = 1, beta = product.epilogue == kBiasResidual ? 1 : 0;
    double best_time = 1e30;
    for (int i = 0; i < count; ++i) {
      const double time = time_launches(stream, 2 * best_time, [&](int launch) {
        const long long at = launch % sets;
        const char* x = buffers.x + at * m * product.k * 2;
        const char* w = buffers.w + at * product.n * product.k * 2;
        char* y = buffers.y + at * m * product.n * 2;
        const char* from = beta != 0 ? buffers.residual + at * m * product.n * 2 : y;
        CHECK_CUDA(run(handle, operation, &one, w, a, x, b, &beta, from, c, y, c, found[i].algorithm, buffers.workspace,
                       workspace, stream));
      });
      best_time = std::min(best_time, time);
    }
    return best_time;
  }
};

void time_products(const std::vector<Variant>& variants, const std::string& folder, const std::string& csv_path) {
  const Buffers buffers;
  const CublasLt rival;
  cudaStream_t stream = nullptr;
  CHECK_CUDA(cudaStreamCreate(&stream));
  std::vector<Kernel> kernels;
  for (const Variant& variant : variants) kernels.push_back(load_kernel(variant, folder));
  std::ofstream csv(csv_path);
  csv << "tokens,product,kernel,microseconds,tflops\n";
  for (const int m : {128, 1024, 4096, 16384}) {
    for (const Product& product : kProducts) {
      const auto [name, n, k, epilogue] = product;
      const long long bytes = 2ll * (static_cast<long long>(m) * (n * 2 + k) + static_cast<long long>(n) * k);
      const long long largest =
          2ll * std::max(static_cast<long long>(m) * std::max(n, k), static_cast<long long>(n) * k);
      const int sets =
          static_cast<int>(std::min({std::max(2ll, (300ll << 20) / bytes), 20ll, Buffers::kBytes / largest}));
      const double flops = 2.0 * m * n * k;
      const double rival_time = rival.best(product, m, buffers, sets, stream);
      csv << m << "," << name << ",cublasLt," << rival_time << "," << flops / rival_time * 1e-6 << "\n";
      std::vector<std::pair<double, std::string>> times;
      for (const Kernel& kernel : kernels) {
        if (kernel.variant.epilogue != epilogue || kernel.variant.n != n || kernel.variant.k != k) continue;
        if (kernel.variant.config->split > 1 && m > 4096) continue;
        if (kernel.variant.config->input != kFp16 && m > 4096) continue;
        std::vector<Launch> launches;
        const long long element = kernel.variant.config->input == kFp16 ? 2 : 4;
        const int kernel_sets = element == 2 ? sets : std::max(1, sets / 2);
        const Problem p = {k, k, n, 1ll * m * k, 1ll * n * k, 1ll * m * n, m, n, k, 1};
        for (long long set = 0; set < kernel_sets; ++set) {
          const Operands operands = {buffers.bias, buffers.residual + set * m * n * 2, n};
          launches.push_back(kernel.prepare(p, buffers.x + set * m * k * element, buffers.w + set * n * k * element,
                                            buffers.y + set * m * n * 2, operands));
        }
        const double time = time_launches(stream, 2 * rival_time,
                                          [&](int i) { launches[static_cast<size_t>(i % kernel_sets)].run(stream); });
        csv << m << "," << name << "," << kernel.variant.name() << "," << time << "," << flops / time * 1e-6 << "\n";
        times.emplace_back(time, std::string(kernel.variant.config->name) + (kernel.variant.dependent ? "+pdl" : ""));
      }
      std::sort(times.begin(), times.end());
      std::printf("%5d %-4s cublasLt %7.2f us %4.0f TFLOP/s |", m, name, rival_time, flops / rival_time * 1e-6);
      for (size_t i = 0; i < std::min<size_t>(times.size(), 5); ++i)
        std::printf(" %s %.2f (%.0f)", times[i].second.c_str(), times[i].first, flops / times[i].first * 1e-6);
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3)
    return std::fprintf(stderr, "usage: product_ladder DEVICE_DIR compile ARCH | check | time OUT.csv [only PART]\n"),
           2;
  const std::string device_dir = arguments[1], command = arguments[2];
  const std::string part = count >= 2 && std::string(arguments[count - 2]) == "only" ? arguments[count - 1] : "";
  const std::string arch = command == "compile" ? arguments[3] : "sm_90a";
  std::vector<Variant> variants;
  for (const Config& config : kConfigs) {
    if (std::string(config.name).find(part) == std::string::npos || (config.hopper && arch != "sm_90a")) continue;
    if (command == "time") {
      for (const bool dependent : {false, true}) {
        if (dependent && !config.hopper) continue;
        for (const auto& [name, n, k, epilogue] : kProducts)
          variants.push_back({&config, epilogue, true, dependent, n, k});
      }
    } else {
      for (const Epilogue epilogue : {kNone, kBias, kBiasGelu, kBiasResidual})
        variants.push_back({&config, epilogue, true, false});
      variants.push_back({&config, kNone, false, false});
      if (arch == "sm_90a") variants.push_back({&config, kBiasResidual, true, true});
    }
  }
  char folder[] = "/tmp/product_ladder_XXXXXX";
  if (mkdtemp(folder) == nullptr || !compile_all(variants, device_dir, arch, folder)) return 1;
  std::printf("%zu kernels compiled for %s into %s\n", variants.size(), arch.c_str(), folder);
  std::fflush(stdout);
  if (command == "check") {
    const bool good = check(variants, folder);
    std::printf(good ? "all right\n" : "WRONG results\n");
    return good ? 0 : 4;
  }
  if (command == "time") time_products(variants, folder, arguments[3]);
  return 0;
}
