// cuda_projected_attention: a product that makes queries, keys and values, and the attention that reads them, as one
// kernel on Hopper, for sequences of up to 128 rows.
#include "backends/cuda/attention_work.h"
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"
#include "tensor/projected_attention.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kTile = "hussar_tile";
// The tile of device/projected_attention.cuh.
constexpr int64_t kRows = 128, kColumns = 192, kPart = kColumns / 3, kRowBytes = 128, kThreads = 384;

// Blocks whose sequences follow each other share the weights of their head (PRODUCT_CLUSTER_M), as a configuration.
constexpr std::string_view kPair = "pair";
int64_t blocks_of(const Node& node) { return node.attributes.get_string(kConfigurationAttribute, "") == kPair ? 2 : 1; }

// PRODUCT_STAGES fill what the results leave of a block's shared memory, with biases and alignment.
int64_t stages_for(DType result) { return dtype_size(result) == 1 ? 5 : 4; }
int64_t shared_bytes(DType result) {
  const int64_t stage = (kRows + kColumns) * kRowBytes + 16;
  return 2048 + stages_for(result) * stage + kRows * kColumns * static_cast<int64_t>(dtype_size(result));
}

// The two nodes that a node stands for, in a graph of their own that shares its constants. Input i of the product is
// input i of the node.
struct Parts {
  Graph graph;
  Node *product = nullptr, *attention = nullptr;
};

Value* copy_of(const Value* value, Graph& graph) {
  if (value == nullptr) return nullptr;
  Value* copy = value->is_constant() ? graph.add_constant(value->name, *value->constant)
                                     : graph.add_value(value->name, value->dtype, value->dims);
  copy->layout = value->layout;
  return copy;
}

DType type_of_rows(const Node& product) {
  if (product.op == "MatMul") return product.inputs[projected::kX]->dtype;
  const Attributes& attributes = product.attributes;
  if (attributes.has("y_scale")) return DType::kUInt8;
  return static_cast<DType>(attributes.get_int("y_type", static_cast<int64_t>(DType::kFloat32)));
}

// Of a node that inference has accepted.
Parts parts_of(const Node& node) {
  using namespace projected;
  Parts parts;
  std::vector<Value*> inputs;
  for (size_t i = 0; i < kInputs; ++i) inputs.push_back(copy_of(node.input(i), parts.graph));
  std::vector<Value*> factors(inputs.begin(), inputs.begin() + kMask);
  while (factors.back() == nullptr) factors.pop_back();
  Value* rows = parts.graph.add_value("rows");
  parts.product = parts.graph.add_node(std::string(product_of(node.op)), node.name, factors, {rows},
                                       product_attributes(node.attributes));
  rows->dtype = type_of_rows(*parts.product);
  rows->dims = inputs[kX]->dims;
  rows->dims->back() = inputs[kW]->dims->back();
  if (node.op == kProjectedAttention && factors.size() > kFloatBias) {
    parts.product->program = sum_with_bias();
    parts.product->program_inputs = 2;
  }
  const std::string attention = node.attributes.get_string(kAttention, "");
  std::vector<Value*> operands = {rows, rows, rows};
  if (attention == "hussar.QuantizedAttention") operands.insert(operands.end(), inputs.begin() + kQScale, inputs.end());
  if (inputs[kMask] != nullptr) operands.push_back(inputs[kMask]);
  parts.attention = parts.graph.add_node(attention, node.name, operands, {copy_of(node.outputs[0], parts.graph)},
                                         attention_attributes(node.attributes));
  return parts;
}

// What the attention has to be: of all columns of the product in turn, each head of the queries with keys of its own.
bool fits(const AttentionWork& work, int64_t columns) {
  const int64_t hidden = work.heads * work.head;
  return (work.head == 32 || work.head == 64) && work.v_head == work.head && work.kv_heads == work.heads &&
         columns == 3 * hidden && hidden % kPart == 0 && work.q.offset == 0 && work.k.offset == hidden &&
         work.v.offset == 2 * hidden && work.queries == work.keys && work.queries <= kRows;
}

