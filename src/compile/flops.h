// How much arithmetic the steps of a plan are; for reports and for guessing how long something takes.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "hussar/status.h"
#include "plan/plan.h"
#include "tensor/dim.h"

namespace hussar {

// The sizes of the symbols of a graph's inputs, given the inputs' shapes in order.
std::map<std::string, int64_t, std::less<>> bind_symbols(const PlanGraph& graph, const std::vector<Shape>& shapes);

// Floating-point operations per step of the main graph, a multiply-add counted as two; 0 where a shape is known only
// at run time.
std::vector<double> step_flops(const PlanGraph& graph, const std::vector<Shape>& input_shapes);
// The bytes of a node's inputs and outputs, each read or written once; of sparse weights that are not packed the kept
// values and their places. Values of unknown shape count nothing.
double node_bytes(const Node& node);
// The same of each step, packed weights as they are stored. 0 for views.
std::vector<double> step_bytes(const PlanGraph& graph, const std::vector<Shape>& input_shapes);

// A rough guess of the seconds that each step takes on this machine, from the kernels that the plan chose.
std::vector<double> guess_step_seconds(const Plan& plan, const std::vector<Shape>& input_shapes, int isa);
// The same of one whole run.
double guess_seconds(const Plan& plan, const std::vector<Shape>& input_shapes, int isa);

}  // namespace hussar
