#include "compile/choose_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "compile/float_products.h"
#include "compile/sample.h"
#include "compile/score.h"
#include "compile/whole_runs.h"
#include "plan/device.h"
#include "runtime/session.h"
#include "tensor/projected_attention.h"

namespace hussar {
namespace {

constexpr int kLeastPlanRounds = 15, kMostPlanRounds = 60;
constexpr double kEnoughMicroseconds = 1e6;
// INT8 must win by more than noise to be worth its error.
constexpr double kWorthwhileTime = 0.97;

// A plan, its session, and what its steps and its runs took.
struct Candidate {
  std::shared_ptr<Plan> plan;
  std::unique_ptr<Session> session;
  std::vector<std::vector<double>> steps;
  std::vector<double> runs;

  static Result<Candidate> create(Plan plan) {
    Candidate candidate;
    candidate.plan = std::make_shared<Plan>(std::move(plan));
    candidate.session = HUSSAR_TRY(Session::create(candidate.plan));
    candidate.steps.resize(candidate.plan->graph.steps.size());
    return candidate;
  }
  // The plan, when nothing is left to run.
  Plan take() {
    session.reset();
    return std::move(*plan);
  }
  double step(size_t index) const { return score(steps[index]); }
};

Status run_once(Candidate& candidate, const std::vector<Tensor>& inputs) {
  const PlanStep* first = candidate.plan->graph.steps.data();
  double total = 0;
  candidate.session->set_profiler([&](const StepTime& time) {
    candidate.steps[static_cast<size_t>(time.step - first)].push_back(time.microseconds);
    total += time.microseconds;
  });
  auto outputs = candidate.session->run_in_order(inputs);
  candidate.session->set_profiler(nullptr);
  if (!outputs) return tl::unexpected(outputs.error());
  candidate.runs.push_back(total);
  return {};
}

void forget(Candidate& candidate) {
  candidate.runs.clear();
  for (auto& samples : candidate.steps) samples.clear();
}

// In turn, since the machine's speed changes. Of two runs at a time the second counts: it finds its own weights in the
// caches, not those of a rival.
Status measure(std::vector<Candidate*> candidates, const std::vector<Tensor>& inputs) {
  double spent = 0;
  for (int round = 0; round < kLeastPlanRounds || (round < kMostPlanRounds && spent < kEnoughMicroseconds); ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      Candidate& candidate = *candidates[(i + static_cast<size_t>(round)) % candidates.size()];
      auto warm = candidate.session->run_in_order(inputs);
      if (!warm) return tl::unexpected(warm.error());
      HUSSAR_TRY(run_once(candidate, inputs));
      spent += 2 * candidate.runs.back();
    }
  }
  return {};
}

// The same of whole runs alone, as the plans will run on a device: waiting for every step takes longer than many of
// them.
Status measure_whole(const std::vector<Candidate*>& candidates, const std::vector<Tensor>& inputs) {
  std::vector<WholeRuns> timed;
  for (Candidate* candidate : candidates) {
    timed.emplace_back(*candidate->session, inputs);
    HUSSAR_TRY(timed.back().warm_up());
  }
  for (size_t round = 0; round < kLeastPlanRounds; ++round) {
    for (size_t k = 0; k < candidates.size(); ++k) {
      const size_t i = (k + round) % candidates.size();
      candidates[i]->runs.push_back(HUSSAR_TRY(timed[i].sample()));
    }
  }
  return {};
}

bool makes_bytes(const PlanStep& step) {
  return step.op == "QuantizeLinear" || step.op == "DynamicQuantizeLinear" || step.op == "hussar.QuantizeHeads" ||
         step.op == "hussar.QuantizeRows";
}

bool is_quantized(const PlanStep& step) { return step.op.starts_with("hussar.Quantized"); }

// Steps of both plans that do the same work: connected by the ONNX nodes that they stand for.
struct Work {
  std::vector<size_t> float_steps, int8_steps;
  bool has_int8 = false;
};

std::vector<Work> common_work(const PlanGraph& float_graph, const PlanGraph& int8_graph) {
  std::vector<int> parents(float_graph.steps.size() + int8_graph.steps.size());
  for (size_t i = 0; i < parents.size(); ++i) parents[i] = static_cast<int>(i);
  auto root = [&](int node) {
    while (parents[node] != node) node = parents[node] = parents[parents[node]];
    return node;
  };
  std::map<std::string, int> owners;
  auto connect = [&](const PlanGraph& graph, size_t first) {
    for (size_t i = 0; i < graph.steps.size(); ++i) {
      for (const std::string& part : parts_of_name(graph.steps[i].name)) {
        auto [it, is_new] = owners.emplace(part, static_cast<int>(first + i));
        if (!is_new) parents[root(static_cast<int>(first + i))] = root(it->second);
      }
    }
  };
  connect(float_graph, 0);
  connect(int8_graph, float_graph.steps.size());
  std::map<int, Work> work;
  for (size_t i = 0; i < float_graph.steps.size(); ++i) work[root(static_cast<int>(i))].float_steps.push_back(i);
  for (size_t i = 0; i < int8_graph.steps.size(); ++i) {
    Work& entry = work[root(static_cast<int>(float_graph.steps.size() + i))];
    entry.int8_steps.push_back(i);
    entry.has_int8 = entry.has_int8 || is_quantized(int8_graph.steps[i]);
  }
  std::vector<Work> list;
  for (auto& [key, entry] : work) list.push_back(std::move(entry));
  return list;
}

// Values of an INT8 plan that are bytes for each other's sake: connected by steps that move them, or compute with them.
class ByteRegions {
 public:
  explicit ByteRegions(const PlanGraph& graph) : graph_(graph), parents_(graph.values.size()) {
    for (size_t i = 0; i < parents_.size(); ++i) parents_[i] = static_cast<int32_t>(i);
    for (const PlanStep& step : graph.steps) {
      if (is_quantized(step) || makes_bytes(step)) continue;
      const int32_t first = of(step);
      for_each_byte(step, [&](int32_t value) { parents_[static_cast<size_t>(root(value))] = root(first); });
    }
  }
  int32_t root(int32_t value) const {
    while (parents_[static_cast<size_t>(value)] != value) value = parents_[static_cast<size_t>(value)];
    return value;
  }
  // -1: the step has nothing to do with bytes.
  int32_t of(const PlanStep& step) const {
    int32_t found = -1;
    for_each_byte(step, [&](int32_t value) { found = root(value); });
    return found;
  }

