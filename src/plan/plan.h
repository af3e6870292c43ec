// Plan: the frozen decision. What the runtime obeys, and what a .plan file holds (docs/plan_format.md).
//
// A loaded Plan is immutable and may be shared by any number of sessions in any threads.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"
#include "tensor/attributes.h"
#include "tensor/dim.h"
#include "tensor/layout.h"
#include "tensor/program.h"

namespace hussar {

inline constexpr uint32_t kPlanVersion = 1;

// Where the bytes of a value live. Stored in plans: append only.
enum class Storage : uint8_t {
  kArena = 0,     // at an offset of the session's arena, planned when shapes are bound
  kConstant = 1,  // in the plan's constant section
  kInput = 2,     // the caller's memory
  kAlias = 3,     // inside another value (a view)
  kHeap = 4,      // a buffer of its own that grows: its shape is known only when it has been computed
};

struct PlanValue {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<Dims> dims;  // nullopt: only the producing step tells
  Layout layout = Layout::kPlain;
  Storage storage = Storage::kArena;
  uint64_t constant_offset = 0;  // kConstant: from the start of the constant section, 64-byte aligned
  int32_t alias_of = -1;         // kAlias: the value that holds the memory
  // kAlias of a channel slice: the first channel within the holder. Channels-last values only.
  int64_t channel_offset = 0;
};

struct PlanGraph;

struct PlanStep {
  std::string kernel;  // which kernel executes it: the name in the kernel list
  std::string op;      // canonical operator
  std::string name;    // the ONNX node or nodes it stands for
  Attributes attributes;
  std::vector<int32_t> inputs, outputs;  // indices into PlanGraph::values; -1: omitted
  std::vector<std::pair<std::string, std::unique_ptr<PlanGraph>>> bodies;
  std::optional<Program> program;  // fused elementwise epilogue; its operands are the inputs from program_inputs on
  int32_t program_inputs = 0;
  // For inspect: "conv_tile: ok" and why each rival was not chosen.
  std::string report;
  // Of steps whose weights were packed and so no longer tell: arithmetic per element of output 0. Else 0.
  double flops_per_output = 0;
};

struct PlanGraph {
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;  // in execution order
  std::vector<int32_t> inputs, outputs;
};

struct Plan {
  // Free-form facts, printed by inspect: "model", "producer", "target", "threads", "hussar_version", "self_check", ...
  std::map<std::string, std::string> meta;
  PlanGraph graph;
  std::span<const std::byte> constants;
  // Keeps `constants` alive: the mapped file, or a buffer.
  std::shared_ptr<const void> owner;
  uint64_t file_bytes = 0;
};

// ---- files -------------------------------------------------------------------------------------------------------

// Encodes and writes the plan, atomically.
Status write_plan(const Plan& plan, const std::string& path);
// The same bytes in memory.
std::vector<std::byte> encode_plan(const Plan& plan);

struct ReadOptions {
  // Also hashes the constants when they are larger than a few megabytes (small ones always are).
  bool verify_constants = false;
};
// True for files that begin like a plan or are named *.plan.
bool is_plan_file(const std::string& path);
// Maps and validates a plan file.
Result<std::shared_ptr<const Plan>> read_plan(const std::string& path, const ReadOptions& options = {});
// The same from memory, which `owner` keeps alive; `bytes` must be 64-byte aligned.
Result<std::shared_ptr<const Plan>> decode_plan(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                const ReadOptions& options = {});

// What the header of any Hussar plan says, readable for foreign and newer versions too.
struct PlanHeader {
  uint32_t version = 0;
  std::string written_by;  // "hussar 0.1.0"
  std::string target;      // "cpu"
  uint64_t file_bytes = 0;
};
Result<PlanHeader> read_plan_header(std::span<const std::byte> bytes);

}  // namespace hussar
