// The order of the passes and the driver that times, dumps and verifies them.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "passes/pass.h"
#include "passes/support/mask_watch.h"

namespace hussar {
namespace {

// Each line: the pass, and why it stands where it stands. A pass may also name the one it follows (Pass::after).
constexpr std::string_view kOrder[] = {
    "drop_training",            // first: nothing below needs to know Dropout, and it hides patterns
    "inline_constant_if",       // before folding: a taken branch exposes its constants to the outer graph
    "expand_composites",        // everything below sees single operators
    "drop_unused_outputs",      // kernels refuse what nobody needs
    "lower_quantized",          // before weights are folded: theirs become plain constants
    "lower_einsum",             // before weights are folded, which it reshapes, and before attention
    "fold_constants",           // weights that exporters compute (transposes, casts, shapes) become plain constants
    "recognise_fake_quantize",  // before the patterns, which see through it
    "drop_no_ops",              // needs the shapes that folding has made known
    "drop_neutral",             // needs the masks and factors that folding has computed
    "common_subexpressions",    // before the patterns: exporters repeat what a formula uses twice
    "simplify_reshape",         // makes shape arithmetic dead; attention looks for single reshapes
    "keep_reduced_dims",        // the formulas of norms and softmax keep the axes that they reduce
    "drop_expand",              // masks reach attention unexpanded
    "recognise_layer_norm",     // before global pooling, which also looks for means
    "recognise_softmax",        // before attention, which contains one
    "recognise_gelu",           // these four share no formula: any order will do
    "recognise_silu",
    "recognise_hard_swish",  // before fold_batch_norm, which would move the + 3 into a convolution's bias
    "recognise_mish",
    "recognise_leaky_relu",
    "relax_attention",        // before what it makes recognisable
    "lower_attention",        // beside the recognition of attention that is written out
    "recognise_attention",    // before transposes move: it looks for those that exporters write
    "merge_qkv",              // what attention reads is known now
    "pack_tokens",            // before fusion, which then sees rows as ever: nodes are still what ONNX says they are
    "eliminate_transposes",   // before what depends on axes having their usual meaning
    "recognise_global_pool",  // after recognise_layer_norm
    "fold_pad",               // needs constant pads
    "fold_batch_norm",        // after the activations: what they contain must not be folded away
    "lower_gemm",             // before fusion, which then adds its bias in the product's epilogue
    "place_fake_quantize",    // after all that moves tensors; fusion looks for it before products
    "fuse_pointwise",         // after everything that recognises patterns: it hides single operators
    "choose_layouts",         // fused nodes are the units that have a layout
    "quantize_products",      // fused nodes are the units that have a precision; their kernels want the layouts
    "store_bytes",            // once it is known who reads bytes
    "slice_channels",         // needs the layouts; last, because slices tie values together
};

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

const Pass* find_pass(std::string_view name) {
  for (const Pass* pass : all_passes()) {
    if (pass->name == name) return pass;
  }
  return nullptr;
}

}  // namespace

const std::string* entry_of(const std::map<std::string, std::string, std::less<>>& entries, const Node& node) {
  auto find = [&](std::string_view name) -> const std::string* {
    auto it = entries.find(name);
    return it == entries.end() ? nullptr : &it->second;
  };
  const std::string* entry = find(node.name);
  if (entry == nullptr && node.output() != nullptr) entry = find(node.output()->name);
  for (std::string_view rest = node.name; entry == nullptr && !rest.empty();) {
    const size_t end = rest.find('+');
    entry = find(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return entry;
}

std::vector<std::string_view> pipeline_order() {
  std::vector<std::string_view> order(std::begin(kOrder), std::end(kOrder));
  auto place_of = [&](std::string_view name) { return std::find(order.begin(), order.end(), name); };
  // A pass may follow one that has found its own place only now.
  for (size_t placed = 0; placed != order.size();) {
    placed = order.size();
    for (const Pass* pass : all_passes()) {
      auto before = place_of(pass->after);
      if (place_of(pass->name) == order.end() && before != order.end()) order.insert(before + 1, pass->name);
    }
  }
  return order;
}

Result<std::vector<PassRecord>> run_pipeline(Graph& graph, const PipelineOptions& options) {
  auto is_disabled = [&](std::string_view name) {
    return std::any_of(options.disabled.begin(), options.disabled.end(),
                       [&](const std::string& entry) { return entry == name || entry == "all"; });
  };
  for (const std::string& name : options.disabled) {
    HUSSAR_CHECK(name == "all" || find_pass(name) != nullptr, ErrorCode::kUsage,
                 "there is no pass '{}'; the passes are {}", name, fmt::join(kOrder, ", "));
  }
  std::vector<PassRecord> records;
  ElementFacts facts = HUSSAR_TRY(infer_graph(graph));
  MaskWatch masks(graph);
  for (std::string_view name : pipeline_order()) {
    const Pass* pass = find_pass(name);
    HUSSAR_CHECK(pass != nullptr, ErrorCode::kRunFailed, "the pipeline names the unknown pass '{}'", name);
    if (is_disabled(name)) continue;
    auto begin = std::chrono::steady_clock::now();
    PassContext context{
        graph,         options.target, facts, options.timings, options.eager, options.quantization, options.restrict,
        options.packed};
    auto rewrites = pass->run(context);
    PassRecord record{std::string(name), 0, milliseconds_since(begin), 0, std::nullopt};
    if (!rewrites) return fail(rewrites.error().code, "pass {}: {}", name, rewrites.error().message);
    if (*rewrites > 0) {
      graph.sweep();
      HUSSAR_TRY(graph.sort());
      if (options.verify) {
        auto status = graph.verify();
        if (!status) return fail(ErrorCode::kRunFailed, "after pass {}: {}", name, status.error().message);
      }
      auto inferred = infer_graph(graph);
      if (!inferred) return fail(inferred.error().code, "after pass {}: {}", name, inferred.error().message);
      HUSSAR_TRY(masks.check(graph, name));
      facts = std::move(*inferred);
      record.milliseconds = milliseconds_since(begin);
      if (options.dump) options.dump(name, graph);
      if (options.measure) record.error = HUSSAR_TRY(options.measure(name));
    }
    record.rewrites = *rewrites;
    record.nodes_after = graph.nodes().size();
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace hussar
