// Conformance targets: the reference interpreter, the CPU backend, and GPUs, real and emulated.
#include "conformance/targets.h"

#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "compile/compile.h"
#include "onnx/import.h"
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "runtime/session.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

Result<std::vector<Tensor>> in_order(const std::map<size_t, Tensor>& inputs, size_t count) {
  std::vector<Tensor> arguments(count);
  for (size_t i = 0; i < count; ++i) {
    HUSSAR_CHECK(inputs.count(i) != 0, ErrorCode::kUsage, "the test gives no input {}", i);
    arguments[i] = inputs.at(i);
  }
  return arguments;
}

Result<Runner> reference_runner(Graph imported) {
  auto graph = std::make_shared<Graph>(std::move(imported));
  HUSSAR_TRY(infer_graph(*graph));
  return Runner([graph](const std::map<size_t, Tensor>& inputs) -> Result<std::vector<Tensor>> {
    return evaluate_graph(*graph, HUSSAR_TRY(in_order(inputs, graph->inputs.size())));
  });
}

// The plan goes through its file form, so that every test also covers encoding and decoding.
Result<Runner> plan_runner(Graph imported, const CompileOptions& options) {
  Plan built = HUSSAR_TRY(compile_graph(std::move(imported), options));
  std::vector<std::byte> bytes = encode_plan(built);
  Tensor aligned(DType::kUInt8, {static_cast<int64_t>(bytes.size())});
  std::memcpy(aligned.raw(), bytes.data(), bytes.size());
  auto owner = std::make_shared<Tensor>(aligned);
  auto plan = HUSSAR_TRY(decode_plan({aligned.raw(), aligned.bytes()}, owner));
  std::shared_ptr<Session> session = HUSSAR_TRY(Session::create(plan));
  return Runner([session, plan](const std::map<size_t, Tensor>& inputs) -> Result<std::vector<Tensor>> {
    auto arguments = HUSSAR_TRY(in_order(inputs, plan->graph.inputs.size()));
    auto outputs = HUSSAR_TRY(session->run_in_order(arguments));
    return std::vector<Tensor>(outputs.begin(), outputs.end());
  });
}

}  // namespace

Result<Runner> make_runner(const std::string& target, const std::string& model_path) {
  Graph graph = HUSSAR_TRY(onnx::import_file(model_path)).graph;
  if (target == "reference") return reference_runner(std::move(graph));
  CompileOptions options;
  options.threads = 2;
  if (target == "cpu") return plan_runner(std::move(graph), options);
  if (target == "emulated") {
    // Older than any GPU that a user may name.
    const std::string& device = tests::use_test_device();
    options.place = Place::kDevice;
    options.sm = std::atoi(device.c_str() + device.rfind('_') + 1);
    return plan_runner(std::move(graph), options);
  }
  if (target.starts_with("cuda")) {
    options.set_target(HUSSAR_TRY(parse_target(target)));
    return plan_runner(std::move(graph), options);
  }
  if (target == "cpu:no_passes") {
    options.disabled_passes = {"all"};
    return plan_runner(std::move(graph), options);
  }
  return fail(ErrorCode::kUsage, "unknown target '{}': reference, cpu, cpu:no_passes, cuda or emulated", target);
}

}  // namespace hussar
