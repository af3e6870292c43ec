// ONNX graphs to Hussar graphs: scopes, captures, functions, canonical operator forms.
#include "onnx/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/numeric.h"
#include "ops/op_def.h"
#include "ops/refusals.h"

namespace hussar::onnx {
namespace {

constexpr int kMaxDepth = 64;             // of nested bodies and function calls
constexpr size_t kMaxNodes = 200000;      // after inlining; a chain of functions can otherwise grow exponentially
constexpr size_t kMaxPrefixBytes = 2000;  // of the names of nested calls
constexpr int64_t kNewestOpset = 25;

using Opsets = std::map<std::string, int64_t>;
using AttributeMap = std::map<std::string_view, const AttributeProto*>;

// The names visible in one graph. A body looks names up in its parents and makes them explicit inputs of itself.
struct Scope {
  Graph& graph;
  Scope* parent = nullptr;
  std::unordered_map<std::string, Value*> values;
  std::vector<std::string> captures;  // names taken from the parent, in the order of the extra body inputs
};

// Function bodies rename: their inner names become "<call>/<name>".
struct Naming {
  std::string prefix;
  const std::map<std::string_view, std::string>* bound = nullptr;  // formal parameter -> actual name
  const AttributeMap* attributes = nullptr;                        // the call's attributes

  std::string translate(std::string_view name) const {
    if (name.empty()) return {};
    if (bound != nullptr) {
      if (auto it = bound->find(name); it != bound->end()) return it->second;
    }
    return prefix + std::string(name);
  }
};

class Importer {
 public:
  Importer(const ModelProto& model, std::shared_ptr<const void> owner, std::string folder)
      : model_(model), owner_(std::move(owner)), folder_(std::move(folder)) {
    for (const FunctionProto& function : model.functions) {
      functions_[key(function.domain, function.name, function.overload)] = &function;
    }
  }

  Result<Graph> run(std::vector<std::string>* refused_ops) {
    int64_t opset = model_.opsets.at("");
    bool is_newer = opset > kNewestOpset;
    if (is_newer) {
      unsupported(fmt::format("ONNX opset {}: Hussar reads up to {}; export the model with an older opset", opset,
                              kNewestOpset));
    }
    Graph graph;
    Scope scope{graph, nullptr, {}, {}};
    HUSSAR_TRY(import_graph(model_.graph, scope, model_.opsets, {}, true));
    if (unsupported_.empty()) return graph;
    // What an operator of an unknown opset must be like is not known.
    Refusals refusals;
    if (!is_newer && graph.verify()) refusals = examine_graph(graph, std::move(refused_));
    if (refused_ops != nullptr) *refused_ops = refusals.ops;
    return refusal(refusals);
  }

 private:
  static std::string key(std::string_view domain, std::string_view name, std::string_view overload) {
    return fmt::format("{}:{}:{}", domain == "ai.onnx" ? "" : domain, name, overload);
  }

  tl::unexpected<Error> refusal(const Refusals& refusals) const {
    std::vector<std::string> lines = unsupported_;
    lines.insert(lines.end(), refusals.messages.begin(), refusals.messages.end());
    size_t count = unsupported_.size() + refusals.count;
    bool is_mixed = is_malformed_ || refusals.count > 0;
    return fail(ErrorCode::kInvalidModel, "the model {} {} {}unsupported thing{}:{}", is_mixed ? "has" : "uses", count,
                is_mixed ? "malformed or " : "", count == 1 ? "" : "s", list_lines(lines, count));
  }

  void unsupported(std::string line) {
    ++refusal_count_;
    if (unsupported_seen_.insert(line).second) unsupported_.push_back(std::move(line));
  }

  void refuse_output(const Value* value) {
    if (value != nullptr) refused_.insert(value);
  }

  // A value that nothing gives: to the nodes of its graph it is like an input.
  void refuse(Graph& graph, Value* value) {
    refused_.insert(value);
    graph.inputs.push_back(value);
  }

