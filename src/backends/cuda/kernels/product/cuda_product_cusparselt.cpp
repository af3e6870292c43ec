// cuda_product_cusparselt: products with 2:4 weights by NVIDIA's cuSPARSELt, where a plan may need libraries: halves,
// BF16 and FP8, with the epilogues that it has.
#include <map>
#include <memory>

#include "backends/cuda/byte_product.h"
#include "backends/cuda/cusparselt.h"
#include "backends/cuda/library_tactic.h"
#include "backends/cuda/results.h"
#include "backends/cuda/sparse_weights.h"
#include "tensor/float8_mask.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr size_t kMostWorkspaceBytes = size_t{64} << 20;
constexpr uint32_t kAlignment = 16;
constexpr int kMostSparseAlgorithms = 1 + static_cast<int>(std::size(kOtherAlgorithms));
// Parts of k have blocks of their own.
constexpr std::string_view kSplitK = "split_k";

int type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return sparselt::kHalf;
    case DType::kBFloat16: return sparselt::kBFloat;
    case DType::kFloat8E4M3FN: return sparselt::kFloat8;
    default: return sparselt::kFloat;
  }
}

Status is_there() {
  const auto functions = sparselt::functions();
  return functions ? Status() : tl::unexpected(functions.error());
}

std::string library() {
  const auto functions = sparselt::functions();
  return functions ? (*functions)->version : "cuSPARSELt";
}

// ---- what it takes --------------------------------------------------------------------------------------------------

bool is_emulated(const Target& target) { return target.sm == 0; }

Refusal check_types(const Problem& problem) {
  const DType x = problem.dtype(0), y = problem.output()->dtype;
  if (!is_byte_product(problem.node.op))
    return is_half(x) && problem.dtype(1) == x && y == x ? Refusal() : Refusal("dtype");
  // Behind integers its results were not those of the reference on an H200 (0.8.0).
  if (x != kFp8) return "INT8 is not exact";
  if (is_quantized(y)) return "cannot give bytes: no zero point is added to its results";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  return has_one_scale(problem.node) ? Refusal() : Refusal("has no scales of columns for FP8");
}

// What it wants of the form of a product, which it has on the device, too.
Refusal check_form(const DenseProduct& product, const LibraryEpilogue& epilogue, DType x) {
  const int64_t of_weights = is_half(x) ? 16 : 32, of_rows = of_weights / 2;
  if (product.k == 0) return "nothing to multiply";
  if (product.n % of_weights != 0 || product.k % of_weights != 0)
    return fmt::format("rows and columns of weights are not multiples of {}", of_weights);
  if (product.m % of_rows != 0) return fmt::format("rows are not a multiple of {}", of_rows);
  if (epilogue.activation == Activation::kGeluTanh) return "fused gelu_tanh";
  if (epilogue.residual >= 0 && epilogue.residual_pitch != product.y_pitch)
    return "rows of the residual do not lie as those of the output";
  return std::nullopt;
}

Refusal supports(const Problem& problem) {
  const Refusal of_shapes = check_dense_product(problem);
  if (of_shapes && *of_shapes == "op") return of_shapes;
  if (Refusal refusal = check_library(problem, is_there)) return refusal;
  if (!problem.target.no_sparsity.empty()) return std::string(problem.target.no_sparsity);
  const Node& node = problem.node;
  if (!has_table(node) && has_weight_form(node) && shared_columns(node) == 0) return kNotTwoOfFour;
  if (of_shapes) return of_shapes;
  if (problem.target.sm < kTensorCores && !is_emulated(problem.target)) return "needs sparse tensor cores (sm_80)";
  if (Refusal refusal = check_types(problem)) return refusal;
  LibraryEpilogue epilogue;
  if (Refusal refusal = find_library_epilogue(node, epilogue)) return refusal;
  if (epilogue.bias >= 0 && !problem.is_constant(static_cast<size_t>(epilogue.bias))) return "the bias is no constant";
  return check_form(*dense_product(node), epilogue, problem.dtype(0));
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  if (!product) return 1e9;
  return library_time(problem, *product, product->k, true);
}

