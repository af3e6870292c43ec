// cuda_product_cublaslt: dense products by NVIDIA's cuBLASLt, where a plan may need libraries: halves, BF16, FP32, TF32
// and FP8, with the epilogues that it has.
#include <map>
#include <memory>

#include "backends/cuda/byte_product.h"
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/library_tactic.h"
#include "backends/cuda/results.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr size_t kMostWorkspaceBytes = size_t{32} << 20;
constexpr uint32_t kAlignment = 16;  // of operands: slices of wider values begin at any multiple

int lt_type(DType dtype) {
  if (dtype == kFp8) return lt::kFloat8;
  return dtype == DType::kFloat16 ? lt::kHalf : dtype == DType::kBFloat16 ? lt::kBFloat : lt::kFloat;
}

Status is_there() {
  const auto functions = lt::functions();
  return functions ? Status() : tl::unexpected(functions.error());
}

std::string library() {
  const auto functions = lt::functions();
  return functions ? (*functions)->version : "cuBLASLt";
}

bool is_zero(const std::byte* bytes, size_t count) {
  return std::all_of(bytes, bytes + count, [](std::byte byte) { return byte == std::byte{0}; });
}

// Of FP8: what the table has for a bias, or will have.
bool has_bias(const Node& node) {
  if (has_table(node)) {
    const Tensor& table = *node.inputs[2]->constant;
    const size_t row = table.bytes() / 3;
    return !is_zero(table.raw() + row, row);
  }
  const bool is_there = node.input(3) != nullptr && (!node.program || node.program_inputs > 3);
  return is_there && !is_zero(node.inputs[3]->constant->raw(), node.inputs[3]->constant->bytes());
}

// Products of bytes: FP8 only.
Refusal check_bytes(const Problem& problem) {
  constexpr int64_t kColumns = 16;  // whose multiples it multiplies
  const DType y = problem.output()->dtype;
  if (problem.dtype(0) != kFp8) return "makes no numbers of sums of bytes";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  if (is_quantized(y)) return "gives FP8 with one scale of all columns only";
  if (dense_product(problem.node)->n % kColumns != 0) return fmt::format("columns are not a multiple of {}", kColumns);
  if (y == DType::kFloat32 && has_bias(problem.node)) return "has a bias of floats in BF16 only";
  LibraryEpilogue epilogue;
  if (Refusal refusal = find_library_epilogue(problem.node, epilogue)) return refusal;
  if (has_one_scale(problem.node)) return std::nullopt;
  if (!(*lt::functions())->has_scale_of_each) return "has scales of columns from cuBLASLt 12.9 on";
  const int sm = problem.target.sm;  // 0: an emulated GPU
  return sm == 90 || sm == 0 ? Refusal() : Refusal("has scales of columns on Hopper only (sm_90)");
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_dense_product(problem)) return refusal;
  if (Refusal refusal = check_library(problem, is_there)) return refusal;
  if (is_byte_product(problem.node.op)) return check_bytes(problem);
  const DType x = problem.dtype(0), y = problem.output()->dtype;
  const bool takes = is_float(x) && problem.dtype(1) == x && (y == x || (y == DType::kFloat32 && x != y));
  if (!takes) return "dtype";
  if (dense_product(problem.node)->k == 0) return "nothing to multiply";
  LibraryEpilogue epilogue;
  if (Refusal refusal = find_library_epilogue(problem.node, epilogue)) return refusal;
  // How many bits its tanh has is not documented.
  const bool is_exact = y == DType::kFloat32 && x == y && !problem.target.no_tf32.empty();
  return is_exact && epilogue.activation == Activation::kGeluTanh ? Refusal("GELU in FP32") : Refusal();
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  return product ? library_time(problem, *product, product->k) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) { return algorithm_configurations(cost(problem)); }

// The bias, the second row of the table, as numbers of the output's type: that is what the library adds.
void shorten_bias(Packing& packing) {
  const DType y = packing.node.outputs[0]->dtype;
  const Tensor& table = *packing.node.inputs[2]->constant;
  const int64_t columns = table.shape()[1];
  Tensor shortened(table.dtype(), table.shape());
  std::memcpy(shortened.raw(), table.raw(), table.bytes());
  auto* halves = reinterpret_cast<uint16_t*>(shortened.data<float>() + columns);
  std::fill_n(halves, 2 * columns, uint16_t{0});
  for (int64_t i = 0; i < columns; ++i) {
    const float bias = table.data<float>()[columns + i];
    halves[i] = y == DType::kFloat16 ? float_to_half(bias) : float_to_bfloat16(bias);
  }
  packing.replace(2, std::move(shortened));
}

