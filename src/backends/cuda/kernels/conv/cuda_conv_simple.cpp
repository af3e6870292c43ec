// cuda_conv_simple: convolutions of any form, transposed ones too, without tensor cores.
#include "backends/cuda/convolution.h"
#include "backends/cuda/simple_product.h"

namespace hussar {
namespace {

using namespace cuda;

// Element i of a filter's sum is channel i % channels of tap i / channels; weights lie in ONNX's order. An output of a
// transposed convolution gathers: input i reaches it by tap t where i * stride + t * dilation - pad is its place.
constexpr const char* kOperands = R"(
struct Operands {
  const X_TYPE* x;
  const W_TYPE* w;
  long long channels, filters, taps, y_pitch, x_pitch;
  long long input[3], output[3], kernel[3], strides[3], pads[3], dilations[3];
};
__device__ __forceinline__ SUM_TYPE x_at(const Operands& operands, int z, long long row, long long i) {
  const int channel = static_cast<int>(i) % static_cast<int>(operands.channels);
  int tap = static_cast<int>(i) / static_cast<int>(operands.channels);
  int rest = static_cast<int>(row);
  int places[3];
#pragma unroll
  for (int axis = 2; axis >= 0; --axis) {
    const int output = static_cast<int>(operands.output[axis]), kernel = static_cast<int>(operands.kernel[axis]);
    const int stride = static_cast<int>(operands.strides[axis]), pad = static_cast<int>(operands.pads[axis]);
    const int step = tap % kernel * static_cast<int>(operands.dilations[axis]);
    const int reached = rest % output + pad - step;
    if (TRANSPOSED)
      places[axis] = reached >= 0 && reached % stride == 0 ? reached / stride : -1;
    else
      places[axis] = rest % output * stride - pad + step;
    rest /= output;
    tap /= kernel;
  }
  long long pixel = rest;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    if (places[axis] < 0 || places[axis] >= operands.input[axis]) return OUTSIDE;
    pixel = pixel * operands.input[axis] + places[axis];
  }
  return read<SUM_TYPE>(operands.x[pixel * operands.x_pitch + z * operands.channels + channel]);
}
__device__ __forceinline__ SUM_TYPE w_at(const Operands& operands, int z, long long column, long long i) {
  const long long channel = i % operands.channels, tap = i / operands.channels;
  const long long line = TRANSPOSED ? (z * operands.channels + channel) * operands.filters + column
                                    : (z * operands.filters + column) * operands.channels + channel;
  return read<SUM_TYPE>(operands.w[line * operands.taps + tap]);
}
__device__ __forceinline__ long long y_row(const Operands&, int, long long row) { return row; }
__device__ __forceinline__ long long y_column(const Operands& operands, int z, long long column) {
  return z * operands.filters + column;
}
)";

Refusal supports(const Problem& problem) {
  return check_convolution(problem, {"Conv", "ConvTranspose", "hussar.QuantizedConv"});
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return 1e9;
  // Finding the windows takes most of the time.
  return memory_cost(problem) +
         6 * simple_time(conv->pixels(), conv->filters, conv->channels * conv->taps(), conv->groups);
}

Status pack(Packing& packing) {
  Defines defines;
  defines.set("TRANSPOSED", packing.node.op == "ConvTranspose");
  // Padding stands for zero.
  defines.set("OUTSIDE", packing.node.attributes.get_int("x_zero_point", 0));
  return attach_simple(packing, defines, kOperands);
}

struct State {
  SimpleLaunch launch;
  Convolution conv;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state.conv = HUSSAR_TRY(convolution(prepare.step.op, prepare.step.attributes, prepare.inputs[0],
                                      prepare.inputs[1].shape, prepare.outputs[0]));
  const Convolution& conv = state.conv;
  return prepare_simple(prepare, conv.pixels(), conv.filters, conv.channels * conv.taps(), conv.groups, state.launch);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Convolution& conv = state.conv;
  Words operands;
  operands.put(run.inputs[0].data);
  operands.put(run.inputs[1].data);
  for (int64_t number : {conv.channels, conv.filters, conv.taps(), conv.y_pitch, conv.x_pitch}) operands.put(number);
  for (const auto* list : {conv.input, conv.output, conv.kernel, conv.strides, conv.pads, conv.dilations}) {
    for (int axis = 0; axis < 3; ++axis) operands.put(list[axis]);
  }
  return launch_simple(run, state.launch, operands);
}

}  // namespace

extern const Kernel cuda_conv_simple_kernel = {
    .name = "cuda_conv_simple", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_conv_simple_tactic = {.kernel = "cuda_conv_simple",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .pack = pack,
                                               .unpack = forget_simple};

}  // namespace hussar
