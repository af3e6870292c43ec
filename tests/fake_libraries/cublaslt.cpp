// A stand-in for libcublasLt: products by plain loops. Numbers of enumerations are those of cublasLt.h.
#include <cmath>

#include "fake.h"

namespace {

constexpr int kInvalid = 7, kUnsupported = 15;  // CUBLAS_STATUS_INVALID_VALUE, CUBLAS_STATUS_NOT_SUPPORTED

struct Layout {
  FakeType type;
  uint64_t rows, columns;
  int64_t pitch;
};

struct Matmul {
  int transpose_a = 0;
  uint32_t epilogue = 1;
  const void* bias = nullptr;
  const float* scales[2] = {};  // of A and B
  int scale_modes[2] = {};
};

struct Preference {
  uint64_t workspace = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};

// cublasLtMatmulHeuristicResult_t.
struct Algorithm {
  uint64_t number, opaque[7];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

size_t workspace_of(uint64_t algorithm) { return algorithm * 4096; }

// The entry points take pointers to incomplete types: these are what they point at.
template <class T>
int create(T** made) {
  *made = new T;
  return 0;
}

}  // namespace

FAKE_ENTRY void hussar_fake_enqueue_with(FakeEnqueue enqueue) { fake_enqueue = enqueue; }

FAKE_ENTRY int cublasLtGetProperty(int property, int* value) {
  constexpr int kVersion[] = {13, 0, 99};
  *value = kVersion[property];
  return 0;
}

FAKE_ENTRY const char* cublasLtGetStatusName(int status) {
  return status == kInvalid ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_NOT_SUPPORTED";
}

FAKE_ENTRY int cublasLtCreate(int** handle) { return create(handle); }
FAKE_ENTRY int cublasLtDestroy(int* handle) {
  delete handle;
  return 0;
}

FAKE_ENTRY int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t pitch) {
  if (pitch < static_cast<int64_t>(rows) || rows == 0 || columns == 0) return kInvalid;
  create(layout);
  **layout = {fake_type(type), rows, columns, pitch};
  return 0;
}
FAKE_ENTRY int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return 0;
}

FAKE_ENTRY int cublasLtMatmulDescCreate(Matmul** matmul, int compute_type, int scale_type) {
  const bool is_known = (compute_type == 68 || compute_type == 77) && scale_type == 0;
  return is_known ? create(matmul) : kUnsupported;
}
FAKE_ENTRY int cublasLtMatmulDescDestroy(Matmul* matmul) {
  delete matmul;
  return 0;
}
FAKE_ENTRY int cublasLtMatmulDescSetAttribute(Matmul* matmul, int attribute, const void* value, size_t bytes) {
  if (attribute == 3 && bytes == 4)
    std::memcpy(&matmul->transpose_a, value, bytes);
  else if (attribute == 7 && bytes == 4)
    std::memcpy(&matmul->epilogue, value, bytes);
  else if (attribute == 8 && bytes == 8)
    std::memcpy(&matmul->bias, value, bytes);
  else if ((attribute == 17 || attribute == 18) && bytes == 8)
    std::memcpy(&matmul->scales[attribute - 17], value, bytes);
  else if ((attribute == 31 || attribute == 32) && bytes == 4)
    std::memcpy(&matmul->scale_modes[attribute - 31], value, bytes);
  else if (attribute != 25 || bytes != 1)  // how exact sums are
    return kInvalid;
  return 0;
}

FAKE_ENTRY int cublasLtMatmulPreferenceCreate(Preference** preference) { return create(preference); }
FAKE_ENTRY int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return 0;
}
FAKE_ENTRY int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value,
                                                    size_t bytes) {
  if (attribute == 1 && bytes == 8)
    std::memcpy(&preference->workspace, value, bytes);
  else if (attribute >= 5 && attribute <= 8 && bytes == 4)
    std::memcpy(&preference->alignment[attribute - 5], value, bytes);
  else
    return kInvalid;
  return 0;
}

