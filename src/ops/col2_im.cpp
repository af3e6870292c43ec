// Col2Im: sliding blocks [N, C * block elements, blocks] added up to the image [N, C, image_shape...] that they were
// cut from. Attributes dilations, pads (begins, then ends) and strides as in Conv.
#include "ops/arguments.h"
#include "ops/arithmetic.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

struct Geometry {
  Ints image, block, dilations, pads, strides;
  Shape counts;  // how many block positions there are along each image axis
};

Result<Geometry> geometry(const Attributes& attributes, Ints image, Ints block,
                          const std::function<tl::unexpected<Error>(const char*)>& fail) {
  Geometry result{std::move(image), std::move(block), {}, {}, {}, {}};
  size_t rank = result.image.size();
  result.dilations = attributes.get_ints("dilations", Ints(rank, 1));
  result.pads = attributes.get_ints("pads", Ints(2 * rank, 0));
  result.strides = attributes.get_ints("strides", Ints(rank, 1));
  bool consistent = rank >= 1 && rank + 2 <= kMaxRank && result.block.size() == rank &&
                    result.dilations.size() == rank && result.pads.size() == 2 * rank && result.strides.size() == rank;
  if (!consistent) return fail("image_shape, block_shape, dilations, pads and strides do not fit together");
  constexpr int64_t kLimit = int64_t{1} << 30;
  for (size_t i = 0; i < rank; ++i) {
    auto in_range = [](int64_t value, int64_t low) { return value >= low && value <= kLimit; };
    bool valid = in_range(result.image[i], 0) && in_range(result.block[i], 1) && in_range(result.dilations[i], 1) &&
                 in_range(result.pads[i], 0) && in_range(result.pads[i + rank], 0) && in_range(result.strides[i], 1);
    if (!valid) return fail("a size, dilation, pad or stride is out of range");
    int64_t room =
        result.image[i] + result.pads[i] + result.pads[i + rank] - result.dilations[i] * (result.block[i] - 1) - 1;
    result.counts.push_back(room < 0 ? 0 : room / result.strides[i] + 1);
  }
  return result;
}

Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  auto image = HUSSAR_TRY(list_argument(context, 1));
  auto block = HUSSAR_TRY(integers_argument(context, 2));
  if (dims != nullptr && dims->size() != 3) return context.fail("takes rank 3, not {}", dims->size());
  if (!image || image->empty()) {
    auto rank = list_length(context, 1);
    if (rank && *rank + 2 <= kMaxRank)
      context.set_rank(0, context.dtype(0), *rank + 2);
    else
      context.set_unknown(0, context.dtype(0));
    return {};
  }
  Dims out = {dims != nullptr ? dims->front() : context.fresh(), context.fresh()};
  out.insert(out.end(), image->begin(), image->end());
  for (const Dim& dim : out) HUSSAR_TRY(check_dimension(context, dim));
  if (block && dims != nullptr) {
    for (int64_t length : *block) {
      if (length < 1) return context.fail("a block dimension is {}", length);
    }
    Dim size = HUSSAR_TRY(checked_product(context, Dims(block->begin(), block->end())));
    const Dim& rows = (*dims)[1];
    if (rows.is_constant() && rows.value() % size.value() != 0) {
      return context.fail("{} rows are not a multiple of the block's {} elements", rows.value(), size.value());
    }
    out[1] = floor_div(rows, size);
  }
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

Status evaluate(EvalContext& context) {
  auto fail = [&](const char* message) { return context.fail("{}", message); };
  Geometry g = HUSSAR_TRY(geometry(context.attributes, context.integers(1), context.integers(2), fail));
  const Shape& in = context.shape(0);
  Shape block_shape((std::span<const int64_t>(g.block)));
  int64_t block_size = block_shape.elements();
  int64_t positions = 1;
  for (int64_t count : g.counts) {
    if (__builtin_mul_overflow(positions, count, &positions)) return context.fail("the image has too many blocks");
  }
  if (positions != in[2]) return context.fail("{} blocks fit the image, {} are given", positions, in[2]);
  Shape image_shape((std::span<const int64_t>(g.image)));
  int64_t image_size = image_shape.elements();
  const ElementStrides strides = row_major_strides(image_shape);
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    for (int64_t i = 0; i < y.size(); ++i) y[i] = 0;
    for (int64_t i = 0; i < x.size(); ++i) {
      int64_t position = i % positions;
      int64_t cell = i / positions % block_size;
      int64_t target = i / positions / block_size * image_size;
      bool inside = true;
      for (int axis = image_shape.rank() - 1; axis >= 0; --axis) {
        auto k = static_cast<size_t>(axis);
        int64_t at = position % g.counts[axis] * g.strides[k] + cell % g.block[k] * g.dilations[k] - g.pads[k];
        position /= g.counts[axis];
        cell /= g.block[k];
        inside = inside && at >= 0 && at < g.image[k];
        target += inside ? at * strides[k] : 0;
      }
      if (inside) y[target] = wrapping_add(y[target], x[i]);
    }
    return {};
  });
}

}  // namespace

extern const OpDef col2_im_op = {
    .name = "Col2Im", .min_inputs = 3, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