std::vector<Configuration> configurations(const Problem& problem) {
  const double predicted = cost(problem);
  std::vector<Configuration> list = algorithm_configurations(predicted, kMostSparseAlgorithms);
  list.insert(list.begin() + 1, {kSplitK, predicted});  // among the few that are measured of equal ones
  return list;
}

// ---- packing --------------------------------------------------------------------------------------------------------

// A zero with a sign would count as one that is not zero.
void clear_signs_of_zeros(Packing& packing) {
  const Tensor& weights = *packing.node.inputs[1]->constant;
  Tensor cleared(weights.dtype(), weights.shape());
  std::memcpy(cleared.raw(), weights.raw(), weights.bytes());
  if (is_half(weights.dtype())) {
    auto* bits = reinterpret_cast<uint16_t*>(cleared.raw());
    std::replace(bits, bits + cleared.elements(), uint16_t{0x8000}, uint16_t{0});
  } else if (weights.dtype() == kFp8) {
    auto* bits = reinterpret_cast<uint8_t*>(cleared.raw());
    std::replace(bits, bits + cleared.elements(), uint8_t{0x80}, uint8_t{0});
  }
  packing.replace(1, std::move(cleared));
}

Status pack(Packing& packing) {
  turn_weights(packing);
  clear_signs_of_zeros(packing);
  return {};
}

// ---- on the device --------------------------------------------------------------------------------------------------

// Weights of the plan, which stay where they are as long as the queue is in use; `twin`: Prepare::twin.
struct WeightKey {
  const std::byte* dense;
  int64_t n, k;
  int type, twin;
  auto operator<=>(const WeightKey&) const = default;
};

// What a product asks of cuSPARSELt, in its terms: Y' = W X', of which Y' and X' lie by columns. It has the bias in its
// plan, so that equal products do not share one.
struct Request {
  WeightKey weights;
  const std::byte* bias;  // in the memory of the host; null: none
  int64_t m, x_pitch, y_pitch;
  int y_type, algorithm;  // -1: with k split
  bool is_positive;
  auto operator<=>(const Request&) const = default;
};

struct Answer {
  explicit Answer(const sparselt::Functions& call) : call(call) {}
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;
  ~Answer() {
    if (has_plan) call.plan_destroy(&plan);
    if (has_selection && call.selection_destroy != nullptr) call.selection_destroy(&selection);
    for (int i = 0; i < matrices; ++i) call.matrix_destroy(i == 0 ? &w : i == 1 ? &x : &y);
  }
  const sparselt::Functions& call;
  sparselt::Matrix w, x, y;
  sparselt::Matmul matmul;
  sparselt::Selection selection;
  sparselt::Plan plan;
  int matrices = 0;  // that have been made, in this order
  bool has_selection = false, has_plan = false;
  DeviceMemory bias;
  const std::byte* weights = nullptr;  // compressed
  size_t workspace_bytes = 0;
};

// Of a queue: plans, and the weights as the library wants them.
struct Multiplier {
  explicit Multiplier(const sparselt::Functions& call) : call(call) {}
  Multiplier(const Multiplier&) = delete;
  Multiplier& operator=(const Multiplier&) = delete;
  ~Multiplier() {
    answers.clear();
    if (is_made) call.destroy(&handle);
  }
  Status check(int status, const char* what) const {
    if (status == 0) return {};
    const char* name = call.status_name != nullptr ? call.status_name(status) : nullptr;
    return fail(ErrorCode::kRunFailed, "cuSPARSELt {}: {}", what,
                name != nullptr ? std::string(name) : fmt::format("status {}", status));
  }
  const sparselt::Functions& call;
  sparselt::Handle handle;
  bool is_made = false;
  std::map<WeightKey, DeviceMemory> weights;
  std::map<Request, std::unique_ptr<Answer>> answers;
};

Result<Multiplier*> multiplier_of(Queue& queue) {
  static const char key = 0;
  std::shared_ptr<void>& kept = queue.kept(&key);
  if (kept == nullptr) {
    auto made = std::make_shared<Multiplier>(*HUSSAR_TRY(sparselt::functions()));
    HUSSAR_TRY(made->check(made->call.create(&made->handle), "does not start"));
    made->is_made = true;
    kept = made;
  }
  return static_cast<Multiplier*>(kept.get());
}

