// Exchanging steps of plans.
#include "compile/exchange_steps.h"

#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compile/copy_node.h"
#include "plan/kernel.h"

namespace hussar {
namespace {

struct Packed {
  NodeCopy copy;
  std::vector<Packing::Job> jobs;
  Status status;
};

// Packs copies of the nodes, and finds their code.
Result<std::vector<Packed>> pack_nodes(const Graph& graph, const std::vector<size_t>& nodes, const Rival& rival,
                                       const Target& target) {
  std::vector<Packed> all(nodes.size());
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease(pool, pool.cores()).run(static_cast<int>(nodes.size()), [&](int i) {
    Packed& packed = all[static_cast<size_t>(i)];
    packed.copy = copy_node(*graph.nodes()[nodes[static_cast<size_t>(i)]]);
    packed.status = pack_copy(packed.copy, rival, target, packed.jobs);
  });
  std::vector<Packing::Job> jobs;
  for (Packed& packed : all) {
    HUSSAR_TRY(std::move(packed.status));
    HUSSAR_CHECK(packed.copy.graph.nodes().size() == 1, ErrorCode::kUsage, "the kernel wants a step before it");
    jobs.insert(jobs.end(), packed.jobs.begin(), packed.jobs.end());
  }
  HUSSAR_TRY(do_jobs(jobs));
  return all;
}

}  // namespace

Plan StepExchange::copy_of(const Plan& plan) const {
  return {plan.meta, copy_graph(plan.graph), plan.constants, plan.owner, plan.file_bytes};
}

// `former`: the value that has the place so far, which may hold the same.
Status StepExchange::add_constant(Plan& plan, const Value& value, int32_t former, int32_t& index) {
  const Tensor& tensor = *value.constant;
  const size_t bytes = tensor.bytes();
  const Dims dims(tensor.shape().begin(), tensor.shape().end());
  if (former >= 0) {
    const PlanValue& held = plan.graph.values[static_cast<size_t>(former)];
    const bool is_same = held.storage == Storage::kConstant && held.dtype == tensor.dtype() && held.dims == dims &&
                         held.layout == value.layout;
    if (is_same && std::memcmp(record_.pages->data() + held.constant_offset, tensor.raw(), bytes) == 0) {
      index = former;
      return {};
    }
  }
  const size_t offset = (end_ + 63) / 64 * 64;
  HUSSAR_CHECK(offset + bytes <= record_.pages->size(), ErrorCode::kRunFailed, "no room for other constants");
  if (bytes > 0) std::memcpy(record_.pages->data() + offset, tensor.raw(), bytes);
  end_ = offset + bytes;
  PlanValue added;
  added.name = value.name;
  added.dtype = tensor.dtype();
  added.dims = dims;
  added.layout = value.layout;
  added.storage = Storage::kConstant;
  added.constant_offset = offset;
  index = static_cast<int32_t>(plan.graph.values.size());
  plan.graph.values.push_back(std::move(added));
  return {};
}

Result<Plan> StepExchange::exchange(const Plan& plan, const std::vector<size_t>& nodes, const Rival& rival,
                                    const Target& target) {
  before_last_ = end_;
  Plan changed = copy_of(plan);
  std::unordered_map<const Value*, int32_t> values;
  for (size_t i = 0; i < record_.values.size(); ++i) values.emplace(graph_.values()[i].get(), record_.values[i]);
  std::unordered_map<const std::byte*, int32_t> codes;
  const std::vector<Packed> all = HUSSAR_TRY(pack_nodes(graph_, nodes, rival, target));
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = *graph_.nodes()[nodes[i]];
    const Node& packed = *all[i].copy.node;
    HUSSAR_CHECK(record_.steps[nodes[i]] >= 0, ErrorCode::kUsage, "the step is gone");
    PlanStep& step = changed.graph.steps[static_cast<size_t>(record_.steps[nodes[i]])];
    std::vector<int32_t> inputs(packed.inputs.size(), -1);
    for (size_t k = 0; k < packed.inputs.size(); ++k) {
      if (packed.inputs[k] == nullptr) continue;
      const int32_t former = k < step.inputs.size() ? step.inputs[k] : -1;
      if (packed.inputs[k]->is_constant()) {
        HUSSAR_TRY(add_constant(changed, *packed.inputs[k], former, inputs[k]));
        continue;
      }
      inputs[k] = k < node.inputs.size() ? values.at(node.inputs[k]) : -1;
      HUSSAR_CHECK(inputs[k] >= 0 && inputs[k] == former, ErrorCode::kUsage, "the step has other inputs");
    }
    Attributes attributes = packed.attributes;
    if (const auto rows = step.attributes.get_ints(kRowCountAttribute); !rows.empty())
      attributes.set(kRowCountAttribute, rows);
    if (packed.code != nullptr) {
      auto [it, is_new] = codes.emplace(packed.code->constant->raw(), -1);
      if (is_new) HUSSAR_TRY(add_constant(changed, *packed.code, -1, it->second));
      attributes.set(kCodeAttribute, Ints{it->second, kCodeVersion});
    }
    step.kernel = rival.tactic->kernel;
    step.op = packed.op;
    step.attributes = std::move(attributes);
    step.inputs = std::move(inputs);
    step.program = packed.program;
    step.program_inputs = packed.program_inputs;
  }
  changed.constants = {record_.pages->data(), end_};
  return changed;
}

}  // namespace hussar
