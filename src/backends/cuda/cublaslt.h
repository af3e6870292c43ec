// cuBLASLt: the functions of libcublasLt that Hussar calls, found at run time. The declarations repeat what its manual
// documents (docs.nvidia.com/cuda/cublas, "Using the cuBLASLt API"), so that building needs no CUDA toolkit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "backends/cuda/driver.h"
#include "hussar/status.h"

namespace hussar::cuda::lt {

struct Handle;      // cublasLtHandle_t
struct Layout;      // cublasLtMatrixLayout_t
struct Matmul;      // cublasLtMatmulDesc_t
struct Preference;  // cublasLtMatmulPreference_t

// cublasLtMatmulHeuristicResult_t: a way to multiply, its workspace in bytes, and whether it is one (0).
struct Algorithm {
  uint64_t opaque[8];  // cublasLtMatmulAlgo_t
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

// cudaDataType of library_types.h.
inline constexpr int kFloat = 0, kHalf = 2, kBFloat = 14, kFloat8 = 28;
// cublasComputeType_t: CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32.
inline constexpr int kComputeFloat = 68, kComputeTf32 = 77;
// cublasOperation_t: CUBLAS_OP_T.
inline constexpr int kTransposed = 1;
// cublasLtMatmulDescAttributes_t: TRANSA, EPILOGUE, BIAS_POINTER.
inline constexpr int kTransposeA = 3, kEpilogue = 7, kBiasPointer = 8;
// Of FP8: A_SCALE_POINTER, B_SCALE_POINTER, FAST_ACCUM, A_SCALE_MODE, B_SCALE_MODE.
inline constexpr int kScalesOfA = 17, kScalesOfB = 18, kFastSums = 25, kScaleModeOfA = 31, kScaleModeOfB = 32;
// cublasLtMatmulMatrixScale_t: OUTER_VEC_32F, a scale for each row of A, and one for each column of B.
inline constexpr int32_t kScaleOfEach = 3;
// cublasLtEpilogue_t: DEFAULT, and flags RELU, BIAS, GELU, which can be together with BIAS.
inline constexpr uint32_t kPlain = 1, kRelu = 2, kBias = 4, kGelu = 32;
// cublasLtMatmulPreferenceAttributes_t: MAX_WORKSPACE_BYTES, and MIN_ALIGNMENT_A_BYTES, the first of four.
inline constexpr int kMostWorkspace = 1, kAlignment = 5;

struct Functions {
  int (*create)(Handle**);
  int (*destroy)(Handle*);
  const char* (*status_name)(int);
  int (*layout_create)(Layout**, int type, uint64_t rows, uint64_t columns, int64_t pitch);
  int (*layout_destroy)(Layout*);
  int (*matmul_create)(Matmul**, int compute_type, int scale_type);
  int (*matmul_destroy)(Matmul*);
  int (*matmul_set)(Matmul*, int attribute, const void* value, size_t bytes);
  int (*preference_create)(Preference**);
  int (*preference_destroy)(Preference*);
  int (*preference_set)(Preference*, int attribute, const void* value, size_t bytes);
  int (*find_algorithms)(Handle*, Matmul*, Layout* a, Layout* b, Layout* c, Layout* d, Preference*, int most,
                         Algorithm* found, int* count);
  // d = epilogue(alpha * a * b + beta * c)
  int (*multiply)(Handle*, Matmul*, const void* alpha, const void* a, Layout*, const void* b, Layout*, const void* beta,
                  const void* c, Layout*, void* d, Layout*, const Algorithm*, void* workspace, size_t workspace_bytes,
                  void* stream);
  std::string version;     // "cuBLASLt 13.1.0"
  bool has_scale_of_each;  // kScaleOfEach
};

// Loaded once. Fails with kDeviceUnavailable, in one line that says why.
Result<const Functions*> functions();

}  // namespace hussar::cuda::lt
