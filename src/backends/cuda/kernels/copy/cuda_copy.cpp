// cuda_copy: operators that only move elements: Transpose, Reformat, Expand, Tile, DepthToSpace, SpaceToDepth, Slice,
// Concat, Split and reshapes that are not views. Each is one strided copy or a few.
#include "backends/cuda/copy_nest.h"
#include "backends/cuda/elementwise_launch.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr size_t kMostPieces = 16;
constexpr std::string_view kLoops = "hussar_loops";

// Tensor 0 of the nest is the output, tensor 1 the input; offsets in elements.
struct Piece {
  LoopNest nest;
  size_t input = 0, output = 0;  // of the step
  int64_t input_offset = 0, output_offset = 0;
};

bool is_reshape(std::string_view op) {
  return is_one_of(op, {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"});
}

int64_t integer_at(const Operand& operand, int64_t index) {
  return operand.dtype == DType::kInt32 ? operand.as<int32_t>()[index] : operand.as<int64_t>()[index];
}

std::vector<Piece> tile_pieces(std::span<const Operand> inputs, const Operand& y) {
  const Operand& x = inputs[0];
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {}, from[kMaxRank] = {}, to[kMaxRank] = {};
  strides_of(x, in);
  strides_of(y, out);
  Shape sizes;
  auto add = [&](int64_t size, int64_t input, int64_t output) {
    from[sizes.rank()] = input;
    to[sizes.rank()] = output;
    sizes.push_back(size);
  };
  for (int axis = 0; axis < x.shape.rank(); ++axis) {
    const int64_t repeats = integer_at(inputs[1], axis);
    if (repeats != 1) add(repeats, 0, x.shape[axis] * out[axis]);
    add(x.shape[axis], in[axis], out[axis]);
  }
  return {{copy_nest(sizes, from, to)}};
}

// Loops over batch, channels, rows, rows of a block, columns and columns of a block; `deep` has blocks as channels.
std::vector<Piece> block_pieces(const Attributes& attributes, const Operand& x, const Operand& y, bool to_space) {
  const Operand &deep = to_space ? x : y, &wide = to_space ? y : x;
  int64_t in_deep[kMaxRank] = {}, in_wide[kMaxRank] = {};
  strides_of(deep, in_deep);
  strides_of(wide, in_wide);
  const int64_t block = attributes.get_int("blocksize", 1), channels = wide.shape[1];
  // Whether the channels of a block are counted first.
  const bool by_block = !to_space || attributes.get_string("mode", "DCR") == "DCR";
  const int64_t step = by_block ? channels * in_deep[1] : in_deep[1];
  const Shape sizes{deep.shape[0], channels, deep.shape[2], block, deep.shape[3], block};
  const int64_t of_deep[] = {
      in_deep[0], by_block ? in_deep[1] : block * block * in_deep[1], in_deep[2], block * step, in_deep[3], step};
  const int64_t of_wide[] = {in_wide[0], in_wide[1], block * in_wide[2], in_wide[2], block * in_wide[3], in_wide[3]};
  return {{to_space ? copy_nest(sizes, of_deep, of_wide) : copy_nest(sizes, of_wide, of_deep)}};
}

std::vector<Piece> slice_pieces(std::span<const Operand> inputs, const Operand& y) {
  const Operand& x = inputs[0];
  const int rank = x.shape.rank();
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {}, first = 0;
  strides_of(x, in);
  strides_of(y, out);
  for (int64_t i = 0; i < inputs[1].shape.elements(); ++i) {
    int64_t axis = inputs.size() > 3 && inputs[3].present() ? integer_at(inputs[3], i) : i;
    if (axis < 0) axis += rank;
    const int64_t length = x.shape[static_cast<int>(axis)];
    int64_t start = integer_at(inputs[1], i);
    if (start < 0) start += length;
    first += std::clamp<int64_t>(start, 0, std::max<int64_t>(length - 1, 0)) * in[axis];
    // A step that is longer than the axis takes one element, however long it is.
    if (inputs.size() > 4 && inputs[4].present()) {
      in[axis] *= std::clamp<int64_t>(integer_at(inputs[4], i), -length - 1, length + 1);
    }
  }
  return {{copy_nest(y.shape, in, out), 0, 0, first, 0}};
}

// Concat writes parts of its output, Split reads parts of its input.
std::vector<Piece> part_pieces(const Attributes& attributes, std::span<const Operand> parts, const Operand& whole,
                               bool joins) {
  const int rank = whole.shape.rank();
  int64_t axis = attributes.get_int("axis", 0), offset = 0;
  if (axis < 0) axis += rank;
  int64_t of_whole[kMaxRank] = {};
  strides_of(whole, of_whole);
  std::vector<Piece> pieces;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].present()) continue;
    int64_t of_part[kMaxRank] = {};
    strides_of(parts[i], of_part);
    Piece piece;
    piece.nest = joins ? copy_nest(parts[i].shape, of_part, of_whole) : copy_nest(parts[i].shape, of_whole, of_part);
    (joins ? piece.input : piece.output) = i;
    (joins ? piece.output_offset : piece.input_offset) = offset * of_whole[axis];
    offset += parts[i].shape[static_cast<int>(axis)];
    pieces.push_back(piece);
  }
  return pieces;
}

