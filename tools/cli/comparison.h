// Holding one run against another, output by output and tensor by tensor.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compile/difference.h"
#include "compile/layer_errors.h"
#include "compile/packed_rows.h"
#include "tools/cli/inputs.h"
#include "tools/cli/json.h"
#include "tools/cli/subject.h"

namespace hussar::cli {

// What the first subject gave.
struct Recorded {
  std::string path, kind;
  std::vector<std::string> output_names;
  std::vector<Tensor> outputs;
  std::map<std::string, Tensor> tensors;         // with --layers: every tensor of the run
  std::map<std::string, std::string> producers;  // and the ONNX nodes that they come from
  std::vector<Tensor> inputs;
  std::optional<PackedRows> packed;  // where it leaves out padding
  ModelTensors model_tensors;        // what steps of any subject may be held against
};

struct TensorDifference {
  std::string name;
  std::string node;  // that produces it in the first subject, else in the other
  Difference difference;
};

struct Comparison {
  std::string path, kind;
  std::vector<TensorDifference> outputs;
  std::vector<TensorDifference> layers;  // in the order in which the other subject computed them
  int first_bad_layer = -1;              // index into layers
  LayerReport ranking;                   // with --layers
  double tolerance = 0;
  bool passes = true;
  std::string verdict;  // for the error message when it does not pass
};

// Shapes that suit all subjects: what any of them fixes, then what a plan was built for, then `given` above all.
Result<NamedShapes> common_shapes(const std::vector<Subject>& subjects, const NamedShapes& given);
// The same tensors in the order of `other`'s inputs; fails when the two do not take the same inputs.
Result<std::vector<Tensor>> reorder_inputs(const Subject& first, const std::vector<Tensor>& inputs,
                                           const Subject& other);

// What holds for every run of a comparison.
struct CompareOptions {
  bool layers = false;
  std::function<void(double fraction)> progress;  // of the run, 0 to 1
};
Result<Recorded> record(Subject& subject, const std::vector<Tensor>& inputs, const CompareOptions& options);
Result<Comparison> compare_with(const Recorded& reference, Subject& other, const std::vector<Tensor>& inputs,
                                const CompareOptions& options, double tolerance);

std::string to_text(const Recorded& reference, const std::vector<Comparison>& comparisons);
Json to_json(const Recorded& reference, const std::vector<Comparison>& comparisons);

}  // namespace hussar::cli
