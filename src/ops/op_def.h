// OpDef: everything Hussar knows about what one operator means. One file per operator: src/ops/<name>.cpp defines
// `extern const OpDef <name>_op`; CMake lists the folder.
//
// A canonical node has the newest ONNX form of its operator: what older opsets wrote as attributes has become inputs
// (`attribute_inputs`), and other differences are settled on import by `upgrade`. So `infer`, `evaluate` and all passes
// see one form only.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "graph/graph.h"
#include "hussar/status.h"

namespace hussar {

class InferContext;
class EvalContext;
class Builder;

enum Trait : uint32_t {
  kElementwise = 1U << 0,     // out[i] depends on the inputs' elements at i only, with multidirectional broadcasting
  kCommutative = 1U << 1,     // the first two inputs may be swapped
  kView = 1U << 2,            // output 0 has the bytes of input 0 in the same order under another shape
  kShapeOnly = 1U << 3,       // reads the shape of its inputs, never their elements
  kChannelsLastOk = 1U << 4,  // means the same in any layout, given that all its tensors share it
  kImpure = 1U << 5,          // random or otherwise not a function of its inputs: never folded
  kOwnProgram = 1U << 6,      // evaluate() applies the fused program itself
  kSizesOutputs = 1U << 7,    // evaluate() allocates its outputs: the data, or a body, decide their shapes
};

// "Before opset `until`, input `input` was the attribute `attribute`."
struct AttributeInput {
  const char* attribute;
  int input;
  int until;
};

// What `upgrade` sees: a freshly imported node of an older opset. It may edit the node or replace it.
struct UpgradeContext {
  Graph& graph;
  Node& node;
  int opset;  // of the model, for the node's domain
};

struct OpDef {
  std::string_view name;          // "Conv"; other domains are prefixed: "com.microsoft.FusedMatMul", "hussar.Pointwise"
  std::string_view aliases = "";  // further spellings, space separated, that mean exactly the same
  int min_inputs = 0, max_inputs = 0;  // max -1: any number
  int min_outputs = 1, max_outputs = 1;
  uint32_t traits = 0;
  std::span<const AttributeInput> attribute_inputs = {};
  Status (*upgrade)(UpgradeContext&) = nullptr;
  // Sets dtype and dims of every output. The same function serves symbolic and concrete shapes.
  Status (*infer)(InferContext&) = nullptr;
  // Computes the outputs from dense row-major inputs: the oracle of every test and the tactic of last resort.
  Status (*evaluate)(EvalContext&) = nullptr;
  // For composite operators, instead of infer and evaluate: writes the node as other operators.
  Status (*expand)(Builder&) = nullptr;
  // Multiply-adds counted as two, for reports; null counts one per output element.
  double (*flops)(const Node&) = nullptr;
};

// The operator whose whole meaning is its fused program; others with a program apply it to their output 0.
inline constexpr std::string_view kPointwise = "hussar.Pointwise";

std::span<const OpDef* const> all_ops();
// By name or alias; null when unknown.
const OpDef* find_op(std::string_view name);
inline bool has_trait(const OpDef* op, Trait trait) { return op != nullptr && (op->traits & trait) != 0; }

}  // namespace hussar
