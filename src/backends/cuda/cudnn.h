// cuDNN: the functions of libcudnn that Hussar calls, found at run time. The declarations repeat what its manual
// documents (docs.nvidia.com/deeplearning/cudnn, cudnn_ops and cudnn_cnn), so that building needs no header of it.
#pragma once
#include <cstddef>
#include <string>

#include "hussar/status.h"

namespace hussar::cuda::dnn {

struct Handle;       // cudnnHandle_t
struct Tensor4;      // cudnnTensorDescriptor_t
struct Filter;       // cudnnFilterDescriptor_t
struct Convolution;  // cudnnConvolutionDescriptor_t
struct Activation;   // cudnnActivationDescriptor_t

// cudnnConvolutionFwdAlgoPerf_t: a way to convolve, whether it is one (0), and its workspace in bytes.
struct Algorithm {
  int algorithm;  // cudnnConvolutionFwdAlgo_t
  int status;
  float milliseconds;
  size_t workspace_bytes;
  int determinism;
  int math;  // cudnnMathType_t
  int reserved[3];
};

// cudnnDataType_t.
inline constexpr int kFloat = 0, kHalf = 2, kBFloat = 9;
// cudnnTensorFormat_t: CUDNN_TENSOR_NHWC.
inline constexpr int kChannelsLast = 1;
// cudnnConvolutionMode_t: CUDNN_CROSS_CORRELATION.
inline constexpr int kCrossCorrelation = 1;
// cudnnMathType_t: DEFAULT_MATH, with TF32 for floats; TENSOR_OP_MATH; FMA_MATH.
inline constexpr int kDefaultMath = 0, kTensorMath = 1, kFmaMath = 3;
// cudnnActivationMode_t: RELU, IDENTITY. cudnnNanPropagation_t: PROPAGATE_NAN.
inline constexpr int kRelu = 1, kIdentity = 5, kPropagateNan = 1;
// cudnnConvolutionFwdAlgo_t: IMPLICIT_PRECOMP_GEMM, the only one that goes with IDENTITY; DIRECT, behind which are
// those that compute in another domain (FFT, Winograd).
inline constexpr int kPrecomputedGemm = 1, kDirect = 3;

struct Functions {
  int (*create)(Handle**);
  int (*destroy)(Handle*);
  int (*set_stream)(Handle*, void* stream);
  const char* (*error_text)(int);
  int (*tensor_create)(Tensor4**);
  int (*tensor_destroy)(Tensor4*);
  int (*tensor_set)(Tensor4*, int format, int type, int n, int c, int h, int w);
  int (*filter_create)(Filter**);
  int (*filter_destroy)(Filter*);
  int (*filter_set)(Filter*, int type, int format, int k, int c, int h, int w);
  int (*convolution_create)(Convolution**);
  int (*convolution_destroy)(Convolution*);
  int (*convolution_set)(Convolution*, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w,
                         int mode, int compute_type);
  int (*convolution_set_groups)(Convolution*, int groups);
  int (*convolution_set_math)(Convolution*, int math);
  int (*activation_create)(Activation**);
  int (*activation_destroy)(Activation*);
  int (*activation_set)(Activation*, int mode, int nan_propagation, double coefficient);
  int (*find_algorithms)(Handle*, Tensor4* x, Filter*, Convolution*, Tensor4* y, int most, int* count, Algorithm*);
  int (*workspace)(Handle*, Tensor4* x, Filter*, Convolution*, Tensor4* y, int algorithm, size_t* bytes);
  // y = alpha * conv(x) + beta * y
  int (*convolve)(Handle*, const void* alpha, Tensor4*, const void* x, Filter*, const void* w, Convolution*,
                  int algorithm, void* workspace, size_t bytes, const void* beta, Tensor4*, void* y);
  // y = activation(alpha * conv(x) + factor * z + bias)
  int (*convolve_and_activate)(Handle*, const void* alpha, Tensor4*, const void* x, Filter*, const void* w,
                               Convolution*, int algorithm, void* workspace, size_t bytes, const void* factor, Tensor4*,
                               const void* z, Tensor4*, const void* bias, Activation*, Tensor4*, void* y);
  std::string version;  // "cuDNN 9.13.0"
};

// Loaded once. Fails with kDeviceUnavailable, in one line that says why.
Result<const Functions*> functions();

}  // namespace hussar::cuda::dnn
