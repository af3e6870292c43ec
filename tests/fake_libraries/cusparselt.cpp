// A stand-in for libcusparseLt: products by plain loops on a form of 2:4 weights of its own. Numbers of enumerations
// are those of cusparseLt.h; what is refused is what the real one refuses by its manual and by its messages.
#include "fake.h"

namespace {

constexpr int kInvalid = 3, kUnsupported = 10;  // CUSPARSE_STATUS_INVALID_VALUE, CUSPARSE_STATUS_NOT_SUPPORTED
constexpr uint32_t kMark = 0x5a17e0;            // of what has been initialized
constexpr int kAlgorithms = 3;

// What callers hold: 512 bytes.
struct Handle {
  uint32_t mark;
};
struct Matrix {
  uint32_t mark;
  FakeType type;
  int64_t rows, columns, pitch;
  bool by_rows, is_structured;
};
struct Matmul {
  uint32_t mark;
  Matrix w, x, y;
  int is_positive;
  const void* bias;
};
struct Selection {
  uint32_t mark;
  int algorithm, split;
};
struct Plan {
  uint32_t mark;
  Matmul matmul;
  Selection selection;
};
static_assert(sizeof(Plan) <= 512);

bool is_made(const auto* thing) { return thing != nullptr && thing->mark == kMark; }

int64_t multiple_of(FakeType type, bool is_structured) {
  const int64_t dense = type == FakeType::kByte || type == FakeType::kFloat8 ? 16 : type == FakeType::kFloat ? 4 : 8;
  return is_structured ? 2 * dense : dense;
}

int describe(const Handle* handle, Matrix* matrix, const Matrix& what, uint32_t alignment) {
  const int64_t multiple = multiple_of(what.type, what.is_structured);
  const bool fits = what.rows % multiple == 0 && what.columns % multiple == 0 && what.rows > 0 && what.columns > 0;
  if (!is_made(handle) || alignment % 16 != 0 || !fits) return kInvalid;
  if (what.pitch < (what.by_rows ? what.columns : what.rows)) return kInvalid;
  *matrix = what;
  return 0;
}

// Kept elements of each four, then their places, a byte each.
int64_t kept_count(const Matrix& matrix) { return matrix.rows * matrix.columns / 2; }
size_t workspace_of(const Plan& plan) { return plan.selection.split == 1 ? 0 : 8192; }

void compress(const Matrix& matrix, const char* dense, char* compressed) {
  const auto size = static_cast<int64_t>(fake_size(matrix.type));
  char* places = compressed + kept_count(matrix) * size;
  int64_t next = 0;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t first = 0; first < matrix.columns; first += 4) {
      int count = 0;
      for (int i = 0; i < 4 && count < 2; ++i) {
        const char* element = dense + (row * matrix.pitch + first + i) * size;
        bool is_zero = true;
        for (int64_t byte = 0; byte < size; ++byte) is_zero = is_zero && element[byte] == 0;
        if (is_zero && 2 - count < 4 - i) continue;  // others may fill its place
        std::memcpy(compressed + next * size, element, static_cast<size_t>(size));
        places[next++] = static_cast<char>(i);
        ++count;
      }
    }
  }
}

void multiply(const Matmul& how, float alpha, const char* w, const void* x, float beta, const void* c, void* d) {
  const char* places = w + kept_count(how.w) * static_cast<int64_t>(fake_size(how.w.type));
  for (int64_t column = 0; column < how.y.columns; ++column) {
    for (int64_t row = 0; row < how.y.rows; ++row) {
      double sum = 0;
      for (int64_t i = 0; i < how.w.columns / 2; ++i) {
        const int64_t kept = row * how.w.columns / 2 + i, k = i / 2 * 4 + places[kept];
        const double left = fake_load(w, kept, how.w.type);
        sum += left * static_cast<double>(fake_load(x, column * how.x.pitch + k, how.x.type));
      }
      float value = alpha * static_cast<float>(sum);
      if (beta != 0) value += beta * fake_load(c, column * how.y.pitch + row, how.y.type);
      if (how.bias != nullptr) value += fake_load(how.bias, row, how.y.type);
      if (how.is_positive != 0) value = value > 0 ? value : 0;
      fake_store(d, column * how.y.pitch + row, how.y.type, value);
    }
  }
}

}  // namespace