Refusal refuse_attention(const Node& attention, const Target& target) {
  const Problem problem{attention, target};
  const DType rows = problem.dtype(0);
  if (Refusal refusal = rows == DType::kUInt8 ? check_byte_attention(problem) : check_attention(problem))
    return refusal;
  if (rows != DType::kUInt8 && !is_half(rows)) return "dtype";
  const Attributes& attributes = attention.attributes;
  for (const char* name : {"causal", "head_major", "k_transposed"}) {
    if (attributes.get_int(name, 0) != 0) return name;
  }
  auto work = attention_work(attention);
  if (!work || !fits(*work, known_elements(*attention.inputs[0]->dims, 2, 3))) return "heads, or length of sequences";
  // They would not leave the product the registers that it needs.
  if (work->mask[2] != 0) return "a mask of its own for every query";
  return std::nullopt;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kProjectedAttention, kQuantizedProjectedAttention})) return refusal;
  if (problem.target.sm != 90) return "needs Hopper (sm_90)";
  if (problem.node.program) return "fused program";
  if (!all_plain(problem.node)) return "layout";
  const Value* x = problem.input(projected::kX);
  if (x->rank() != 3 || !(*x->dims)[1].is_constant()) return "length of sequences";
  const Parts parts = parts_of(problem.node);
  const Problem product{*parts.product, problem.target};
  if (Refusal refusal = check_dense_product(product)) return refusal;
  if (Refusal refusal = check_hopper(product)) return refusal;
  if (product.dtype(0) == DType::kFloat32 || product.dtype(0) == kFp8) return "dtype";
  return refuse_attention(*parts.attention, problem.target);
}

// Tiles one after the other: products as in tiles of other products, their ends, and the attention of 128 rows, as one
// of 132 multiprocessors does it.
double cost(const Problem& problem) {
  constexpr double kMultiprocessors = 132, kStart = 1.5;
  const Parts parts = parts_of(problem.node);
  auto product = dense_product(*parts.product);
  auto work = attention_work(*parts.attention);
  if (!product || !work) return 1e9;
  const double tiles = static_cast<double>(work->batch) * static_cast<double>(product->n) / kColumns;
  const HopperOperands operands{problem.dtype(0), product->k};
  const double sums = hopper_sums(kRows, kColumns, product->k, operands);
  // By what 8 sequences of 128 tokens took on an H200: 9.6 us in bytes, 16.1 in halves (docs/decisions.md).
  const bool on_bytes = dtype_size(type_of_rows(*parts.product)) == 1;
  const double of_element = on_bytes ? 0.8e-4 : 1e-4, flops = on_bytes ? 4e6 : 2e6;
  const double attention = attention_flops(Problem{*parts.attention, problem.target}) / tiles / flops;
  const double of_tile = sums + attention + of_element * static_cast<double>(kRows * kColumns);
  return std::max(memory_cost(problem), kStart + std::ceil(tiles / kMultiprocessors) * of_tile);
}

std::vector<Configuration> configurations(const Problem& problem) {
  constexpr double kAmongEqual = 1.01;
  const Dim& batch = problem.input(projected::kX)->dims->front();
  if (batch.is(1)) return {};
  return {{kPair, kAmongEqual * cost(problem)}};
}

// Of weights in one copy: a part of a tile, 64 columns, or what two blocks can share.
int64_t rows_of_copy(int64_t blocks) { return blocks == 1 ? 64 : 32; }

