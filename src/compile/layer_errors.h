// Which layer hurts: what every step of a plan adds to the error of a model, tensor by tensor.
//
// The model runs twice on the same inputs. The first run tells how exact every tensor is where it lies; in the second
// one every tensor is replaced by the exact one as soon as it has been measured, so that a step shows its own error.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "graph/graph.h"
#include "hussar/status.h"
#include "runtime/session.h"

namespace hussar {

// The power of a signal and of what differs from it.
struct Noise {
  double signal = 0, noise = 0;
  // Both tensors have the same number of elements. Elements that are equally not finite say nothing; those that are not
  // finite in one tensor only make the noise infinite.
  void add(const Tensor& reference, const Tensor& other);
  // Signal to noise in decibels; infinite when nothing differs.
  double sqnr_db() const;
};

struct LayerError {
  std::string node;  // the ONNX nodes that the step stands for, joined by '+'
  std::string op, precision;
  std::string tensor;  // its first output that the reference has
  // Decibels. Of the least exact tensor that it reads, as it arrives; of what it gives; and of what it gives when all
  // that it reads is exact. nullopt: the reference has no such tensor.
  std::optional<double> sqnr_in, sqnr_out, own;
};

struct LayerReport {
  std::vector<LayerError> layers;  // worst first
  // Steps that give nothing that the reference has, and tensors of the reference that no step gives.
  size_t without_reference = 0, fused_away = 0;
};

// By their own errors, then by those of their outputs; those of which nothing is known come last.
void rank_layers(std::vector<LayerError>& layers);

// Tensors by the names that the model has for them. Bytes count as the numbers that they stand for.
using ModelTensors = std::map<std::string, Tensor>;
// What a run of the plan gives; its inputs too.
Result<ModelTensors> record_tensors(Session& session, const std::vector<Tensor>& inputs);

Result<LayerReport> measure_layers(Session& session, const std::vector<Tensor>& inputs, const ModelTensors& reference);
// The same for a graph that reference code evaluates.
Result<LayerReport> measure_layers(const Graph& graph, const std::vector<Tensor>& inputs,
                                   const ModelTensors& reference);

// A plan against the model in FP32. `options` are those that the plan was compiled with.
Result<LayerReport> measure_against_fp32(const std::string& model_path, const CompileOptions& options,
                                         const std::shared_ptr<const Plan>& plan, const std::vector<Tensor>& inputs);

}  // namespace hussar