  Status define_refused(Scope& scope, const std::string& name) {
    Value* value = scope.graph.add_value(name);
    refuse(scope.graph, value);
    return define(scope, name, value);
  }

  static bool has_known_dtype(const TensorProto& proto) {
    return proto.data_type > 0 && proto.data_type < 256 && dtype_size(static_cast<DType>(proto.data_type)) > 0;
  }

  static std::string dtype_text(const TensorProto& proto) {
    return fmt::format("dtype {} ({})", proto.data_type, dtype_name(static_cast<DType>(proto.data_type)));
  }

  Status import_graph(const GraphProto& proto, Scope& scope, const Opsets& opsets, const Naming& naming, bool is_main) {
    if (++depth_ > kMaxDepth) return fail(ErrorCode::kInvalidModel, "graphs are nested deeper than {}", kMaxDepth);
    scope.graph.name = std::string(proto.name);
    for (const TensorProto& initializer : proto.initializers) {
      HUSSAR_TRY(add_initializer(scope, initializer, naming.translate(initializer.name)));
    }
    for (Bytes bytes : proto.sparse_initializers) {
      auto [name, tensor] = HUSSAR_TRY(load_sparse(bytes));
      HUSSAR_TRY(define(scope, naming.translate(name), scope.graph.add_constant(std::string(name), tensor)));
    }
    for (const ValueProto& input : proto.inputs) {
      std::string name = naming.translate(input.name);
      auto known = scope.values.find(name);
      // An initializer that is also listed as an input: a default.
      if (known != scope.values.end() && (known->second->is_constant() || refused_.count(known->second) != 0)) continue;
      HUSSAR_TRY(add_input(scope, input, name, is_main));
    }
    HUSSAR_TRY(import_nodes(proto.nodes, scope, opsets, naming));
    for (const ValueProto& output : proto.outputs) {
      Value* value = HUSSAR_TRY(find(scope, naming.translate(output.name), "a graph output"));
      scope.graph.outputs.push_back(value);
    }
    --depth_;
    return scope.graph.sort();
  }

  Status import_nodes(const std::vector<NodeProto>& nodes, Scope& scope, const Opsets& opsets, const Naming& naming) {
    // Outputs first: files that list nodes out of order are read too.
    for (const NodeProto& node : nodes) {
      for (std::string_view output : node.outputs) {
        if (output.empty()) continue;
        std::string name = naming.translate(output);
        if (naming.bound != nullptr && scope.values.count(name) != 0) continue;  // an actual output of the call
        HUSSAR_TRY(define(scope, name, scope.graph.add_value(name)));
      }
    }
    for (const NodeProto& node : nodes) HUSSAR_TRY(import_node(node, scope, opsets, naming));
    return {};
  }

  Status define(Scope& scope, const std::string& name, Value* value) {
    HUSSAR_CHECK(scope.values.emplace(name, value).second, ErrorCode::kInvalidModel,
                 "'{}' is defined twice in graph '{}'", name, scope.graph.name);
    return {};
  }

  Status add_initializer(Scope& scope, const TensorProto& proto, const std::string& name) {
    if (static_cast<DType>(proto.data_type) == DType::kString || proto.strings > 0) {
      unsupported(fmt::format("initializer '{}': string tensors", name));
      return define_refused(scope, name);
    }
    if (!has_known_dtype(proto)) {
      unsupported(fmt::format("initializer '{}': {}", name, dtype_text(proto)));
      return define_refused(scope, name);
    }
    Tensor tensor = HUSSAR_TRY(load(proto));
    return define(scope, name, scope.graph.add_constant(name, std::move(tensor)));
  }

  // Nodes of a function are imported once per call, and so are their tensors: without a limit, a small file could ask
  // for any amount of memory.
  Status account(DType dtype, const Shape& shape, std::string_view name) {
    auto bytes = bytes_needed(dtype, shape);
    if (!bytes) return {};  // an impossible shape: loading says so
    HUSSAR_CHECK(*bytes <= physical_memory() - tensor_bytes_, ErrorCode::kInvalidModel,
                 "the model's tensors up to '{}' take more memory than this machine has", name);
    tensor_bytes_ += *bytes;
    return {};
  }

