// cuda_conv_columns: convolutions of few channels, the first ones of networks: the windows are written as a matrix,
// which is then multiplied with tensor cores. Results may be bytes.
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/byte_product.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

// More are not few.
constexpr int64_t kMostColumns = 1024;

int64_t columns_of(const Convolution& conv) { return (conv.channels * conv.taps() + 7) / 8 * 8; }

DenseProduct product_of(const Convolution& conv) {
  const int64_t columns = columns_of(conv);
  return {conv.pixels(), conv.filters, columns, columns, columns, conv.y_pitch};
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_convolution(problem, {"Conv", kConvToBytes})) return refusal;
  if (Refusal refusal = check_ampere_types(problem)) return refusal;
  auto conv = convolution(problem.node);
  if (!conv) return "shapes";
  if (conv->groups != 1) return "groups";
  if (columns_of(*conv) > kMostColumns) return "many channels";
  const bool is_aligned =
      conv->filters % 8 == 0 && conv->y_pitch % 8 == 0 && offset_in_holder(*problem.output()) % 8 == 0;
  return is_aligned ? Refusal() : Refusal("filters are not multiples of 8");
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return 1e9;
  // The matrix is written and read once.
  constexpr double kBytesPerMicrosecond = 1.5e6;
  const DenseProduct product = product_of(*conv);
  const auto bytes = static_cast<double>(2 * product.m * product.k) * static_cast<double>(dtype_size(problem.dtype(0)));
  return memory_cost(problem) + kLaunchMicroseconds + bytes / kBytesPerMicrosecond + ampere_time(product, problem);
}

// [filter][channel][tap] and [filter][tap][channel] with zeros up to the columns, back or forth.
void move_filter(const Shape& shape, int64_t columns, size_t size, std::byte* by_channels, std::byte* by_taps,
                 bool back) {
  const int64_t channels = shape[1], taps = shape.elements(2, shape.rank());
  for (int64_t filter = 0; filter < shape[0]; ++filter) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        std::byte* a = by_channels + static_cast<size_t>((filter * channels + channel) * taps + tap) * size;
        std::byte* b = by_taps + static_cast<size_t>(filter * columns + tap * channels + channel) * size;
        std::memcpy(back ? a : b, back ? b : a, size);
      }
    }
  }
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  const Tensor filter = *node.inputs[1]->constant;
  const int64_t columns = columns_of(conv);
  const size_t size = dtype_size(filter.dtype());
  Tensor packed(filter.dtype(), Shape{conv.filters, columns});
  std::memset(packed.raw(), 0, packed.bytes());
  move_filter(filter.shape(), columns, size, const_cast<std::byte*>(filter.raw()), packed.raw(), false);
  packing.replace(1, std::move(packed));
  Defines defines;
  define_ampere(node, product_of(conv), packing.target, defines);
  defines.set("COLUMNS", columns).set("CONV_TAPS", conv.taps()).set("CONV_CHANNELS", conv.channels);
  defines.set("CONV_KERNEL_1", conv.kernel[1]).set("CONV_KERNEL_2", conv.kernel[2]);
  return attach_code(packing,
                     assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                         assemble({}, {"half.cuh", "product_contract.cuh", "convolution_rows.cuh", "columns.cuh",
                                       "shared_copies.cuh", "warp_product.cuh", "product_ampere.cuh"}));
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  forget_ampere(node);
  const Ints* dims = node.attributes.find<Ints>("hussar_packed_1");
  const Value* packed = node.input(1);
  const bool is_known = dims != nullptr && dims->size() >= 3 && dims->size() <= 5 && packed != nullptr &&
                        packed->is_constant() && packed->constant->shape().rank() == 2;
  HUSSAR_CHECK(is_known, ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  const Shape shape(*dims);
  const Tensor from = *packed->constant;
  HUSSAR_CHECK(bytes_needed(from.dtype(), shape) && shape[0] == from.shape()[0] &&
                   shape.elements(1, shape.rank()) <= from.shape()[1],
               ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  Tensor filter(from.dtype(), shape);
  move_filter(shape, from.shape()[1], dtype_size(from.dtype()), filter.raw(), const_cast<std::byte*>(from.raw()), true);
  packing.replace(1, std::move(filter));
  return {};
}

struct State {
  Launch columns;
  int32_t rows;
  Windows windows;
  AmpereLaunch product;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const Ints dims = step.attributes.get_ints("hussar_packed_1");
  HUSSAR_CHECK(dims.size() >= 3 && dims.size() <= 5, ErrorCode::kPlanIncompatible, "step '{}' has no filter",
               step.name);
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], Shape(dims), prepare.outputs[0]));
  const DenseProduct product = product_of(conv);
  const Operand& filter = prepare.inputs[1];
  HUSSAR_CHECK(filter.dtype == prepare.inputs[0].dtype && filter.shape == (Shape{product.n, product.k}) &&
                   product.k <= kMostColumns && conv.groups == 1,
               ErrorCode::kPlanIncompatible, "step '{}': its filter does not fit; build the plan again", step.name);
  HUSSAR_TRY(prepare_ampere(prepare, product, state.product));
  state.windows = windows_of(conv);
  state.rows = static_cast<int32_t>(product.m);
  const int64_t units = product.m * (product.k / 8);
  HUSSAR_CHECK(units < (int64_t{1} << 31), ErrorCode::kUsage, "step '{}': the picture is too large", step.name);
  state.columns = Launch{};
  state.columns.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "make_columns"));
  state.columns.threads = 256;
  state.columns.grid[0] = static_cast<unsigned>((units + 255) / 256);
  prepare.scratch_bytes = static_cast<size_t>(product.m * product.k) * dtype_size(filter.dtype);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const std::byte* x = run.inputs[0].data;
  std::byte* columns = run.scratch;
  int32_t rows = state.rows;
  Windows windows = state.windows;
  void* const arguments[] = {&x, &columns, &rows, &windows};
  HUSSAR_TRY(queue_of(run.device).launch(state.columns, arguments));
  return launch_ampere(run, state.product, columns, nullptr);
}

}  // namespace

extern const Kernel cuda_conv_columns_kernel = {.name = "cuda_conv_columns",
                                                .place = Place::kDevice,
                                                .state_bytes = sizeof(State),
                                                .checks_shapes = true,
                                                .prepare = prepare,
                                                .run = run};
extern const Tactic cuda_conv_columns_tactic = {.kernel = "cuda_conv_columns",
                                                .place = Place::kDevice,
                                                .supports = supports,
                                                .cost = cost,
                                                .pack = pack,
                                                .unpack = unpack};

}  // namespace hussar
