// The order in which the sparse tensor cores read weights.
#include "backends/cuda/sparse_weights.h"

#include "backends/cuda/byte_product.h"
#include "tensor/float8_mask.h"

namespace hussar::cuda {
namespace {

constexpr int64_t kWordDepth = 32;  // of k, for each word of a column
// More than any weights have; sizes that come from a file stay countable.
constexpr int64_t kMostElements = int64_t{1} << 40;

// Where a column of the product lies among the packed rows.
int64_t packed_row(int64_t column, const SparseOrder& order) {
  const int64_t width = order.group / (8 * order.warps);  // neighbours of a thread
  const int64_t within = column % order.group, thread = within / width, neighbour = within % width;
  return column - within + neighbour / 2 * 16 * order.warps + thread / 8 * 16 + neighbour % 2 * 8 + thread % 8;
}

// The four bits for `row` and k from `depth` on.
struct WordPlace {
  int64_t word;
  int shift;
};
// Words lie among the blocks of 64 rows, loads of k, threads, words of a load. In each 64 of k, a word of bytes is for
// 32 of one row; one of halves for 16 of two rows, eight apart.
WordPlace word_place(const SparseSizes& sizes, const SparseOrder& order, int64_t row, int64_t depth) {
  const int64_t loads = sizes.words * kWordDepth / order.load;
  const int64_t place = row % 64, second = place % 16 / 8;
  const bool of_bytes = sizes.element_bytes == 1;
  const int64_t within_four = of_bytes ? depth / 32 % 2 * 2 + second : depth / 16 % 4;
  const int64_t thread = place / 16 * 32 + place % 8 * 4 + within_four;
  const int64_t load = row / 64 * loads + depth / order.load;
  return {(load * 128 + thread) * (order.load / 64) + depth % order.load / 64,
          static_cast<int>(of_bytes ? depth % 32 : second * 16 + depth % 16)};
}

template <class Number>
Tensor pack_numbers(const Tensor& weights, WeightForm form, const SparseOrder& order) {
  const auto from = view_weights(weights.data<Number>(), weights.shape(), form);
  const SparseSizes sizes = sparse_sizes(from.n, from.k, order, weights.dtype());
  Tensor packed(weights.dtype(), {sizes.bytes() / sizes.element_bytes});
  std::memset(packed.raw(), 0, packed.bytes());
  auto* values = packed.data<Number>();
  auto* words = reinterpret_cast<uint32_t*>(packed.raw() + sizes.value_bytes());
  // Two places must differ where there is nothing, too.
  std::fill_n(words, sizes.rows * sizes.words, 0x44444444U);
  for (int64_t column = 0; column < from.n; ++column) {
    const int64_t row = packed_row(column, order);
    for (int64_t depth = 0; depth < from.k; depth += 4) {
      auto weight = [&](int64_t i) { return from.row(depth + i)[column * from.column_stride]; };
      uint8_t nonzero = 0;
      for (int i = 0; i < 4; ++i) nonzero = static_cast<uint8_t>(nonzero | (weight(i) != Number{} ? 1 : 0) << i);
      const uint32_t bits = kept_places(nonzero);
      const WordPlace place = word_place(sizes, order, row, depth);
      words[place.word] = (words[place.word] & ~(0xFU << place.shift)) | bits << place.shift;
      for (int i = 0; i < 2; ++i) values[row * sizes.row_elements + depth / 2 + i] = weight(bits >> (2 * i) & 3U);
    }
  }
  return packed;
}

template <class Number>
Tensor unpack_numbers(const Tensor& packed, const Shape& shape, WeightForm form, const SparseOrder& order) {
  Tensor weights(packed.dtype(), shape);
  std::memset(weights.raw(), 0, weights.bytes());
  const auto to = view_weights(weights.data<Number>(), shape, form);
  const SparseSizes sizes = sparse_sizes(to.n, to.k, order, packed.dtype());
  const auto* values = packed.data<Number>();
  const auto* words = reinterpret_cast<const uint32_t*>(packed.raw() + sizes.value_bytes());
  for (int64_t column = 0; column < to.n; ++column) {
    const int64_t row = packed_row(column, order);
    for (int64_t depth = 0; depth < to.k; depth += 4) {
      const WordPlace place = word_place(sizes, order, row, depth);
      const uint32_t bits = words[place.word] >> place.shift;
      for (int i = 0; i < 2; ++i) {
        const Number value = values[row * sizes.row_elements + depth / 2 + i];
        if (value != Number{}) to.row(depth + (bits >> (2 * i) & 3U))[column * to.column_stride] = value;
      }
    }
  }
  return weights;
}

}  // namespace

SparseSizes sparse_sizes(int64_t n, int64_t k, const SparseOrder& order, DType dtype) {
  auto whole = [](int64_t count, int64_t of) { return (count + of - 1) / of * of; };
  const auto bytes = static_cast<int64_t>(dtype_size(dtype));
  return {whole(n, order.group), whole(k, 32 / bytes) / 2, whole(k, order.load) / kWordDepth, bytes};
}

SparseSizes sparse_sizes(const Shape& shape, WeightForm form, const SparseOrder& order, DType dtype) {
  const auto view = view_weights<const int8_t>(nullptr, shape, form);
  return sparse_sizes(view.n, view.k, order, dtype);
}

Tensor pack_sparse(const Tensor& weights, WeightForm form, const SparseOrder& order) {
  if (is_half(weights.dtype())) return pack_numbers<Half>(weights, form, order);
  if (weights.dtype() == kFp8) return pack_numbers<Float8>(weights, form, order);
  return pack_numbers<int8_t>(weights, form, order);
}

Tensor unpack_sparse(const Tensor& packed, const Shape& shape, WeightForm form, const SparseOrder& order) {
  if (is_half(packed.dtype())) return unpack_numbers<Half>(packed, shape, form, order);
  if (packed.dtype() == kFp8) return unpack_numbers<Float8>(packed, shape, form, order);
  return unpack_numbers<int8_t>(packed, shape, form, order);
}

std::optional<Shape> sparse_shape(std::string_view op, const Attributes& attributes, const Operand& packed,
                                  const SparseOrder& order) {
  const Ints dims = attributes.get_ints("hussar_packed_1");
  const WeightForm form = weight_form(op, attributes);
  const bool is_filter = form == WeightForm::kFilter;
  const bool has_type =
      is_byte_product(op) ? packed.dtype == DType::kInt8 || packed.dtype == kFp8 : is_half(packed.dtype);
  const bool has_rank = is_filter ? dims.size() > 2 && dims.size() <= kMaxRank : dims.size() == 2;
  if (!has_type || !has_rank) return std::nullopt;
  int64_t elements = 1;
  for (int64_t dim : dims) {
    if (dim < 1 || dim > kMostElements / elements) return std::nullopt;
    elements *= dim;
  }
  const Shape shape(dims);
  const SparseSizes sizes = sparse_sizes(shape, form, order, packed.dtype);
  const bool is_two_of_four = (is_filter ? elements / shape[0] : shape[form == WeightForm::kMatrix ? 0 : 1]) % 4 == 0;
  if (!is_two_of_four || packed.shape.elements() * sizes.element_bytes != sizes.bytes()) return std::nullopt;
  return shape;
}

Result<Operand> sparse_weights(const Prepare& prepare, const SparseOrder& order) {
  const PlanStep& step = prepare.step;
  const DType x = prepare.inputs[0].dtype;
  Operand w = prepare.inputs[1];
  const auto shape = sparse_shape(step.op, step.attributes, w, order);
  // Only INT8 has activations of another type than weights.
  const bool fits = shape && (w.dtype == DType::kInt8 ? x == DType::kUInt8 || x == DType::kInt8 : x == w.dtype);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", step.name);
  w.shape = *shape;
  return w;
}

double sparse_memory_cost(const Problem& problem) {
  const double of_element = static_cast<double>(dtype_size(problem.dtype(1))) / 2 - 1.0 / 8;
  return memory_cost(problem) - Problem::elements(problem.input(1)) * of_element / kBytesPerMicrosecond;
}

void pack_sparse(Packing& packing, const SparseOrder& order) {
  const Node& node = packing.node;
  packing.replace(1, pack_sparse(*node.inputs[1]->constant, weight_form(node), order));
}

Status unpack_sparse(Packing& packing, const SparseOrder& order) {
  const Node& node = packing.node;
  const Value* weights = node.input(1);
  const bool is_constant = weights != nullptr && weights->is_constant();
  const auto shape = is_constant ? sparse_shape(node.op, node.attributes, operand_of(*weights), order) : std::nullopt;
  HUSSAR_CHECK(shape, ErrorCode::kPlanIncompatible, "{}: its weights are not what they were", describe(node));
  packing.replace(1, unpack_sparse(*weights->constant, *shape, weight_form(node), order));
  return {};
}

}  // namespace hussar::cuda