  Result<Tensor> load(const TensorProto& proto) {
    if (proto.dims.size() <= kMaxRank && proto.data_type > 0 && proto.data_type < 256) {
      HUSSAR_TRY(account(static_cast<DType>(proto.data_type), Shape(std::span<const int64_t>(proto.dims)), proto.name));
    }
    return load_tensor(proto, owner_, folder_);
  }

  Status add_input(Scope& scope, const ValueProto& proto, const std::string& name, bool is_main) {
    auto dtype = static_cast<DType>(proto.type.element_type);
    size_t refusals = refusal_count_;
    if (!proto.type.kind.empty() && proto.type.kind != "tensor") {
      unsupported(fmt::format("input '{}': {} types", name, proto.type.kind));
    } else if ((is_main || proto.type.element_type != 0) &&
               (proto.type.element_type < 0 || proto.type.element_type > 255 || dtype_size(dtype) == 0)) {
      unsupported(fmt::format("input '{}': dtype {} ({})", name, proto.type.element_type, dtype_name(dtype)));
    }
    HUSSAR_CHECK(proto.type.dims.size() <= kMaxRank, ErrorCode::kInvalidModel,
                 "input '{}' has rank {}, the limit is {}", name, proto.type.dims.size(), kMaxRank);
    Value* value = scope.graph.add_value(name, dtype);
    if (refusal_count_ > refusals) refused_.insert(value);
    if (proto.type.has_shape) {
      Dims dims;
      for (size_t axis = 0; axis < proto.type.dims.size(); ++axis) {
        const Dimension& dim = proto.type.dims[axis];
        HUSSAR_CHECK(!dim.has_value || dim.value >= -1, ErrorCode::kInvalidModel, "input '{}' has the dimension {}",
                     name, dim.value);
        if (dim.has_value && dim.value >= 0)
          dims.push_back(Dim(dim.value));
        else
          dims.push_back(
              symbol(is_anonymous(dim.symbol) ? fmt::format("{}_d{}", name, axis) : std::string(dim.symbol)));
      }
      value->dims = std::move(dims);
    }
    scope.graph.inputs.push_back(value);
    return define(scope, name, value);
  }

  // Some exporters write "?" for every free dimension: such names say nothing about equality.
  static bool is_anonymous(std::string_view name) {
    return std::none_of(name.begin(), name.end(),
                        [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; });
  }

  // Distinct ONNX names stay distinct when they are spelled as identifiers.
  Dim symbol(const std::string& onnx_name) {
    auto it = symbols_.find(onnx_name);
    if (it == symbols_.end()) {
      std::string name;
      for (char c : onnx_name.substr(0, 64)) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
      bool reserved = std::isalpha(static_cast<unsigned char>(name[0])) == 0 || name == "min" || name == "max" ||
                      name == "floor" || name[0] == 'u';
      if (reserved) name = "d_" + name;
      std::string unique = name;
      for (int next = 2; !symbol_names_.insert(unique).second; ++next) unique = fmt::format("{}_{}", name, next);
      it = symbols_.emplace(onnx_name, unique).first;
    }
    return Dim::symbol(it->second);
  }

  // Finds a value by name; one of an outer graph becomes an explicit input of this body (a constant is shared).
  Result<Value*> find(Scope& scope, const std::string& name, const std::string& wanted_by) {
    if (auto it = scope.values.find(name); it != scope.values.end()) return it->second;
    if (scope.parent == nullptr) {
      return fail(ErrorCode::kInvalidModel, "{} reads '{}', which no input, initializer or node provides", wanted_by,
                  name);
    }
    Value* outer = HUSSAR_TRY(find(*scope.parent, name, wanted_by));
    Value* inner = nullptr;
    if (outer->is_constant()) {
      inner = scope.graph.add_constant(name, *outer->constant);
    } else {
      inner = scope.graph.add_value(name, outer->dtype, outer->dims);
      scope.captures.push_back(name);
      captured_inputs_[&scope.graph].push_back(inner);
    }
    scope.values[name] = inner;
    return inner;
  }