bool is_two_of_four(const Operand& weights, int64_t n, int64_t k) {
  auto check = [&](const auto* data) {
    return is_two_of_four(view_weights(data, Shape{n, k}, WeightForm::kTransposed));
  };
  if (is_half(weights.dtype)) return check(weights.as<const Half>());
  return weights.dtype == kFp8 ? check(weights.as<const Float8>()) : check(weights.as<const int8_t>());
}

// Once for each queue: what is compressed is a function of the weights and the library's version.
Result<const std::byte*> compressed(Queue& queue, Multiplier& multiplier, const sparselt::Matrix& matrix,
                                    const WeightKey& key, const Operand& weights) {
  const auto known = multiplier.weights.find(key);
  if (known != multiplier.weights.end()) return known->second.data();
  HUSSAR_CHECK(is_two_of_four(weights, key.n, key.k), ErrorCode::kPlanIncompatible, "malformed sparse weights");
  size_t bytes = 0, buffer_bytes = 0;
  HUSSAR_TRY(multiplier.check(multiplier.call.compressed_bytes(&multiplier.handle, &matrix, &bytes, &buffer_bytes),
                              "does not take the weights"));
  const size_t dense_bytes = static_cast<size_t>(key.n * key.k) * dtype_size(weights.dtype);
  auto room_for = [&](size_t count) -> Result<DeviceMemory> {
    return DeviceMemory(queue, HUSSAR_TRY(queue.allocate(std::max<size_t>(count, 1))));
  };
  DeviceMemory to = HUSSAR_TRY(room_for(bytes)), buffer = HUSSAR_TRY(room_for(buffer_bytes)),
               dense = HUSSAR_TRY(room_for(dense_bytes));
  HUSSAR_TRY(queue.copy_in(dense.data(), key.dense, dense_bytes));
  const int status = multiplier.call.compress(&multiplier.handle, &matrix, 1, sparselt::kAsItIs, dense.data(),
                                              to.data(), buffer.data(), queue.stream());
  HUSSAR_TRY(queue.wait());  // before the memory goes
  HUSSAR_TRY(multiplier.check(status, "cannot compress the weights"));
  return multiplier.weights.emplace(key, std::move(to)).first->second.data();
}

Status describe_matrices(const Multiplier& multiplier, const Request& request, Answer& answer) {
  const sparselt::Functions& call = multiplier.call;
  const WeightKey& w = request.weights;
  auto made = [&](int status) {
    if (status == 0) ++answer.matrices;
    return multiplier.check(status, "does not take the product");
  };
  HUSSAR_TRY(made(call.structured(&multiplier.handle, &answer.w, w.n, w.k, w.k, kAlignment, w.type, sparselt::kByRows,
                                  sparselt::kHalfIsZero)));
  HUSSAR_TRY(made(call.dense(&multiplier.handle, &answer.x, request.m, w.k, request.x_pitch, kAlignment, w.type,
                             sparselt::kByRows)));
  return made(call.dense(&multiplier.handle, &answer.y, w.n, request.m, request.y_pitch, kAlignment, request.y_type,
                         sparselt::kByColumns));
}

Status describe_product(const Multiplier& multiplier, const Request& request, Answer& answer) {
  const sparselt::Functions& call = multiplier.call;
  constexpr const char* kWhat = "does not take the product";
  HUSSAR_TRY(multiplier.check(call.matmul(&multiplier.handle, &answer.matmul, sparselt::kAsItIs, sparselt::kTransposed,
                                          &answer.w, &answer.x, &answer.y, &answer.y, sparselt::kComputeFloat),
                              kWhat));
  auto set = [&](int attribute, const auto& value) {
    return multiplier.check(call.matmul_set(&multiplier.handle, &answer.matmul, attribute, &value, sizeof(value)),
                            kWhat);
  };
  const int yes = 1;
  if (request.is_positive) HUSSAR_TRY(set(sparselt::kRelu, yes));
  const void* bias = answer.bias.data();
  if (bias != nullptr) HUSSAR_TRY(set(sparselt::kBiasPointer, bias));
  return {};
}

