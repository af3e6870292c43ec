// cuda_conv_cudnn: two-dimensional convolutions by NVIDIA's cuDNN, where a plan may need libraries: halves, BF16, FP32
// and TF32, channels-last, with a bias, a residual and ReLU.
#include <map>
#include <memory>

#include "backends/cuda/cudnn.h"
#include "backends/cuda/library_tactic.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr size_t kMostWorkspaceBytes = size_t{64} << 20;
constexpr char kUnevenPads[] = "padding that is not the same on both sides";
constexpr int kMostAnswers = 16;  // each algorithm with different arithmetic

int dnn_type(DType dtype) {
  return dtype == DType::kFloat16 ? dnn::kHalf : dtype == DType::kBFloat16 ? dnn::kBFloat : dnn::kFloat;
}

Status is_there() {
  const auto functions = dnn::functions();
  return functions ? Status() : tl::unexpected(functions.error());
}

std::string library() {
  const auto functions = dnn::functions();
  return functions ? (*functions)->version : "cuDNN";
}

// Padding that is the same on both sides, as far as the output goes.
Refusal check_padding(const cuda::Convolution& conv) {
  for (int axis = 1; axis < 3; ++axis) {
    const int64_t reach = (conv.kernel[axis] - 1) * conv.dilations[axis] + 1;
    const int64_t last = conv.input[axis] + 2 * conv.pads[axis] - reach;
    if (conv.pads[axis] < 0 || last < 0 || last / conv.strides[axis] + 1 != conv.output[axis]) return kUnevenPads;
  }
  return std::nullopt;
}

// The same of pictures whose sizes are not known.
Refusal check_padding(const Attributes& attributes) {
  const std::string automatic = attributes.get_string("auto_pad", "NOTSET");
  const Ints pads = attributes.get_ints("pads", {});
  const auto half = static_cast<std::ptrdiff_t>(pads.size() / 2);
  bool is_even = automatic == "NOTSET" || automatic == "VALID";
  is_even = is_even && std::equal(pads.begin(), pads.begin() + half, pads.begin() + half);
  return is_even ? Refusal() : Refusal(kUnevenPads);
}

bool has_sizes(const Value& picture) {
  return std::all_of(picture.dims->begin() + 2, picture.dims->end(), [](const Dim& dim) { return dim.is_constant(); });
}

Refusal check_pitches(const cuda::Convolution& conv) {
  const bool is_dense = conv.x_pitch == conv.channels * conv.groups && conv.y_pitch == conv.filters * conv.groups;
  return is_dense ? Refusal() : Refusal("a slice of a wider value");
}

// cuDNN has no activation and no residual without a bias, and of activations ReLU.
Refusal check_fused(const LibraryEpilogue& epilogue, const cuda::Convolution& conv) {
  if (epilogue.activation != Activation::kNone && epilogue.activation != Activation::kRelu) return "fused activation";
  const bool is_plain = epilogue.activation == Activation::kNone && epilogue.residual < 0;
  if (epilogue.bias < 0 && !is_plain) return "a fused program without a bias";
  const bool is_dense = epilogue.residual < 0 || epilogue.residual_pitch == conv.filters * conv.groups;
  return is_dense ? Refusal() : Refusal("a slice of a wider value");
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_convolution(problem)) return refusal;
  if (Refusal refusal = check_library(problem, is_there)) return refusal;
  const DType x = problem.dtype(0);
  if (problem.dtype(1) != x || problem.output()->dtype != x) return "dtype";
  const auto conv = convolution(problem.node);
  if (!conv) return "shapes";
  LibraryEpilogue epilogue;
  if (Refusal refusal = find_library_epilogue(problem.node, epilogue)) return refusal;
  if (Refusal refusal = check_fused(epilogue, *conv)) return refusal;
  if (problem.input(0)->rank() > 4) return "three dimensions";
  if (Refusal refusal = check_pitches(*conv)) return refusal;
  const bool is_sized = has_sizes(*problem.input(0)) && has_sizes(*problem.output());
  return is_sized ? check_padding(*conv) : check_padding(problem.node.attributes);
}

