// Where the heads of attention lie.
#include "backends/cuda/attention_work.h"

#include <cmath>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"

namespace hussar::cuda {
namespace {

enum Bit : int64_t { kQ = 1, kK = 2, kV = 4, kOut = 8 };
// The inputs that are not always there. Bytes have scales before them.
struct Optional {
  size_t mask, starts;
};
Optional optional_inputs(DType dtype) { return dtype == DType::kUInt8 ? Optional{6, 7} : Optional{3, 4}; }
constexpr size_t kScales = 3;  // of q, k and v, one after the other

AttentionWork::Side side_of(const Operand& operand, bool head_major, int64_t offset, int64_t dim) {
  const Shape& shape = operand.shape;
  if (head_major) return {0, shape.elements(1, 4), shape.elements(2, 4), shape[3], 1};
  return {offset, shape[1] * shape[2], dim, shape[2], 1};
}

}  // namespace

Refusal check_attention(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.Attention"})) return refusal;
  if (problem.node.program) return "fused program";
  for (size_t i = 0; i < 3; ++i) {
    if (!is_float(problem.dtype(i)) || problem.dtype(i) != problem.dtype(0)) return "dtype";
  }
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  const bool writes_bytes = problem.node.attributes.has("y_scale");
  const DType output = problem.output()->dtype;
  if (writes_bytes ? !is_quantized(output) : output != problem.dtype(0)) return "dtype";
  if (problem.input(3) != nullptr && !is_float(problem.dtype(3))) return "dtype";
  if (problem.input(4) != nullptr && problem.dtype(4) != DType::kInt32) return "dtype";
  return std::nullopt;
}

Refusal check_byte_attention(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.QuantizedAttention"})) return refusal;
  if (problem.node.program) return "fused program";
  for (size_t i = 0; i < 3; ++i) {
    if (problem.dtype(i) != DType::kUInt8 || problem.dtype(kScales + i) != DType::kFloat32) return "dtype";
  }
  const Attributes& attributes = problem.node.attributes;
  const DType output = problem.output()->dtype;
  if (attributes.has("y_scale") ? output != DType::kUInt8 : !is_float(output)) return "dtype";
  const auto [mask, starts] = optional_inputs(DType::kUInt8);
  if (problem.input(mask) != nullptr && !is_float(problem.dtype(mask))) return "dtype";
  if (problem.input(starts) != nullptr && problem.dtype(starts) != DType::kInt32) return "dtype";
  for (const char* name : {"q_zero_point", "k_zero_point", "v_zero_point"}) {
    if (attributes.get_int(name, 0) != 128) return "zero points other than 128";
  }
  return std::nullopt;
}

Result<AttentionWork> attention_work(const Attributes& attributes, std::span<const Operand> inputs,
                                     const Operand& output) {
  AttentionWork work;
  work.heads = attributes.get_int("heads", 1);
  work.kv_heads = attributes.get_int("kv_heads", work.heads);
  work.head = attributes.get_int("head_dim", 0);
  work.v_head = attributes.get_int("v_head_dim", work.head);
  const int64_t head_major = attributes.get_int("head_major", 0);
  const bool turned = attributes.get_int("k_transposed", 0) != 0;
  auto is_major = [&](Bit bit) { return (head_major & bit) != 0; };
  const int ranks[] = {is_major(kQ) ? 4 : 3, is_major(kK) || turned ? 4 : 3, is_major(kV) ? 4 : 3};
  for (size_t i = 0; i < 3; ++i) {
    HUSSAR_CHECK(inputs[i].shape.rank() == ranks[i], ErrorCode::kUsage, "attention with an operand of shape {}",
                 inputs[i].shape.to_string());
  }
  const Shape& k_shape = inputs[1].shape;
  work.q = side_of(inputs[0], is_major(kQ), attributes.get_int("q_offset", 0), work.head);
  work.k = turned ? AttentionWork::Side{0, k_shape.elements(1, 4), k_shape.elements(2, 4), 1, k_shape[3]}
                  : side_of(inputs[1], is_major(kK), attributes.get_int("k_offset", 0), work.head);
  work.v = side_of(inputs[2], is_major(kV), attributes.get_int("v_offset", 0), work.v_head);
  work.y = side_of(output, is_major(kOut), 0, work.v_head);
  work.batch = inputs[0].shape[0];
  work.queries = inputs[0].shape[is_major(kQ) ? 2 : 1];
  work.keys = inputs[2].shape[is_major(kV) ? 2 : 1];
  const size_t place = optional_inputs(inputs[0].dtype).mask;
  if (inputs.size() <= place || !inputs[place].present()) return work;
  const Shape& mask = inputs[place].shape;
  const int64_t sizes[] = {work.batch, work.heads, work.queries, work.keys};
  int64_t stride = 1;
  for (int axis = 3, from = mask.rank() - 1; from >= 0; --axis, --from) {
    HUSSAR_CHECK(axis >= 0 && (mask[from] == 1 || mask[from] == sizes[axis]), ErrorCode::kUsage,
                 "a mask of shape {} does not fit", mask.to_string());
    work.mask[axis] = mask[from] == 1 ? 0 : stride;
    stride *= mask[from];
  }
  return work;
}

Result<AttentionWork> attention_work(const Node& node) {
  std::vector<Operand> inputs;
  for (const Value* input : node.inputs) inputs.push_back(input != nullptr ? operand_of(*input) : Operand{});
  return attention_work(node.attributes, inputs, operand_of(*node.outputs[0]));
}

Defines attention_defines(const Node& node) {
  Defines defines;
  define_results(node, false, defines);
  define_attention(node, defines);
  return defines;
}

void define_attention(const Node& node, Defines& defines) {
  const Attributes& attributes = node.attributes;
  const auto [mask, starts] = optional_inputs(node.inputs[0]->dtype);
  const bool has_mask = node.input(mask) != nullptr;
  const int64_t head = attributes.get_int("head_dim", 1);
  const float usual = 1.0F / std::sqrt(static_cast<float>(head));
  defines.set("DATA_TYPE", memory_type(node.inputs[0]->dtype)).set("OUTPUT_TYPE", result_type(node));
  defines.set("MASK_TYPE", has_mask ? type_name(node.inputs[mask]->dtype) : "float").set("HAS_MASK", has_mask);
  defines.set("HEAD", head).set("V_HEAD", attributes.get_int("v_head_dim", head));
  defines.set("SCALE", literal(attributes.get_float("scale", usual)));
  defines.set("SOFTCAP", literal(attributes.get_float("softcap", 0)));
  defines.set("CAUSAL", attributes.get_int("causal", 0) != 0);
  defines.set("PACKED", node.input(starts) != nullptr);
}

Status prepare_attention(const Prepare& prepare, const AttentionWork& work, int64_t queries_of_block, int64_t threads,
                         int64_t shared_bytes, AttentionLaunch& launch) {
  constexpr int64_t kMostBlocks = 65535, kMostRows = int64_t{1} << 30;
  HUSSAR_CHECK(work.batch <= kMostBlocks && work.heads <= kMostBlocks && std::max(work.queries, work.keys) < kMostRows,
               ErrorCode::kUsage, "step '{}': the batch is too large", prepare.step.name);
  const size_t starts = optional_inputs(prepare.inputs[0].dtype).starts;
  const bool is_packed = prepare.inputs.size() > starts && prepare.inputs[starts].present();
  HUSSAR_CHECK(!is_packed || work.batch * work.queries < (int64_t{1} << 31), ErrorCode::kUsage,
               "step '{}': the batch is too large", prepare.step.name);
  launch.work = work;
  launch.meaning = byte_meaning(prepare.step.attributes);
  launch.launch = Launch{};
  launch.launch.threads = static_cast<unsigned>(threads);
  launch.launch.shared_bytes = static_cast<unsigned>(shared_bytes);
  launch.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "attention", launch.launch.shared_bytes));
  launch.launch.grid[0] = static_cast<unsigned>((work.queries + queries_of_block - 1) / queries_of_block);
  launch.launch.grid[1] = static_cast<unsigned>(work.heads);
  launch.launch.grid[2] = static_cast<unsigned>(work.batch);
  return {};
}

