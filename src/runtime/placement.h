// On which side of a device the values of a graph are needed, and what is copied between the sides.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/plan.h"
#include "tensor/place.h"

namespace hussar {

// Of the memory of a value that holds others, all of it: `root` is no alias.
struct SideCopy {
  int32_t root;
  Place to;
  bool is_settled;  // what is copied depends on shapes only
};

struct Placement {
  std::vector<bool> on_host, on_device;       // per value: whether its memory is needed there; true for roots only
  std::vector<bool> is_read_on_host;          // per value: an input whose elements are needed there in every run
  std::vector<SideCopy> start;                // inputs, before the first step
  std::vector<std::vector<SideCopy>> before;  // per step
  std::vector<SideCopy> end;                  // outputs, after the last step
  std::vector<bool> ends_on_device;           // per output: it is there, too, after the last step
  bool has_host_steps = false;                // in every run
  // Steps [first, last] that a device can do without the host.
  struct Segment {
    size_t first, last;
  };
  std::vector<Segment> segments;
};

// What is known of each step.
struct StepPlace {
  Place place = Place::kHost;
  bool is_view = false;     // moves nothing
  bool is_settled = false;  // done by the first run only
};

// The value that holds the memory.
inline int32_t root_of(const PlanGraph& graph, int32_t value) {
  return graph.values[static_cast<size_t>(value)].storage == Storage::kAlias
             ? graph.values[static_cast<size_t>(value)].alias_of
             : value;
}

Placement place_values(const PlanGraph& graph, const std::vector<StepPlace>& steps);

}  // namespace hussar