double cost(const Problem& problem) {
  const auto conv = convolution(problem.node);
  return conv ? library_time(problem, window_product(*conv), conv->channels) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) { return algorithm_configurations(cost(problem)); }

// Filters of one channel are what cuDNN wants as they are.
bool needs_turning(const Node& node) { return node.inputs[1]->constant->shape()[1] > 1; }

Status pack(Packing& packing) {
  if (needs_turning(packing.node)) HUSSAR_TRY(turn_filter(packing));
  const bool is_tf32 = packing.node.inputs[0]->dtype == DType::kFloat32 && packing.target.no_tf32.empty();
  if (is_tf32) packing.node.attributes.set(kTf32Attribute, int64_t{1});
  return {};
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kTf32Attribute);
  return packing.node.attributes.has("hussar_packed_1") ? turn_filter_back(packing) : Status();
}

struct Request {
  int n, channels, filters, groups;  // of all groups
  int input[2], output[2], kernel[2], strides[2], pads[2], dilations[2];
  int type, math, activation;
  auto operator<=>(const Request&) const = default;
};

// What cuDNN computes in is part of its answer.
struct Algorithm {
  int number, math;
  size_t workspace_bytes;
};

struct Answer {
  dnn::Tensor4 *x = nullptr, *y = nullptr, *bias = nullptr;
  dnn::Filter* w = nullptr;
  dnn::Convolution* convolution = nullptr;
  dnn::Activation* activation = nullptr;
  Algorithm algorithms[kMostAlgorithms];
  int count = 0;
};

// Of a queue: equal convolutions share descriptors and algorithm, which last as long as it.
struct Convolver {
  const dnn::Functions* functions = nullptr;
  dnn::Handle* handle = nullptr;
  std::map<Request, Answer> answers;

  ~Convolver() {
    for (const auto& [request, answer] : answers) give_back(answer);
    if (handle != nullptr) functions->destroy(handle);
  }
  void give_back(const Answer& answer) const {
    for (dnn::Tensor4* tensor : {answer.x, answer.y, answer.bias}) {
      if (tensor != nullptr) functions->tensor_destroy(tensor);
    }
    if (answer.w != nullptr) functions->filter_destroy(answer.w);
    if (answer.convolution != nullptr) functions->convolution_destroy(answer.convolution);
    if (answer.activation != nullptr) functions->activation_destroy(answer.activation);
  }
  Status check(int status, const char* what) const {
    HUSSAR_CHECK(status == 0, ErrorCode::kRunFailed, "cuDNN {}: {}", what, functions->error_text(status));
    return {};
  }
};

Result<Convolver*> convolver_of(Queue& queue) {
  static const char key = 0;
  std::shared_ptr<void>& kept = queue.kept(&key);
  if (kept == nullptr) {
    auto made = std::make_shared<Convolver>();
    made->functions = HUSSAR_TRY(dnn::functions());
    HUSSAR_TRY(made->check(made->functions->create(&made->handle), "does not start"));
    HUSSAR_TRY(made->check(made->functions->set_stream(made->handle, queue.stream()), "does not take the stream"));
    kept = made;
  }
  return static_cast<Convolver*>(kept.get());
}

Status create_descriptors(const Convolver& convolver, Answer& answer) {
  const dnn::Functions& call = *convolver.functions;
  constexpr const char* kWhat = "has no descriptors";
  for (dnn::Tensor4** tensor : {&answer.x, &answer.y, &answer.bias})
    HUSSAR_TRY(convolver.check(call.tensor_create(tensor), kWhat));
  HUSSAR_TRY(convolver.check(call.filter_create(&answer.w), kWhat));
  HUSSAR_TRY(convolver.check(call.convolution_create(&answer.convolution), kWhat));
  return convolver.check(call.activation_create(&answer.activation), kWhat);
}

