// A pass: same meaning, less work. One file per pass, src/passes/<name>.cpp, that defines
// `extern const Pass <name>_pass`; its place in the order is in support/pipeline.cpp, or right after the pass it names.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "hussar/status.h"
#include "ops/infer.h"
#include "tactics/choose.h"
#include "tensor/quant_params.h"

namespace hussar {

// What makes the outputs of a product more exact. Holds for these INT8 weights, each rounded to the nearest integer
// (Int8Weights::fingerprint), and this quantization of the input only.
struct ProductCorrection {
  std::string weights;
  QuantParams input;
  std::vector<uint8_t> flips;  // weights that are rounded the other way (flip_roundings); may be empty
  std::vector<float> bias;     // what the bias gains, per output channel; may be empty
};

// The least and the greatest element of each channel of a value.
struct ChannelBounds {
  std::vector<float> low, high;
};

// What may become INT8, or FP8.
struct Quantization {
  // Numbers of activations and weights are float8e4m3fn, with zero points of 0. What the model itself quantizes to
  // integers stays so.
  bool fp8 = false;
  std::map<std::string, QuantParams, std::less<>> activations;  // by the name of the value
  std::map<std::string, ChannelBounds, std::less<>> channels;   // the same; of what attention reads
  // Products whose range is not known quantize what they read when the model runs, by its least and greatest element.
  bool is_dynamic = false;
  // Then every row that a matrix product reads has a scale of its own, and convolutions and attention stay in floats.
  bool row_scales = false;
  // Names of ONNX nodes that stay as they are, and why.
  std::map<std::string, std::string, std::less<>> float_nodes;
  // What the plan tells about nodes that become INT8, by the name of one of theirs.
  std::map<std::string, std::string, std::less<>> notes;

  std::map<std::string, ProductCorrection, std::less<>> corrections;  // by the name of the output
  // By the name of a value that products read (passes/support/smoothable.h): it is divided and their weights
  // multiplied, per channel. What is divided has the range of smoothed_name(), and that name where it is a value.
  std::map<std::string, std::vector<float>, std::less<>> divisors;
  static std::string smoothed_name(std::string_view value) { return std::string(value) + "_smoothed"; }
  // What the value was called before.
  static std::string_view name_before(std::string_view value) {
    return value.ends_with("_smoothed") ? value.substr(0, value.size() - std::string_view("_smoothed").size()) : value;
  }

  // The type of activations, and what both are called.
  DType dtype() const { return fp8 ? kFp8 : DType::kUInt8; }
  std::string_view name() const { return fp8 ? "FP8" : "INT8"; }

  const QuantParams* find(std::string_view value) const {
    auto it = activations.find(value);
    return it == activations.end() ? nullptr : &it->second;
  }
};
// The entry of a node: by its name, by that of one of those that were fused into it, or by that of its output. Null
// when there is none.
const std::string* entry_of(const std::map<std::string, std::string, std::less<>>& entries, const Node& node);

struct PassContext {
  Graph& graph;
  Target target;
  // Elements of small integer values as far as inference knows them; valid until the graph changes.
  const ElementFacts& facts;
  // What was measured; may be empty. For passes that choose (Pass::chooses).
  const Timings& timings;
  // A pass that chooses makes every rewrite that it can, to be measured.
  bool eager = false;
  // Null: neither INT8 nor FP8 is allowed.
  const Quantization* quantization = nullptr;
  // Takes from a node what its user does not allow it (Target::no_fp16 and no_bf16); may be empty.
  std::function<Problem(const Problem&)> restrict;
  // Rows of padding may be left out (pack_tokens).
  bool packed = false;
};

struct Pass {
  std::string_view name;
  // What it does, with one example: "Conv -> BatchNormalization  =>  Conv with scaled weights".
  std::string_view summary;
  // Returns how many rewrites it made.
  Result<int> (*run)(PassContext&) = nullptr;
  // The pass that it follows, when the table in support/pipeline.cpp does not list it.
  std::string_view after = {};
  // Its rewrites pay on some machines only: it compares the times of the nodes before and after. Tuning measures both.
  bool chooses = false;
};

std::span<const Pass* const> all_passes();

struct PassRecord {
  std::string name;
  int rewrites = 0;
  double milliseconds = 0;  // with the inference after it
  size_t nodes_after = 0;
  std::optional<double> error;  // what PipelineOptions::measure said
};

struct PipelineOptions {
  Target target;
  std::vector<std::string> disabled;  // pass names; "all" turns every optional pass off
  Timings timings;                    // PassContext::timings
  bool eager = false;                 // PassContext::eager
  const Quantization* quantization = nullptr;
  std::function<Problem(const Problem&)> restrict;  // PassContext::restrict
  bool packed = false;                              // PassContext::packed
  bool verify = true;                               // check the graph's structure after each pass
  // Sees the graph after each pass that changed it; for dumps.
  std::function<void(std::string_view pass, const Graph&)> dump;
  // Says after each pass that changed the graph how far the model's outputs are off; may fail.
  std::function<Result<double>(std::string_view pass)> measure;
};

// Runs the passes in their order, with inference before and after each that changes the graph.
Result<std::vector<PassRecord>> run_pipeline(Graph& graph, const PipelineOptions& options);
// The names of all passes in the order they run.
std::vector<std::string_view> pipeline_order();

}  // namespace hussar
