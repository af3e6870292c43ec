// cuda_reduce: sums, means, extremes, products and norms over any constant axes, GlobalAveragePool and GlobalMaxPool,
// the former of bytes, too.
#include <fmt/format.h>

#include "backends/cuda/copy_nest.h"
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

// What is done with x, with totals a and b, and with the last total.
struct Reduction {
  std::string_view op, init, map, combine, finish = "a";
  bool takes_integers = false;
};
constexpr Reduction kReductions[] = {
    {"ReduceSum", "0", "x", "a + b", "a", true},
    {"ReduceMean", "0", "x", "a + b", "a / divisor"},
    {"ReduceL1", "0", "x < 0 ? -x : x", "a + b", "a", true},
    {"ReduceL2", "0", "x * x", "a + b", "sqrtf(a)"},
    {"ReduceSumSquare", "0", "x * x", "a + b", "a", true},
    {"ReduceLogSum", "0", "x", "a + b", "logf(a)"},
    {"ReduceProd", "1", "x", "a * b", "a", true},
    {"ReduceMax", "lowest", "x", "most", "a", true},
    {"ReduceMin", "highest", "x", "least", "a", true},
    {"GlobalAveragePool", "0", "x", "a + b", "a / divisor"},
    {"GlobalMaxPool", "lowest", "x", "most"},
    {"hussar.GlobalAverageBytes", "0", "x", "a + b",
     "static_cast<float>(a - ZERO_POINT * work.count) * (SCALE / divisor)"},
};
constexpr std::string_view kAverageBytes = "hussar.GlobalAverageBytes";
constexpr std::string_view kForm = "hussar_reduce";
constexpr int64_t kManySlices = 8;

const Reduction* find_reduction(std::string_view op) {
  for (const Reduction& reduction : kReductions) {
    if (reduction.op == op) return &reduction;
  }
  return nullptr;
}

bool takes_types(const Reduction& reduction, DType x, DType y) {
  if (reduction.op == kAverageBytes) return x == DType::kUInt8 && (y == DType::kUInt8 || is_float(y));
  return !memory_type(x).empty() && y == x && (is_float(x) || reduction.takes_integers);
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  const Reduction* reduction = find_reduction(node.op);
  if (reduction == nullptr) return "op";
  if (node.program) return "fused program";
  if (Refusal refusal = refuse_op(problem, {node.op})) return refusal;
  const Value &x = *problem.input(0), &y = *problem.output();
  if (x.rank() < 1) return "rank";
  if (!takes_types(*reduction, x.dtype, y.dtype)) return "dtype";
  if (problem.input(1) != nullptr && !problem.is_constant(1)) return "needs constant axes";
  const bool has_axes = problem.input(1) != nullptr && problem.input(1)->constant->elements() > 0;
  if (!has_axes && node.attributes.get_int("noop_with_empty_axes", 0) != 0) return "no axes";
  // An output without the reduced axes has another rank than a channels-last one could have.
  if (y.layout == Layout::kChannelsLast && x.rank() != y.rank()) return "layout of the output";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

struct Loops {
  LoopNest kept;     // tensor 0: the output, tensor 1: the input
  LoopNest reduced;  // tensor 0: the input
};

void add_loop(LoopNest& nest, int64_t size, int64_t first, int64_t second) {
  nest.dims[nest.rank] = size;
  nest.strides[0][nest.rank] = first;
  nest.strides[1][nest.rank] = second;
  ++nest.rank;
}

Loops loops_of(std::string_view op, std::span<const Operand> inputs, const Operand& y) {
  const Operand& x = inputs[0];
  const int rank = x.shape.rank();
  const Operand* axes = inputs.size() > 1 && inputs[1].present() ? &inputs[1] : nullptr;
  const int64_t count = axes != nullptr ? axes->shape.elements() : 0;
  const bool is_global = op.starts_with("Global") || op == kAverageBytes;
  bool reduced[kMaxRank] = {};
  for (int axis = 0; axis < rank; ++axis) reduced[axis] = is_global ? axis >= 2 : count == 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t axis = axes->dtype == DType::kInt32 ? axes->as<int32_t>()[i] : axes->as<int64_t>()[i];
    reduced[axis_from_front(axis, rank)] = true;
  }
  int64_t in[kMaxRank] = {}, out[kMaxRank] = {};
  strides_of(x, in);
  strides_of(y, out);
  int order[kMaxRank] = {}, output_axis[kMaxRank] = {};
  for (int axis = 0, next = 0; axis < rank; ++axis) {
    order[axis] = axis;
    output_axis[axis] = y.shape.rank() == rank ? axis : next;
    next += reduced[axis] ? 0 : 1;
  }
  std::stable_sort(order, order + rank, [&](int a, int b) { return in[a] > in[b]; });
  Loops loops;
  loops.kept.rank = loops.reduced.rank = 0;
  loops.kept.tensors = 2;
  loops.reduced.tensors = 1;
  for (int i = 0; i < rank; ++i) {
    const int axis = order[i];
    if (reduced[axis]) {
      add_loop(loops.reduced, x.shape[axis], in[axis], 0);
    } else {
      add_loop(loops.kept, x.shape[axis], out[output_axis[axis]], in[axis]);
    }
  }
  if (loops.kept.rank == 0) add_loop(loops.kept, 1, 0, 0);
  if (loops.reduced.rank == 0) add_loop(loops.reduced, 1, 0, 0);
  merge(loops.kept);
  merge(loops.reduced);
  return loops;
}

