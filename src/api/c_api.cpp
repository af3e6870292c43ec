// The C interface over the compiler and the runtime. Nothing is thrown across it.
#include <algorithm>
#include <exception>
#include <new>
#include <vector>

#include "api/options_json.h"
#include "base/error.h"
#include "compile/self_check.h"
#include "compile/timing_file.h"
#include "hussar/hussar.h"
#include "plan/plan.h"
#include "runtime/session.h"

struct hussar_plan {
  std::shared_ptr<const hussar::Plan> plan;
};

struct hussar_session {
  std::shared_ptr<const hussar::Plan> plan;
  std::unique_ptr<hussar::Session> session;
  // Kept between runs, so that a run need not allocate.
  std::vector<hussar::NamedTensor> inputs;
  std::vector<hussar::OutputPlace> places;
  std::vector<hussar::Shape> output_shapes;
};

struct hussar_pinned {
  hussar::Tensor bytes;
};

namespace {

using hussar::ErrorCode;
using hussar::Status;

// A fixed buffer: remembering "out of memory" must not allocate.
thread_local char last_error[16384] = "";

hussar_code remember(ErrorCode code, const char* message, size_t size) {
  size = std::min(size, sizeof(last_error) - 1);
  std::copy(message, message + size, last_error);
  last_error[size] = '\0';
  return static_cast<hussar_code>(code);
}

template <class Function>
hussar_code guarded(Function&& function) {
  try {
    Status status = function();
    if (status) return HUSSAR_OK;
    return remember(status.error().code, status.error().message.data(), status.error().message.size());
  } catch (const std::bad_alloc&) {
    return remember(ErrorCode::kRunFailed, "out of memory", 13);
  } catch (const std::exception& error) {
    return remember(ErrorCode::kRunFailed, error.what(), std::char_traits<char>::length(error.what()));
  } catch (...) {
    return remember(ErrorCode::kRunFailed, "internal error", 14);
  }
}

hussar::Result<hussar::Tensor> view_of(const hussar_tensor& given) {
  using namespace hussar;
  auto dtype = static_cast<DType>(given.dtype);
  bool known = given.dtype > 0 && given.dtype <= static_cast<int32_t>(DType::kInt2) && dtype_size(dtype) > 0;
  HUSSAR_CHECK(given.name != nullptr, ErrorCode::kUsage, "an input has no name");
  HUSSAR_CHECK(known, ErrorCode::kUsage, "input '{}' has the unknown dtype {}", given.name, given.dtype);
  HUSSAR_CHECK(given.rank >= 0 && given.rank <= kMaxRank && (given.rank == 0 || given.dims != nullptr),
               ErrorCode::kUsage, "input '{}' has rank {} or no dims", given.name, given.rank);
  uint64_t wanted = dtype_size(dtype);
  Shape shape;
  for (int32_t axis = 0; axis < given.rank; ++axis) {
    bool ok =
        given.dims[axis] >= 0 && !__builtin_mul_overflow(wanted, static_cast<uint64_t>(given.dims[axis]), &wanted);
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "input '{}': dimension {} is {}", given.name, axis, given.dims[axis]);
    shape.push_back(given.dims[axis]);
  }
  HUSSAR_CHECK(given.bytes == wanted && (given.data != nullptr || wanted == 0), ErrorCode::kUsage,
               "input '{}' ({}, shape {}) has {} bytes instead of {}", given.name, dtype_name(dtype), shape.to_string(),
               given.data == nullptr ? 0 : given.bytes, wanted);
  return Tensor::view(dtype, shape, given.data);
}

hussar::Result<hussar::Place> place_of(const hussar_tensor& tensor, std::string_view name) {
  HUSSAR_CHECK(tensor.place == HUSSAR_HOST || tensor.place == HUSSAR_DEVICE, ErrorCode::kUsage,
               "'{}' has the unknown place {}", name, static_cast<int>(tensor.place));
  return tensor.place == HUSSAR_HOST ? hussar::Place::kHost : hussar::Place::kDevice;
}

// How a run goes about outputs.
enum class Mode { kOutputsOnHost, kOutputsPlaced, kEnqueued };

Status run(hussar_session& session, std::span<const hussar_tensor> inputs, std::span<hussar_tensor> outputs, Mode mode,
           void* stream = nullptr) {
  const hussar::PlanGraph& graph = session.plan->graph;
  session.inputs.clear();
  session.places.clear();
  for (const hussar_tensor& input : inputs) {
    hussar::Tensor view = HUSSAR_TRY(view_of(input));
    session.inputs.push_back({input.name, std::move(view), HUSSAR_TRY(place_of(input, input.name))});
  }
  for (size_t i = 0; i < std::min(outputs.size(), graph.outputs.size()) && mode != Mode::kOutputsOnHost; ++i) {
    const std::string& name = graph.values[graph.outputs[i]].name;
    session.places.push_back({name, HUSSAR_TRY(place_of(outputs[i], name)), outputs[i].data, outputs[i].bytes});
  }
  auto results = HUSSAR_TRY(mode == Mode::kEnqueued ? session.session->enqueue(session.inputs, session.places, stream)
                                                    : session.session->run(session.inputs, session.places));
  session.output_shapes.resize(results.size());
  for (size_t i = 0; i < outputs.size() && i < results.size(); ++i) {
    const hussar::Tensor& result = results[i];
    session.output_shapes[i] = result.shape();
    outputs[i].name = graph.values[graph.outputs[i]].name.c_str();
    outputs[i].dtype = static_cast<hussar_dtype>(result.dtype());
    outputs[i].rank = result.shape().rank();
    outputs[i].dims = session.output_shapes[i].begin();
    outputs[i].data = const_cast<std::byte*>(result.raw());
    outputs[i].bytes = result.bytes();
    if (mode == Mode::kOutputsOnHost) outputs[i].place = HUSSAR_HOST;
  }
  return {};
}

