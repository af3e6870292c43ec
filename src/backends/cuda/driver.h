// The CUDA driver: the functions of libcuda.so.1 that Hussar calls, found at run time. The declarations repeat what the
// driver API documents (docs.nvidia.com/cuda/cuda-driver-api), so that building needs no CUDA toolkit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hussar/status.h"

namespace hussar::cuda {

using DevicePointer = uint64_t;
struct ContextHandle;
struct StreamHandle;
struct ModuleHandle;
struct FunctionHandle;
struct GraphHandle;
struct GraphExecHandle;
struct EventHandle;

// CUtensorMap: how a tile of a tensor in global memory is addressed by bulk copies.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

struct LaunchAttribute {
  int id;
  int padding;
  union {
    char bytes[64];
    int programmatic_stream_serialization;
    struct {
      unsigned x, y, z;
    } cluster;
  } value;
};
inline constexpr int kClusterDimension = 4, kProgrammaticSerialization = 6;  // ids of launch attributes

struct LaunchConfig {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  StreamHandle* stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};

// Attributes of devices and functions, by the numbers of the driver API.
enum DeviceAttribute : int {
  kMultiprocessors = 16,
  kL2CacheBytes = 38,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
  kSharedBytesOptin = 97,
};
inline constexpr int kMaxDynamicSharedBytes = 8;

// Attributes of pointers.
enum PointerAttribute : int {
  kMemoryType = 2,
  kIsManaged = 8,
  kDeviceOrdinal = 9,
};
enum MemoryType : unsigned {
  kPinnedHostMemory = 1,
  kDeviceMemory = 2,
};

struct Driver {
  int (*init)(unsigned);
  int (*driver_version)(int*);
  int (*device_count)(int*);
  int (*device_get)(int*, int);
  int (*device_name)(char*, int, int);
  int (*device_attribute)(int*, int, int);
  int (*device_total_memory)(size_t*, int);
  int (*context_retain)(ContextHandle**, int);
  int (*context_set_current)(ContextHandle*);
  int (*memory_allocate)(DevicePointer*, size_t);
  int (*memory_free)(DevicePointer);
  int (*memory_info)(size_t*, size_t*);
  int (*host_allocate)(void**, size_t, unsigned);
  int (*host_free)(void*);
  int (*pointer_attributes)(unsigned, int*, void**, DevicePointer);
  int (*copy_in)(DevicePointer, const void*, size_t, StreamHandle*);
  int (*copy_out)(void*, DevicePointer, size_t, StreamHandle*);
  int (*copy_within)(DevicePointer, DevicePointer, size_t, StreamHandle*);
  int (*stream_create)(StreamHandle**, unsigned);
  int (*stream_destroy)(StreamHandle*);
  int (*stream_wait)(StreamHandle*);
  int (*stream_wait_event)(StreamHandle*, EventHandle*, unsigned);
  int (*event_create)(EventHandle**, unsigned);
  int (*event_destroy)(EventHandle*);
  int (*event_record)(EventHandle*, StreamHandle*);
  int (*begin_capture)(StreamHandle*, int);
  int (*end_capture)(StreamHandle*, GraphHandle**);
  int (*graph_instantiate)(GraphExecHandle**, GraphHandle*, unsigned long long);
  int (*graph_launch)(GraphExecHandle*, StreamHandle*);
  int (*graph_exec_destroy)(GraphExecHandle*);
  int (*graph_destroy)(GraphHandle*);
  int (*module_load)(ModuleHandle**, const void*);
  int (*module_unload)(ModuleHandle*);
  int (*module_function)(FunctionHandle**, ModuleHandle*, const char*);
  int (*function_set_attribute)(FunctionHandle*, int, int);
  int (*launch)(const LaunchConfig*, FunctionHandle*, void**, void**);
  int (*encode_tiled_map)(TensorMap*, int type, uint32_t rank, void* address, const uint64_t* sizes,
                          const uint64_t* strides, const uint32_t* box, const uint32_t* element_strides, int interleave,
                          int swizzle, int l2_promotion, int out_of_bounds);  // null below CUDA 12
  int (*encode_window_map)(TensorMap*, int type, uint32_t rank, void* address, const uint64_t* sizes,
                           const uint64_t* strides, const int* lower, const int* upper, uint32_t channels,
                           uint32_t pixels, const uint32_t* element_strides, int interleave, int swizzle,
                           int l2_promotion, int out_of_bounds);  // null below CUDA 12
  int (*error_name)(int, const char**);
  int (*error_text)(int, const char**);
};

// The driver, initialised once. Fails with kDeviceUnavailable, in one line that says why.
Result<const Driver*> driver();

// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
std::string error_text(const Driver& driver, int code);

// The newest CUDA that the driver knows: "13.0".
Result<std::string> driver_version();

struct DeviceFacts {
  std::string name;
  int sm = 0;  // 90: compute capability 9.0
  int multiprocessors = 0;
  size_t memory_bytes = 0, l2_bytes = 0, shared_bytes = 0;  // shared: the most that one block may have
};
Result<std::vector<DeviceFacts>> find_devices();

}  // namespace hussar::cuda
