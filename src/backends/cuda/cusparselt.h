// cuSPARSELt: the functions of libcusparseLt that Hussar calls, found at run time. The declarations repeat what its
// manual documents (docs.nvidia.com/cuda/cusparselt), so that building needs no CUDA toolkit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "hussar/status.h"

namespace hussar::cuda::sparselt {

// What callers hold for cuSPARSELt: handle, matrix, product, choice of an algorithm, plan. Versions differ in their
// size, 512 or 1024 bytes; none of them moves once it is made.
struct alignas(16) Opaque {
  std::byte bytes[2048];
};
struct Handle : Opaque {};     // cusparseLtHandle_t
struct Matrix : Opaque {};     // cusparseLtMatDescriptor_t
struct Matmul : Opaque {};     // cusparseLtMatmulDescriptor_t
struct Selection : Opaque {};  // cusparseLtMatmulAlgSelection_t
struct Plan : Opaque {};       // cusparseLtMatmulPlan_t

// cudaDataType of library_types.h.
inline constexpr int kFloat = 0, kHalf = 2, kBFloat = 14, kFloat8 = 28;
// cusparseOrder_t: CUSPARSE_ORDER_COL, CUSPARSE_ORDER_ROW.
inline constexpr int kByColumns = 1, kByRows = 2;
// cusparseOperation_t: CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_TRANSPOSE.
inline constexpr int kAsItIs = 0, kTransposed = 1;
// cusparseComputeType since 0.6: CUSPARSE_COMPUTE_32I, CUSPARSE_COMPUTE_32F.
inline constexpr int kComputeFloat = 2;
// cusparseLtSparsity_t: CUSPARSELT_SPARSITY_50_PERCENT.
inline constexpr int kHalfIsZero = 0;
// cusparseLtMatmulDescAttribute_t: ACTIVATION_RELU, ALPHA_VECTOR_SCALING, BIAS_POINTER.
inline constexpr int kRelu = 0, kBiasPointer = 8;
// cusparseLtMatmulAlg_t: CUSPARSELT_MATMUL_ALG_DEFAULT.
inline constexpr int kUsualChoice = 0;
// cusparseLtMatmulAlgAttribute_t: ALG_CONFIG_ID, ALG_CONFIG_MAX_ID, SPLIT_K.
inline constexpr int kAlgorithm = 0, kAlgorithmCount = 1, kSplit = 3;

struct Functions {
  int (*create)(Handle*);
  int (*destroy)(const Handle*);
  const char* (*status_name)(int);  // null before 0.8
  int (*dense)(const Handle*, Matrix*, int64_t rows, int64_t columns, int64_t pitch, uint32_t alignment, int type,
               int order);
  int (*structured)(const Handle*, Matrix*, int64_t rows, int64_t columns, int64_t pitch, uint32_t alignment, int type,
                    int order, int sparsity);
  int (*matrix_destroy)(const Matrix*);
  // d = op(a) * op(b), of which one is structured.
  int (*matmul)(const Handle*, Matmul*, int a_operation, int b_operation, const Matrix* a, const Matrix* b,
                const Matrix* c, const Matrix* d, int compute_type);
  int (*matmul_set)(const Handle*, Matmul*, int attribute, const void* value, size_t bytes);
  int (*select)(const Handle*, Selection*, const Matmul*, int algorithm);
  int (*selection_destroy)(const Selection*);  // null before 0.8
  int (*selection_set)(const Handle*, Selection*, int attribute, const void* value, size_t bytes);
  int (*selection_get)(const Handle*, const Selection*, int attribute, void* value, size_t bytes);
  int (*plan)(const Handle*, Plan*, const Matmul*, const Selection*);
  int (*plan_destroy)(const Plan*);
  int (*workspace_bytes)(const Handle*, const Plan*, size_t* bytes);
  int (*compressed_bytes)(const Handle*, const Matrix*, size_t* bytes, size_t* buffer_bytes);
  int (*compress)(const Handle*, const Matrix*, int is_a, int operation, const void* dense, void* compressed,
                  void* buffer, void* stream);
  // d = activation(alpha * a * b + beta * c + bias)
  int (*multiply)(const Handle*, const Plan*, const void* alpha, const void* a, const void* b, const void* beta,
                  const void* c, void* d, void* workspace, void** streams, int32_t stream_count);
  std::string version;  // "cuSPARSELt 0.8.0"
};

// Loaded once. Fails with kDeviceUnavailable, in one line that says why.
Result<const Functions*> functions();

}  // namespace hussar::cuda::sparselt
