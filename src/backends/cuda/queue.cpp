// Memory, copies, launches and graphs of one stream.
#include "backends/cuda/queue.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/cuda/code.h"
#include "backends/cuda/emulation.h"
#include "backends/cuda/nvrtc.h"
#include "base/error.h"
#include "base/memory.h"

namespace hussar {

bool is_device_target(std::string_view target) { return target.starts_with("cuda"); }

Result<std::unique_ptr<Device>> open_device(std::string_view target, int index) {
  if (const cuda::Emulation* emulation = cuda::emulation()) return emulation->open(target, index);
  auto queue = HUSSAR_TRY(cuda::Queue::create(index));
  const std::string wanted = fmt::format("cuda:sm_{}", queue->facts().sm);
  HUSSAR_CHECK(target == wanted, ErrorCode::kPlanIncompatible,
               "the plan was built for {}, GPU {} is {} ({}): build it again from its ONNX model for this GPU, or from "
               "the plan: `hussar build M.plan -o NEW.plan --target cuda`",
               target, index, queue->facts().name, wanted);
  return std::unique_ptr<Device>(std::move(queue));
}

}  // namespace hussar

namespace hussar::cuda {
namespace {

constexpr int kOutOfMemory = 2;
// Faults of kernels and of the hardware: nothing works in this context any more.
constexpr bool is_fault(int code) { return code == 214 || (code >= 700 && code < 800); }
constexpr int kNonBlocking = 1;    // CU_STREAM_NON_BLOCKING
constexpr unsigned kPortable = 1;  // CU_MEMHOSTALLOC_PORTABLE
constexpr unsigned kNoTiming = 2;  // CU_EVENT_DISABLE_TIMING
constexpr char kForeignStream[] =
    "cannot wait for the stream, which must be of the session's GPU and its primary context";
// CU_STREAM_CAPTURE_MODE_RELAXED: libraries load their code at the first launch, which may be a recorded one.
constexpr int kRelaxedMode = 2;
// Of CUtensorMap: UINT8, FLOAT16, TFLOAT32, INTERLEAVE_NONE, SWIZZLE_64B, SWIZZLE_128B, L2_PROMOTION_L2_256B,
// OOB_FILL_NONE.
constexpr int kBytes = 0, kHalves = 6, kBFloats = 9, kRoundedFloats = 11;
constexpr int kNoInterleave = 0, kSwizzle64 = 2, kSwizzle128 = 3, kPromote256 = 3, kZeros = 0;
constexpr char kNoTensorMaps[] = "the NVIDIA driver is too old for this plan: CUDA 12 is needed";

DevicePointer pointer(const std::byte* memory) { return reinterpret_cast<DevicePointer>(memory); }

}  // namespace

Status Queue::check(int code, const char* what) {
  HUSSAR_CHECK(fault_.empty(), ErrorCode::kRunFailed, "the GPU failed earlier ({}): create a new session", fault_);
  if (code == 0) return {};
  const std::string text = error_text(*driver_, code);
  if (is_fault(code)) fault_ = text;
  return fail(ErrorCode::kRunFailed, "{}: {} on {}", what, text, facts_.name);
}

Status Queue::use_context() { return check(driver_->context_set_current(context_), "cannot use the GPU"); }

Result<std::unique_ptr<Queue>> Queue::create(int index) {
  const Driver* cuda = HUSSAR_TRY(driver());
  std::vector<DeviceFacts> devices = HUSSAR_TRY(find_devices());
  HUSSAR_CHECK(index >= 0 && index < static_cast<int>(devices.size()), ErrorCode::kDeviceUnavailable,
               "there is no GPU {}: the driver knows {}", index, devices.size());
  std::unique_ptr<Queue> queue(new Queue);
  queue->driver_ = cuda;
  queue->facts_ = devices[static_cast<size_t>(index)];
  queue->index_ = index;
  int device = 0;
  HUSSAR_TRY(queue->check(cuda->device_get(&device, index), "cannot open the GPU"));
  HUSSAR_TRY(queue->check(cuda->context_retain(&queue->context_, device), "cannot open the GPU"));
  HUSSAR_TRY(queue->use_context());
  HUSSAR_TRY(queue->check(cuda->stream_create(&queue->stream_, kNonBlocking), "cannot open a stream"));
  HUSSAR_TRY(queue->check(cuda->event_create(&queue->event_, kNoTiming), "cannot create an event"));
  return queue;
}

Queue::~Queue() {
  // The primary context stays: retaining it again would take a tenth of a second.
  if (context_ == nullptr || driver_->context_set_current(context_) != 0) return;
  drop_recordings();
  drop_kept();
  for (const auto& [code, module] : modules_) driver_->module_unload(module);
  if (event_ != nullptr) driver_->event_destroy(event_);
  if (stream_ != nullptr) driver_->stream_destroy(stream_);
}

Result<std::byte*> Queue::allocate(size_t bytes) {
  HUSSAR_TRY(use_context());
  DevicePointer memory = 0;
  const int code = driver_->memory_allocate(&memory, std::max<size_t>(bytes, 256));
  if (code == kOutOfMemory) {
    size_t free = 0, total = 0;
    driver_->memory_info(&free, &total);
    return fail(ErrorCode::kRunFailed,
                "the GPU has no room for {:.1f} MB: {:.1f} of {:.1f} MB are free; use a smaller batch or close other "
                "programs on {}",
                1e-6 * static_cast<double>(bytes), 1e-6 * static_cast<double>(free), 1e-6 * static_cast<double>(total),
                facts_.name);
  }
  HUSSAR_TRY(check(code, "cannot allocate memory"));
  return reinterpret_cast<std::byte*>(memory);
}

void Queue::release(std::byte* memory) {
  if (driver_->context_set_current(context_) == 0) driver_->memory_free(pointer(memory));
}

Result<std::shared_ptr<std::byte>> Queue::allocate_pinned(size_t bytes) {
  HUSSAR_TRY(use_context());
  void* memory = nullptr;
  const bool is_possible = bytes <= physical_memory();
  const int code = is_possible ? driver_->host_allocate(&memory, std::max<size_t>(bytes, 64), kPortable) : kOutOfMemory;
  HUSSAR_CHECK(code != kOutOfMemory, ErrorCode::kRunFailed,
               "the machine cannot pin {:.1f} MB of its memory: use a smaller batch, or tensors that are not pinned",
               1e-6 * static_cast<double>(bytes));
  HUSSAR_TRY(check(code, "cannot allocate pinned memory"));
  auto release = [driver = driver_, context = context_](std::byte* pinned) {
    if (driver->context_set_current(context) == 0) driver->host_free(pinned);
  };
  return std::shared_ptr<std::byte>(static_cast<std::byte*>(memory), release);
}

Residence Queue::residence(const std::byte* memory) {
  Residence residence;
  int attributes[] = {kMemoryType, kIsManaged, kDeviceOrdinal};
  unsigned type = 0, is_managed = 0;
  int device = -1;
  void* answers[] = {&type, &is_managed, &device};
  // Of memory that is none of CUDA's all answers are zero.
  if (!use_context() || driver_->pointer_attributes(3, attributes, answers, pointer(memory)) != 0) return residence;
  residence.is_managed = is_managed != 0;
  residence.is_pinned = type == kPinnedHostMemory && is_managed == 0;
  if (type == kDeviceMemory) residence.device = device;
  return residence;
}

Status Queue::copy_in(std::byte* to, const std::byte* from, size_t bytes) {
  HUSSAR_TRY(use_context());
  return bytes == 0 ? Status() : check(driver_->copy_in(pointer(to), from, bytes, stream_), "cannot copy to the GPU");
}

Status Queue::copy_out(std::byte* to, const std::byte* from, size_t bytes) {
  HUSSAR_TRY(use_context());
  return bytes == 0 ? Status()
                    : check(driver_->copy_out(to, pointer(from), bytes, stream_), "cannot copy from the GPU");
}

Status Queue::copy_within(std::byte* to, const std::byte* from, size_t bytes) {
  HUSSAR_TRY(use_context());
  return bytes == 0 ? Status()
                    : check(driver_->copy_within(pointer(to), pointer(from), bytes, stream_), "cannot copy on the GPU");
}

// An event is asked for at the time of the call, so that one is enough.
Status Queue::follow(void* stream) {
  HUSSAR_TRY(use_context());
  HUSSAR_TRY(check(driver_->event_record(event_, static_cast<StreamHandle*>(stream)), kForeignStream));
  return check(driver_->stream_wait_event(stream_, event_, 0), kForeignStream);
}

Status Queue::lead(void* stream) {
  HUSSAR_TRY(use_context());
  HUSSAR_TRY(check(driver_->event_record(event_, stream_), "cannot record an event"));
  return check(driver_->stream_wait_event(static_cast<StreamHandle*>(stream), event_, 0), kForeignStream);
}

Status Queue::wait() {
  HUSSAR_TRY(use_context());
  return check(driver_->stream_wait(stream_), "a kernel failed");
}

Status Queue::begin_recording() {
  HUSSAR_TRY(use_context());
  return check(driver_->begin_capture(stream_, kRelaxedMode), "cannot record a graph");
}

Result<int> Queue::end_recording() {
  GraphHandle* graph = nullptr;
  HUSSAR_TRY(check(driver_->end_capture(stream_, &graph), "cannot record a graph"));
  GraphExecHandle* executable = nullptr;
  const int code = driver_->graph_instantiate(&executable, graph, 0);
  driver_->graph_destroy(graph);
  HUSSAR_TRY(check(code, "cannot instantiate a graph"));
  const auto free = std::find(recordings_.begin(), recordings_.end(), nullptr);
  const auto index = static_cast<int>(free - recordings_.begin());
  if (free == recordings_.end()) recordings_.emplace_back();
  recordings_[static_cast<size_t>(index)] = executable;
  return index;
}

Status Queue::replay(int recording) {
  HUSSAR_TRY(use_context());
  return check(driver_->graph_launch(recordings_[static_cast<size_t>(recording)], stream_), "cannot launch a graph");
}

// The driver frees one that is in flight when that has ended.
void Queue::drop_recording(int recording) {
  GraphExecHandle*& executable = recordings_[static_cast<size_t>(recording)];
  if (executable != nullptr) driver_->graph_exec_destroy(executable);
  executable = nullptr;
}

void Queue::drop_recordings() {
  for (size_t i = 0; i < recordings_.size(); ++i) drop_recording(static_cast<int>(i));
  recordings_.clear();
}

std::string Queue::describe() const { return fmt::format("{}, sm_{}", facts_.name, facts_.sm); }

std::string Queue::identity() const {
  const auto compiler = find_compiler();
  const std::string nvrtc = compiler ? fmt::format("{}.{}", compiler->major, compiler->minor) : "none";
  return fmt::format("{} sm_{} driver {} nvrtc {} kernels {}", facts_.name, facts_.sm,
                     driver_version().value_or("unknown"), nvrtc, device_source_digest());
}

Result<FunctionHandle*> Queue::load(std::span<const std::byte> code, const std::string& function,
                                    unsigned shared_bytes) {
  HUSSAR_TRY(use_context());
  ModuleHandle*& module = modules_[code.data()];
  if (module == nullptr) {
    const int result = driver_->module_load(&module, code.data());
    if (result != 0) module = nullptr;
    HUSSAR_CHECK(result == 0, ErrorCode::kPlanIncompatible,
                 "the plan's code does not load on {} ({}): build the plan again for this GPU", facts_.name,
                 error_text(*driver_, result));
  }
  FunctionHandle* handle = nullptr;
  HUSSAR_TRY(check(driver_->module_function(&handle, module, function.c_str()), "the plan's code lacks a kernel"));
  if (shared_bytes > 0) {
    HUSSAR_TRY(check(driver_->function_set_attribute(handle, kMaxDynamicSharedBytes, static_cast<int>(shared_bytes)),
                     "a kernel cannot have its shared memory"));
  }
  return handle;
}

Status Queue::launch(const Launch& launch, std::span<void* const> arguments) {
  if (launch.grid[0] == 0 || launch.grid[1] == 0 || launch.grid[2] == 0) return {};
  LaunchAttribute overlap{};
  overlap.id = kProgrammaticSerialization;
  overlap.value.programmatic_stream_serialization = 1;
  LaunchConfig config{};
  std::copy_n(launch.grid, 3, config.grid);
  config.block[0] = launch.threads;
  config.block[1] = config.block[2] = 1;
  config.shared_bytes = launch.shared_bytes;
  config.stream = stream_;
  config.attributes = &overlap;
  config.attribute_count = facts_.sm >= 90 ? 1 : 0;
  return check(driver_->launch(&config, launch.function, const_cast<void**>(arguments.data()), nullptr),
               "cannot launch a kernel");
}

// Floats arrive rounded to TF32.
static int map_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return kRoundedFloats;
    case DType::kFloat16: return kHalves;
    case DType::kBFloat16: return kBFloats;
    default: return kBytes;
  }
}

