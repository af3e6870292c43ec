// compile: the composition root. ONNX file -> Graph -> passes -> choice of kernels -> Plan.
#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "compile/spelling.h"
#include "compile/tune.h"
#include "hussar/status.h"
#include "passes/pass.h"
#include "plan/plan.h"

namespace hussar {

struct PlanDecisions;

// Whether a plan may need NVIDIA's libraries to run.
enum class Libraries {
  kOff,
  kOn,    // where they are measured to be faster
  kOnly,  // wherever they can
};
// "off", "on" or "only".
Result<Libraries> parse_libraries(std::string_view text);

struct CompileOptions {
  // ---- what the plan can do
  // Fixes or names input dimensions; Dim(-1) leaves one as the model has it.
  NamedShapes shapes;
  // ---- how exact
  bool fp16 = false;  // steps may multiply in FP16 where that is faster and the target has the instructions
  bool bf16 = false;  // the same in BF16, FP32's range with 8 bits of mantissa, not with fp16
  bool tf32 = false;  // steps on GPUs may round the floats that they multiply to TF32
  std::vector<std::string> fp32_nodes;  // with one of these: names of ONNX nodes whose steps may not
  // With fp16 or bf16: first outputs of steps that may not either, because the self-check found the plan too inexact
  // with them.
  std::set<std::string> inexact_in_half;
  // What steps may compute in instead of FP32: float16, bfloat16 or, with neither, kUndefined.
  DType half() const { return fp16 ? DType::kFloat16 : bf16 ? DType::kBFloat16 : DType::kUndefined; }
  bool lowers_floats() const { return fp16 || bf16 || tf32; }
  // Products of activations whose range it knows compute in INT8, or FP8. Null: none.
  std::shared_ptr<const Quantization> quantization;
  // With tuning: products for which INT8 is measured to be slower stay as they are. Else all become INT8.
  bool chooses_int8 = true;
  // With quantization: a step that multiplies in floats is an error, but for those that the user named.
  bool needs_int8 = false;
  // Padding of variable-length sequences is left out: rows of padding in outputs are zeros then. An error where no
  // attention has a mask that says what is padding.
  bool packed = false;
  // Then: the part of the rows that holds tokens, as a rule. Kernels are measured, and their times predicted, for that.
  double token_part = 0.5;
  // ---- how fast
  bool sparsity = true;  // kernels for 2:4 weights are rivals of the dense ones
  Libraries libraries = Libraries::kOff;
  int threads = 0;             // 0: one per core that this process may use
  int isa = -1;                // cpu::Isa as an integer; -1: the best of this machine
  Place place = Place::kHost;  // kDevice: steps run on a GPU where it has a kernel for them
  int sm = 0;                  // with kDevice: its compute capability, 90 for 9.0
  void set_target(const TargetName& target) { isa = target.isa, place = target.place, sm = target.sm; }
  // Rivals are measured for at most so long, in all stages together; 0: the predicted times decide. Only when this
  // machine can run the plan.
  double tune_seconds = 0;
  double tune_reserve = 0;  // further seconds on a device, for measurements that may gain much
  NamedShapes tune_shapes;  // to measure at, where the model leaves them open
  // Seconds, by which rivals are measured on a device and the budget ends; null: the machine's clock.
  std::function<double()> tune_clock;
  // Measurements are looked up here and, after tuning, added. Null: nothing is remembered.
  TimingCache* timings = nullptr;
  // What whole plans decided in a build before this one, for builds that measure nothing: CompileReport::decisions.
  std::shared_ptr<const PlanDecisions> decisions;
  // ---- for debugging
  std::vector<std::string> disabled_passes;  // names, or "all"
  bool reference_only = false;               // every step by its reference evaluator
  std::function<void(std::string_view pass, const Graph&)> dump;
  // Evaluates the model by reference code after each pass that changes it, at these shapes where it leaves them open;
  // an output that is off by more than `verify_tolerance` ends the build.
  bool verify_passes = false;
  NamedShapes verify_shapes;
  double verify_tolerance = 1e-3;
  // Told about each stage as it begins: "import", "passes", "tune passes", "tune", "tune plan", "choose", "self-check",
  // "keep FP32", "choose INT8".
  std::function<void(std::string_view stage)> progress;
  // Told how much of the stage is done, 0 to 1, in those that take long: "tune passes", "tune", "tune plan",
  // "self-check".
  std::function<void(double fraction)> stage_progress;
};

// One decision between precisions: the steps of the FP32 plan and of the INT8 plan that do the same work. With
// Int8Report::name, FP8 stands for INT8 in all of these.
struct Int8Choice {
  std::string name;  // of the ONNX nodes
  double float_microseconds = 0, int8_microseconds = 0;
  bool int8 = false;
};
// A convolution, product, attention or recurrent step of the plan that computes in floats.
struct FloatProduct {
  std::string name, op;  // name: of the ONNX nodes
  std::string reason;    // why it is not INT8
};
struct Int8Report {
  std::string_view name = "INT8";       // or "FP8"
  std::string_view otherwise = "FP32";  // the lowest precision that is allowed to products that are not INT8
  std::vector<Int8Choice> choices;
  // Of whole runs. 0: not measured.
  double float_microseconds = 0, all_int8_microseconds = 0, chosen_microseconds = 0;
  // What the plan was made with; null: all of it is FP32.
  std::shared_ptr<const Quantization> chosen;
  std::vector<FloatProduct> in_floats;  // all of them, where INT8 was allowed
};

struct CompileReport {
  std::vector<PassRecord> passes;
  TuneReport tuning;
  Int8Report int8;
  std::shared_ptr<const PlanDecisions> decisions;  // null: nothing of the plan was decided so
  double seconds = 0;
};

// "cpu:avx2", "cuda:sm_90": Plan::meta["target"].
std::string target_name(const Target& target);

// Fails where fp16 and bf16 are both allowed, or bf16 on a GPU that does not compute in it.
Status check_half(const CompileOptions& options);

// Applies CompileOptions::shapes to the inputs of an imported graph. A symbol that two inputs share changes in both.
Status fix_shapes(Graph& graph, const NamedShapes& shapes);

Result<Plan> compile_file(const std::string& model_path, const CompileOptions& options,
                          CompileReport* report = nullptr);
// The same from a graph that import made.
Result<Plan> compile_graph(Graph graph, const CompileOptions& options, CompileReport* report = nullptr);
// The same work by the kernels of another target. What the passes made of the model stays, so options that would ask
// more of them are refused.
Result<Plan> compile_plan(const Plan& plan, const CompileOptions& options, CompileReport* report = nullptr);

}  // namespace hussar