Status pack(Packing& packing) {
  turn_weights(packing);
  if (is_byte_product(packing.node.op)) {
    if (is_half(packing.node.outputs[0]->dtype)) shorten_bias(packing);
    return {};
  }
  const bool is_tf32 = packing.node.inputs[0]->dtype == DType::kFloat32 && packing.target.no_tf32.empty();
  if (is_tf32) packing.node.attributes.set(kTf32Attribute, int64_t{1});
  return {};
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kTf32Attribute);
  return turn_weights_back(packing);
}

// What a product asks of cuBLASLt, in its terms: column by column, so that Y' = W X' with the rows of W turned.
struct Request {
  int64_t m, n, k, x_pitch, w_pitch, y_pitch, c_pitch;
  int compute_type, type, y_type;
  uint32_t epilogue;
  bool has_scales;  // of columns
  auto operator<=>(const Request&) const = default;
};

struct Answer {
  lt::Matmul* matmul = nullptr;
  lt::Layout *w = nullptr, *x = nullptr, *c = nullptr, *y = nullptr;
  lt::Algorithm algorithms[kMostAlgorithms];
  int count = 0;
  DeviceMemory ones;  // scales of rows, where there are scales of columns
};

// Of a queue: equal products share descriptors and algorithms, which last as long as it.
struct Multiplier {
  const lt::Functions* functions = nullptr;
  lt::Handle* handle = nullptr;
  std::map<Request, Answer> answers;

  ~Multiplier() {
    for (const auto& [request, answer] : answers) give_back(answer);
    if (handle != nullptr) functions->destroy(handle);
  }
  void give_back(const Answer& answer) const {
    if (answer.matmul != nullptr) functions->matmul_destroy(answer.matmul);
    for (lt::Layout* layout : {answer.w, answer.x, answer.c, answer.y}) {
      if (layout != nullptr) functions->layout_destroy(layout);
    }
  }
  Status check(int status, const char* what) const {
    HUSSAR_CHECK(status == 0, ErrorCode::kRunFailed, "cuBLASLt {}: {}", what, functions->status_name(status));
    return {};
  }
};

Result<Multiplier*> multiplier_of(Queue& queue) {
  static const char key = 0;
  std::shared_ptr<void>& kept = queue.kept(&key);
  if (kept == nullptr) {
    auto made = std::make_shared<Multiplier>();
    made->functions = HUSSAR_TRY(lt::functions());
    HUSSAR_TRY(made->check(made->functions->create(&made->handle), "does not start"));
    kept = made;
  }
  return static_cast<Multiplier*>(kept.get());
}

// Of FP8: sums as tensor cores make them, which is what our own kernels do; perhaps a scale of each column, and then it
// wants one of each row.
Status describe_float8(const Multiplier& multiplier, Queue& queue, const Request& request, Answer& answer) {
  auto set = [&](int attribute, const auto& value) {
    return multiplier.check(multiplier.functions->matmul_set(answer.matmul, attribute, &value, sizeof(value)),
                            "does not take the product");
  };
  HUSSAR_TRY(set(lt::kFastSums, int8_t{1}));
  if (!request.has_scales) return {};
  answer.ones = DeviceMemory(queue, HUSSAR_TRY(queue.allocate(static_cast<size_t>(request.m) * sizeof(float))));
  HUSSAR_TRY(set(lt::kScaleModeOfA, lt::kScaleOfEach));
  HUSSAR_TRY(set(lt::kScaleModeOfB, lt::kScaleOfEach));
  HUSSAR_TRY(set(lt::kScalesOfA, static_cast<const void*>(answer.ones.data())));  // until there is a run
  return set(lt::kScalesOfB, static_cast<const void*>(answer.ones.data()));
}