bool has_mask_pairs(const AttentionWork& work) {
  const bool are_even = std::all_of(work.mask, work.mask + 3, [](int64_t stride) { return stride % 2 == 0; });
  return are_even && work.mask[3] == 1 && work.keys % 2 == 0;
}

void put_attention(const AttentionWork& work, const AttentionData& data, Words& words) {
  for (const std::byte* pointer : {data.q, data.k, data.v, data.mask, data.y}) words.put(pointer);
  for (int64_t stride : {work.q.batch, work.q.head, work.q.row, work.k.batch, work.k.head, work.k.row, work.k.column,
                         work.v.batch, work.v.head, work.v.row, work.y.batch, work.y.head, work.y.row}) {
    words.put(stride);
  }
  for (int64_t stride : work.mask) words.put(stride);
  for (int64_t number : {work.queries, work.keys, work.heads, work.heads / work.kv_heads}) words.put(number);
  words.put(data.starts);
  words.put(work.batch);
}

Status launch_attention(const Run& run, const AttentionLaunch& launch) {
  const AttentionWork& work = launch.work;
  Words words, meaning;
  const DType dtype = run.inputs[0].dtype;
  const auto [mask, starts] = optional_inputs(dtype);
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  AttentionData data;
  data.q = run.inputs[0].data + work.q.offset * size;
  data.k = run.inputs[1].data + work.k.offset * size;
  data.v = run.inputs[2].data + work.v.offset * size;
  if (run.inputs.size() > mask) data.mask = run.inputs[mask].data;
  if (run.inputs.size() > starts) data.starts = run.inputs[starts].data;
  data.y = run.outputs[0].data;
  put_attention(work, data, words);
  for (size_t i = 0; dtype == DType::kUInt8 && i < 3; ++i) words.put(run.inputs[kScales + i].data);
  launch.meaning.put(meaning);
  void* const arguments[] = {words.data(), meaning.data()};
  return queue_of(run.device).launch(launch.launch, arguments);
}

double attention_flops(const Problem& problem) {
  auto work = attention_work(problem.node);
  if (!work) return 0;
  // Of sequences that are shorter both are.
  const double rows = expected_rows(problem.node.attributes);
  const double pairs = static_cast<double>(work->queries * work->keys) * rows * rows;
  return 2.0 * static_cast<double>(work->batch * work->heads) * pairs * static_cast<double>(work->head + work->v_head);
}

}  // namespace hussar::cuda
