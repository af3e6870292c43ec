// What all convolution kernels read from a Conv step.
#pragma once
#include <initializer_list>
#include <vector>

#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/tile/tile.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// Channels-last FP32 with constant weights and, if any, a constant or computed bias; 1 to 3 spatial dimensions.
// `x` is the type of the activations.
Refusal check_conv(const Problem& problem, DType x = DType::kFloat32);

// The same for ConvTranspose, whose filters are [channels][filters of a group][taps]; explicit pads.
Refusal check_conv_transpose(const Problem& problem);

// Two per multiply-add; symbolic dimensions count as 64.
double conv_flops(const Problem& problem);

// Predicted microseconds: `flops` in register tiles and `serial` microseconds of one thread, in all threads, and what
// reading the packed weights from memory takes beyond the time that this hides.
double conv_cost(const Target& target, double flops, double serial, int64_t filter_floats);

// The same for the register tiles of a convolution in `group` groups whose sums run over k.
double tile_conv_cost(const Target& target, double flops, int64_t group, int64_t filters, int64_t k);

// Predicted microseconds of a depthwise convolution, without what a step costs anyway.
double depthwise_cost(const Target& target, double flops);

// Packed weights no longer tell the kernel's size: it is kept in the attributes kernel_shape and hussar_channels
// (channels per group).
void remember_kernel_shape(Node& node, const Shape& filter);

// The inverse: the shape of the filter in ONNX's form, and the node without hussar_channels. The filters are counted by
// the node's output. Fails on what no convolution can be.
Result<Shape> recall_filter_shape(Packing& packing);
// Undoes a `pack` that permutes an FP32 filter. probe_bits: see unpack_permuted.
Status unpack_filter(Packing& packing, Status (*pack)(Packing&), Decode decode = decode_floats, int probe_bits = 16);

// A filter in ONNX's order (filter, channel, tap) as (filter, tap, channel): there k is contiguous. For float and
// int8_t.
template <class Number>
std::vector<Number> filter_by_taps(const Tensor& filter);
// The inverse.
template <class Number>
Tensor filter_from_taps(const std::vector<Number>& sorted, DType dtype, const Shape& shape);

// Which input of the step is the convolution's own bias: 2, or -1 when it has none.
int32_t bias_input(const Prepare& prepare);

// Sizes, strides, pads (auto_pad settled) and pitches from the step's attributes and shapes; no pointers. Checks
// everything that the kernels rely on, but for the size of the packed weights, whose elements are of the type
// `weights`: kInt8 for quantized convolutions (ops/quantized_product.h).
Status fill_conv_geometry(const Prepare& prepare, ConvArgs& args, DType weights = DType::kFloat32);
// Whether the packed weights are as large as the kernels will read them. Factor by factor: the product may overflow.
Status check_packed_weights(const Prepare& prepare, std::initializer_list<int64_t> factors);
// Both, with the weights in the panels of taps * channels x filters, or, depthwise, in those of taps x channels.
Status fill_conv_args(const Prepare& prepare, bool depthwise, ConvArgs& args);
// The same with the pointers of a run; `operands` as for make_epilogue.
ConvArgs bind_conv_args(const Run& run, const ConvArgs& args, const EpilogueState& epilogue, ProgramOperand* operands);

}  // namespace hussar::cpu