 private:
  template <class Visit>
  void for_each_byte(const PlanStep& step, Visit visit) const {
    for (const auto* values : {&step.inputs, &step.outputs}) {
      for (int32_t value : *values) {
        if (value >= 0 && is_bytes(graph_.values[static_cast<size_t>(value)])) visit(value);
      }
    }
  }
  static bool is_bytes(const PlanValue& value) {
    return is_quantized(value.dtype) && value.storage != Storage::kConstant;
  }

  const PlanGraph& graph_;
  std::vector<int32_t> parents_;
};

// What the products around a region of bytes have in common.
struct Shared {
  double conversions = 0;  // the time of making bytes
  double gain = 0;         // what other steps take less time for, since they work on bytes
  int readers = 0, writers = 0;
};

std::map<int32_t, Shared> shared_times(const Candidate& in_float, const Candidate& in_int8, const ByteRegions& regions,
                                       const std::vector<Work>& works) {
  const PlanGraph& graph = in_int8.plan->graph;
  std::map<int32_t, Shared> shared;
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const PlanStep& step = graph.steps[i];
    if (makes_bytes(step)) shared[regions.root(step.outputs[0])].conversions += in_int8.step(i);
    if (!is_quantized(step)) continue;
    ++shared[regions.root(step.inputs[0])].readers;
    if (step.attributes.has("y_scale")) ++shared[regions.root(step.outputs[0])].writers;
  }
  for (const Work& work : works) {
    if (work.has_int8 || work.float_steps.empty()) continue;
    double gain = 0;
    int32_t region = -1;
    for (size_t i : work.float_steps) gain += in_float.step(i);
    for (size_t i : work.int8_steps) {
      gain -= in_int8.step(i);
      region = std::max(region, regions.of(graph.steps[i]));
    }
    if (region >= 0) shared[region].gain += gain;
  }
  return shared;
}

bool is_byte_attention(const PlanStep& step) { return step.op == "hussar.QuantizedAttention"; }

// Attention on a GPU, which reads halves just as well: products may be in INT8 without it.
std::vector<std::string> attentions_on_device(const PlanGraph& graph) {
  std::vector<std::string> names;
  for (const PlanStep& step : graph.steps) {
    const std::string name = is_byte_attention(step) ? step.name : projected::byte_attention(step.attributes);
    if (name.empty() || !step.kernel.starts_with("cuda_")) continue;
    for (std::string& part : parts_of_name(name)) names.push_back(std::move(part));
  }
  return names;
}

// The products that make queries, keys and values of an attention on bytes.
std::vector<size_t> products_of(const PlanStep& attention, const PlanGraph& graph) {
  std::vector<size_t> products;
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const auto& read = attention.inputs;
    const bool is_read = std::find(read.begin(), read.begin() + 3, graph.steps[i].outputs[0]) != read.begin() + 3;
    if (is_read) products.push_back(i);
  }
  return products;
}