Status describe_request(const Convolver& convolver, const Request& request, Answer& answer) {
  const dnn::Functions& call = *convolver.functions;
  const int layout = dnn::kChannelsLast, type = request.type;
  const int statuses[] = {
      call.tensor_set(answer.x, layout, type, request.n, request.channels, request.input[0], request.input[1]),
      call.tensor_set(answer.y, layout, type, request.n, request.filters, request.output[0], request.output[1]),
      call.tensor_set(answer.bias, layout, type, 1, request.filters, 1, 1),
      call.filter_set(answer.w, type, layout, request.filters, request.channels / request.groups, request.kernel[0],
                      request.kernel[1]),
      call.convolution_set(answer.convolution, request.pads[0], request.pads[1], request.strides[0], request.strides[1],
                           request.dilations[0], request.dilations[1], dnn::kCrossCorrelation, dnn::kFloat),
      call.convolution_set_groups(answer.convolution, request.groups),
      call.convolution_set_math(answer.convolution, request.math),
      call.activation_set(answer.activation, request.activation, dnn::kPropagateNan, 0)};
  for (int status : statuses) HUSSAR_TRY(convolver.check(status, "does not take the convolution"));
  return {};
}

// The first of those that it names in the order of their speed which have room.
Status find_algorithms(const Convolver& convolver, const Request& request, Answer& answer) {
  const dnn::Functions& call = *convolver.functions;
  dnn::Algorithm found[kMostAnswers];
  int count = 0;
  HUSSAR_TRY(convolver.check(call.find_algorithms(convolver.handle, answer.x, answer.w, answer.convolution, answer.y,
                                                  kMostAnswers, &count, found),
                             "has no algorithm for the convolution"));
  for (int i = 0; i < count && answer.count < kMostAlgorithms; ++i) {
    const bool fits = request.activation != dnn::kIdentity || found[i].algorithm == dnn::kPrecomputedGemm;
    // Sums of halves in another domain are too inexact.
    const bool is_exact = request.type == dnn::kFloat || found[i].algorithm <= dnn::kDirect;
    if (found[i].status != 0 || !fits || !is_exact) continue;
    Algorithm& algorithm = answer.algorithms[answer.count];
    // FP32 stays FP32.
    algorithm = {found[i].algorithm, request.math == dnn::kFmaMath ? dnn::kFmaMath : found[i].math, 0};
    HUSSAR_TRY(convolver.check(call.convolution_set_math(answer.convolution, algorithm.math),
                               "does not take the convolution"));
    const int status = call.workspace(convolver.handle, answer.x, answer.w, answer.convolution, answer.y,
                                      algorithm.number, &algorithm.workspace_bytes);
    if (status == 0 && algorithm.workspace_bytes <= kMostWorkspaceBytes) ++answer.count;
  }
  HUSSAR_CHECK(answer.count > 0, ErrorCode::kRunFailed, "cuDNN has no algorithm for the convolution");
  return {};
}

Result<const Answer*> answer_to(Convolver& convolver, const Request& request) {
  const auto known = convolver.answers.find(request);
  if (known != convolver.answers.end()) return &known->second;
  Answer answer;
  Status status = create_descriptors(convolver, answer);
  if (status) status = describe_request(convolver, request, answer);
  if (status) status = find_algorithms(convolver, request, answer);
  if (!status) convolver.give_back(answer);
  HUSSAR_TRY(std::move(status));
  return &(convolver.answers[request] = answer);
}

struct State {
  Convolver* convolver;
  const Answer* answer;  // null: nothing to do
  const Algorithm* algorithm;
  int32_t bias, residual;
};

