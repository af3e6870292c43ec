// cuda_embedding_norm: hussar.EmbeddingNorm over the last axis, of up to four terms. Each row is read, summed,
// normalized and written by the threads that hold it; indices out of range give zeros, as for cuda_gather.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/norm.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr size_t kOrder = 0, kFirst = 4, kMostTerms = 4;

struct Term {
  const Value *table, *scales, *indices;
};
size_t terms_of(size_t inputs) { return inputs > kFirst ? (inputs - kFirst + 2) / 3 : 0; }
bool has_input(const PlanStep& step, size_t i) { return i < step.inputs.size() && step.inputs[i] >= 0; }
Term term_of(const Node& node, size_t k) {
  const size_t at = kFirst + 3 * k;
  return {node.input(at), node.input(at + 1), node.input(at + 2)};
}
std::string norm_of(const Attributes& attributes) { return attributes.get_string("norm", ""); }
DType sum_type(const Node& node) { return node.inputs[1]->dtype; }

Refusal refuse_term(const Term& term, DType sum, const Dim& length) {
  if (term.table == nullptr) return "no table";
  if (term.table->rank() < 1 || !(term.table->dims->back() == length)) return "lengths of rows";
  const bool are_bytes = term.scales != nullptr;
  if (term.table->dtype != (are_bytes ? DType::kUInt8 : sum)) return "dtype of a table";
  if (are_bytes && (term.indices == nullptr || term.scales->dtype != DType::kFloat32)) return "scales";
  if (term.indices == nullptr) return std::nullopt;
  if (!is_index(term.indices->dtype)) return "dtype of the indices";
  // An index out of range reads the first row, and makes nothing of it.
  if (term.table->rank() != 2 || known(term.table->dims->front()) < 1) return "shape of a table";
  return std::nullopt;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.EmbeddingNorm"})) return refusal;
  const Node& node = problem.node;
  if (node.program) return "fused program";
  const size_t terms = terms_of(node.inputs.size());
  if (terms < 1 || terms > kMostTerms) return "number of terms";
  if (!all_plain(node)) return "layout";
  if (Refusal refusal = refuse_norm(problem, norm_of(node.attributes))) return refusal;
  const DType sum = sum_type(node);
  const Value* order = problem.input(kOrder);
  if (order != nullptr && (order->dtype != DType::kInt32 || order->rank() != 1)) return "order";
  const Dims& y = *problem.output()->dims;
  if (y.empty() || known(y.back()) < 1) return "length of rows";
  if (axis_from_front(node.attributes.get_int("axis", -1), static_cast<int>(y.size())) != std::ssize(y) - 1)
    return "axis";
  for (size_t k = 0; k < terms; ++k) {
    if (Refusal refusal = refuse_term(term_of(node, k), sum, y.back())) return refusal;
  }
  return refuse_norm_shapes(problem, {y.back()});
}

// What is read of each table is as much as it adds.
double cost(const Problem& problem) {
  const Node& node = problem.node;
  const double elements = Problem::elements(problem.output());
  double bytes = 0;
  for (size_t k = 0; k < terms_of(node.inputs.size()); ++k)
    bytes += elements * static_cast<double>(dtype_size(term_of(node, k).table->dtype));
  for (const Value* output : node.outputs)
    bytes += output != nullptr ? Problem::elements(output) * static_cast<double>(dtype_size(output->dtype)) : 0;
  return kLaunchMicroseconds + expected_rows(node.attributes) * bytes / kBytesPerMicrosecond;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const size_t terms = terms_of(node.inputs.size());
  int64_t bytes = 0, indexed = 0, wide = 0;
  const Value* narrowest = term_of(node, 0).table;
  for (size_t k = 0; k < terms; ++k) {
    const Term term = term_of(node, k);
    if (dtype_size(term.table->dtype) < dtype_size(narrowest->dtype)) narrowest = term.table;
    bytes |= int64_t{term.scales != nullptr} << k;
    indexed |= int64_t{term.indices != nullptr} << k;
    wide |= int64_t{term.indices != nullptr && term.indices->dtype == DType::kInt64} << k;
  }
  const DType sum = sum_type(node);
  const Dims& y = *node.outputs[0]->dims;
  Defines defines;
  defines.set("EMBEDDINGS", static_cast<int64_t>(terms)).set("TABLE_TYPE", memory_type(sum));
  defines.set("BYTE_TABLES", bytes).set("HAS_INDICES", indexed).set("WIDE_INDICES", wide);
  const NormRows rows{*narrowest, known(y.back()), known_elements(y, 0, static_cast<int>(y.size()) - 1)};
  return attach_norm(packing, norm_of(node.attributes), rows, sum, defines, "embedding_norm.cuh");
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRowsAttribute);
  return {};
}