// What the products before an attention take less since they write bytes for it, and not halves as in the plan
// `apart`.
double gain_of_products(const PlanStep& attention, const Candidate& in_int8, const Candidate& apart) {
  const auto& steps = in_int8.plan->graph.steps;
  const auto& others = apart.plan->graph.steps;
  double gain = 0;
  for (size_t i : products_of(attention, in_int8.plan->graph)) {
    const auto same = std::find_if(others.begin(), others.end(), [&](const PlanStep& other) {
      return other.name == steps[i].name && other.op == steps[i].op;
    });
    if (same != others.end()) gain += apart.step(static_cast<size_t>(same - others.begin())) - in_int8.step(i);
  }
  return gain;
}

// Attention is on bytes with all of its products or not at all: what they take together decides.
void join_with_products(const PlanGraph& int8_graph, std::vector<Int8Choice>& choices) {
  std::map<std::string, Int8Choice*> owners;
  for (Int8Choice& choice : choices) {
    for (std::string& part : parts_of_name(choice.name)) owners.emplace(std::move(part), &choice);
  }
  for (const PlanStep& step : int8_graph.steps) {
    if (!is_byte_attention(step)) continue;
    std::set<Int8Choice*> together;
    auto add = [&](const PlanStep& member) {
      const auto it = owners.find(parts_of_name(member.name).front());
      if (it != owners.end()) together.insert(it->second);
    };
    add(step);
    Int8Choice* const own = together.empty() ? nullptr : *together.begin();
    for (size_t i : products_of(step, int8_graph)) add(int8_graph.steps[i]);
    if (own == nullptr || std::all_of(together.begin(), together.end(), [](auto* choice) { return choice->int8; }))
      continue;
    double in_float = 0, in_int8 = 0;
    for (const Int8Choice* choice : together) {
      in_float += choice->float_microseconds;
      in_int8 += choice->int8_microseconds;
    }
    own->int8 = own->int8 && in_int8 < kWorthwhileTime * in_float;
    for (Int8Choice* choice : together) choice->int8 = choice->int8 || own->int8;
  }
}

// `apart`: the plan in INT8 with attention in floats; null: not measured.
std::vector<Int8Choice> decide(const Candidate& in_float, const Candidate& in_int8, const Candidate* apart) {
  const ByteRegions regions(in_int8.plan->graph);
  const std::vector<Work> works = common_work(in_float.plan->graph, in_int8.plan->graph);
  const auto shared = shared_times(in_float, in_int8, regions, works);
  auto gain_at = [&](int32_t value) {
    auto it = shared.find(regions.root(value));
    return it == shared.end() ? 0 : it->second.gain / std::max(it->second.readers + it->second.writers, 1);
  };
  std::vector<Int8Choice> choices;
  for (const Work& work : works) {
    if (!work.has_int8 || work.float_steps.empty()) continue;
    Int8Choice choice;
    for (size_t i : work.float_steps) {
      choice.name += (choice.name.empty() ? "" : "+") + in_float.plan->graph.steps[i].name;
      choice.float_microseconds += in_float.step(i);
    }
    for (size_t i : work.int8_steps) {
      const PlanStep& step = in_int8.plan->graph.steps[i];
      choice.int8_microseconds += in_int8.step(i);
      if (!is_quantized(step)) continue;
      const Shared& input = shared.at(regions.root(step.inputs[0]));
      choice.int8_microseconds += input.conversions / input.readers - gain_at(step.inputs[0]);
      if (step.attributes.has("y_scale")) choice.int8_microseconds -= gain_at(step.outputs[0]);
      if (apart != nullptr && is_byte_attention(step))
        choice.int8_microseconds -= gain_of_products(step, in_int8, *apart);
    }
    choice.int8_microseconds = std::max(choice.int8_microseconds, 0.0);
    choice.int8 = choice.int8_microseconds < kWorthwhileTime * choice.float_microseconds;
    choices.push_back(std::move(choice));
  }
  join_with_products(in_int8.plan->graph, choices);
  return choices;
}

Quantization with_choices(const Quantization& allowed, const Int8Report& report) {
  Quantization chosen = allowed;
  for (const Int8Choice& choice : report.choices) {
    for (const std::string& part : parts_of_name(choice.name)) {
      if (choice.int8) {
        chosen.notes[part] = fmt::format("{}: {:.0f} us with conversions, {} takes {:.0f} us", report.name,
                                         choice.int8_microseconds, report.otherwise, choice.float_microseconds);
      } else {
        chosen.float_nodes[part] = fmt::format("it would take {:.0f} us with conversions, {} takes {:.0f} us",
                                               choice.int8_microseconds, report.otherwise, choice.float_microseconds);
      }
    }
  }
  return chosen;
}

