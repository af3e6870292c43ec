// Timing a subject.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/peaks.h"
#include "compile/conversions.h"
#include "hussar/status.h"
#include "tools/cli/console.h"
#include "tools/cli/statistics.h"
#include "tools/cli/subject.h"

namespace hussar::cli {

struct MeasureOptions {
  int iterations = 0;  // exactly so many; 0: as many as fit into `seconds`, three at least
  double seconds = 3;
  int warmup = 3;  // untimed runs before
};

struct Measured {
  double first_run_milliseconds = 0;  // includes planning memory for these shapes
  std::vector<double> milliseconds;   // of each timed run
  double seconds = 0;                 // of all timed runs together
  // On a device, without copies of inputs and outputs: means of several runs in a row each. Empty elsewhere.
  std::vector<double> device_milliseconds;
};
Result<Measured> measure(Session& session, const std::vector<Tensor>& inputs, const MeasureOptions& options,
                         Progress& progress);

// One step of the plan, over several runs.
struct LayerTime {
  std::string step, op, kernel, shape;
  double microseconds = 0;                  // median
  double share = 0;                         // of the sum over all steps
  double flops = 0;                         // 0: unknown
  double bytes = 0;                         // of all inputs and outputs
  DType multiplies_in = DType::kUndefined;  // Kernel::multiplies_in
  Conversion conversion = Conversion::kNone;
};
Result<std::vector<LayerTime>> measure_layers(Session& session, const std::vector<Tensor>& inputs, int runs);
Conversions measured_conversions(const std::vector<LayerTime>& layers);
// With the share of the roofline: the time that the peaks allow, divided by the time taken.
std::string to_text(const std::vector<LayerTime>& layers, const cpu::Peaks& peaks);
Json to_json(const std::vector<LayerTime>& layers, const cpu::Peaks& peaks);

}  // namespace hussar::cli