// FP8 in multiples of 16 bytes; scales of each row and column together, or none; no bias of floats.
static bool has_fitting_scales(const Matmul& matmul, const Layout& a, const Layout& d) {
  const bool of_each = matmul.scale_modes[0] == 3 && matmul.scale_modes[1] == 3;
  if (a.type != FakeType::kFloat8) return matmul.scale_modes[0] == 0 && matmul.scale_modes[1] == 0;
  if (a.rows % 16 != 0 || a.columns % 16 != 0 || (d.type == FakeType::kFloat && (matmul.epilogue & 4) != 0))
    return false;
  if (of_each) return matmul.scales[0] != nullptr && matmul.scales[1] != nullptr;
  return matmul.scale_modes[0] == 0 && matmul.scale_modes[1] == 0 && matmul.scales[0] == nullptr;
}

// Two algorithms for what it multiplies.
FAKE_ENTRY int cublasLtMatmulAlgoGetHeuristic(int* handle, Matmul* matmul, Layout* a, Layout* b, Layout* c, Layout* d,
                                              Preference* preference, int most, Algorithm* found, int* count) {
  *count = 0;
  const uint64_t k = a->rows;
  const bool fits = handle != nullptr && matmul->transpose_a == 1 && b->rows == k && d->rows == a->columns &&
                    d->columns == b->columns && c->rows == d->rows && c->columns == d->columns && a->type == b->type &&
                    c->type == d->type &&
                    (d->type == a->type || d->type == FakeType::kFloat || a->type == FakeType::kFloat8);
  if (a->type == FakeType::kByte || !has_fitting_scales(*matmul, *a, *d)) return kUnsupported;
  constexpr uint32_t kEpilogues[] = {1, 2, 4, 6, 32, 36};
  bool is_known = false;
  for (uint32_t epilogue : kEpilogues) is_known = is_known || matmul->epilogue == epilogue;
  const bool has_bias = (matmul->epilogue & 4) == 0 || matmul->bias != nullptr;
  if (!fits || !is_known || !has_bias || most < 1) return kUnsupported;
  for (uint32_t alignment : preference->alignment) {
    if (alignment > 16) return kUnsupported;  // slices have no more
  }
  for (; *count < most && *count < 2; ++*count) {
    found[*count] = {};
    found[*count].number = static_cast<uint64_t>(*count) + 1;
    found[*count].workspace = workspace_of(found[*count].number);
    if (found[*count].workspace > preference->workspace) return kUnsupported;
  }
  return 0;
}

FAKE_ENTRY int cublasLtMatmul(int* handle, Matmul* matmul, const float* alpha, const void* a, Layout* a_layout,
                              const void* b, Layout* b_layout, const float* beta, const void* c, Layout* c_layout,
                              void* d, Layout* d_layout, const Algorithm* algorithm, void* workspace,
                              size_t workspace_bytes, void* stream) {
  const bool is_known = algorithm != nullptr && algorithm->number >= 1 && algorithm->number <= 2;
  if (handle == nullptr || !is_known || workspace_bytes < workspace_of(algorithm->number)) return kInvalid;
  for (const void* pointer : {a, b, c, static_cast<const void*>(d)}) {
    if (!fake_is_aligned(pointer, 16)) return kInvalid;
  }
  if (!fake_is_aligned(workspace, 256)) return kInvalid;
  const Matmul how = *matmul;
  const Layout la = *a_layout, lb = *b_layout, lc = *c_layout, ld = *d_layout;
  fake_enqueue(stream, [=, factor = *alpha, share = *beta] {
    std::memset(workspace, 0x5a, workspace_bytes);
    for (int64_t column = 0; column < static_cast<int64_t>(ld.columns); ++column) {
      for (int64_t row = 0; row < static_cast<int64_t>(ld.rows); ++row) {
        double sum = 0;
        for (int64_t i = 0; i < static_cast<int64_t>(la.rows); ++i) {
          const double left = fake_load(a, row * la.pitch + i, la.type);
          sum += left * static_cast<double>(fake_load(b, column * lb.pitch + i, lb.type));
        }
        float value = factor * static_cast<float>(sum);
        if (how.scale_modes[0] != 0) value *= how.scales[0][row] * how.scales[1][column];
        if (share != 0) value += share * fake_load(c, column * lc.pitch + row, lc.type);
        if ((how.epilogue & 4) != 0) value += fake_load(how.bias, row, ld.type);
        if ((how.epilogue & 2) != 0) value = value > 0 ? value : 0;
        if ((how.epilogue & 32) != 0)
          value *= 0.5F * (1 + std::tanh(0.7978845608F * (value + 0.044715F * value * value * value)));
        fake_store(d, column * ld.pitch + row, ld.type, value);
      }
    }
  });
  return 0;
}
