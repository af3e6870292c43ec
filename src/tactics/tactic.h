// Tactic: one way to do a piece of work, as the compiler sees it. The compile-time half of a kernel.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "hussar/status.h"
#include "tensor/place.h"
#include "tensor/shared_mask.h"

namespace hussar {

struct Target {
  int isa = 0;  // cpu::Isa as an integer
  int threads = 1;
  // Where steps run that a kernel of that place can do; the others run on the host.
  Place place = Place::kHost;
  int sm = 0;  // compute capability of the device: 90 for 9.0
  // Why tactics may not compute in FP16, as they will say; empty: they may.
  std::string_view no_fp16 = "needs --fp16";
  // The same of BF16. One of both at most is allowed.
  std::string_view no_bf16 = "needs --bf16";
  // What floats may become in memory: float16, bfloat16, or kUndefined where neither is allowed.
  DType half() const {
    return no_fp16.empty() ? DType::kFloat16 : no_bf16.empty() ? DType::kBFloat16 : DType::kUndefined;
  }
  // Why tactics may not round the floats that they multiply to TF32 (ten bits of mantissa); empty: they may.
  std::string_view no_tf32 = "needs --tf32";
  // Why tactics may not make use of sparse weights; empty: they may.
  std::string_view no_sparsity = {};
  // Why tactics may not call libraries of others, which running the plan needs then; empty: they may.
  std::string_view no_libraries = "needs --libraries on";
  // On a device, whether rivals have been measured, as far as the budget went: 2:4 weights are made use of only where
  // it was measured to be faster.
  bool is_measured = false;
  bool only_libraries = false;  // and what one of them does, no other tactic may
};

// The work that one node of the scheduled graph asks for.
struct Problem {
  const Node& node;
  Target target;

  const Value* input(size_t index) const { return node.input(index); }
  const Value* output(size_t index = 0) const { return node.output(index); }
  bool is_constant(size_t index) const { return input(index) != nullptr && input(index)->is_constant(); }
  DType dtype(size_t index) const { return input(index) == nullptr ? DType::kUndefined : input(index)->dtype; }
  // Inputs before the fused program's operands.
  size_t own_inputs() const { return node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size(); }
  // The number of elements, with 64 for every symbolic dimension; 0 when the rank is unknown.
  static double elements(const Value* value);
  // "conv x=1x3x224x224:f32:nhwc w=... strides=2,2 fuse=relu": the problem grammar.
  std::string to_string() const;
};

// Whether input 1 is the constant weights of a product or convolution, not packed; then how they lie.
bool has_weight_form(const Node& node);
WeightForm weight_form(std::string_view op, const Attributes& attributes);
inline WeightForm weight_form(const Node& node) { return weight_form(node.op, node.attributes); }
// What tactics for sparse weights say to others.
inline constexpr const char* kNotTwoOfFour = "weights are not 2:4";
// The widest blocks of 16, 32, 64 or 128 columns that share 2:4 masks; 1: every column has its own; 0: not 2:4.
int64_t shared_columns(const Node& node);

// nullopt: can do it. Otherwise why not, in a few words ("dilation", "needs constant weights").
using Refusal = std::optional<std::string>;

// Lets a tactic turn weights into the form that its kernel wants, once, at build time.
class Packing {
 public:
  Packing(Graph& graph, Node& node, const Target& target) : graph(graph), node(node), target(target) {}
  Graph& graph;
  Node& node;
  Target target;
  // Replaces input `index` by a new constant. It takes over the name of the old one, unless others still use that.
  void replace(size_t index, Tensor tensor);

  // Work that gives a constant its bytes, in any thread and when all nodes are packed: compiling code takes most of the
  // time that building a plan takes. Of jobs with the same key one is done.
  struct Job {
    Value* constant;
    std::string key;
    std::function<Result<Tensor>()> make;
  };
  std::vector<Job> jobs;
};

// Does the jobs, on all cores.
Status do_jobs(std::span<const Packing::Job> jobs);

// A way for a kernel to go about its work that is not its usual one. The plan holds the name, as an attribute of the
// step; the kernel looks it up in prepare(), and refuses what it does not know. Results do not depend on it, but on a
// device, where it is compiled into the code by `pack`, for their rounding.
struct Configuration {
  std::string_view name;  // of static life: "by_rows"
  double predicted = 0;   // microseconds, as Tactic::cost
};

struct Tactic {
  std::string_view kernel;  // the name of the kernel that it chooses
  Place place = Place::kHost;
  // The library of others that its kernel calls, with its version, on which measured times depend. Null: calls none.
  std::string (*vendor_library)() = nullptr;
  // Multiplies 2:4 weights on a device, as one of several ways: must be clearly ahead of the dense ones.
  bool two_of_four = false;
  // Cheap checks first. Sees dtypes, layouts, attributes, constants, and dims where they are known.
  Refusal (*supports)(const Problem&) = nullptr;
  // Predicted microseconds with the target's threads: ranks tactics when nothing is measured.
  double (*cost)(const Problem&) = nullptr;
  // The configurations that could be faster than the usual one for this work. They are rivals only when measured: what
  // is predicted chooses which of them are. Null: the kernel has none.
  std::vector<Configuration> (*configurations)(const Problem&) = nullptr;
  // Null: the kernel takes the operands as they are.
  Status (*pack)(Packing&) = nullptr;
  // The inverse of pack, on a node whose packed constant and attributes come from a plan: gives the constant the form
  // that the operator takes and removes the attributes that only packed nodes have. Every tactic that packs has it.
  Status (*unpack)(Packing&) = nullptr;
};

// ---- unpack for tactics whose pack moves elements and fills gaps with zeros ----------------------------------------

// What the elements of a packed tensor stand for, one number for each place.
using Decode = std::vector<float> (*)(const Tensor& packed);
std::vector<float> decode_floats(const Tensor& packed);
// Undoes `pack` on input 1, which was an FP32 tensor of shape `original`: packs tensors of numbers to see where each
// element goes. Fails when the packed constant is not of the size that `pack` makes. Integers of `probe_bits` bits
// survive packing exactly.
Status unpack_permuted(Packing& packing, const Shape& original, Status (*pack)(Packing&), Decode decode = decode_floats,
                       int probe_bits = 16);

std::span<const Tactic* const> all_tactics();

}  // namespace hussar
