// Conformance targets: the reference interpreter and the CPU backend.
#include "conformance/targets.h"

#include <memory>

#include "base/error.h"
#include "onnx/import.h"
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

Result<Runner> make_runner(const std::string& target, const std::string& model_path) {
  HUSSAR_CHECK(target == "reference", ErrorCode::kUsage, "unknown target '{}'", target);
  auto model = std::make_shared<onnx::ImportedModel>(HUSSAR_TRY(onnx::import_file(model_path)));
  HUSSAR_TRY(infer_graph(model->graph));
  return Runner([model](const std::map<size_t, Tensor>& inputs) -> Result<std::vector<Tensor>> {
    std::vector<Tensor> arguments(model->graph.inputs.size());
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (inputs.count(i) != 0) arguments[i] = inputs.at(i);
    }
    return evaluate_graph(model->graph, std::move(arguments));
  });
}

}  // namespace hussar