  Status import_node(const NodeProto& proto, Scope& scope, const Opsets& opsets, const Naming& naming) {
    HUSSAR_CHECK(++node_count_ <= kMaxNodes, ErrorCode::kInvalidModel, "the model has more than {} nodes", kMaxNodes);
    std::string name = naming.prefix + std::string(proto.name);
    if (proto.name.empty()) {
      name = naming.prefix + (proto.outputs.empty() ? std::string(proto.op_type) : std::string(proto.outputs[0]));
    }
    if (auto it = functions_.find(key(proto.domain, proto.op_type, proto.overload)); it != functions_.end()) {
      return inline_function(*it->second, proto, name, scope, naming);
    }
    if (proto.domain.empty() && proto.op_type == "Constant") return import_constant(proto, name, scope, naming);

    std::string op_name =
        proto.domain.empty() ? std::string(proto.op_type) : fmt::format("{}.{}", proto.domain, proto.op_type);
    const OpDef* op = find_op(op_name);
    size_t refusals = refusal_count_;
    auto opset = opsets.find(std::string(proto.domain));
    if (op == nullptr || proto.domain == "hussar" || op_name.rfind("hussar.", 0) == 0) {
      unsupported(fmt::format("node '{}': operator {}{}", name, op_name,
                              opset == opsets.end() ? " (its domain is not imported)" : ""));
      op = nullptr;
    }
    std::vector<Value*> inputs, outputs;
    for (std::string_view input : proto.inputs) {
      std::string actual = naming.translate(input);
      // An omitted optional argument of a function call reaches its body as an empty name.
      inputs.push_back(actual.empty() ? nullptr : HUSSAR_TRY(find(scope, actual, fmt::format("node '{}'", name))));
    }
    for (std::string_view output : proto.outputs) {
      std::string actual = naming.translate(output);
      outputs.push_back(actual.empty() ? nullptr : scope.values.at(actual));
    }
    while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
    while (!outputs.empty() && outputs.back() == nullptr) outputs.pop_back();
    Node* node = scope.graph.add_node(op == nullptr ? op_name : std::string(op->name), name, inputs, outputs);
    HUSSAR_TRY(add_attributes(proto, *node, scope, opsets, naming));
    // The bodies count: the node gives what they do.
    if (refusal_count_ > refusals) {
      for (const Value* value : outputs) refuse_output(value);
      return {};
    }
    int64_t version = opset == opsets.end() ? 1 : std::min(opset->second, kNewestOpset);
    Status done = canonicalize(*op, *node, scope.graph, version);
    if (done || done.error().code != ErrorCode::kInvalidModel) return done;
    is_malformed_ = true;
    unsupported(done.error().message);
    for (const Value* value : outputs) refuse_output(value);
    return {};
  }