Status select_algorithm(const Multiplier& multiplier, const Queue& queue, const Request& request, Answer& answer) {
  const sparselt::Functions& call = multiplier.call;
  constexpr const char* kWhat = "has no algorithm for the product";
  HUSSAR_TRY(multiplier.check(
      call.select(&multiplier.handle, &answer.selection, &answer.matmul, sparselt::kUsualChoice), kWhat));
  answer.has_selection = true;
  int count = 0;
  HUSSAR_TRY(multiplier.check(
      call.selection_get(&multiplier.handle, &answer.selection, sparselt::kAlgorithmCount, &count, sizeof(count)),
      kWhat));
  // On Hopper the library cuts k by itself when it is asked to.
  const int parts = queue.facts().sm >= 90 ? -1 : 2, algorithm = std::min(request.algorithm, count - 1);
  const bool splits = request.algorithm < 0;
  if (splits || request.algorithm > 0) {
    HUSSAR_TRY(multiplier.check(
        call.selection_set(&multiplier.handle, &answer.selection, splits ? sparselt::kSplit : sparselt::kAlgorithm,
                           splits ? &parts : &algorithm, sizeof(int)),
        kWhat));
  }
  HUSSAR_TRY(multiplier.check(call.plan(&multiplier.handle, &answer.plan, &answer.matmul, &answer.selection), kWhat));
  answer.has_plan = true;
  HUSSAR_TRY(multiplier.check(call.workspace_bytes(&multiplier.handle, &answer.plan, &answer.workspace_bytes), kWhat));
  HUSSAR_CHECK(answer.workspace_bytes <= kMostWorkspaceBytes, ErrorCode::kRunFailed,
               "cuSPARSELt wants {} bytes of workspace", answer.workspace_bytes);
  return {};
}

Result<const Answer*> answer_to(Queue& queue, Multiplier& multiplier, const Request& request, const Operand& weights,
                                std::span<const std::byte> bias) {
  const auto known = multiplier.answers.find(request);
  if (known != multiplier.answers.end()) return known->second.get();
  auto answer = std::make_unique<Answer>(multiplier.call);
  if (!bias.empty()) answer->bias = DeviceMemory(queue, HUSSAR_TRY(queue.allocate(bias.size())));
  HUSSAR_TRY(describe_matrices(multiplier, request, *answer));
  HUSSAR_TRY(describe_product(multiplier, request, *answer));
  HUSSAR_TRY(select_algorithm(multiplier, queue, request, *answer));
  answer->weights = HUSSAR_TRY(compressed(queue, multiplier, answer->w, request.weights, weights));
  // Last, as memory must not go while it is copied to.
  if (!bias.empty()) HUSSAR_TRY(queue.copy_in(answer->bias.data(), bias.data(), bias.size()));
  return (multiplier.answers[request] = std::move(answer)).get();
}

struct State {
  Multiplier* multiplier;
  const Answer* answer;  // null: nothing to do
  float alpha;
  int32_t residual;
};

// The second row of a table of floats as numbers of the output's type; or those that are there. Empty: all are 0.
std::vector<std::byte> bias_of(const Operand& operand, bool is_in_table, int64_t n, DType output) {
  const size_t size = dtype_size(output);
  std::vector<std::byte> bias(static_cast<size_t>(n) * size);
  if (!is_in_table) {
    std::memcpy(bias.data(), operand.data, bias.size());
    return bias;
  }
  const float* numbers = operand.f32() + n;
  if (std::all_of(numbers, numbers + n, [](float number) { return number == 0; })) return {};
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = output == DType::kFloat16 ? float_to_half(numbers[i]) : float_to_bfloat16(numbers[i]);
    std::memcpy(bias.data() + static_cast<size_t>(i) * size,
                output == DType::kFloat32 ? static_cast<const void*>(numbers + i) : &half, size);
  }
  return bias;
}

Result<int> algorithm_of(const PlanStep& step) {
  const auto* wanted = step.attributes.find<std::string>(kConfigurationAttribute);
  if (wanted != nullptr && *wanted == kSplitK) return -1;
  return wanted_algorithm(step, kMostSparseAlgorithms);
}