Status pack(Packing& packing) {
  Node& node = packing.node;
  Parts parts = parts_of(node);
  Packing inner(parts.graph, *parts.product, packing.target);
  const Tensor weights = *node.inputs[projected::kW]->constant;
  make_table(inner);
  packing.replace(projected::kW, transposed(weights).reshaped(weights.shape()));
  if (node.op == kQuantizedProjectedAttention)
    packing.replace(projected::kWScale, *parts.product->inputs[projected::kWScale]->constant);

  const Node &product = *parts.product, &attention = *parts.attention;
  const DType rows = attention.inputs[0]->dtype;
  const AttentionWork work = HUSSAR_TRY(attention_work(attention));
  const DenseProduct sizes = HUSSAR_TRY(dense_product(product));
  const bool pairs = has_mask_pairs(work);
  const int64_t blocks = blocks_of(node);
  node.attributes.set(kTile, Ints{work.queries, pairs, blocks});
  Defines defines;
  define_results(attention.attributes.has("y_scale") ? attention : product, true, defines);
  define_types(product, product_input(product.inputs[0]->dtype, packing.target), defines);
  defines.set("PRODUCT_HEADS", 1).set("PRODUCT_DEPENDENT_LAUNCH", 1).set("PRODUCT_EPILOGUE_BATCH", 4);
  defines.set("PRODUCT_N", sizes.n).set("PRODUCT_K", sizes.k).set("PRODUCT_BM", kRows).set("PRODUCT_BN", kColumns);
  defines.set("PRODUCT_PINGPONG", 0).set("PRODUCT_STAGES", stages_for(rows));
  defines.set("PRODUCT_CLUSTER_M", blocks).set("PRODUCT_W_ROWS", rows_of_copy(blocks)).set("TOKENS", work.queries);
  define_attention(attention, defines);
  defines.set("ATTENTION_BYTES", rows == DType::kUInt8).set("TF32", 0).set("BF16", rows == DType::kBFloat16);
  defines.set("WARPS", 8).set("SPLIT", 1).set("STEPS", 4).set("GROUPS", 1);
  defines.set("MASK_PAIRS", pairs).set("MASK_ROWS", 0);
  const std::string_view pieces = rows == DType::kUInt8 ? "attention_int8_pieces.cuh" : "attention_tensor_pieces.cuh";
  return attach_code(
      packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(product)) +
                   assemble({}, {"half.cuh", "product_contract.cuh", "hopper_pipeline.cuh", "hopper_wgmma.cuh",
                                 "hopper_work.cuh", "hopper_tiles.cuh", "shared_copies.cuh"}) +
                   "namespace heads {\n" + assemble({}, {"attention.cuh", "attention_pieces.cuh", pieces}) + "}\n" +
                   assemble({}, {"projected_attention.cuh"}));
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  node.attributes.erase(kTile);
  const Value* weights = node.input(projected::kW);
  HUSSAR_CHECK(weights != nullptr && weights->is_constant() && weights->constant->shape().rank() == 2,
               ErrorCode::kPlanIncompatible, "{}: its weights are not what they were", describe(node));
  const Shape shape = weights->constant->shape();
  packing.replace(projected::kW, transposed(weights->constant->reshaped({shape[1], shape[0]})));
  if (node.op != kQuantizedProjectedAttention) return {};
  // Nothing else of the node has been looked at.
  Graph graph;
  Value* table = copy_of(node.input(projected::kWScale), graph);
  Node* product = graph.add_node(std::string(projected::product_of(node.op)), node.name, {nullptr, nullptr, table}, {});
  Packing inner(graph, *product, packing.target);
  HUSSAR_TRY(forget_table(inner));
  packing.replace(projected::kWScale, *product->inputs[projected::kWScale]->constant);
  return {};
}

struct State {
  Launch launch;
  ProductSizes sizes;
  EpilogueState epilogue;
  TileMap x, w;
  AttentionWork work;
  ByteMeaning meaning;
};

// The parts of a step, of its shapes of the day.
Parts parts_of(const Prepare& prepare) {
  Graph graph;
  auto value_of = [&](const Operand& operand) {
    const Shape& shape = operand.shape;
    return operand.present() ? graph.add_value("", operand.dtype, Dims(shape.begin(), shape.end())) : nullptr;
  };
  std::vector<Value*> inputs;
  for (const Operand& input : prepare.inputs) inputs.push_back(value_of(input));
  Value* y = value_of(prepare.outputs[0]);
  return parts_of(*graph.add_node(prepare.step.op, prepare.step.name, inputs, {y}, prepare.step.attributes));
}