Status describe_request(const Multiplier& multiplier, Queue& queue, const Request& request, Answer& answer) {
  const lt::Functions& call = *multiplier.functions;
  constexpr const char* kWhat = "does not take the product";
  auto layout = [&](lt::Layout*& layout, int type, int64_t rows, int64_t columns, int64_t pitch) {
    return multiplier.check(
        call.layout_create(&layout, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), pitch), kWhat);
  };
  HUSSAR_TRY(multiplier.check(call.matmul_create(&answer.matmul, request.compute_type, lt::kFloat), kWhat));
  const int32_t transposed = lt::kTransposed;
  HUSSAR_TRY(multiplier.check(call.matmul_set(answer.matmul, lt::kTransposeA, &transposed, sizeof(transposed)), kWhat));
  HUSSAR_TRY(
      multiplier.check(call.matmul_set(answer.matmul, lt::kEpilogue, &request.epilogue, sizeof(uint32_t)), kWhat));
  // Algorithms go by its alignment.
  const auto* bias = reinterpret_cast<const void*>(uintptr_t{kAlignment});
  if ((request.epilogue & lt::kBias) != 0)
    HUSSAR_TRY(multiplier.check(call.matmul_set(answer.matmul, lt::kBiasPointer, &bias, sizeof(bias)), kWhat));
  if (request.type == lt::kFloat8) HUSSAR_TRY(describe_float8(multiplier, queue, request, answer));
  HUSSAR_TRY(layout(answer.w, request.type, request.k, request.n, request.w_pitch));
  HUSSAR_TRY(layout(answer.x, request.type, request.k, request.m, request.x_pitch));
  HUSSAR_TRY(layout(answer.c, request.y_type, request.n, request.m, request.c_pitch));
  return layout(answer.y, request.y_type, request.n, request.m, request.y_pitch);
}

Status find_algorithms(const Multiplier& multiplier, Answer& answer) {
  const lt::Functions& call = *multiplier.functions;
  lt::Preference* preference = nullptr;
  HUSSAR_TRY(multiplier.check(call.preference_create(&preference), "has no preferences"));
  const uint64_t most = kMostWorkspaceBytes;
  int status = call.preference_set(preference, lt::kMostWorkspace, &most, sizeof(most));
  for (int operand = 0; operand < 4 && status == 0; ++operand)
    status = call.preference_set(preference, lt::kAlignment + operand, &kAlignment, sizeof(kAlignment));
  if (status == 0) {
    status = call.find_algorithms(multiplier.handle, answer.matmul, answer.w, answer.x, answer.c, answer.y, preference,
                                  kMostAlgorithms, answer.algorithms, &answer.count);
  }
  call.preference_destroy(preference);
  HUSSAR_TRY(multiplier.check(status, "has no algorithm for the product"));
  const auto* end = std::find_if(answer.algorithms, answer.algorithms + answer.count,
                                 [](const lt::Algorithm& algorithm) { return algorithm.state != 0; });
  answer.count = static_cast<int>(end - answer.algorithms);
  HUSSAR_CHECK(answer.count > 0, ErrorCode::kRunFailed, "cuBLASLt has no algorithm for the product");
  return {};
}

Result<const Answer*> answer_to(Queue& queue, Multiplier& multiplier, const Request& request) {
  const auto known = multiplier.answers.find(request);
  if (known != multiplier.answers.end()) return &known->second;
  Answer answer;
  Status status = describe_request(multiplier, queue, request, answer);
  if (status) status = find_algorithms(multiplier, answer);
  if (!status) multiplier.give_back(answer);
  HUSSAR_TRY(std::move(status));
  // Last, as memory must not go while it is copied to.
  if (answer.ones.data() != nullptr) {
    const std::vector<float> ones(static_cast<size_t>(request.m), 1.0F);
    HUSSAR_TRY(queue.copy_in(answer.ones.data(), reinterpret_cast<const std::byte*>(ones.data()),
                             ones.size() * sizeof(float)));
  }
  return &(multiplier.answers[request] = std::move(answer));
}

struct State {
  Multiplier* multiplier;
  const Answer* answer;  // null: nothing to do
  const lt::Algorithm* algorithm;
  int32_t bias, residual;
  size_t bias_offset;  // in its operand
  float alpha;
  bool has_scales;  // of columns, in front of the table
};

uint32_t epilogue_flags(const LibraryEpilogue& epilogue) {
  uint32_t flags = epilogue.bias >= 0 ? lt::kBias : 0;
  if (epilogue.activation == Activation::kRelu) flags |= lt::kRelu;
  if (epilogue.activation == Activation::kGeluTanh) flags |= lt::kGelu;
  return flags == 0 ? lt::kPlain : flags;
}

