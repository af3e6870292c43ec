// Reading the problem grammar.
#include <charconv>
#include <random>

#include "base/error.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "tactics/problem_grammar.h"
#include "tactics/tactic.h"
#include "tensor/convert.h"
#include "tensor/float8_mask.h"
#include "tensor/program_text.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

constexpr std::string_view kImageOperators[] = {"Conv",   "ConvTranspose",     "MaxPool",      "AveragePool",
                                                "LpPool", "GlobalAveragePool", "GlobalMaxPool"};
constexpr std::string_view kWeightOperators[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
constexpr size_t kMostOperands = 64;
constexpr int64_t kMostElements = int64_t{1} << 30;

bool is_one_of(std::string_view word, std::span<const std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> words;
  while (true) {
    size_t at = text.find(separator);
    words.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return words;
    text.remove_prefix(at + 1);
  }
}

// At spaces that are not inside of quotes.
std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '"') quoted = !quoted;
    if (i < text.size() && (quoted || (text[i] != ' ' && text[i] != '\n' && text[i] != '\t'))) continue;
    if (i > begin) words.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return words;
}

template <class Number>
std::optional<Number> to_number(std::string_view text) {
  Number number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <class Number>
std::optional<std::vector<Number>> to_numbers(std::string_view text) {
  std::vector<Number> numbers;
  if (!text.empty() && text.back() == ',') text.remove_suffix(1);
  for (std::string_view word : split(text, ',')) {
    auto number = to_number<Number>(word);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

Attribute parse_attribute(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    return std::string(text.substr(1, text.size() - 2));
  }
  if (text.find(',') != std::string_view::npos) {
    if (auto ints = to_numbers<int64_t>(text)) return *ints;
    if (auto floats = to_numbers<float>(text)) return *floats;
  }
  if (auto number = to_number<int64_t>(text)) return *number;
  if (auto real = to_number<float>(text)) return *real;
  return std::string(text);
}

std::string_view find_operator(std::string_view word) {
  auto equal = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  for (const OpDef* op : all_ops()) {
    if (std::equal(word.begin(), word.end(), op->name.begin(), op->name.end(), equal)) return op->name;
  }
  return {};
}

// What a word says of an input or output.
struct Spelled {
  std::optional<Shape> shape;
  DType dtype = DType::kFloat32;
  std::optional<Layout> layout;
  bool is_constant = false;
  std::string_view elements;   // "1,2"
  int64_t shared_columns = 0;  // of 2:4x64: 64; of 2:4: 1
};

std::optional<Shape> parse_dims(std::string_view text) {
  Shape shape;
  if (text == "scalar") return shape;
  for (std::string_view word : split(text, 'x')) {
    auto dim = to_number<int64_t>(word);
    if (!dim || *dim < 0 || shape.rank() == kMaxRank) return std::nullopt;
    shape.push_back(*dim);
  }
  return shape;
}

// The columns that share a mask, from "4x64" or "4"; 0: it is no such thing.
int64_t parse_sharing(std::string_view text) {
  if (text == "4") return 1;
  const auto columns = text.starts_with("4x") ? to_number<int64_t>(text.substr(2)) : std::nullopt;
  return columns && *columns > 0 ? *columns : 0;
}

Result<Spelled> parse_value(std::string_view word, std::string_view text) {
  Spelled value;
  if (size_t brace = text.find(":{"); brace != std::string_view::npos && text.back() == '}') {
    value.elements = text.substr(brace + 2, text.size() - brace - 3);
    text = text.substr(0, brace);
    value.is_constant = true;
  }
  auto parts = split(text, ':');
  value.shape = parse_dims(parts[0]);
  bool known = value.shape.has_value() || parts[0] == "?";
  for (size_t i = 1; i < parts.size(); ++i) {
    if (parts[i] == "nhwc")
      value.layout = Layout::kChannelsLast;
    else if (parts[i] == "nchw")
      value.layout = Layout::kPlain;
    else if (parts[i] == "const")
      value.is_constant = true;
    else if (parts[i] == "2" && i + 1 < parts.size() && parse_sharing(parts[i + 1]) > 0)
      value.shared_columns = parse_sharing(parts[++i]);
    else if (DType dtype = dtype_from_name(parts[i]); dtype != DType::kUndefined)
      value.dtype = dtype;
    else
      known = false;
  }
  HUSSAR_CHECK(known, ErrorCode::kUsage, "problem: '{}' is not DIMS[:DTYPE][:nhwc|:nchw][:const][:2:4x64][:{{1,2}}]",
               word);
  return value;
}

Result<Tensor> make_constant(const Spelled& value, uint32_t seed) {
  Tensor tensor(value.dtype, *value.shape);
  if (!value.elements.empty()) {
    auto numbers = to_numbers<double>(value.elements);
    HUSSAR_CHECK(numbers && static_cast<int64_t>(numbers->size()) == tensor.elements(), ErrorCode::kUsage,
                 "problem: '{{{}}}' are not the {} elements of a constant", value.elements, tensor.elements());
    if (tensor.elements() > 0) store_elements(tensor, 0, tensor.elements(), numbers->data());
  } else if (value.dtype == DType::kFloat32 || is_half(value.dtype) || value.dtype == kFp8) {
    std::minstd_rand engine(seed);
    const float most = value.dtype == kFp8 ? kLargestFp8 : 1;
    std::uniform_real_distribution<float> uniform(-most, most);
    std::vector<float> numbers(static_cast<size_t>(tensor.elements()));
    for (float& number : numbers) number = uniform(engine);
    store_elements(tensor, 0, tensor.elements(), numbers.data());
  } else if (value.dtype == DType::kInt8) {
    std::minstd_rand engine(seed);
    for (int64_t i = 0; i < tensor.elements(); ++i) tensor.data<int8_t>()[i] = static_cast<int8_t>(engine() >> 8);
  }
  return tensor;
}

// Leaves two of every four weights, the same in all columns of a block.
template <class Number>
void thin_out(const MatrixView<Number>& weights, int64_t columns) {
  std::minstd_rand engine(1);
  for (int64_t first = 0; first < weights.n; first += columns) {
    for (int64_t k = 0; k < weights.k; k += 4) {
      const int64_t one = engine() % 4, other = (one + 1 + engine() % 3) % 4;
      for (int64_t row : {one, other}) {
        if (k + row >= weights.k) continue;
        for (int64_t column = first; column < std::min(first + columns, weights.n); ++column) {
          weights.row(k + row)[column * weights.column_stride] = Number{};
        }
      }
    }
  }
}

class Reader {
 public:
  Result<ProblemGraph> read(std::string_view text) {
    auto words = split_words(text);
    HUSSAR_CHECK(!words.empty(), ErrorCode::kUsage, "problem: it is empty; an example: {}", kExample);
    op_ = find_operator(words[0]);
    HUSSAR_CHECK(!op_.empty(), ErrorCode::kUsage, "problem: there is no operator '{}'; an example: {}", words[0],
                 kExample);
    for (size_t i = 1; i < words.size(); ++i) HUSSAR_TRY(read_word(words[i]));
    HUSSAR_TRY(apply_sizes());
    complete_weights();
    return build();
  }

 private:
  static constexpr const char* kExample = "Conv x=1x64x56x56 w=64x64x3x3 pads=1,1,1,1 fuse=relu";

  Status read_word(std::string_view word) {
    size_t equals = word.find('=');
    HUSSAR_CHECK(equals != std::string_view::npos && equals > 0, ErrorCode::kUsage, "problem: '{}' is not NAME=VALUE",
                 word);
    std::string_view name = word.substr(0, equals), text = word.substr(equals + 1);
    if (name == "fuse") {
      fuse_ = text;
      return {};
    }
    for (size_t i = 0; i < 3; ++i) {
      if (name == std::string_view("xwb").substr(i, 1)) return read_operand(inputs_, i, word, text);
      if (op_ == "MatMul" && name == std::string_view("mnk").substr(i, 1)) {
        auto size = to_number<int64_t>(text);
        HUSSAR_CHECK(size && *size > 0, ErrorCode::kUsage, "problem: '{}' is not a size", word);
        sizes_[i] = *size;
        return {};
      }
    }
    auto index = to_number<size_t>(name.substr(1));
    if ((name[0] == 'x' || name[0] == 'y') && index && *index < kMostOperands) {
      return read_operand(name[0] == 'x' ? inputs_ : outputs_, *index, word, text);
    }
    HUSSAR_CHECK(text != "?", ErrorCode::kUsage, "problem: attribute '{}' cannot be written as text", name);
    attributes_.set(name, parse_attribute(text));
    return {};
  }

  Status read_operand(std::vector<std::optional<Spelled>>& list, size_t index, std::string_view word,
                      std::string_view text) {
    if (list.size() <= index) list.resize(index + 1);
    list[index] = HUSSAR_TRY(parse_value(word, text));
    if (&list == &outputs_) return {};
    HUSSAR_CHECK(list[index]->shape && bytes_needed(list[index]->dtype, *list[index]->shape) &&
                     list[index]->shape->elements() <= kMostElements,
                 ErrorCode::kUsage, "problem: '{}' needs dimensions that are numbers, and not too large", word);
    return {};
  }

  Status apply_sizes() {
    if (sizes_[0] + sizes_[1] + sizes_[2] == 0) return {};
    auto [m, n, k] = sizes_;
    HUSSAR_CHECK(m > 0 && n > 0 && k > 0 && inputs_.empty() && std::max({m, n, k}) < int64_t{1} << 20,
                 ErrorCode::kUsage, "problem: m, n and k go together, without other inputs, each below 2^20");
    inputs_.resize(2);
    inputs_[0].emplace().shape = Shape{m, k};
    inputs_[1].emplace().shape = Shape{k, n};
    return {};
  }

  void complete_weights() {
    const bool has_weights = is_one_of(op_, kWeightOperators);
    if (has_weights && inputs_.size() > 1 && inputs_[1]) {
      // Where everything is spelled out, the second input of a product may be an activation.
      if (outputs_.empty()) inputs_[1]->is_constant = true;
      if (outputs_.empty() && inputs_.size() > 2 && inputs_[2]) inputs_[2]->is_constant = true;
      const Shape& shape = *inputs_[1]->shape;
      if (op_.starts_with("Conv") && shape.rank() > 2 && !attributes_.has("kernel_shape")) {
        attributes_.set("kernel_shape", Ints(shape.begin() + 2, shape.end()));
      }
    }
    if (!works_on_images(op_)) return;
    for (auto& input : inputs_) {
      if (input && !input->is_constant && !input->layout && input->shape->rank() >= 3) {
        input->layout = Layout::kChannelsLast;
      }
    }
  }

  Result<ProblemGraph> build() {
    ProblemGraph problem;
    Graph& graph = problem.graph;
    std::vector<Value*> inputs;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      Value*& value = inputs.emplace_back(nullptr);
      if (inputs_[i]) value = HUSSAR_TRY(add_input(graph, "x" + std::to_string(i), *inputs_[i]));
    }
    Node* node = problem.node = graph.add_node(std::string(op_), std::string(op_), inputs, {}, attributes_);
    HUSSAR_TRY(make_sparse(*node));
    HUSSAR_TRY(read_program(*node));
    HUSSAR_TRY(add_outputs(graph, *node));
    return problem;
  }

  // Inputs come plain and constants are made; what the node takes in another layout is converted before it.
  static Result<Value*> add_input(Graph& graph, const std::string& name, const Spelled& value) {
    if (value.is_constant) {
      return graph.add_constant(name, HUSSAR_TRY(make_constant(value, static_cast<uint32_t>(name.back()))));
    }
    Dims dims(value.shape->begin(), value.shape->end());
    Value* input = graph.add_value(name, value.dtype, dims);
    graph.inputs.push_back(input);
    if (value.layout.value_or(Layout::kPlain) == Layout::kPlain) return input;
    Value* converted = graph.add_value(name + "_nhwc", value.dtype, dims);
    converted->layout = Layout::kChannelsLast;
    graph.add_node("hussar.Reformat", name, {input}, {converted});
    return converted;
  }

  Status make_sparse(Node& node) const {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (!inputs_[i] || inputs_[i]->shared_columns == 0) continue;
      constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt8,
                                  DType::kFloat8E4M3FN};
      const bool fits = i == 1 && has_weight_form(node) &&
                        std::find(std::begin(kTypes), std::end(kTypes), inputs_[i]->dtype) != std::end(kTypes);
      HUSSAR_CHECK(
          fits, ErrorCode::kUsage,
          "problem: only constant float32, float16, bfloat16, int8 or float8e4m3fn weights of products are 2:4");
      Tensor& weights = *node.inputs[1]->constant;
      auto thin = [&](auto* data) {
        thin_out(view_weights(data, weights.shape(), weight_form(node)), inputs_[i]->shared_columns);
      };
      switch (weights.dtype()) {
        case DType::kFloat32: thin(weights.data<float>()); break;
        case DType::kFloat16:
        case DType::kBFloat16: thin(weights.data<Half>()); break;
        case DType::kFloat8E4M3FN: thin(weights.data<Float8>()); break;
        default: thin(weights.data<int8_t>());
      }
    }
    return {};
  }

  Status read_program(Node& node) {
    node.program_inputs = static_cast<int32_t>(node.inputs.size());
    if (fuse_.empty()) return {};
    // The operands are the inputs from the first one on that the program names.
    for (int32_t first = 0; first <= static_cast<int32_t>(node.inputs.size()); ++first) {
      if (fuse_.find("x" + std::to_string(first)) == std::string_view::npos) continue;
      node.program_inputs = first;
      break;
    }
    node.program = parse_program(fuse_, node.program_inputs);
    HUSSAR_CHECK(
        node.program && node.program_inputs + node.program->operand_count == static_cast<int32_t>(node.inputs.size()),
        ErrorCode::kUsage, "problem: 'fuse={}' is not a program over the inputs; an example: relu;add(x3)", fuse_);
    return {};
  }

  Status add_outputs(Graph& graph, Node& node) {
    std::vector<ValueInfo> infos;
    for (const Value* input : node.inputs) {
      ValueInfo& info = infos.emplace_back();
      if (input == nullptr) continue;
      info = {input->dtype, input->dims, input->is_constant() ? &*input->constant : nullptr, std::nullopt};
    }
    const size_t count = std::max<size_t>(outputs_.size(), 1);
    for (size_t i = 0; i < count; ++i) {
      bool omitted = i < outputs_.size() && !outputs_[i];
      Value* output = omitted ? nullptr : graph.add_value("y" + std::to_string(i));
      if (output != nullptr) output->producer = &node;
      node.outputs.push_back(output);
    }
    // To hussar.Pointwise the operands of the program are inputs like others.
    if (node.program && node.op != kPointwise) infos.resize(static_cast<size_t>(node.program_inputs));
    auto fresh = [] { return Dim::symbol("unknown"); };
    auto inferred = infer_node(node, std::move(infos), fresh, nullptr);
    if (!inferred) return fail(ErrorCode::kUsage, "problem: {}", inferred.error().message);
    for (size_t i = 0; i < count; ++i) {
      Value* output = node.outputs[i];
      if (output == nullptr || i >= inferred->size()) continue;
      output->dtype = (*inferred)[i].dtype;
      output->dims = (*inferred)[i].dims;
      output->layout = output->rank() >= 3 ? output_layout(node, i) : Layout::kPlain;
      graph.outputs.push_back(plain(graph, output));
    }
    return {};
  }

  // As spelled; else as the operator's first input.
  Layout output_layout(const Node& node, size_t index) const {
    if (index < outputs_.size() && outputs_[index]->layout) return *outputs_[index]->layout;
    const bool is_open = outputs_.empty() || works_on_images(op_);
    return is_open && node.input(0) != nullptr ? node.input(0)->layout : Layout::kPlain;
  }

  static Value* plain(Graph& graph, Value* value) {
    if (value->layout == Layout::kPlain) return value;
    Value* converted = graph.add_value(value->name + "_plain", value->dtype, value->dims);
    graph.add_node("hussar.Reformat", value->name, {value}, {converted});
    return converted;
  }

  std::string_view op_, fuse_;
  std::array<int64_t, 3> sizes_ = {};  // m, n, k
  std::vector<std::optional<Spelled>> inputs_, outputs_;
  Attributes attributes_;
};

}  // namespace

bool works_on_images(std::string_view op) { return is_one_of(op, kImageOperators); }

Result<ProblemGraph> parse_problem(std::string_view text) { return Reader().read(text); }

}  // namespace hussar
