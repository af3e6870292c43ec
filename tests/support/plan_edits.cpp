// Listing the changes that a plan allows.
#include "tests/support/plan_edits.h"

#include <fmt/format.h>

#include <set>

#include "backends/cpu/work_cuts.h"
#include "plan/kernel.h"

namespace hussar::tests {
namespace {

constexpr DType kDTypes[] = {DType::kFloat32, DType::kUInt8,   DType::kInt8,    DType::kInt32, DType::kInt64,
                             DType::kBool,    DType::kFloat16, DType::kFloat64, DType::kUInt64};
constexpr int64_t kNumbers[] = {-1, 0, 1, 2, 7, int64_t{1} << 31, int64_t{1} << 62};

// The main graph, then bodies, each before its own.
void collect(PlanGraph& graph, std::vector<PlanGraph*>& graphs) {
  graphs.push_back(&graph);
  for (PlanStep& step : graph.steps) {
    for (auto& [name, body] : step.bodies) collect(*body, graphs);
  }
}

std::vector<PlanGraph*> graphs_of(Plan& plan) {
  std::vector<PlanGraph*> graphs;
  collect(plan.graph, graphs);
  return graphs;
}

class Lister {
 public:
  explicit Lister(Plan& plan) : plan_(plan) {
    for (const PlanGraph* graph : graphs_of(plan)) {
      for (const PlanStep& step : graph->steps) operators_.insert(step.op);
    }
  }

  std::vector<Edit> run() {
    auto graphs = graphs_of(plan_);
    for (graph_ = 0; graph_ < graphs.size(); ++graph_) {
      const PlanGraph& graph = *graphs[graph_];
      for (index_ = 0; index_ < graph.values.size(); ++index_) list_value(graph, graph.values[index_]);
      for (index_ = 0; index_ < graph.steps.size(); ++index_) list_step(graph, graph.steps[index_]);
    }
    return std::move(edits_);
  }

 private:
  template <class Change>
  void value(const std::string& what, Change change) {
    edits_.push_back({fmt::format("{}value {} {}", prefix(), index_, what),
                      [=, g = graph_, i = index_](Plan& plan) { change(graphs_of(plan)[g]->values[i]); }});
  }
  template <class Change>
  void step(const std::string& what, Change change) {
    edits_.push_back({fmt::format("{}step {} {}", prefix(), index_, what),
                      [=, g = graph_, i = index_](Plan& plan) { change(graphs_of(plan)[g]->steps[i]); }});
  }
  std::string prefix() const { return graph_ == 0 ? "" : fmt::format("body {} ", graph_); }

  void list_value(const PlanGraph& graph, const PlanValue& old) {
    for (DType dtype : kDTypes)
      value(fmt::format("dtype {}", dtype_name(dtype)), [=](PlanValue& it) { it.dtype = dtype; });
    for (Layout layout : {Layout::kPlain, Layout::kChannelsLast})
      value(fmt::format("layout {}", static_cast<int>(layout)), [=](PlanValue& it) { it.layout = layout; });
    for (int storage = 0; storage <= static_cast<int>(Storage::kHeap); ++storage)
      value(fmt::format("storage {}", storage), [=](PlanValue& it) { it.storage = static_cast<Storage>(storage); });
    for (size_t other = 0; other < graph.values.size(); ++other) {
      value(fmt::format("alias of {}", other), [=](PlanValue& it) {
        it.storage = Storage::kAlias;
        it.alias_of = static_cast<int32_t>(other);
      });
      value(fmt::format("looks like {}", other), [dtype = graph.values[other].dtype, dims = graph.values[other].dims,
                                                  layout = graph.values[other].layout](PlanValue& it) {
        it.dtype = dtype;
        it.dims = dims;
        it.layout = layout;
      });
      uint64_t offset = graph.values[other].constant_offset;
      if (old.storage == Storage::kConstant && graph.values[other].storage == Storage::kConstant)
        value(fmt::format("constant at {}", offset), [=](PlanValue& it) { it.constant_offset = offset; });
    }
    value("channel offset", [](PlanValue& it) { it.channel_offset += 1; });
    list_dims(old);
  }