int64_t inner_stride(const LoopNest& nest) { return nest.strides[0][nest.rank - 1]; }

// The reduced elements lie side by side.
bool has_rows(const Loops& loops) { return inner_stride(loops.reduced) == 1 && loops.reduced.elements() > 1; }

bool fits_vector(const Loops& loops, int64_t vector) {
  bool fits = vector == 1 || inner_stride(loops.reduced) == 1;
  fits = fits && loops.reduced.dims[loops.reduced.rank - 1] % vector == 0;
  for (int axis = 0; axis + 1 < loops.reduced.rank; ++axis) fits = fits && loops.reduced.strides[0][axis] % vector == 0;
  for (int axis = 0; axis < loops.kept.rank; ++axis) fits = fits && loops.kept.strides[1][axis] % vector == 0;
  return fits;
}

std::string limit_of(DType dtype, bool lowest) {
  if (is_float(dtype)) return fmt::format("__uint_as_float(0x{}f800000U)", lowest ? "f" : "7");
  const int bits = static_cast<int>(8 * dtype_size(dtype));
  if (dtype == DType::kBool) return lowest ? "0" : "1";
  const bool has_sign =
      dtype == DType::kInt8 || dtype == DType::kInt16 || dtype == DType::kInt32 || dtype == DType::kInt64;
  if (!has_sign) return lowest ? "0" : fmt::format("{}LL", (uint64_t{1} << bits) - 1);
  const int64_t highest = static_cast<int64_t>((uint64_t{1} << (bits - 1)) - 1);
  return lowest ? fmt::format("(-{}LL - 1)", highest) : fmt::format("{}LL", highest);
}