Status check_step(const Prepare& prepare, const DenseProduct& product, LibraryEpilogue& epilogue) {
  const PlanStep& step = prepare.step;
  Refusal refusal = find_library_epilogue(prepare, epilogue);
  if (!refusal && product.m > 0) refusal = check_form(product, epilogue, prepare.inputs[0].dtype);
  HUSSAR_CHECK(!refusal, ErrorCode::kUsage, "step '{}': its kernel does not take this shape: {}", step.name, *refusal);
  constexpr int64_t kMost = int64_t{1} << 31;
  HUSSAR_CHECK(product.m < kMost && product.n < kMost && product.k < kMost, ErrorCode::kUsage,
               "step '{}': the product is too large", step.name);
  HUSSAR_CHECK(!is_byte_product(step.op) || is_table(prepare.inputs[2], product.n), ErrorCode::kPlanIncompatible,
               "step '{}' has no table; build the plan again", step.name);
  return {};
}

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state = {};
  const PlanStep& step = prepare.step;
  const Operand &x = prepare.inputs[0], &w = prepare.inputs[1], &y = prepare.outputs[0];
  const DenseProduct product = HUSSAR_TRY(dense_product(step.op, step.attributes, x, w, y));
  LibraryEpilogue epilogue;
  HUSSAR_TRY(check_step(prepare, product, epilogue));
  if (product.m == 0 || product.n == 0) return {};
  Queue& queue = queue_of(prepare.device);
  HUSSAR_TRY(queue.make_current());
  state.multiplier = HUSSAR_TRY(multiplier_of(queue));
  const bool has_table = is_byte_product(step.op);
  std::vector<std::byte> bias;
  if (epilogue.bias >= 0)
    bias = bias_of(prepare.inputs[static_cast<size_t>(epilogue.bias)], has_table, product.n, y.dtype);
  const Request request = {{w.data, product.n, product.k, type_of(w.dtype), prepare.twin},
                           bias.empty() ? nullptr : prepare.inputs[static_cast<size_t>(epilogue.bias)].data,
                           product.m,
                           product.x_pitch,
                           product.y_pitch,
                           type_of(y.dtype),
                           HUSSAR_TRY(algorithm_of(step)),
                           epilogue.activation == Activation::kRelu};
  auto answer = answer_to(queue, *state.multiplier, request, w, bias);
  if (!answer) return fail(answer.error().code, "step '{}': {}", step.name, answer.error().message);
  state.answer = *answer;
  state.residual = epilogue.residual;
  state.alpha = has_table ? prepare.inputs[2].f32()[0] : 1;
  prepare.scratch_bytes = state.answer->workspace_bytes;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.answer == nullptr) return {};
  const float beta = state.residual >= 0 ? 1 : 0;
  const std::byte* x = run.inputs[0].data;
  std::byte* y = run.outputs[0].data;
  const std::byte* c = state.residual >= 0 ? run.inputs[static_cast<size_t>(state.residual)].data : y;
  const Multiplier& multiplier = *state.multiplier;
  void* stream = queue_of(run.device).stream();
  const int status = multiplier.call.multiply(&multiplier.handle, &state.answer->plan, &state.alpha,
                                              state.answer->weights, x, &beta, c, y, run.scratch, &stream, 1);
  return multiplier.check(status, "cannot multiply");
}

}  // namespace

extern const Kernel cuda_product_cusparselt_kernel = {.name = "cuda_product_cusparselt",
                                                      .place = Place::kDevice,
                                                      .state_bytes = sizeof(State),
                                                      .vendor_library = is_there,
                                                      .prepare = prepare,
                                                      .run = run};
extern const Tactic cuda_product_cusparselt_tactic = {.kernel = "cuda_product_cusparselt",
                                                      .place = Place::kDevice,
                                                      .vendor_library = library,
                                                      .two_of_four = true,
                                                      .supports = supports,
                                                      .cost = cost,
                                                      .configurations = configurations,
                                                      .pack = pack,
                                                      .unpack = turn_weights_back};

}  // namespace hussar
