// First convolutions over blocks of pixels.
#include "backends/cuda/picture_blocks.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/epilogue_source.h"
#include "backends/cuda/results.h"

namespace hussar::cuda {
namespace {

// Calls move(place in the filter, place in the packed filter) for every weight, in elements.
template <class Move>
void for_each_weight(const Shape& filter, const PictureBlocks& blocks, Move&& move) {
  int64_t from = 0;
  for (int64_t f = 0; f < filter[0]; ++f) {
    for (int64_t c = 0; c < filter[1]; ++c) {
      for (int64_t row = 0; row < filter[2]; ++row) {
        for (int64_t column = 0; column < filter[3]; ++column, ++from) {
          const int64_t pixel = row % blocks.stride * blocks.stride + column % blocks.stride;
          move(from, f * blocks.k() + row / blocks.stride * blocks.line() + column / blocks.stride * blocks.block +
                         pixel * filter[1] + c);
        }
      }
    }
  }
}

void convert_picture(Packing& packing) {
  Graph& graph = packing.graph;
  Value* x = packing.node.inputs[0];
  if (x->layout == Layout::kChannelsLast) return;
  Value* converted = graph.add_value(graph.unique_name(x->name), x->dtype, x->dims);
  converted->layout = Layout::kChannelsLast;
  graph.add_node("hussar.Reformat", x->name, {x}, {converted});
  graph.set_input(&packing.node, 0, converted);
}

}  // namespace

PictureBlocks blocks_of(const Convolution& conv, DType dtype, int64_t unit_bytes) {
  PictureBlocks blocks{};
  const int64_t unit = unit_bytes / static_cast<int64_t>(dtype_size(dtype));
  blocks.stride = conv.strides[1];
  blocks.block = (conv.channels * blocks.stride * blocks.stride + unit - 1) / unit * unit;
  blocks.taps_down = (conv.kernel[1] + blocks.stride - 1) / blocks.stride;
  blocks.taps_across = (conv.kernel[2] + blocks.stride - 1) / blocks.stride;
  blocks.rows = conv.output[1] + blocks.taps_down - 1;
  blocks.columns = conv.output[2] + blocks.taps_across - 1;
  return blocks;
}

Refusal check_first_conv(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Conv", kConvToBytes})) return refusal;
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (!problem.is_constant(1)) return "needs constant weights";
  if (problem.own_inputs() > 2 && problem.input(2) != nullptr && !is_float(problem.dtype(2))) return "dtype";
  if (problem.input(0)->rank() != 4 || problem.input(1)->rank() != 4) return "rank";
  if (problem.output()->layout != Layout::kChannelsLast) return "layout is not channels-last";
  if (Refusal refusal = check_epilogue(problem)) return refusal;
  auto conv = convolution(problem.node);
  if (!conv) return "shapes";
  const bool is_aligned =
      conv->filters % 8 == 0 && conv->y_pitch % 8 == 0 && offset_in_holder(*problem.output()) % 8 == 0;
  return is_aligned ? Refusal() : Refusal("filters are not multiples of 8");
}

Refusal check_blocks(const Convolution& conv, DType dtype, int64_t unit_bytes) {
  constexpr int64_t kMostChannels = 8, kMostStride = 4, kMostBlock = 64;
  if (conv.groups != 1) return "groups";
  if (conv.channels > kMostChannels) return "many channels";
  if (conv.strides[1] != conv.strides[2] || conv.strides[1] > kMostStride) return "strides";
  if (conv.dilations[1] != 1 || conv.dilations[2] != 1) return "dilation";
  // The corner of an im2col map is of eight bits.
  const PictureBlocks blocks = blocks_of(conv, dtype, unit_bytes);
  return blocks.block > kMostBlock || blocks.taps_down > 128 ? Refusal("a wide filter") : Refusal();
}

Refusal check_picture_types(const Problem& problem, const Refusal& otherwise) {
  if (problem.dtype(0) != DType::kFloat32 || !is_half(problem.dtype(1))) return otherwise;
  const DType output = problem.output()->dtype;
  const bool is_number = output == problem.dtype(1) || output == DType::kFloat32;
  const bool writes_bytes = problem.node.op == kConvToBytes && is_quantized(output);
  return is_number || writes_bytes ? Refusal() : Refusal("dtype");
}

void pack_blocks(Packing& packing, const PictureBlocks& blocks) {
  const Tensor filter = *packing.node.inputs[1]->constant;
  const size_t size = dtype_size(filter.dtype());
  Tensor packed(filter.dtype(), Shape{filter.shape()[0], blocks.k()});
  std::memset(packed.raw(), 0, packed.bytes());
  for_each_weight(filter.shape(), blocks, [&](int64_t from, int64_t to) {
    std::memcpy(packed.raw() + static_cast<size_t>(to) * size, filter.raw() + static_cast<size_t>(from) * size, size);
  });
  packing.replace(1, std::move(packed));
}

Status unpack_blocks(Packing& packing, int64_t unit_bytes) {
  Node& node = packing.node;
  const Ints* dims = node.attributes.find<Ints>("hussar_packed_1");
  const Value* packed = node.input(1);
  HUSSAR_CHECK(dims != nullptr && dims->size() == 4 && packed != nullptr && packed->is_constant() &&
                   bytes_needed(packed->constant->dtype(), Shape(*dims)),
               ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  const Shape shape(*dims);
  const Convolution conv = HUSSAR_TRY(
      convolution(node.op, node.attributes, operand_of(*node.inputs[0]), shape, operand_of(*node.outputs[0])));
  const Tensor from = *packed->constant;
  const PictureBlocks blocks = blocks_of(conv, from.dtype(), unit_bytes);
  HUSSAR_CHECK(!check_blocks(conv, from.dtype(), unit_bytes) && from.shape() == (Shape{conv.filters, blocks.k()}),
               ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  Tensor filter(from.dtype(), shape);
  const size_t size = dtype_size(from.dtype());
  for_each_weight(shape, blocks, [&](int64_t to, int64_t at) {
    std::memcpy(filter.raw() + static_cast<size_t>(to) * size, from.raw() + static_cast<size_t>(at) * size, size);
  });
  packing.replace(1, std::move(filter));
  convert_picture(packing);
  return {};
}

Result<Convolution> convolution_of_blocks(const Prepare& prepare, int64_t unit_bytes) {
  const PlanStep& step = prepare.step;
  const Ints dims = step.attributes.get_ints("hussar_packed_1");
  HUSSAR_CHECK(dims.size() == 4, ErrorCode::kPlanIncompatible, "step '{}' has no filter", step.name);
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], Shape(dims), prepare.outputs[0]));
  const DType dtype = prepare.inputs[1].dtype;
  const bool fits = !check_blocks(conv, dtype, unit_bytes) &&
                    prepare.inputs[1].shape == (Shape{conv.filters, blocks_of(conv, dtype, unit_bytes).k()});
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its filter does not fit; build the plan again",
               step.name);
  return conv;
}

}  // namespace hussar::cuda