  Status canonicalize(const OpDef& op, Node& node, Graph& graph, int64_t opset) {
    for (const AttributeInput& rule : op.attribute_inputs) {
      auto it = node.attributes.all().find(rule.attribute);
      if (opset >= rule.until || it == node.attributes.all().end()) continue;
      Tensor tensor;
      if (const auto* list = std::get_if<Ints>(&it->second)) {
        tensor = Tensor::from<int64_t>(DType::kInt64, {static_cast<int64_t>(list->size())}, *list);
      } else if (const auto* integer = std::get_if<int64_t>(&it->second)) {
        tensor = Tensor(DType::kInt64, {});
        tensor.data<int64_t>()[0] = *integer;
      } else if (const auto* floats = std::get_if<Floats>(&it->second)) {
        tensor = Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(floats->size())}, *floats);
      } else if (const auto* real = std::get_if<float>(&it->second)) {
        // A scalar argument has the dtype of the data it is combined with, as far as that is known already.
        DType dtype = node.input(0) != nullptr && node.inputs[0]->dtype != DType::kUndefined ? node.inputs[0]->dtype
                                                                                             : DType::kFloat32;
        tensor = Tensor(dtype, {});
        store_elements<float>(tensor, 0, 1, real);
      } else {
        continue;
      }
      Value* value = graph.add_constant(graph.unique_name(node.name), std::move(tensor));
      if (node.input(static_cast<size_t>(rule.input)) == nullptr) {
        graph.set_input(&node, static_cast<size_t>(rule.input), value);
      }
      node.attributes.erase(rule.attribute);
    }
    if (op.upgrade != nullptr) {
      UpgradeContext context{graph, node, static_cast<int>(opset)};
      HUSSAR_TRY(op.upgrade(context));
    }
    return {};
  }

  Status add_attributes(const NodeProto& proto, Node& node, Scope& scope, const Opsets& opsets, const Naming& naming) {
    // What bodies capture comes after all inputs of the operator, omitted ones included.
    bool has_bodies = std::any_of(proto.attributes.begin(), proto.attributes.end(),
                                  [](const AttributeProto& attribute) { return attribute.has_graph; });
    if (has_bodies) node.inputs.resize(proto.inputs.size(), nullptr);
    HUSSAR_CHECK(node.op != "If" || proto.inputs.size() == 1, ErrorCode::kInvalidModel,
                 "node '{}' (If) has {} inputs instead of 1", node.name, proto.inputs.size());
    size_t explicit_inputs = node.inputs.size();
    for (const AttributeProto& entry : proto.attributes) {
      const AttributeProto* attribute = &entry;
      if (!entry.reference.empty()) {
        if (naming.attributes == nullptr) {
          return fail(ErrorCode::kInvalidModel, "node '{}': attribute '{}' refers to '{}' outside a function",
                      node.name, entry.name, entry.reference);
        }
        auto it = naming.attributes->find(entry.reference);
        if (it == naming.attributes->end()) continue;  // not given by the call: stays at its default
        attribute = it->second;
      }
      std::string name(entry.name);
      if (attribute->has_graph) {
        HUSSAR_TRY(add_body(name, attribute->graph, node, scope, opsets, naming));
      } else if (auto value = HUSSAR_TRY(to_attribute(*attribute, node.name))) {
        node.attributes.set(name, std::move(*value));
      }
    }
    if (node.op == "Loop" || node.op == "Scan") {
      node.attributes.set("captures", static_cast<int64_t>(node.inputs.size() - explicit_inputs));
    }
    return {};
  }

  Status add_body(const std::string& name, Bytes bytes, Node& node, Scope& scope, const Opsets& opsets,
                  const Naming& naming) {
    HUSSAR_CHECK(node.body(name) == nullptr, ErrorCode::kInvalidModel, "node '{}': attribute '{}' is given twice",
                 node.name, name);
    // Each nesting level parses its bodies again from the bytes; the depth limit bounds it.
    GraphProto proto = HUSSAR_TRY(parse_graph(bytes));
    auto graph = std::make_unique<Graph>();
    Scope inner{*graph, &scope, {}, {}};
    HUSSAR_TRY(import_graph(proto, inner, opsets, naming, false));
    auto& captured = captured_inputs_[graph.get()];
    graph->inputs.insert(graph->inputs.end(), captured.begin(), captured.end());
    captured_inputs_.erase(graph.get());
    std::vector<Value*> extra;
    for (const std::string& capture : inner.captures) extra.push_back(HUSSAR_TRY(find(scope, capture, node.name)));
    if (name == "then_branch") {
      // then_branch's captures come before else_branch's, whichever attribute the file lists first.
      node.attributes.set("then_inputs", static_cast<int64_t>(extra.size()));
      std::vector<Value*> rest(node.inputs.begin() + std::min<size_t>(1, node.inputs.size()), node.inputs.end());
      extra.insert(extra.end(), rest.begin(), rest.end());
      for (size_t i = 0; i < extra.size(); ++i) scope.graph.set_input(&node, i + 1, extra[i]);
    } else {
      for (Value* value : extra) scope.graph.append_input(&node, value);
    }
    node.bodies.push_back({name, std::move(graph)});
    return {};
  }