  void list_dims(const PlanValue& old) {
    value("no dims", [](PlanValue& it) { it.dims.reset(); });
    if (!old.dims) return;
    value("one more dim", [](PlanValue& it) {
      if (it.dims) it.dims->insert(it.dims->begin(), Dim(1));
    });
    value("one dim less", [](PlanValue& it) {
      if (it.dims && !it.dims->empty()) it.dims->pop_back();
    });
    value("dims reversed", [](PlanValue& it) {
      if (it.dims) it.dims = Dims(it.dims->rbegin(), it.dims->rend());
    });
    for (size_t axis = 0; axis < old.dims->size(); ++axis) {
      auto dim = [&](const std::string& what, std::function<Dim(const Dim&)> change) {
        value(fmt::format("dim {} {}", axis, what), [=](PlanValue& it) {
          if (it.dims && axis < it.dims->size()) (*it.dims)[axis] = change((*it.dims)[axis]);
        });
      };
      for (int64_t number : {0, 1, 2, 100}) dim(std::to_string(number), [=](const Dim&) { return Dim(number); });
      dim("plus one", [](const Dim& old_dim) { return old_dim + Dim(1); });
      dim("minus one", [](const Dim& old_dim) { return old_dim - Dim(1); });
      dim("doubled", [](const Dim& old_dim) { return old_dim * Dim(2); });
    }
  }

  void list_step(const PlanGraph& graph, const PlanStep& old) {
    step("kernel reference", [](PlanStep& it) { it.kernel = kReferenceKernel; });
    for (const Kernel* kernel : all_kernels())
      step(fmt::format("kernel {}", kernel->name), [=](PlanStep& it) { it.kernel = kernel->name; });
    for (const std::string& op : operators_) step(fmt::format("op {}", op), [=](PlanStep& it) { it.op = op; });
    for (size_t other = 0; other < graph.steps.size(); ++other) {
      const PlanStep& from = graph.steps[other];
      step(fmt::format("works like {}", other),
           [kernel = from.kernel, op = from.op, attributes = from.attributes, program = from.program,
            program_inputs = from.program_inputs](PlanStep& it) {
             it.kernel = kernel;
             it.op = op;
             it.attributes = attributes;
             it.program = program;
             it.program_inputs = program_inputs;
           });
    }
    list_operands(graph, old, "input", &PlanStep::inputs);
    list_operands(graph, old, "output", &PlanStep::outputs);
    auto configure = [this](std::string_view name, const Attribute& attribute) {
      step(fmt::format("configuration {}", name),
           [=](PlanStep& it) { it.attributes.set(kConfigurationAttribute, attribute); });
    };
    for (const cpu::NamedCut& row : cpu::work_cuts()) configure(row.name, std::string(row.name));
    configure("unknown", std::string("unknown"));
    configure("7", int64_t{7});
    step("no program", [](PlanStep& it) { it.program.reset(); });
    step("program inputs less", [](PlanStep& it) { --it.program_inputs; });
    for (const auto& [name, attribute] : old.attributes.all()) list_attribute(name, attribute);
  }

  void list_operands(const PlanGraph& graph, const PlanStep& old, const char* side,
                     std::vector<int32_t> PlanStep::*list) {
    for (size_t i = 0; i < (old.*list).size(); ++i) {
      for (int32_t other = -1; other < static_cast<int32_t>(graph.values.size()); ++other) {
        step(fmt::format("{} {} is {}", side, i, other), [=](PlanStep& it) {
          if (i < (it.*list).size()) (it.*list)[i] = other;
        });
      }
    }
    step(fmt::format("{} less", side), [=](PlanStep& it) {
      if (!(it.*list).empty()) (it.*list).pop_back();
    });
    step(fmt::format("{} more", side),
         [=](PlanStep& it) { (it.*list).push_back((it.*list).empty() ? 0 : (it.*list)[0]); });
  }

  void list_attribute(const std::string& name, const Attribute& attribute) {
    step(fmt::format("no {}", name), [=](PlanStep& it) { it.attributes.erase(name); });
    for (int64_t number : kNumbers) {
      if (std::holds_alternative<int64_t>(attribute))
        step(fmt::format("{} = {}", name, number), [=](PlanStep& it) { it.attributes.set(name, number); });
      const Ints* list = std::get_if<Ints>(&attribute);
      for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
        Ints changed = *list;
        changed[i] = number;
        step(fmt::format("{}[{}] = {}", name, i, number), [=](PlanStep& it) { it.attributes.set(name, changed); });
      }
    }
    if (const Ints* list = std::get_if<Ints>(&attribute)) {
      Ints longer = *list;
      longer.push_back(1);
      step(fmt::format("{} longer", name), [=](PlanStep& it) { it.attributes.set(name, longer); });
      step(fmt::format("{} empty", name), [=](PlanStep& it) { it.attributes.set(name, Ints()); });
    }
  }

  Plan& plan_;
  std::set<std::string> operators_;
  std::vector<Edit> edits_;
  size_t graph_ = 0, index_ = 0;
};

}  // namespace

std::vector<Edit> edits_of(const Plan& plan) { return Lister(const_cast<Plan&>(plan)).run(); }

}  // namespace hussar::tests
