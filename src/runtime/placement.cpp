// Walking the steps in order with what is valid where.
#include "runtime/placement.h"

#include "runtime/row_counts.h"

namespace hussar {
namespace {

class Walk {
 public:
  Walk(const PlanGraph& graph, const std::vector<StepPlace>& steps) : graph_(graph), steps_(steps) {
    const size_t count = graph.values.size();
    result_.on_host.resize(count);
    result_.on_device.resize(count);
    result_.is_read_on_host.resize(count);
    result_.before.resize(steps.size());
    is_settled_.resize(count);
    valid_[0].resize(count);
    valid_[1].resize(count);
  }

  Placement run() {
    for (int32_t input : graph_.inputs) valid_[0][at(input)] = result_.on_host[at(input)] = true;
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (!steps_[i].is_view) walk(i);
    }
    for (int32_t output : graph_.outputs) {
      result_.ends_on_device.push_back(valid_[static_cast<size_t>(Place::kDevice)][at(root_of(graph_, output))]);
    }
    for (int32_t output : graph_.outputs) {
      need(output, Place::kHost, result_.end);
      note_read(output);
    }
    find_segments();
    return std::move(result_);
  }

 private:
  static size_t at(int32_t value) { return static_cast<size_t>(value); }
  bool is_constant(int32_t value) const { return graph_.values[at(value)].storage == Storage::kConstant; }

  void need(int32_t value, Place place, std::vector<SideCopy>& copies) {
    const int32_t root = root_of(graph_, value);
    (place == Place::kHost ? result_.on_host : result_.on_device)[at(root)] = true;
    const auto side = static_cast<size_t>(place);
    if (is_constant(root) || valid_[side][at(root)] || !valid_[1 - side][at(root)]) return;
    const bool is_input = graph_.values[at(root)].storage == Storage::kInput;
    (is_input ? result_.start : copies).push_back({root, place, is_settled_[at(root)]});
    valid_[side][at(root)] = true;
  }

  // Elements of it are read on the host.
  void note_read(int32_t value) {
    const size_t root = at(root_of(graph_, value));
    if (graph_.values[root].storage == Storage::kInput) result_.is_read_on_host[root] = true;
  }

  void walk(size_t index) {
    const PlanStep& step = graph_.steps[index];
    const Place place = steps_[index].place;
    // Settled steps look at nothing of an input but its shape.
    const bool reads_on_host = place == Place::kHost && !steps_[index].is_settled;
    result_.has_host_steps = result_.has_host_steps || reads_on_host;
    for (int32_t input : step.inputs) {
      if (input < 0) continue;
      need(input, place, result_.before[index]);
      if (reads_on_host) note_read(input);
    }
    const int32_t counted = place == Place::kDevice ? row_count_value(graph_, step) : -1;
    if (counted >= 0) need(counted, place, result_.before[index]);
    for (int32_t output : step.outputs) {
      if (output < 0) continue;
      // Who writes a part of it leaves the rest as it was.
      need(output, place, result_.before[index]);
      const size_t root = at(root_of(graph_, output));
      valid_[static_cast<size_t>(place)][root] = true;
      valid_[1 - static_cast<size_t>(place)][root] = false;
      is_settled_[root] = steps_[index].is_settled;
    }
  }

  void find_segments() {
    bool is_open = false;
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].is_view || steps_[i].is_settled) {
        if (is_open) result_.segments.back().last = i;
        continue;
      }
      bool copies = false;
      for (const SideCopy& copy : result_.before[i]) copies = copies || !copy.is_settled;
      if (copies || steps_[i].place != Place::kDevice) is_open = false;
      if (steps_[i].place != Place::kDevice) continue;
      if (!is_open) result_.segments.push_back({i, i});
      is_open = true;
      result_.segments.back().last = i;
    }
  }

  const PlanGraph& graph_;
  const std::vector<StepPlace>& steps_;
  Placement result_;
  std::vector<bool> valid_[2];  // by Place
  std::vector<bool> is_settled_;
};

}  // namespace

Placement place_values(const PlanGraph& graph, const std::vector<StepPlace>& steps) { return Walk(graph, steps).run(); }

}  // namespace hussar
