// Loading libcuda.so.1 and asking it for devices.
#include "backends/cuda/driver.h"

#include "backends/cuda/libraries.h"
#include "base/error.h"

namespace hussar::cuda {
namespace {

// Names as the library exports them: _v2 where the driver API's headers say so.
bool find_functions(const Library& library, Driver& driver) {
  bool found = true;
  auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(find_function(library, name));
    found = found && function != nullptr;
  };
  find(driver.init, "cuInit");
  find(driver.driver_version, "cuDriverGetVersion");
  find(driver.device_count, "cuDeviceGetCount");
  find(driver.device_get, "cuDeviceGet");
  find(driver.device_name, "cuDeviceGetName");
  find(driver.device_attribute, "cuDeviceGetAttribute");
  find(driver.device_total_memory, "cuDeviceTotalMem_v2");
  find(driver.context_retain, "cuDevicePrimaryCtxRetain");
  find(driver.context_set_current, "cuCtxSetCurrent");
  find(driver.memory_allocate, "cuMemAlloc_v2");
  find(driver.memory_free, "cuMemFree_v2");
  find(driver.memory_info, "cuMemGetInfo_v2");
  find(driver.host_allocate, "cuMemHostAlloc");
  find(driver.host_free, "cuMemFreeHost");
  find(driver.pointer_attributes, "cuPointerGetAttributes");
  find(driver.copy_in, "cuMemcpyHtoDAsync_v2");
  find(driver.copy_out, "cuMemcpyDtoHAsync_v2");
  find(driver.copy_within, "cuMemcpyDtoDAsync_v2");
  find(driver.stream_create, "cuStreamCreate");
  find(driver.stream_destroy, "cuStreamDestroy_v2");
  find(driver.stream_wait, "cuStreamSynchronize");
  find(driver.stream_wait_event, "cuStreamWaitEvent");
  find(driver.event_create, "cuEventCreate");
  find(driver.event_destroy, "cuEventDestroy_v2");
  find(driver.event_record, "cuEventRecord");
  find(driver.begin_capture, "cuStreamBeginCapture_v2");
  find(driver.end_capture, "cuStreamEndCapture");
  find(driver.graph_instantiate, "cuGraphInstantiateWithFlags");
  find(driver.graph_launch, "cuGraphLaunch");
  find(driver.graph_exec_destroy, "cuGraphExecDestroy");
  find(driver.graph_destroy, "cuGraphDestroy");
  find(driver.module_load, "cuModuleLoadData");
  find(driver.module_unload, "cuModuleUnload");
  find(driver.module_function, "cuModuleGetFunction");
  find(driver.function_set_attribute, "cuFuncSetAttribute");
  find(driver.launch, "cuLaunchKernelEx");
  find(driver.error_name, "cuGetErrorName");
  find(driver.error_text, "cuGetErrorString");
  const bool is_complete = found;
  find(driver.encode_tiled_map, "cuTensorMapEncodeTiled");
  find(driver.encode_window_map, "cuTensorMapEncodeIm2col");
  return is_complete;
}

Result<Driver> load_driver() {
  auto library = open_library({"libcuda.so.1"}, "");
  HUSSAR_CHECK(library, ErrorCode::kDeviceUnavailable,
               "no NVIDIA driver (libcuda.so.1 not found): CUDA plans cannot run here");
  Driver driver{};
  HUSSAR_CHECK(find_functions(*library, driver), ErrorCode::kDeviceUnavailable,
               "the NVIDIA driver ({}) is too old: version 520 (CUDA 11.8) or newer is needed", library->path);
  const int code = driver.init(0);
  HUSSAR_CHECK(code == 0, ErrorCode::kDeviceUnavailable, "the NVIDIA driver does not start: {}",
               error_text(driver, code));
  return driver;
}

}  // namespace

Result<const Driver*> driver() {
  static const Result<Driver> loaded = load_driver();
  if (!loaded) return tl::unexpected(loaded.error());
  return &*loaded;
}

std::string error_text(const Driver& driver, int code) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (driver.error_name(code, &name) != 0 || driver.error_text(code, &text) != 0) return fmt::format("error {}", code);
  return fmt::format("{} ({})", name, text);
}

Result<std::string> driver_version() {
  const Driver* cuda = HUSSAR_TRY(driver());
  int version = 0;
  HUSSAR_CHECK(cuda->driver_version(&version) == 0, ErrorCode::kDeviceUnavailable, "the driver has no version");
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

Result<std::vector<DeviceFacts>> find_devices() {
  const Driver* cuda = HUSSAR_TRY(driver());
  int count = 0;
  const int code = cuda->device_count(&count);
  HUSSAR_CHECK(code == 0, ErrorCode::kDeviceUnavailable, "the NVIDIA driver counts no devices: {}",
               error_text(*cuda, code));
  std::vector<DeviceFacts> devices;
  for (int index = 0; index < count; ++index) {
    int device = 0;
    char name[128] = {};
    DeviceFacts facts;
    auto attribute = [&](DeviceAttribute id) {
      int value = 0;
      return cuda->device_attribute(&value, id, device) == 0 ? value : 0;
    };
    const bool known = cuda->device_get(&device, index) == 0 && cuda->device_name(name, sizeof(name), device) == 0 &&
                       cuda->device_total_memory(&facts.memory_bytes, device) == 0;
    HUSSAR_CHECK(known, ErrorCode::kDeviceUnavailable, "the NVIDIA driver says nothing about device {}", index);
    facts.name = name;
    facts.sm = 10 * attribute(kCapabilityMajor) + attribute(kCapabilityMinor);
    facts.multiprocessors = attribute(kMultiprocessors);
    facts.l2_bytes = static_cast<size_t>(attribute(kL2CacheBytes));
    facts.shared_bytes = static_cast<size_t>(attribute(kSharedBytesOptin));
    devices.push_back(std::move(facts));
  }
  return devices;
}

}  // namespace hussar::cuda
