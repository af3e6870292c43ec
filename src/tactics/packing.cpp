// Replacing weights by packed ones, and back. Inference still needs the shape that they had: the node remembers it.
#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tactics/tactic.h"
#include "tensor/float8_mask.h"

namespace hussar {

void Packing::replace(size_t index, Tensor tensor) {
  Value* old = node.input(index);
  if (old != nullptr && old->is_constant()) {
    const Shape& shape = old->constant->shape();
    node.attributes.set("hussar_packed_" + std::to_string(index), Ints(shape.begin(), shape.end()));
  }
  Value* packed = graph.add_constant(graph.unique_name(old != nullptr ? old->name : node.name), std::move(tensor));
  graph.set_input(&node, index, packed);
  if (old != nullptr && graph.use_count(old) == 0) std::swap(old->name, packed->name);
}

Status do_jobs(std::span<const Packing::Job> jobs) {
  std::map<std::string_view, size_t> first;  // of each key
  std::vector<size_t> todo;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (first.emplace(jobs[i].key, i).second) todo.push_back(i);
  }
  std::vector<Result<Tensor>> made(jobs.size(), Tensor());
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease(pool, pool.cores()).run(static_cast<int>(todo.size()), [&](int i) {
    const size_t job = todo[static_cast<size_t>(i)];
    made[job] = jobs[job].make();
  });
  for (const Packing::Job& job : jobs) {
    const Tensor& tensor = HUSSAR_TRY(made[first[job.key]]);
    job.constant->dtype = tensor.dtype();
    job.constant->dims = Dims(tensor.shape().begin(), tensor.shape().end());
    job.constant->constant = tensor;
  }
  return {};
}

WeightForm weight_form(std::string_view op, const Attributes& attributes) {
  if (op == "Conv" || op == "hussar.QuantizedConv") return WeightForm::kFilter;
  return attributes.get_int("transB", 0) != 0 ? WeightForm::kTransposed : WeightForm::kMatrix;
}

bool has_weight_form(const Node& node) {
  constexpr std::string_view kProducts[] = {"Conv", "MatMul", "com.microsoft.FusedMatMul", "hussar.QuantizedConv",
                                            "hussar.QuantizedMatMul"};
  if (std::find(std::begin(kProducts), std::end(kProducts), node.op) == std::end(kProducts)) return false;
  const Value* weights = node.input(1);
  if (weights == nullptr || !weights->is_constant()) return false;
  const int rank = weights->constant->shape().rank();
  return weight_form(node) == WeightForm::kFilter ? rank > 2 : rank == 2;
}

template <class Number>
static int64_t shared_columns_of(const Node& node) {
  const Tensor& weights = *node.inputs[1]->constant;
  const auto view = view_weights(weights.data<Number>(), weights.shape(), weight_form(node));
  if (view.k % 4 != 0) return 0;
  const int64_t panels = find_shared_mask(view).panels;
  return panels > 0 ? panels * kPanelOfMask : is_two_of_four(view) ? 1 : 0;
}

int64_t shared_columns(const Node& node) {
  if (!has_weight_form(node)) return 0;
  switch (node.inputs[1]->dtype) {
    case DType::kFloat32: return shared_columns_of<float>(node);
    case DType::kFloat16:
    case DType::kBFloat16: return shared_columns_of<Half>(node);
    case DType::kInt8: return shared_columns_of<int8_t>(node);
    case DType::kFloat8E4M3FN: return shared_columns_of<Float8>(node);
    default: return 0;
  }
}

std::vector<float> decode_floats(const Tensor& packed) {
  return {packed.data<float>(), packed.data<float>() + packed.elements()};
}

namespace {

// Packs a tensor whose element i is `bits` bits of the number i + 1, so that zeros mark the gaps.
Result<Tensor> pack_probe(const Node& node, const Shape& original, int shift, int bits, Status (*pack)(Packing&)) {
  Tensor numbers(DType::kFloat32, original);
  auto* number = numbers.data<float>();
  for (int64_t i = 0; i < numbers.elements(); ++i) {
    number[i] = static_cast<float>((i + 1) >> shift & ((1 << bits) - 1));
  }
  Graph graph;
  Node* probe = graph.add_node(node.op, node.name, {nullptr, graph.add_constant("probe", std::move(numbers))}, {},
                               node.attributes);
  Packing packing(graph, *probe, {});
  HUSSAR_TRY(pack(packing));
  return *probe->inputs[1]->constant;
}

}  // namespace

Status unpack_permuted(Packing& packing, const Shape& original, Status (*pack)(Packing&), Decode decode,
                       int probe_bits) {
  const Node& node = packing.node;
  const Value* weights = node.input(1);
  bool fits = weights != nullptr && weights->is_constant();
  for (int64_t dim : original) fits = fits && dim >= 1;
  // Before anything of that size is allocated: there is room for every element.
  fits = fits && original.elements() <= weights->constant->elements() && original.elements() < int64_t{1} << 32;
  auto misfit = [&] {
    return fail(ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {}", describe(node),
                original.to_string());
  };
  if (!fits) return misfit();
  const Tensor& packed = *weights->constant;
  Tensor unpacked(DType::kFloat32, original);
  std::vector<uint32_t> source;  // of each packed element; 0: none
  for (int shift = 0; original.elements() >> shift != 0; shift += probe_bits) {
    Tensor probe = HUSSAR_TRY(pack_probe(node, original, shift, probe_bits, pack));
    if (probe.dtype() != packed.dtype() || probe.elements() != packed.elements()) return misfit();
    const std::vector<float> numbers = decode(probe);
    source.resize(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) source[i] |= static_cast<uint32_t>(numbers[i]) << shift;
  }
  const std::vector<float> elements = decode(packed);
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != 0) unpacked.data<float>()[source[i] - 1] = elements[i];
  }
  packing.replace(1, std::move(unpacked));
  return {};
}

}  // namespace hussar