  // nullopt: it has no value that an operator here could use.
  Result<std::optional<Attribute>> to_attribute(const AttributeProto& proto, const std::string& node) {
    if (proto.has_tensor) {
      TensorProto tensor = HUSSAR_TRY(parse_tensor(proto.tensor));
      if (tensor.strings > 0) return std::optional<Attribute>();
      if (!has_known_dtype(tensor)) {
        unsupported(fmt::format("node '{}': attribute '{}' has {}", node, proto.name, dtype_text(tensor)));
        return std::optional<Attribute>();
      }
      return std::optional<Attribute>(HUSSAR_TRY(load(tensor)));
    }
    if (!proto.floats.empty()) return std::optional<Attribute>(proto.floats);
    if (!proto.ints.empty()) return std::optional<Attribute>(proto.ints);
    if (!proto.strings.empty()) {
      return std::optional<Attribute>(Strings(proto.strings.begin(), proto.strings.end()));
    }
    switch (proto.type) {
      case 1: return std::optional<Attribute>(proto.f);
      case 3: return std::optional<Attribute>(std::string(as_text(proto.s)));
      case 6: return std::optional<Attribute>(Floats());
      case 7: return std::optional<Attribute>(Ints());
      case 8: return std::optional<Attribute>(Strings());
      case 0:  // files from before the type field: guess from what is set
        if (!proto.s.empty()) return std::optional<Attribute>(std::string(as_text(proto.s)));
        if (proto.f != 0) return std::optional<Attribute>(proto.f);
        return std::optional<Attribute>(proto.i);
      case 2: return std::optional<Attribute>(proto.i);
      default: return std::optional<Attribute>();
    }
  }