Status prepare_epilogue(const Prepare& prepare, const Node& product, EpilogueState& epilogue) {
  PlanStep step;
  step.op = product.op;
  step.name = prepare.step.name;
  step.attributes = product.attributes;
  step.program = product.program;
  step.program_inputs = product.program_inputs;
  for (size_t i = 0; i < product.inputs.size(); ++i)
    step.inputs.push_back(product.inputs[i] != nullptr ? static_cast<int32_t>(i) : -1);
  const Operand rows = operand_of(*product.outputs[0]);
  const Prepare inner{step, prepare.inputs.first(step.inputs.size()), {&rows, 1}, prepare.threads, prepare.state};
  return epilogue.prepare(inner);
}

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const Parts parts = parts_of(prepare);
  const Node &product = *parts.product, &attention = *parts.attention;
  state.work = HUSSAR_TRY(attention_work(attention));
  const Shape &x = prepare.inputs[projected::kX].shape, &weights = prepare.inputs[projected::kW].shape;
  const Ints known = prepare.step.attributes.get_ints(kTile);
  const bool is_same = known.size() == 3 && (known[2] == 1 || known[2] == 2) && known[0] == state.work.queries &&
                       fits(state.work, weights[1]) && (known[1] == 0 || has_mask_pairs(state.work)) &&
                       state.work.mask[2] == 0;
  HUSSAR_CHECK(is_same, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  HUSSAR_CHECK(state.work.batch * x[1] < (int64_t{1} << 31), ErrorCode::kUsage, "step '{}': the batch is too large",
               prepare.step.name);
  HUSSAR_TRY(prepare_epilogue(prepare, product, state.epilogue));
  const int64_t n = weights[1], k = weights[0], rows = x[1];
  state.sizes = {k,
                 k,
                 n,
                 rows * k,
                 0,
                 rows * n,
                 static_cast<int32_t>(rows),
                 static_cast<int32_t>(n),
                 static_cast<int32_t>(k),
                 static_cast<int32_t>(state.work.batch)};
  state.meaning = byte_meaning(attention.attributes);
  const DType dtype = prepare.inputs[projected::kX].dtype;
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  const auto box = static_cast<uint32_t>(kRowBytes / size);
  auto wide = [](int64_t number) { return static_cast<uint64_t>(number); };
  state.x = {dtype,
             3,
             {wide(k), wide(rows), wide(state.work.batch)},
             {wide(k * size), wide(rows * k * size)},
             {box, static_cast<uint32_t>(kRows), 1}};
  state.w = hopper_weights(dtype, n, k, rows_of_copy(known[2]), box);
  const DType result = product.outputs[0]->dtype;
  const int64_t blocks = known[2], clusters = (state.work.batch + blocks - 1) / blocks * (n / kColumns);
  const int64_t slots = std::max<int64_t>(queue_of(prepare.device).facts().multiprocessors / blocks, 1);
  state.launch = Launch{};
  state.launch.grid[0] = static_cast<unsigned>(std::min(clusters, slots) * blocks);
  state.launch.threads = kThreads;
  state.launch.shared_bytes = static_cast<unsigned>(shared_bytes(result));
  state.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "projected_attention", state.launch.shared_bytes));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.work.batch == 0) return {};
  Queue& queue = queue_of(run.device);
  auto data_of = [&](size_t i) { return i < run.inputs.size() ? run.inputs[i].data : nullptr; };
  TensorMap x = HUSSAR_TRY(queue.encode(state.x, data_of(projected::kX)));
  TensorMap w = HUSSAR_TRY(queue.encode(state.w, data_of(projected::kW)));
  ProductSizes sizes = state.sizes;
  Words operands, attention, meaning;
  state.epilogue.put(run, operands);
  AttentionData data;
  data.mask = data_of(projected::kMask);
  data.y = run.outputs[0].data;
  put_attention(state.work, data, attention);
  for (size_t scale : {projected::kQScale, projected::kKScale, projected::kVScale}) attention.put(data_of(scale));
  state.meaning.put(meaning);
  void* const arguments[] = {&x, &w, &sizes, operands.data(), attention.data(), meaning.data()};
  return queue.launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_projected_attention_kernel = {.name = "cuda_projected_attention",
                                                       .place = Place::kDevice,
                                                       .state_bytes = sizeof(State),
                                                       .prepare = prepare,
                                                       .run = run};
extern const Tactic cuda_projected_attention_tactic = {.kernel = "cuda_projected_attention",
                                                       .place = Place::kDevice,
                                                       .supports = supports,
                                                       .cost = cost,
                                                       .configurations = configurations,
                                                       .pack = pack,
                                                       .unpack = unpack};

}  // namespace hussar
