// A stand-in for libcudnn: convolutions by plain loops, channels-last. Numbers of enumerations are those of its manual.
#include <algorithm>

#include "fake.h"

namespace {

constexpr int kBadParam = 2000, kUnsupported = 3000;  // CUDNN_STATUS_BAD_PARAM, CUDNN_STATUS_NOT_SUPPORTED

struct Tensor {
  FakeType type;
  int64_t n, c, h, w;
  int64_t at(int64_t image, int64_t row, int64_t column) const { return ((image * h + row) * w + column) * c; }
};

struct Convolution {
  int64_t pads[2], strides[2], dilations[2], groups = 1;
  int math = 0;
};

struct Activation {
  int mode = 0;
};

// cudnnConvolutionFwdAlgoPerf_t.
struct Algorithm {
  int algorithm, status;
  float milliseconds;
  size_t workspace;
  int determinism, math, reserved[3];
};

struct Handle {
  void* stream = nullptr;
};

constexpr size_t kWorkspace = 5000;

template <class T>
int create(T** made) {
  *made = new T;
  return 0;
}
template <class T>
int destroy(T* made) {
  delete made;
  return 0;
}

FakeType type_of(int type) { return type == 2 ? FakeType::kHalf : type == 9 ? FakeType::kBFloat : FakeType::kFloat; }

bool fits(const Tensor& x, const Tensor& w, const Convolution& conv, const Tensor& y) {
  const int64_t in[] = {x.h, x.w}, out[] = {y.h, y.w}, kernel[] = {w.h, w.w};
  bool ok = x.n == y.n && x.c == w.c * conv.groups && y.c == w.n && w.n % conv.groups == 0;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t reach = (kernel[axis] - 1) * conv.dilations[axis] + 1;
    ok = ok && (in[axis] + 2 * conv.pads[axis] - reach) / conv.strides[axis] + 1 == out[axis];
  }
  return ok && x.type == w.type && x.type == y.type;
}

double sum_at(const Tensor& x, const void* x_data, const Tensor& w, const void* w_data, const Convolution& conv,
              const int64_t (&place)[3], int64_t filter) {
  double sum = 0;
  const int64_t first = filter / (w.n / conv.groups) * w.c;
  for (int64_t i = 0; i < w.h; ++i) {
    for (int64_t j = 0; j < w.w; ++j) {
      const int64_t row = place[1] * conv.strides[0] - conv.pads[0] + i * conv.dilations[0];
      const int64_t column = place[2] * conv.strides[1] - conv.pads[1] + j * conv.dilations[1];
      if (row < 0 || row >= x.h || column < 0 || column >= x.w) continue;
      for (int64_t channel = 0; channel < w.c; ++channel) {
        const double left = fake_load(x_data, x.at(place[0], row, column) + first + channel, x.type);
        sum += left * static_cast<double>(fake_load(w_data, w.at(filter, i, j) + channel, w.type));
      }
    }
  }
  return sum;
}

// What is added and applied to the sums.
struct Rest {
  const void *bias = nullptr, *residual = nullptr;  // null: none
  bool is_positive = false;
};

int convolve(Handle* handle, const Tensor& x, const void* x_data, const Tensor& w, const void* w_data,
             const Convolution& conv, void* workspace, size_t bytes, const Rest& rest, const Tensor& y, void* y_data) {
  if (!fits(x, w, conv, y) || bytes < kWorkspace || !fake_is_aligned(x_data, 16) || !fake_is_aligned(y_data, 16))
    return kBadParam;
  fake_enqueue(handle->stream, [=] {
    std::memset(workspace, 0x5a, bytes);
    for (int64_t image = 0; image < y.n; ++image) {
      for (int64_t row = 0; row < y.h; ++row) {
        for (int64_t column = 0; column < y.w; ++column) {
          for (int64_t filter = 0; filter < y.c; ++filter) {
            const int64_t index = y.at(image, row, column) + filter;
            auto value = static_cast<float>(sum_at(x, x_data, w, w_data, conv, {image, row, column}, filter));
            if (rest.residual != nullptr) value += fake_load(rest.residual, index, y.type);
            if (rest.bias != nullptr) value += fake_load(rest.bias, filter, y.type);
            fake_store(y_data, index, y.type, rest.is_positive ? std::max(value, 0.0F) : value);
          }
        }
      }
    }
  });
  return 0;
}

}  // namespace

FAKE_ENTRY void hussar_fake_enqueue_with(FakeEnqueue enqueue) { fake_enqueue = enqueue; }

FAKE_ENTRY int cudnnGetProperty(int property, int* value) {
  constexpr int kVersion[] = {9, 0, 99};
  *value = kVersion[property];
  return 0;
}
FAKE_ENTRY const char* cudnnGetErrorString(int status) {
  return status == kBadParam ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_NOT_SUPPORTED";
}

FAKE_ENTRY int cudnnCreate(Handle** handle) { return create(handle); }
FAKE_ENTRY int cudnnDestroy(Handle* handle) { return destroy(handle); }
FAKE_ENTRY int cudnnSetStream(Handle* handle, void* stream) {
  handle->stream = stream;
  return 0;
}