  Status import_constant(const NodeProto& proto, const std::string& name, Scope& scope, const Naming& naming) {
    HUSSAR_CHECK(proto.outputs.size() == 1, ErrorCode::kInvalidModel, "node '{}' (Constant) must have one output",
                 name);
    auto output = scope.values.find(naming.translate(proto.outputs[0]));
    if (output == scope.values.end()) return {};  // nameless: nobody can use it
    Value* value = output->second;
    size_t refusals = refusal_count_;
    for (const AttributeProto& entry : proto.attributes) {
      const AttributeProto* attribute = &entry;
      if (!entry.reference.empty()) {
        if (naming.attributes == nullptr) continue;
        auto it = naming.attributes->find(entry.reference);
        if (it == naming.attributes->end()) continue;
        attribute = it->second;
      }
      if (attribute->has_sparse) {
        value->constant = HUSSAR_TRY(load_sparse(attribute->sparse_tensor)).second;
      } else if (entry.name == "value_string" || entry.name == "value_strings") {
        unsupported(fmt::format("node '{}': string constants", name));
      } else if (auto converted = HUSSAR_TRY(to_attribute(*attribute, name))) {
        if (const auto* tensor = std::get_if<Tensor>(&*converted)) value->constant = *tensor;
        if (const auto* real = std::get_if<float>(&*converted)) {
          value->constant = Tensor::from<float>(DType::kFloat32, {}, std::span(real, 1));
        }
        if (const auto* integer = std::get_if<int64_t>(&*converted)) {
          value->constant = Tensor::from<int64_t>(DType::kInt64, {}, std::span(integer, 1));
        }
        if (const auto* list = std::get_if<Ints>(&*converted)) {
          value->constant = Tensor::from<int64_t>(DType::kInt64, {static_cast<int64_t>(list->size())}, *list);
        }
        if (const auto* list = std::get_if<Floats>(&*converted)) {
          value->constant = Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(list->size())}, *list);
        }
      }
    }
    if (!value->constant && refusal_count_ == refusals) {
      unsupported(fmt::format("node '{}': a Constant without a numeric value", name));
    }
    if (!value->constant) {
      refuse(scope.graph, value);
      return {};
    }
    value->dtype = value->constant->dtype();
    value->dims = Dims(value->constant->shape().begin(), value->constant->shape().end());
    return {};
  }

  // SparseTensorProto (values = 1, indices = 2, dims = 3) as a dense tensor.
  Result<std::pair<std::string_view, Tensor>> load_sparse(Bytes bytes) {
    WireReader reader(bytes);
    Field field;
    TensorProto values, indices;
    std::vector<int64_t> dims;
    while (reader.next(field)) {
      if (field.id == 1) values = HUSSAR_TRY(parse_tensor(field.bytes));
      if (field.id == 2) indices = HUSSAR_TRY(parse_tensor(field.bytes));
      if (field.id == 3 && !field.is_bytes()) dims.push_back(field.integer());
      if (field.id == 3 && field.is_bytes()) {
        WireReader packed(field.bytes);
        uint64_t number = 0;
        while (!packed.empty() && packed.read_varint(number)) dims.push_back(static_cast<int64_t>(number));
      }
    }
    std::string_view name = values.name;
    Tensor elements = HUSSAR_TRY(load(values));
    Tensor positions = HUSSAR_TRY(load(indices));
    bool ok = !reader.failed() && dims.size() <= kMaxRank && positions.dtype() == DType::kInt64;
    Shape shape((std::span<const int64_t>(dims)));
    ok = ok && bytes_needed(elements.dtype(), shape);
    int64_t total = ok ? shape.elements() : 0;
    int64_t count = elements.elements();
    bool linear = positions.shape().rank() == 1;
    ok = ok && positions.elements() == count * (linear ? 1 : static_cast<int64_t>(dims.size()));
    HUSSAR_CHECK(ok, ErrorCode::kInvalidModel, "sparse tensor '{}' is malformed", name);
    HUSSAR_TRY(account(elements.dtype(), shape, name));
    Tensor dense(elements.dtype(), shape);
    size_t size = dtype_size(elements.dtype());
    const ElementStrides strides = row_major_strides(shape);
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = 0;
      if (linear) at = positions.data<int64_t>()[i];
      for (size_t axis = 0; !linear && axis < dims.size(); ++axis) {
        int64_t index = positions.data<int64_t>()[i * static_cast<int64_t>(dims.size()) + static_cast<int64_t>(axis)];
        HUSSAR_CHECK(index >= 0 && index < dims[axis], ErrorCode::kInvalidModel, "sparse tensor '{}': bad index", name);
        at += index * strides[axis];
      }
      HUSSAR_CHECK(at >= 0 && at < total, ErrorCode::kInvalidModel, "sparse tensor '{}': bad index {}", name, at);
      std::memcpy(dense.raw() + static_cast<size_t>(at) * size, elements.raw() + static_cast<size_t>(i) * size, size);
    }
    return std::pair(name, dense);
  }

  Status inline_function(const FunctionProto& function, const NodeProto& call, const std::string& name, Scope& scope,
                         const Naming& outer) {
    HUSSAR_CHECK(++depth_ <= kMaxDepth, ErrorCode::kInvalidModel,
                 "node '{}': function calls are nested deeper than {} (is '{}' recursive?)", name, kMaxDepth,
                 function.name);
    HUSSAR_CHECK(name.size() <= kMaxPrefixBytes, ErrorCode::kInvalidModel,
                 "node '{}...': the names of nested calls are longer than {} characters", name.substr(0, 100),
                 kMaxPrefixBytes);
    std::map<std::string_view, std::string> bound;
    for (size_t i = 0; i < function.inputs.size(); ++i) {
      bound[function.inputs[i]] = i < call.inputs.size() ? outer.translate(call.inputs[i]) : std::string();
    }
    for (size_t i = 0; i < function.outputs.size() && i < call.outputs.size(); ++i) {
      if (call.outputs[i].empty() || bound.count(function.outputs[i]) != 0) continue;
      bound[function.outputs[i]] = outer.translate(call.outputs[i]);
    }
    AttributeMap attributes;
    for (const AttributeProto& attribute : function.defaults) attributes[attribute.name] = &attribute;
    for (const AttributeProto& attribute : call.attributes) {
      const AttributeProto* actual = &attribute;
      if (!attribute.reference.empty() && outer.attributes != nullptr) {
        auto it = outer.attributes->find(attribute.reference);
        if (it == outer.attributes->end()) continue;
        actual = it->second;
      }
      attributes[attribute.name] = actual;
    }
    Naming naming{name + "/", &bound, &attributes};
    HUSSAR_TRY(import_nodes(function.nodes, scope, function.opsets, naming));
    // A function may return one of its inputs as it is.
    for (size_t i = 0; i < function.outputs.size() && i < call.outputs.size(); ++i) {
      bool is_input =
          std::find(function.inputs.begin(), function.inputs.end(), function.outputs[i]) != function.inputs.end();
      if (!is_input || call.outputs[i].empty()) continue;
      Value* from = HUSSAR_TRY(find(scope, bound[function.outputs[i]], name));
      scope.graph.add_node("Identity", name, {from}, {scope.values.at(outer.translate(call.outputs[i]))});
    }
    --depth_;
    return {};
  }

  const ModelProto& model_;
  std::shared_ptr<const void> owner_;
  std::string folder_;
  std::unordered_map<std::string, const FunctionProto*> functions_;
  std::map<std::string, std::string> symbols_;
  std::set<std::string> symbol_names_;
  std::unordered_map<const Graph*, std::vector<Value*>> captured_inputs_;
  std::vector<std::string> unsupported_;
  std::set<std::string> unsupported_seen_;
  std::unordered_set<const Value*> refused_;  // what unsupported things would give
  bool is_malformed_ = false;                 // some of them are malformed rather than unsupported
  size_t refusal_count_ = 0;                  // with repetitions
  int depth_ = 0;
  size_t node_count_ = 0, tensor_bytes_ = 0;
};

}  // namespace