// Which index a row has: r / divisor % modulus.
struct Places {
  int64_t rows = 0, divisor = 1, modulus = 1;
};

struct State {
  Launch launch;
  NormState norm;
  size_t terms;
  Places places[kMostTerms];
};

// `own`: dimensions that are broadcast to `all`, those of the rows.
std::optional<Places> places_of(std::span<const int64_t> own, std::span<const int64_t> all) {
  if (own.size() > all.size()) return std::nullopt;
  Places places;
  bool begun = false, ended = false;
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t size = all[all.size() - 1 - i];
    const int64_t has = i < own.size() ? own[own.size() - 1 - i] : 1;
    if (has != size && has != 1) return std::nullopt;
    if (size == 1) continue;
    if (has == 1) {
      ended = begun;
      if (!begun) places.divisor *= size;
      continue;
    }
    if (ended) return std::nullopt;
    begun = true;
    places.modulus *= size;
  }
  return places;
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  State& state = prepare.state_as<State>();
  const Shape& y = prepare.outputs[0].shape;
  const std::span<const int64_t> rows = y.dims().first(static_cast<size_t>(y.rank()) - 1);
  state.norm = norm_state(step, norm_of(step.attributes), y.elements(0, y.rank() - 1), y[y.rank() - 1]);
  bool fits = state.norm.rows <= std::numeric_limits<int32_t>::max();
  state.terms = terms_of(prepare.inputs.size());
  for (size_t k = 0; fits && k < state.terms && k < kMostTerms; ++k) {
    const Shape& table = prepare.inputs[kFirst + 3 * k].shape;
    const bool is_indexed = has_input(step, kFirst + 3 * k + 2);
    const Shape& own = is_indexed ? prepare.inputs[kFirst + 3 * k + 2].shape : table;
    fits = table.rank() >= 1 && table[table.rank() - 1] == state.norm.length;
    if (!fits) break;
    const auto places =
        places_of(is_indexed ? own.dims() : own.dims().first(static_cast<size_t>(own.rank()) - 1), rows);
    fits = places.has_value();
    if (!fits) break;
    state.places[k] = *places;
    state.places[k].rows = is_indexed ? table[0] : places->modulus;
  }
  if (has_input(step, kOrder)) fits = fits && prepare.inputs[kOrder].shape.elements() == state.norm.rows;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               step.name);
  state.launch =
      HUSSAR_TRY(prepare_rows(prepare, "embedding_norm", state.norm.rows, state.norm.length, {state.norm.length}));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  auto data_of = [&](size_t i) { return has_input(run.step, i) ? run.inputs[i].data : nullptr; };
  Words words;
  put_norm(run, state.norm, words);
  words.put(data_of(kOrder));
  for (size_t k = 0; k < state.terms; ++k) {
    for (size_t i = 0; i < 3; ++i) words.put(data_of(kFirst + 3 * k + i));
    const Places& places = state.places[k];
    words.put(places.rows);
    words.put(places.divisor | places.modulus << 32);
  }
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_embedding_norm_kernel = {.name = "cuda_embedding_norm",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(State),
                                                  .prepare = prepare,
                                                  .run = run};
extern const Tactic cuda_embedding_norm_tactic = {.kernel = "cuda_embedding_norm",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