FAKE_ENTRY int cudnnCreateTensorDescriptor(Tensor** tensor) { return create(tensor); }
FAKE_ENTRY int cudnnDestroyTensorDescriptor(Tensor* tensor) { return destroy(tensor); }
FAKE_ENTRY int cudnnSetTensor4dDescriptor(Tensor* tensor, int format, int type, int n, int c, int h, int w) {
  *tensor = {type_of(type), n, c, h, w};
  return format == 1 ? 0 : kUnsupported;
}
FAKE_ENTRY int cudnnCreateFilterDescriptor(Tensor** filter) { return create(filter); }
FAKE_ENTRY int cudnnDestroyFilterDescriptor(Tensor* filter) { return destroy(filter); }
FAKE_ENTRY int cudnnSetFilter4dDescriptor(Tensor* filter, int type, int format, int k, int c, int h, int w) {
  *filter = {type_of(type), k, c, h, w};
  return format == 1 ? 0 : kUnsupported;
}

FAKE_ENTRY int cudnnCreateConvolutionDescriptor(Convolution** conv) { return create(conv); }
FAKE_ENTRY int cudnnDestroyConvolutionDescriptor(Convolution* conv) { return destroy(conv); }
FAKE_ENTRY int cudnnSetConvolution2dDescriptor(Convolution* conv, int pad_h, int pad_w, int stride_h, int stride_w,
                                               int dilation_h, int dilation_w, int mode, int compute_type) {
  *conv = {{pad_h, pad_w}, {stride_h, stride_w}, {dilation_h, dilation_w}, 1, 0};
  return mode == 1 && compute_type == 0 ? 0 : kUnsupported;
}
FAKE_ENTRY int cudnnSetConvolutionGroupCount(Convolution* conv, int groups) {
  conv->groups = groups;
  return groups >= 1 ? 0 : kBadParam;
}
FAKE_ENTRY int cudnnSetConvolutionMathType(Convolution* conv, int math) {
  conv->math = math;
  return 0;
}

FAKE_ENTRY int cudnnCreateActivationDescriptor(Activation** activation) { return create(activation); }
FAKE_ENTRY int cudnnDestroyActivationDescriptor(Activation* activation) { return destroy(activation); }
FAKE_ENTRY int cudnnSetActivationDescriptor(Activation* activation, int mode, int, double) {
  activation->mode = mode;
  return mode == 1 || mode == 5 ? 0 : kUnsupported;
}

// Of three that it names the first is none, and the second does not go with all activations. Each has its arithmetic.
FAKE_ENTRY int cudnnGetConvolutionForwardAlgorithm_v7(Handle*, Tensor* x, Tensor* w, Convolution* conv, Tensor* y,
                                                      int most, int* count, Algorithm* found) {
  if (!fits(*x, *w, *conv, *y) || most < 3) return kBadParam;
  if (w->h == 7) return kUnsupported;  // so that there is something that it does not take
  constexpr int kAlgorithms[] = {6, 0, 1};
  for (int i = 0; i < 3; ++i) {
    found[i] = {};
    found[i].algorithm = kAlgorithms[i];
    found[i].status = i == 0 ? kUnsupported : 0;
    found[i].workspace = kWorkspace;
    found[i].math = conv->math;
  }
  *count = 3;
  return 0;
}
FAKE_ENTRY int cudnnGetConvolutionForwardWorkspaceSize(Handle*, Tensor*, Tensor*, Convolution*, Tensor*, int algorithm,
                                                       size_t* bytes) {
  *bytes = kWorkspace;
  return algorithm == 0 || algorithm == 1 ? 0 : kUnsupported;
}

FAKE_ENTRY int cudnnConvolutionForward(Handle* handle, const float* alpha, Tensor* x, const void* x_data, Tensor* w,
                                       const void* w_data, Convolution* conv, int algorithm, void* workspace,
                                       size_t bytes, const float* beta, Tensor* y, void* y_data) {
  if (*alpha != 1 || *beta != 0 || algorithm < 0 || algorithm > 1) return kUnsupported;
  return convolve(handle, *x, x_data, *w, w_data, *conv, workspace, bytes, {}, *y, y_data);
}

FAKE_ENTRY int cudnnConvolutionBiasActivationForward(Handle* handle, const float* alpha, Tensor* x, const void* x_data,
                                                     Tensor* w, const void* w_data, Convolution* conv, int algorithm,
                                                     void* workspace, size_t bytes, const float* factor, Tensor* z,
                                                     const void* z_data, Tensor* bias, const void* bias_data,
                                                     Activation* activation, Tensor* y, void* y_data) {
  const bool is_known = algorithm == 1 || (algorithm == 0 && activation->mode == 1);
  if (*alpha != 1 || !is_known || z->c != y->c || z->h != y->h) return kUnsupported;
  if (bias->c != y->c || bias->n != 1 || bias_data == nullptr || z_data == nullptr) return kBadParam;
  const Rest rest{bias_data, *factor == 1 ? z_data : nullptr, activation->mode == 1};
  return convolve(handle, *x, x_data, *w, w_data, *conv, workspace, bytes, rest, *y, y_data);
}