const char* name_at(const hussar_plan* plan, const std::vector<int32_t>& list, size_t index) {
  return index < list.size() ? plan->plan->graph.values[list[index]].name.c_str() : nullptr;
}

Status require_tensors(const hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                       const hussar_tensor* outputs, size_t output_count) {
  HUSSAR_CHECK(session != nullptr, ErrorCode::kUsage, "session is null");
  HUSSAR_CHECK(inputs != nullptr || input_count == 0, ErrorCode::kUsage, "inputs is null");
  HUSSAR_CHECK(outputs != nullptr || output_count == 0, ErrorCode::kUsage, "outputs is null");
  return {};
}

Status require(bool given, const char* what) {
  HUSSAR_CHECK(given, ErrorCode::kUsage, "{} is null", what);
  return {};
}

}  // namespace

extern "C" {

const char* hussar_last_error(void) { return last_error; }

hussar_code hussar_build(const char* model_path, const char* plan_path, const char* options_json) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require(model_path != nullptr, "model_path"));
    HUSSAR_TRY(require(plan_path != nullptr, "plan_path"));
    hussar::BuildOptions options = HUSSAR_TRY(hussar::parse_build_options(options_json));
    auto timings = HUSSAR_TRY(hussar::TimingFile::open(options.timing_cache));
    options.compile.timings = &timings.cache;
    if (options.int8) HUSSAR_TRY(hussar::apply_int8(model_path, *options.int8, options.compile));
    auto plan = HUSSAR_TRY(hussar::compile_checked(model_path, options.compile, options.check));
    HUSSAR_TRY(timings.save());
    return hussar::write_plan(*plan, plan_path);
  });
}

hussar_code hussar_plan_load(const char* plan_path, hussar_plan** plan) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require(plan_path != nullptr, "plan_path"));
    HUSSAR_TRY(require(plan != nullptr, "plan"));
    *plan = nullptr;
    auto loaded = HUSSAR_TRY(hussar::read_plan(plan_path));
    *plan = new hussar_plan{std::move(loaded)};
    return {};
  });
}

void hussar_plan_destroy(hussar_plan* plan) { delete plan; }

size_t hussar_plan_input_count(const hussar_plan* plan) {
  return plan == nullptr ? 0 : plan->plan->graph.inputs.size();
}

size_t hussar_plan_output_count(const hussar_plan* plan) {
  return plan == nullptr ? 0 : plan->plan->graph.outputs.size();
}

const char* hussar_plan_input_name(const hussar_plan* plan, size_t index) {
  return plan == nullptr ? nullptr : name_at(plan, plan->plan->graph.inputs, index);
}

const char* hussar_plan_output_name(const hussar_plan* plan, size_t index) {
  return plan == nullptr ? nullptr : name_at(plan, plan->plan->graph.outputs, index);
}

hussar_code hussar_session_create(const hussar_plan* plan, int32_t threads, hussar_session** session) {
  return hussar_session_create_on_device(plan, threads, 0, session);
}

hussar_code hussar_session_create_on_device(const hussar_plan* plan, int32_t threads, int32_t device,
                                            hussar_session** session) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require(plan != nullptr, "plan"));
    HUSSAR_TRY(require(session != nullptr, "session"));
    *session = nullptr;
    hussar::SessionOptions options;
    options.threads = threads;
    options.device = device;
    auto created = std::make_unique<hussar_session>();
    created->plan = plan->plan;
    created->session = HUSSAR_TRY(hussar::Session::create(plan->plan, options));
    *session = created.release();
    return {};
  });
}

void hussar_session_destroy(hussar_session* session) { delete session; }

hussar_code hussar_session_run(hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                               hussar_tensor* outputs, size_t output_count) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require_tensors(session, inputs, input_count, outputs, output_count));
    return run(*session, {inputs, input_count}, {outputs, output_count}, Mode::kOutputsOnHost);
  });
}

hussar_code hussar_session_run_into(hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                                    hussar_tensor* outputs, size_t output_count) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require_tensors(session, inputs, input_count, outputs, output_count));
    return run(*session, {inputs, input_count}, {outputs, output_count}, Mode::kOutputsPlaced);
  });
}

hussar_code hussar_session_enqueue(hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                                   hussar_tensor* outputs, size_t output_count, void* stream) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require_tensors(session, inputs, input_count, outputs, output_count));
    return run(*session, {inputs, input_count}, {outputs, output_count}, Mode::kEnqueued, stream);
  });
}

hussar_code hussar_pinned_allocate(hussar_session* session, size_t bytes, hussar_pinned** memory) {
  return guarded([&]() -> Status {
    HUSSAR_TRY(require(session != nullptr, "session"));
    HUSSAR_TRY(require(memory != nullptr, "memory"));
    *memory = nullptr;
    HUSSAR_CHECK(bytes <= INT64_MAX, ErrorCode::kUsage, "no machine has {} bytes", bytes);
    const hussar::Shape shape{static_cast<int64_t>(bytes)};
    auto tensor = HUSSAR_TRY(session->session->allocate_pinned(hussar::DType::kUInt8, shape));
    *memory = new hussar_pinned{std::move(tensor)};
    return {};
  });
}

void* hussar_pinned_data(const hussar_pinned* memory) {
  return memory == nullptr ? nullptr : const_cast<std::byte*>(memory->bytes.raw());
}

void hussar_pinned_free(hussar_pinned* memory) { delete memory; }

}  // extern "C"