std::vector<Piece> pieces_of(std::string_view op, const Attributes& attributes, std::span<const Operand> inputs,
                             std::span<const Operand> outputs) {
  const Operand& x = inputs[0];
  const Operand& y = outputs[0];
  if (op == "Transpose") return {{transpose_nest(attributes, x, y)}};
  if (op == "Slice") return slice_pieces(inputs, y);
  if (op == "Concat") return part_pieces(attributes, inputs, y, true);
  if (op == "Split") return part_pieces(attributes, outputs, x, false);
  if (op == "Tile") return tile_pieces(inputs, y);
  if (op == "DepthToSpace" || op == "SpaceToDepth") return block_pieces(attributes, x, y, op == "DepthToSpace");
  if (!is_reshape(op)) return {{expand_nest(x, y)}};  // Reformat, too
  const int64_t one = 1;
  return {{copy_nest(Shape{y.shape.elements()}, &one, &one)}};
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  const bool is_known =
      is_reshape(node.op) || is_one_of(node.op, {"Transpose", "hussar.Reformat", "Expand", "Slice", "Concat", "Split",
                                                 "Tile", "DepthToSpace", "SpaceToDepth"});
  if (!is_known) return "op";
  if (node.program) return "fused program";
  if (Refusal refusal = refuse_op(problem, {node.op})) return refusal;
  const size_t size = dtype_size(problem.dtype(0));
  if (size == 0 || size > 8) return "dtype";
  if (node.inputs.size() > kMostPieces || node.outputs.size() > kMostPieces) return "number of operands";
  if (is_reshape(node.op)) {
    const bool is_plain = problem.input(0)->layout == Layout::kPlain && problem.output()->layout == Layout::kPlain;
    if (!is_plain) return "layout";
  }
  for (size_t i = 1; node.op != "Concat" && i < node.inputs.size(); ++i) {
    const Value* input = node.inputs[i];
    if (input != nullptr && !input->is_constant()) return "needs constant positions";
  }
  if (node.op == "Tile" && 2 * problem.input(0)->rank() > kMaxRank) return "rank";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

int vector_of(const std::vector<Piece>& pieces, const Node& node) {
  int vector = 8;
  for (const Piece& piece : pieces) {
    const bool is_contiguous = piece.nest.strides[1][piece.nest.rank - 1] == 1;
    vector = std::min(vector, is_contiguous ? piece.nest.vector() : 1);
    const int64_t places[] = {piece.input_offset, piece.output_offset, offset_in_holder(*node.inputs[piece.input]),
                              offset_in_holder(*node.outputs[piece.output])};
    for (int64_t place : places) {
      while (place % vector != 0) vector /= 2;
    }
  }
  return vector;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  std::vector<Operand> inputs, outputs;
  for (const Value* value : node.inputs) inputs.push_back(value != nullptr ? operand_of(*value) : Operand{});
  for (const Value* value : node.outputs) outputs.push_back(value != nullptr ? operand_of(*value) : Operand{});
  const std::vector<Piece> pieces = pieces_of(node.op, node.attributes, inputs, outputs);
  LoopNest widest;
  widest.tensors = 2;
  for (const Piece& piece : pieces) widest.rank = std::max(widest.rank, piece.nest.rank);
  constexpr std::string_view kTypes[] = {"", "unsigned char", "unsigned short", "", "unsigned int", "", "",
                                         "", "long long"};
  const std::string_view type = kTypes[dtype_size(inputs[0].dtype)];
  Defines defines;
  define_loops(widest, vector_of(pieces, node), kLoops, node, defines);
  defines.set("OUTPUT_TYPE", type).set("COMPUTE_TYPE", type);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "elementwise.cuh", "copy.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kLoops);
  return {};
}

struct State {
  size_t count;
  struct {
    ElementwiseLaunch launch;
    size_t input, output;
    int64_t input_offset, output_offset;  // bytes
  } pieces[kMostPieces];
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const std::vector<Piece> pieces =
      pieces_of(prepare.step.op, prepare.step.attributes, prepare.inputs, prepare.outputs);
  HUSSAR_CHECK(pieces.size() <= kMostPieces, ErrorCode::kPlanIncompatible, "step '{}' has too many operands",
               prepare.step.name);
  const auto size = static_cast<int64_t>(dtype_size(prepare.inputs[0].dtype));
  state.count = pieces.size();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    HUSSAR_TRY(prepare_elementwise(prepare, piece.nest, kLoops, state.pieces[i].launch));
    state.pieces[i].input = piece.input;
    state.pieces[i].output = piece.output;
    state.pieces[i].input_offset = piece.input_offset * size;
    state.pieces[i].output_offset = piece.output_offset * size;
  }
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  for (size_t i = 0; i < state.count; ++i) {
    const auto& piece = state.pieces[i];
    const std::byte* const input = run.inputs[piece.input].data + piece.input_offset;
    HUSSAR_TRY(
        launch_elementwise(run, piece.launch, {&input, 1}, run.outputs[piece.output].data + piece.output_offset));
  }
  return {};
}

}  // namespace

extern const Kernel cuda_copy_kernel = {
    .name = "cuda_copy", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_copy_tactic = {
    .kernel = "cuda_copy", .place = Place::kDevice, .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
