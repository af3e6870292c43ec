// Any bytes as an ONNX model: import, inference, passes, compilation, and a run when it is small.
#include "onnx/import.h"
#include "tests/support/pipeline.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hussar;  // NOLINT
  CompileOptions options;
  options.threads = 1;
  auto plan = tests::build(std::as_bytes(std::span(data, size)), options);
  if (!plan) return 0;
  // Loops may rightly take for ever.
  std::string text = "Loop";
  for (const PlanStep& step : (*plan)->graph.steps) {
    if (step.op == text || !step.bodies.empty()) return 0;
  }
  if (!(tests::largest_value((*plan)->graph, 2) < 1e5)) return 0;
  auto inputs = tests::make_inputs(**plan, 1, 2, 10000);
  if (!inputs) return 0;
  SessionOptions session_options;
  session_options.threads = 1;
  auto session = Session::create(*plan, session_options);
  if (session) (void)(*session)->run_in_order(*inputs);
  return 0;
}