static uint32_t swizzle_of(int bytes) { return bytes == 64 ? kSwizzle64 : kSwizzle128; }

Result<TensorMap> Queue::encode(const TileMap& map, const std::byte* data) {
  constexpr uint32_t kOnes[5] = {1, 1, 1, 1, 1};
  HUSSAR_CHECK(driver_->encode_tiled_map != nullptr, ErrorCode::kDeviceUnavailable, kNoTensorMaps);
  TensorMap encoded;
  HUSSAR_TRY(check(driver_->encode_tiled_map(&encoded, map_type(map.dtype), static_cast<uint32_t>(map.rank),
                                             const_cast<std::byte*>(data), map.sizes, map.strides, map.box, kOnes,
                                             kNoInterleave, swizzle_of(map.swizzle_bytes), kPromote256, kZeros),
                   "cannot describe a tensor to the copy engine"));
  return encoded;
}

Result<TensorMap> Queue::encode(const WindowMap& map, const std::byte* data) {
  HUSSAR_CHECK(driver_->encode_window_map != nullptr, ErrorCode::kDeviceUnavailable, kNoTensorMaps);
  TensorMap encoded;
  HUSSAR_TRY(check(driver_->encode_window_map(&encoded, map_type(map.dtype), 4, const_cast<std::byte*>(data), map.sizes,
                                              map.strides, map.lower, map.upper, map.channels, map.pixels, map.step,
                                              kNoInterleave, swizzle_of(map.swizzle_bytes), kPromote256, kZeros),
                   "cannot describe windows to the copy engine"));
  return encoded;
}

}  // namespace hussar::cuda