// What a table says of FP8.
Status read_table(const Prepare& prepare, const DenseProduct& product, LibraryEpilogue& epilogue, State& state) {
  const Operand& table = prepare.inputs[2];
  HUSSAR_CHECK(is_table(table, product.n), ErrorCode::kPlanIncompatible, "step '{}' has no table; build the plan again",
               prepare.step.name);
  const float* factors = table.f32();
  state.has_scales = std::any_of(factors, factors + product.n, [&](float factor) { return factor != factors[0]; });
  if (!state.has_scales) state.alpha = factors[0];
  state.bias_offset = static_cast<size_t>(product.n) * sizeof(float);
  if (is_zero(table.data + state.bias_offset, state.bias_offset)) epilogue.bias = -1;
  return {};
}

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state = {};
  state.alpha = 1;
  const PlanStep& step = prepare.step;
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const DenseProduct product = HUSSAR_TRY(dense_product(step.op, step.attributes, x, prepare.inputs[1], y));
  LibraryEpilogue epilogue;
  const Refusal refusal = find_library_epilogue(prepare, epilogue);
  HUSSAR_CHECK(!refusal, ErrorCode::kUsage, "step '{}': its kernel does not take this shape: {}", step.name, *refusal);
  constexpr int64_t kMost = int64_t{1} << 31;
  HUSSAR_CHECK(product.m < kMost && product.n < kMost && product.k < kMost, ErrorCode::kUsage,
               "step '{}': the product is too large", step.name);
  if (product.m == 0 || product.n == 0) return {};
  if (is_byte_product(step.op)) HUSSAR_TRY(read_table(prepare, product, epilogue, state));
  Queue& queue = queue_of(prepare.device);
  HUSSAR_TRY(queue.make_current());
  state.multiplier = HUSSAR_TRY(multiplier_of(queue));
  const bool is_tf32 = step.attributes.get_int(kTf32Attribute, 0) != 0;
  const Request request = {product.m,
                           product.n,
                           product.k,
                           product.x_pitch,
                           product.w_pitch,
                           product.y_pitch,
                           epilogue.residual >= 0 ? epilogue.residual_pitch : product.y_pitch,
                           is_tf32 ? lt::kComputeTf32 : lt::kComputeFloat,
                           lt_type(x.dtype),
                           lt_type(y.dtype),
                           epilogue_flags(epilogue),
                           state.has_scales};
  auto answer = answer_to(queue, *state.multiplier, request);
  if (!answer) return fail(answer.error().code, "step '{}': {}", step.name, answer.error().message);
  state.answer = *answer;
  state.algorithm = &state.answer->algorithms[HUSSAR_TRY(wanted_algorithm(step, state.answer->count))];
  state.bias = epilogue.bias;
  state.residual = epilogue.residual;
  prepare.scratch_bytes = state.algorithm->workspace_bytes;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.answer == nullptr) return {};
  const lt::Functions& call = *state.multiplier->functions;
  const Answer& answer = *state.answer;
  if (state.bias >= 0) {
    const void* bias = run.inputs[static_cast<size_t>(state.bias)].data + state.bias_offset;
    HUSSAR_TRY(
        state.multiplier->check(call.matmul_set(answer.matmul, lt::kBiasPointer, &bias, sizeof(bias)), "has no bias"));
  }
  if (state.has_scales) {
    const void* scales = run.inputs[2].data;
    HUSSAR_TRY(state.multiplier->check(call.matmul_set(answer.matmul, lt::kScalesOfA, &scales, sizeof(scales)),
                                       "has no scales"));
  }
  const float beta = state.residual >= 0 ? 1 : 0;
  std::byte* y = run.outputs[0].data;
  const std::byte* c = state.residual >= 0 ? run.inputs[static_cast<size_t>(state.residual)].data : y;
  const int status = call.multiply(state.multiplier->handle, answer.matmul, &state.alpha, run.inputs[1].data, answer.w,
                                   run.inputs[0].data, answer.x, &beta, c, answer.c, y, answer.y, state.algorithm,
                                   run.scratch, state.algorithm->workspace_bytes, queue_of(run.device).stream());
  return state.multiplier->check(status, "cannot multiply");
}

}  // namespace

extern const Kernel cuda_product_cublaslt_kernel = {.name = "cuda_product_cublaslt",
                                                    .place = Place::kDevice,
                                                    .state_bytes = sizeof(State),
                                                    .vendor_library = is_there,
                                                    .prepare = prepare,
                                                    .run = run};
extern const Tactic cuda_product_cublaslt_tactic = {.kernel = "cuda_product_cublaslt",
                                                    .place = Place::kDevice,
                                                    .vendor_library = library,
                                                    .supports = supports,
                                                    .cost = cost,
                                                    .configurations = configurations,
                                                    .pack = pack,
                                                    .unpack = unpack};

}  // namespace hussar
