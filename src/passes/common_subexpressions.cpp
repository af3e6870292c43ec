// Equal operators on equal inputs are computed once; equal constants are kept once.
#include <fmt/format.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool same_bytes(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || !(a.shape() == b.shape())) return false;
  return a.raw() == b.raw() || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// Equal for equal tensors; large ones are compared fully only where these agree.
std::string fingerprint(const Tensor& tensor) {
  constexpr size_t kSample = 64;
  std::string_view bytes(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
  std::string key = fmt::format("{} {} ", static_cast<int>(tensor.dtype()), tensor.shape().to_string());
  key += bytes.substr(0, kSample);
  key += bytes.substr(bytes.size() / 2, kSample);
  if (bytes.size() > kSample) key += bytes.substr(bytes.size() - kSample);
  return key;
}

int merge_constants(Graph& graph) {
  std::map<std::string, std::vector<Value*>> known;
  int rewrites = 0;
  for (const auto& entry : graph.values()) {
    Value* value = entry.get();
    if (!value->is_constant() || value->users.empty() || graph.is_output(value)) continue;
    std::vector<Value*>& candidates = known[fingerprint(*value->constant)];
    Value* same = nullptr;
    for (Value* candidate : candidates) {
      if (same_bytes(*candidate->constant, *value->constant)) same = candidate;
    }
    if (same == nullptr) {
      candidates.push_back(value);
      continue;
    }
    graph.replace_uses(value, same);
    ++rewrites;
  }
  return rewrites;
}

// Everything that the outputs depend on, as text. Nodes with tensors as attributes have none.
std::optional<std::string> key_of(const Node& node) {
  const OpDef* op_def = find_op(node.op);
  if (op_def == nullptr || has_trait(op_def, kImpure) || !node.bodies.empty() || node.program) return std::nullopt;
  std::string key = node.op;
  for (const Value* input : node.inputs) key += fmt::format(" {}", static_cast<const void*>(input));
  key += fmt::format(" > {}", node.outputs.size());
  for (const Value* output : node.outputs) key += output == nullptr ? " -" : " +";
  for (const auto& [name, attribute] : node.attributes.all()) {
    key += fmt::format(" {}:{}=", name, attribute.index());
    if (const auto* integer = std::get_if<int64_t>(&attribute))
      key += fmt::format("{}", *integer);
    else if (const auto* real = std::get_if<float>(&attribute))
      key += fmt::format("{:a}", *real);
    else if (const auto* text = std::get_if<std::string>(&attribute))
      key += fmt::format("{}:{}", text->size(), *text);
    else if (const auto* integers = std::get_if<Ints>(&attribute))
      key += fmt::format("{}", fmt::join(*integers, ","));
    else if (const auto* reals = std::get_if<Floats>(&attribute))
      key += fmt::format("{:a}", fmt::join(*reals, ","));
    else
      return std::nullopt;
  }
  return key;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  int rewrites = merge_constants(graph);
  std::map<std::string, Node*> known;
  return rewrites + rewrite_each(graph, [&](Node* node) {
           auto key = key_of(*node);
           if (!key) return false;
           auto [it, inserted] = known.emplace(std::move(*key), node);
           if (inserted) return false;
           for (const Value* output : node->outputs) {
             // An output keeps its name by keeping its node.
             if (output != nullptr && graph.is_output(output)) return false;
           }
           for (size_t i = 0; i < node->outputs.size(); ++i) {
             if (node->outputs[i] != nullptr) graph.replace_uses(node->outputs[i], it->second->outputs[i]);
           }
           unlink_unused(graph, node);
           return true;
         });
}

}  // namespace

extern const Pass common_subexpressions_pass = {
    .name = "common_subexpressions", .summary = "Exp(x) + Exp(x) => e + e with e = Exp(x)", .run = run};

}  // namespace hussar