static Result<ImportedModel> import_model(Bytes bytes, std::shared_ptr<const void> owner, const std::string& folder,
                                          std::vector<std::string>* refused_ops) {
  ModelProto model = HUSSAR_TRY(parse_model(bytes));
  ImportedModel result;
  result.producer = std::string(model.producer);
  auto opset = model.opsets.find("");
  if (opset == model.opsets.end() && !model.opsets.empty()) opset = model.opsets.emplace("", 1).first;
  HUSSAR_CHECK(opset != model.opsets.end(), ErrorCode::kInvalidModel,
               "the model imports no operator set; is this an ONNX model?");
  result.opset = opset->second;
  HUSSAR_CHECK(result.opset >= 1, ErrorCode::kInvalidModel, "the model uses the impossible ONNX opset {}",
               result.opset);
  Importer importer(model, std::move(owner), folder);
  result.graph = HUSSAR_TRY(importer.run(refused_ops));
  HUSSAR_TRY(result.graph.verify());
  return result;
}

Result<ImportedModel> import_bytes(Bytes bytes, std::shared_ptr<const void> owner, const std::string& folder,
                                   std::vector<std::string>* refused_ops) {
  return catching("import the model", [&] { return import_model(bytes, std::move(owner), folder, refused_ops); });
}

Result<ImportedModel> import_file(const std::string& path, std::vector<std::string>* refused_ops) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  std::string folder = std::filesystem::path(path).parent_path().string();
  auto model = import_bytes(file->bytes(), file, folder.empty() ? "." : folder, refused_ops);
  if (!model) return fail(model.error().code, "{}: {}", path, model.error().message);
  return model;
}

}  // namespace hussar::onnx
