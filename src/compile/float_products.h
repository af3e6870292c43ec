// Which steps of a plan with INT8 multiply in floats, and why.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "plan/plan.h"

namespace hussar {

// In the order of execution, bodies of control flow included. Steps without a note have no reason.
std::vector<FloatProduct> float_products(const PlanGraph& graph);

// Adds reasons, by the name of an ONNX node, to the reports of steps that multiply in floats and have none.
void explain_float_products(PlanGraph& graph, const std::map<std::string, std::string, std::less<>>& reasons,
                            bool fp8 = false);

// "head/MatMul (MatMul): nothing is known of the range of its input"
std::string describe(const FloatProduct& product);
// Fails when the plan has such steps, but for those that the user named, and says which and why.
Status check_all_int8(const std::vector<FloatProduct>& products);

// "a", "b" and "c" of a step called "a+b+c".
std::vector<std::string> parts_of_name(const std::string& name);

}  // namespace hussar