Request request_of(const cuda::Convolution& conv, const PlanStep& step, DType dtype, Activation activation) {
  auto small = [](int64_t number) { return static_cast<int>(number); };
  Request request{};
  request.n = small(conv.batch);
  request.channels = small(conv.channels * conv.groups);
  request.filters = small(conv.filters * conv.groups);
  request.groups = small(conv.groups);
  for (int axis = 0; axis < 2; ++axis) {
    request.input[axis] = small(conv.input[axis + 1]);
    request.output[axis] = small(conv.output[axis + 1]);
    request.kernel[axis] = small(conv.kernel[axis + 1]);
    request.strides[axis] = small(conv.strides[axis + 1]);
    request.pads[axis] = small(conv.pads[axis + 1]);
    request.dilations[axis] = small(conv.dilations[axis + 1]);
  }
  request.type = dnn_type(dtype);
  request.math = dtype != DType::kFloat32                          ? dnn::kTensorMath
                 : step.attributes.get_int(kTf32Attribute, 0) != 0 ? dnn::kDefaultMath
                                                                   : dnn::kFmaMath;
  request.activation = activation == Activation::kRelu ? dnn::kRelu : dnn::kIdentity;
  return request;
}

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state = {};
  const PlanStep& step = prepare.step;
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const cuda::Convolution conv = HUSSAR_TRY(convolution(step.op, step.attributes, x, prepare.inputs[1].shape, y));
  LibraryEpilogue epilogue;
  Refusal refusal = find_library_epilogue(prepare, epilogue);
  if (!refusal) refusal = check_fused(epilogue, conv);
  if (!refusal) refusal = check_pitches(conv);
  if (!refusal && x.shape.rank() > 4) refusal = "three dimensions";
  if (!refusal) refusal = check_padding(conv);
  if (!refusal && (x.shape.elements() >= INT32_MAX || y.shape.elements() >= INT32_MAX)) refusal = "too large";
  HUSSAR_CHECK(!refusal, ErrorCode::kUsage, "step '{}': its kernel does not take this shape: {}", step.name, *refusal);
  if (x.shape.elements() == 0 || y.shape.elements() == 0) return {};
  Queue& queue = queue_of(prepare.device);
  HUSSAR_TRY(queue.make_current());
  state.convolver = HUSSAR_TRY(convolver_of(queue));
  auto answer = answer_to(*state.convolver, request_of(conv, step, x.dtype, epilogue.activation));
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
  const dnn::Functions& call = *state.convolver->functions;
  const Answer& answer = *state.answer;
  const Algorithm& algorithm = *state.algorithm;
  HUSSAR_TRY(state.convolver->check(call.convolution_set_math(answer.convolution, algorithm.math), "cannot convolve"));
  dnn::Handle* handle = state.convolver->handle;
  auto data = [&](int32_t input) { return run.inputs[static_cast<size_t>(input)].data; };
  std::byte* y = run.outputs[0].data;
  const float one = 1, zero = 0;
  if (state.bias < 0) {
    return state.convolver->check(
        call.convolve(handle, &one, answer.x, data(0), answer.w, data(1), answer.convolution, algorithm.number,
                      run.scratch, algorithm.workspace_bytes, &zero, answer.y, y),
        "cannot convolve");
  }
  const bool adds = state.residual >= 0;
  const int status = call.convolve_and_activate(handle, &one, answer.x, data(0), answer.w, data(1), answer.convolution,
                                                algorithm.number, run.scratch, algorithm.workspace_bytes,
                                                adds ? &one : &zero, answer.y, adds ? data(state.residual) : y,
                                                answer.bias, data(state.bias), answer.activation, answer.y, y);
  return state.convolver->check(status, "cannot convolve");
}

}  // namespace

extern const Kernel cuda_conv_cudnn_kernel = {.name = "cuda_conv_cudnn",
                                              .place = Place::kDevice,
                                              .state_bytes = sizeof(State),
                                              .vendor_library = is_there,
                                              .prepare = prepare,
                                              .run = run};
extern const Tactic cuda_conv_cudnn_tactic = {.kernel = "cuda_conv_cudnn",
                                              .place = Place::kDevice,
                                              .vendor_library = library,
                                              .supports = supports,
                                              .cost = cost,
                                              .configurations = configurations,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