FAKE_ENTRY void hussar_fake_enqueue_with(FakeEnqueue enqueue) { fake_enqueue = enqueue; }

FAKE_ENTRY int cusparseLtGetProperty(int property, int* value) {
  constexpr int kVersion[] = {0, 8, 99};
  *value = kVersion[property];
  return 0;
}
FAKE_ENTRY const char* cusparseLtGetErrorName(int status) {
  return status == kInvalid ? "CUSPARSE_STATUS_INVALID_VALUE" : "CUSPARSE_STATUS_NOT_SUPPORTED";
}

FAKE_ENTRY int cusparseLtInit(Handle* handle) {
  *handle = {kMark};
  return 0;
}
FAKE_ENTRY int cusparseLtDestroy(const Handle* handle) { return is_made(handle) ? 0 : kInvalid; }

FAKE_ENTRY int cusparseLtDenseDescriptorInit(const Handle* handle, Matrix* matrix, int64_t rows, int64_t columns,
                                             int64_t pitch, uint32_t alignment, int type, int order) {
  return describe(handle, matrix, {kMark, fake_type(type), rows, columns, pitch, order == 2, false}, alignment);
}
FAKE_ENTRY int cusparseLtStructuredDescriptorInit(const Handle* handle, Matrix* matrix, int64_t rows, int64_t columns,
                                                  int64_t pitch, uint32_t alignment, int type, int order,
                                                  int sparsity) {
  if (sparsity != 0) return kInvalid;
  return describe(handle, matrix, {kMark, fake_type(type), rows, columns, pitch, order == 2, true}, alignment);
}
FAKE_ENTRY int cusparseLtMatDescriptorDestroy(const Matrix* matrix) { return is_made(matrix) ? 0 : kInvalid; }

FAKE_ENTRY int cusparseLtMatmulDescriptorInit(const Handle* handle, Matmul* matmul, int a_operation, int b_operation,
                                              const Matrix* a, const Matrix* b, const Matrix* c, const Matrix* d,
                                              int compute_type) {
  if (!is_made(handle) || !is_made(a) || !is_made(b) || !is_made(c) || !is_made(d)) return kInvalid;
  const bool fits = a->is_structured && a->by_rows && b->by_rows && !c->by_rows && !d->by_rows && a_operation == 0 &&
                    b_operation == 1 && a->columns == b->columns && a->rows == d->rows && b->rows == d->columns &&
                    c->rows == d->rows && c->columns == d->columns && c->pitch == d->pitch;
  if (!fits || a->type != b->type || c->type != d->type) return kInvalid;
  const bool of_float8 = a->type == FakeType::kFloat8;
  if (compute_type != 2 || a->type == FakeType::kByte) return kUnsupported;
  const bool is_half = d->type == FakeType::kHalf || d->type == FakeType::kBFloat;
  const bool is_known = of_float8 ? is_half || d->type == FakeType::kFloat : d->type == a->type;
  if (!is_known) return kUnsupported;
  *matmul = {kMark, *a, *b, *d, 0, nullptr};
  return 0;
}
FAKE_ENTRY int cusparseLtMatmulDescSetAttribute(const Handle* handle, Matmul* matmul, int attribute, const void* value,
                                                size_t bytes) {
  if (!is_made(handle) || !is_made(matmul)) return kInvalid;
  if (attribute == 0 && bytes == 4)
    std::memcpy(&matmul->is_positive, value, bytes);
  else if (attribute == 8 && bytes == 8)
    std::memcpy(&matmul->bias, value, bytes);
  else
    return kInvalid;
  return 0;
}