// Says in the FP32 plan why nothing of it is INT8, where that plan is the fastest.
void explain_float_plan(Candidate& in_float, const Candidate& in_int8, const Int8Report& report, double with_int8) {
  std::map<std::string, std::string, std::less<>> reasons;
  for (const FloatProduct& product : float_products(in_int8.plan->graph)) {
    for (const std::string& part : parts_of_name(product.name)) reasons[part] = product.reason;
  }
  const std::string slower = fmt::format("the whole model would take {:.0f} us with it, in {} {:.0f} us", with_int8,
                                         report.otherwise, report.float_microseconds);
  for (const Int8Choice& choice : report.choices) {
    for (const std::string& part : parts_of_name(choice.name)) reasons[part] = slower;
  }
  explain_float_products(in_float.plan->graph, reasons, report.name == "FP8");
}

}  // namespace

Result<Plan> choose_int8(const CompileWith& compile, const std::shared_ptr<const Quantization>& allowed,
                         const NamedShapes& shapes, Int8Report& report) {
  Candidate in_float = HUSSAR_TRY(Candidate::create(HUSSAR_TRY(compile(nullptr, PlanRole::kAllFloat))));
  Candidate in_int8 = HUSSAR_TRY(Candidate::create(HUSSAR_TRY(compile(allowed, PlanRole::kAllInt8))));
  auto inputs = random_inputs(input_facts(in_float.plan->graph), shapes, 1);
  std::optional<Candidate> apart;
  std::vector<Candidate*> first = {&in_float, &in_int8};
  auto without_attention = std::make_shared<Quantization>(*allowed);
  const std::vector<std::string> attentions = attentions_on_device(in_int8.plan->graph);
  for (const std::string& name : attentions)
    without_attention->float_nodes.emplace(name,
                                           fmt::format("the whole model is faster with it in {}", report.otherwise));
  if (without_attention->float_nodes.size() > allowed->float_nodes.size()) {
    apart = HUSSAR_TRY(Candidate::create(HUSSAR_TRY(compile(without_attention, PlanRole::kAttentionApart))));
    first.push_back(&*apart);
  }
  // Nothing can be measured: what is allowed is expected to be faster.
  report.chosen = allowed;
  if (!inputs || !measure(first, *inputs)) {
    report.in_floats = float_products(in_int8.plan->graph);
    return in_int8.take();
  }
  report.choices = decide(in_float, in_int8, apart ? &*apart : nullptr);
  auto mixed_quantization = std::make_shared<const Quantization>(with_choices(*allowed, report));
  Candidate mixed = HUSSAR_TRY(Candidate::create(HUSSAR_TRY(compile(mixed_quantization, PlanRole::kMixed))));
  for (Candidate* candidate : first) forget(*candidate);
  first.push_back(&mixed);
  const bool on_device = is_device_target(in_float.plan->meta.at("target"));
  HUSSAR_TRY(on_device ? measure_whole(first, *inputs) : measure(first, *inputs));
  report.float_microseconds = score(in_float.runs);
  report.all_int8_microseconds = score(in_int8.runs);
  const double mixed_microseconds = score(mixed.runs);
  Candidate* best = &mixed;
  if (report.all_int8_microseconds < kWorthwhileTime * mixed_microseconds) best = &in_int8;
  // One connected part may hold products and their attention, and then has no choice between them.
  if (apart && score(apart->runs) < score(best->runs)) best = &*apart;
  if (report.float_microseconds < score(best->runs)) {
    explain_float_plan(in_float, in_int8, report, score(best->runs));
    best = &in_float;
  }
  for (Int8Choice& choice : report.choices) {
    const std::vector<std::string> parts = parts_of_name(choice.name);
    const bool has_products = std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
      return std::find(attentions.begin(), attentions.end(), part) == attentions.end();
    });
    choice.int8 = best == &in_int8 || (best == &mixed && choice.int8) || (apart && best == &*apart && has_products);
  }
  report.chosen_microseconds = score(best->runs);
  report.in_floats = float_products(best->plan->graph);
  report.chosen = best == &mixed      ? mixed_quantization
                  : best == &in_int8  ? allowed
                  : best == &in_float ? nullptr
                                      : std::shared_ptr<const Quantization>(without_attention);
  return best->take();
}

}  // namespace hussar