void define_operation(const Reduction& reduction, DType dtype, Defines& defines) {
  const bool floats = is_float(dtype);
  std::string init(reduction.init), combine(reduction.combine);
  if (init == "lowest" || init == "highest") init = limit_of(dtype, init == "lowest");
  if (combine == "most") combine = floats ? "f_max(a, b)" : "a > b ? a : b";
  if (combine == "least") combine = floats ? "f_min(a, b)" : "a < b ? a : b";
  // The parameters of macros are expressions.
  auto in_parentheses = [](std::string text) {
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
      auto is_letter = [&](size_t at) { return at < text.size() && (std::isalnum(text[at]) != 0 || text[at] == '_'); };
      const bool alone = is_letter(i) && !is_letter(i + 1) && (i == 0 || !is_letter(i - 1));
      const bool is_parameter = alone && (text[i] == 'a' || text[i] == 'b' || text[i] == 'x');
      result += is_parameter ? fmt::format("({})", text[i]) : std::string(1, text[i]);
    }
    return "(" + result + ")";
  };
  defines.set("VALUE", register_type(dtype)).set("INIT", init);
  defines.set("MAP(x)", in_parentheses(std::string(reduction.map)));
  defines.set("COMBINE(a, b)", in_parentheses(combine));
  defines.set("FINISH(a, divisor)", in_parentheses(std::string(reduction.finish)));
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& x = *node.inputs[0];
  std::vector<Operand> inputs;
  for (const Value* value : node.inputs) inputs.push_back(value != nullptr ? operand_of(*value) : Operand{});
  const Loops loops = loops_of(node.op, inputs, operand_of(*node.outputs[0]));
  const bool rows = has_rows(loops);
  const int64_t count = loops.reduced.elements();
  int64_t vector = rows ? 16 / static_cast<int64_t>(std::max<size_t>(dtype_size(x.dtype), 2)) : 1;
  while (vector > 1 && (count < 32 * vector || !fits_vector(loops, vector) || offset_in_holder(x) % vector != 0)) {
    vector /= 2;
  }
  const int64_t group = count > 2048 ? 256 : 32;
  const int64_t slices = count >= 16 ? kManySlices : 1;
  node.attributes.set(kForm, Ints{loops.kept.rank, loops.reduced.rank, vector, rows ? 256 / group : 256 / slices});
  Defines defines;
  defines.set("KEPT", loops.kept.rank).set("REDUCED", loops.reduced.rank).set("ROWS", rows ? 1 : 0);
  defines.set("VECTOR", vector).set("GROUP", group).set("SLICES", slices);
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("OUTPUT_TYPE", result_type(node));
  if (node.op == kAverageBytes) {
    defines.set("SCALE", literal(node.attributes.get_float("x_scale", 1)));
    defines.set("ZERO_POINT", fmt::format("{}LL", node.attributes.get_int("x_zero_point", 0)));
    define_results(node, true, defines);
  }
  define_operation(*find_reduction(node.op), x.dtype, defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh", "reduce.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kForm);
  return {};
}

struct State {
  Launch launch;
  Loops loops;
  ByteMeaning meaning;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state.loops = loops_of(prepare.step.op, prepare.inputs, prepare.outputs[0]);
  state.meaning = byte_meaning(prepare.step.attributes);
  const Ints form = prepare.step.attributes.get_ints(kForm);
  bool fits = form.size() == 4 && form[2] >= 1 && form[2] <= 8 && form[3] >= 1 && form[3] <= 256;
  fits = fits && fits_vector(state.loops, form[2]) && pad_loops(state.loops.kept, form[0]) &&
         pad_loops(state.loops.reduced, form[1]);
  fits = fits && state.loops.reduced.elements() < INT32_MAX;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  state.launch = Launch{};
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "reduce"));
  state.launch.threads = 256;
  state.launch.grid[0] = blocks_for(state.loops.kept.elements(), static_cast<int>(form[3]));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const LoopNest &kept = state.loops.kept, &reduced = state.loops.reduced;
  Words words;
  auto put = [&words](const int64_t* values, int count) {
    for (int i = 0; i < count; ++i) words.put(values[i]);
  };
  words.put(kept.elements());
  words.put(reduced.elements());
  put(kept.dims, kept.rank);
  put(kept.strides[1], kept.rank);
  put(kept.strides[0], kept.rank);
  put(reduced.dims, reduced.rank);
  put(reduced.strides[0], reduced.rank);
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  words.put_float(static_cast<float>(reduced.elements()));
  state.meaning.put(words);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_reduce_kernel = {
    .name = "cuda_reduce", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_reduce_tactic = {.kernel = "cuda_reduce",
                                          .place = Place::kDevice,
                                          .supports = supports,
                                          .cost = cost,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
