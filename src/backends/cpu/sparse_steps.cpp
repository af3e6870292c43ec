#include "backends/cpu/sparse_steps.h"

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/half_steps.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/sparse_weights.h"
#include "base/error.h"

namespace hussar::cpu {
namespace {

SharedMask mask_of(const Node& node) {
  return node.inputs[1]->dtype == DType::kInt8 ? find_shared_mask(constant_weights<int8_t>(node))
                                               : find_shared_mask(constant_weights<float>(node));
}

int64_t depth_of(const Shape& shape, WeightForm form) { return view_weights<float>(nullptr, shape, form).k; }

// The shape that packed weights had, from the node, which loses what says so.
Result<Shape> recall_shape(Packing& packing) {
  if (weight_form(packing.node) == WeightForm::kFilter) return recall_filter_shape(packing);
  const auto [k, n] = recall_matrix_shape(packing.node);
  return weight_form(packing.node) == WeightForm::kTransposed ? Shape{n, k} : Shape{k, n};
}

bool fits(const Shape& shape, int64_t panels, const Tensor& packed) {
  for (int64_t dim : shape) {
    if (dim < 1 || dim > packed.elements() * 2) return false;
  }
  // The size of the original cannot overflow where it is bounded axis by axis.
  int64_t elements = 1;
  for (int64_t dim : shape) {
    if (__builtin_mul_overflow(elements, dim, &elements)) return false;
  }
  return is_shared_panels(panels) && elements <= packed.elements() * 2;
}

// Of packed weights of this type.
int64_t packed_elements(DType dtype, int64_t k, int64_t n, int64_t panels) {
  if (dtype == DType::kInt8) return int8_sparse_bytes(k, n, panels);
  return dtype == DType::kFloat32 ? float_sparse_floats(k, n, panels) : half_sparse_elements(k, n, panels);
}

Status pack_as(Packing& packing, DType dtype) {
  Node& node = packing.node;
  const Tensor weights = *node.inputs[1]->constant;
  const SharedMask mask = mask_of(node);
  const auto facts = view_weights<float>(nullptr, weights.shape(), weight_form(node));
  Tensor packed(dtype, {packed_elements(dtype, facts.k, facts.n, mask.panels)});
  if (dtype == DType::kInt8) {
    pack_int8_sparse(constant_weights<int8_t>(node), mask, packed.data<int8_t>());
  } else if (dtype == DType::kFloat32) {
    pack_float_sparse(constant_weights<float>(node), mask, packed.data<float>());
  } else {
    pack_half_sparse(constant_weights<float>(node), mask, packed.data<uint16_t>());
  }
  if (weight_form(node) == WeightForm::kFilter) {
    remember_kernel_shape(node, weights.shape());
  } else {
    remember_matrix_shape(node, facts.k, facts.n);
  }
  node.attributes.set(kSharedPanels, mask.panels);
  packing.replace(1, std::move(packed));
  return {};
}

}  // namespace

Refusal check_sparse(const Problem& problem) {
  if (!problem.target.no_sparsity.empty()) return std::string(problem.target.no_sparsity);
  if (problem.node.attributes.get_int("group", 1) != 1) return "groups";
  const int64_t k = depth_of(problem.input(1)->constant->shape(), weight_form(problem.node));
  if (k % kSparseGroup != 0) return "k is no multiple of 4";
  switch (shared_columns(problem.node)) {
    case 0: return kNotTwoOfFour;
    case 1: return "weights are 2:4, but no 16 output channels share masks";
    default: return std::nullopt;
  }
}

Refusal check_half_sparse(const Problem& problem) {
  // What the weights are not comes first: reports count it, whether or not FP16 is allowed.
  if (auto refusal = check_sparse(problem)) return refusal;
  if (shared_columns(problem.node) < kHalfPanelColumns) return "weights are 2:4, but no 32 output channels share masks";
  if (auto refusal = check_half_target(problem)) return refusal;
  return check_half_weights(*problem.input(1)->constant);
}

double sparse_share(const Problem& problem, double gather) {
  return 0.5 + gather / static_cast<double>(mask_of(problem.node).panels);
}

Status pack_sparse(Packing& packing) { return pack_as(packing, packing.node.inputs[1]->dtype); }
Status pack_half_sparse(Packing& packing) { return pack_as(packing, DType::kFloat16); }

Status unpack_sparse(Packing& packing) {
  Node& node = packing.node;
  const int64_t panels = node.attributes.get_int(kSharedPanels, 0);
  if (panels == 0) return {};
  node.attributes.erase(kSharedPanels);
  const Shape shape = HUSSAR_TRY(recall_shape(packing));
  const Tensor packed = *node.inputs[1]->constant;
  const WeightForm form = weight_form(node);
  const bool is_int8 = packed.dtype() == DType::kInt8, is_half = packed.dtype() == DType::kFloat16;
  bool holds = (is_int8 || packed.dtype() == DType::kFloat32 || (is_half && panels > 1)) && fits(shape, panels, packed);
  if (holds) {
    const auto facts = view_weights<float>(nullptr, shape, form);
    holds =
        facts.k % kSparseGroup == 0 && packed.elements() == packed_elements(packed.dtype(), facts.k, facts.n, panels);
  }
  HUSSAR_CHECK(holds, ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {}", describe(node),
               shape.to_string());
  Tensor unpacked(is_int8 ? DType::kInt8 : DType::kFloat32, shape);
  if (is_int8) {
    unpack_int8_sparse(packed.data<int8_t>(), panels, view_weights(unpacked.data<int8_t>(), shape, form));
  } else if (is_half) {
    unpack_half_sparse(packed.data<uint16_t>(), panels, view_weights(unpacked.data<float>(), shape, form));
  } else {
    unpack_float_sparse(packed.data<float>(), panels, view_weights(unpacked.data<float>(), shape, form));
  }
  packing.replace(1, std::move(unpacked));
  return {};
}

Status prepare_sparse_product(Prepare& prepare, int32_t bias_input, SparseState& state) {
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input, state.epilogue, true));
  const ConvArgs& conv = state.args.conv;
  const int64_t panels = prepare.step.attributes.get_int(kSharedPanels, 0);
  const int64_t elements = prepare.inputs[1].shape.elements();
  // Factor by factor: the product of what a plan says may overflow.
  int64_t k = 1;
  bool fits = is_shared_panels(panels) && conv.groups == 1 && conv.filters <= elements;
  for (int64_t factor : {conv.kernel[0], conv.kernel[1], conv.kernel[2], conv.channels}) {
    fits = fits && !__builtin_mul_overflow(k, factor, &k) && k <= 2 * elements;
  }
  fits = fits && k % kSparseGroup == 0 && sparse_panels(conv.filters) <= elements / (k / 2) &&
         elements == float_sparse_floats(k, conv.filters, panels);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", prepare.step.name);
  state.args.shared_panels = panels;
  const int64_t pixels = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const double products = static_cast<double>(pixels * conv.filters) * static_cast<double>(k);
  // Two operations each, of which half are left out.
  state.shares = share_count(products, prepare.threads);
  state.scratch_per_share = tile_scratch_bytes(k);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

Status run_sparse_product(const Run& run) {
  const auto& state = run.state_as<SparseState>();
  ProgramOperand operands[kProgramOperands];
  const SparseArgs args = {bind_conv_args(run, state.args.conv, state.epilogue, operands), state.args.shared_panels};
  const SparseTable& table = select_sparse_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int share) {
    table.conv(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace hussar::cpu