FAKE_ENTRY int cusparseLtMatmulAlgSelectionInit(const Handle* handle, Selection* selection, const Matmul* matmul,
                                                int algorithm) {
  if (!is_made(handle) || !is_made(matmul) || algorithm != 0) return kInvalid;
  *selection = {kMark, 0, 1};
  return 0;
}
FAKE_ENTRY int cusparseLtMatmulAlgSelectionDestroy(const Selection* selection) {
  return is_made(selection) ? 0 : kInvalid;
}
FAKE_ENTRY int cusparseLtMatmulAlgSetAttribute(const Handle* handle, Selection* selection, int attribute,
                                               const void* value, size_t bytes) {
  int number = 0;
  if (!is_made(handle) || !is_made(selection) || bytes != sizeof(number)) return kInvalid;
  std::memcpy(&number, value, bytes);
  if (attribute == 0 && number >= 0 && number < kAlgorithms)
    selection->algorithm = number;
  else if (attribute == 3 && (number == -1 || number >= 1))
    selection->split = number;
  else
    return kInvalid;
  return 0;
}
FAKE_ENTRY int cusparseLtMatmulAlgGetAttribute(const Handle* handle, const Selection* selection, int attribute,
                                               void* value, size_t bytes) {
  if (!is_made(handle) || !is_made(selection) || attribute != 1 || bytes != sizeof(int)) return kInvalid;
  std::memcpy(value, &kAlgorithms, bytes);
  return 0;
}

FAKE_ENTRY int cusparseLtMatmulPlanInit(const Handle* handle, Plan* plan, const Matmul* matmul,
                                        const Selection* selection) {
  if (!is_made(handle) || !is_made(matmul) || !is_made(selection)) return kInvalid;
  if (matmul->w.columns == 96) return kUnsupported;  // so that there is something that it does not take
  *plan = {kMark, *matmul, *selection};
  return 0;
}
FAKE_ENTRY int cusparseLtMatmulPlanDestroy(const Plan* plan) { return is_made(plan) ? 0 : kInvalid; }
FAKE_ENTRY int cusparseLtMatmulGetWorkspace(const Handle* handle, const Plan* plan, size_t* bytes) {
  if (!is_made(handle) || !is_made(plan)) return kInvalid;
  *bytes = workspace_of(*plan);
  return 0;
}

FAKE_ENTRY int cusparseLtSpMMACompressedSize2(const Handle* handle, const Matrix* matrix, size_t* bytes,
                                              size_t* buffer_bytes) {
  if (!is_made(handle) || !is_made(matrix) || !matrix->is_structured) return kInvalid;
  *bytes = static_cast<size_t>(kept_count(*matrix)) * (fake_size(matrix->type) + 1);
  *buffer_bytes = 64;
  return 0;
}
FAKE_ENTRY int cusparseLtSpMMACompress2(const Handle* handle, const Matrix* matrix, int is_a, int operation,
                                        const void* dense, void* compressed, void* buffer, void* stream) {
  const bool fits = is_made(handle) && is_made(matrix) && matrix->is_structured && is_a == 1 && operation == 0;
  if (!fits || buffer == nullptr || !fake_is_aligned(dense, 16) || !fake_is_aligned(compressed, 16)) return kInvalid;
  fake_enqueue(stream, [matrix = *matrix, dense, compressed, buffer] {
    std::memset(buffer, 0x5a, 64);
    compress(matrix, static_cast<const char*>(dense), static_cast<char*>(compressed));
  });
  return 0;
}

FAKE_ENTRY int cusparseLtMatmul(const Handle* handle, const Plan* plan, const float* alpha, const void* a,
                                const void* b, const float* beta, const void* c, void* d, void* workspace,
                                void** streams, int32_t stream_count) {
  if (!is_made(handle) || !is_made(plan) || stream_count != 1 || streams == nullptr) return kInvalid;
  for (const void* pointer : {a, b, c, static_cast<const void*>(d)}) {
    if (!fake_is_aligned(pointer, 16)) return kInvalid;
  }
  fake_enqueue(*streams, [how = plan->matmul, factor = *alpha, a, b, share = *beta, c, d, workspace,
                          bytes = workspace_of(*plan)] {
    if (bytes > 0) std::memset(workspace, 0x5a, bytes);
    multiply(how, factor, static_cast<const char*>(a), b, share, c, d);
  });
  return 0;
}
