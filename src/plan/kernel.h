// Kernel: code that executes one kind of step. The run-time half of an implementation; the compile-time half is
// tactics/tactic.h. A kernel is one file, src/backends/cpu/kernels/<family>/<name>.cpp, that defines
// `extern const Kernel <name>_kernel` and `extern const Tactic <name>_tactic`.
#pragma once
#include <functional>
#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "plan/device.h"
#include "plan/plan.h"
#include "tensor/place.h"

namespace hussar {

// A tensor as a kernel sees it.
struct Operand {
  DType dtype = DType::kUndefined;  // kUndefined: omitted
  Shape shape;                      // logical dimensions
  Layout layout = Layout::kPlain;
  // Channels-last: elements from one pixel to the next (>= the channel count: the value may be a slice of a wider one).
  int64_t pitch = 0;
  std::byte* data = nullptr;  // null while preparing

  bool present() const { return dtype != DType::kUndefined; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  const float* f32() const { return reinterpret_cast<const float*>(data); }
  float* f32_out() const { return reinterpret_cast<float*>(data); }
};

// Called when the shapes of a step become known; not on the hot path.
struct Prepare {
  const PlanStep& step;
  std::span<const Operand> inputs, outputs;  // without data, but constants have theirs
  int threads;
  std::byte* state;          // Kernel::state_bytes, 64-byte aligned, kept until the next prepare
  size_t scratch_bytes = 0;  // set by the kernel: working memory for run()
  // For kernels on a device.
  Device* device = nullptr;
  std::span<const std::byte> code = {};  // in the memory of the host, as long as the plan
  // Where a step is prepared several times with copies of its constants in other places of the device, which of them:
  // what a kernel makes of constants for itself it makes for each copy.
  int twin = 0;
  template <class T>
  T& state_as() const {
    return *reinterpret_cast<T*>(state);
  }
};

// Rows of the outputs of a step on a device, counted by their dimensions in front, from number *count on are read by
// nobody, and need not be computed. `count` is of the device, and may be read by its kernels only, when those before
// them have ended. null: all rows are needed.
struct RowCount {
  const int32_t* count = nullptr;
  int64_t rows = 0;  // all
  // For kernels that count their rows as so many.
  const int32_t* of(int64_t own_rows) const { return own_rows == rows ? count : nullptr; }
};

struct Run {
  const PlanStep& step;
  std::span<const Operand> inputs, outputs;
  const std::byte* state;
  std::byte* scratch;  // 64-byte aligned
  ThreadPool::Lease& pool;
  // The instruction set level that the plan was built for, cpu::Isa as an integer; -1: the best. Machines with less run
  // what they have.
  int isa = -1;
  Device* device = nullptr;
  RowCount row_count = {};
  template <class T>
  const T& state_as() const {
    return *reinterpret_cast<const T*>(state);
  }
};

struct Kernel {
  std::string_view name;
  // On a device, the data of operands and the scratch are the device's in run(), which only enqueues. In prepare()
  // constants have theirs in the memory of the host.
  Place place = Place::kHost;
  // Part of timing-cache keys: raise it when the code's speed or its packed formats change.
  uint32_t version = 1;
  size_t state_bytes = 0;
  // What it multiplies in where that is narrower than the type of its outputs.
  DType multiplies_in = DType::kUndefined;
  // The weights are packed, so that the tactic's supports() no longer fits the step: prepare() checks every dtype,
  // layout and shape. For all other kernels the runtime has asked supports() when it opened the plan. That the outputs
  // are what the operator makes of the inputs is checked for all, before prepare().
  bool checks_shapes = false;
  // Whether the library of others that it calls is there, and why not; asked when a plan is opened. Null: calls none.
  Status (*vendor_library)() = nullptr;
  // Turns shapes and attributes into launch parameters. May fail on an impossible step. Null: nothing to prepare.
  Status (*prepare)(Prepare&) = nullptr;
  // Allocates nothing. Fails on bad data only (an index out of range, say).
  Status (*run)(const Run&) = nullptr;
};

std::span<const Kernel* const> all_kernels();
// Null when there is none.
const Kernel* find_kernel(std::string_view name);

// Names the way in which the kernel of a step goes about its work, where that is not its usual one (Configuration in
// tactics/tactic.h). A string.
inline constexpr std::string_view kConfigurationAttribute = "hussar_configuration";
// Of a step that multiplies floats as TF32: 1.
inline constexpr std::string_view kTf32Attribute = "hussar_tf32";

// Of steps whose kernel has compiled code: the value, a constant, that holds it, and the kCodeVersion that it was
// compiled by. Integers.
inline constexpr std::string_view kCodeAttribute = "hussar_code";
// Raise it when the parameters that any such code is launched with change what they mean.
inline constexpr int64_t kCodeVersion = 2;

// Of steps of which not all rows are needed: the value whose last element (int32) counts them, and how many dimensions
// of the outputs count rows. It is a hint: whoever does not know it computes all.
inline constexpr std::string_view kRowCountAttribute = "hussar_row_count";

// The kernel name of steps that the reference evaluator of their operator executes.
inline constexpr std::string_view kReferenceKernel = "reference";

}  // namespace hussar
