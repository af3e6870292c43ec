// Timing runs and steps.
#include "tools/cli/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "compile/flops.h"
#include "tools/cli/conversion_text.h"
#include "tools/cli/machine.h"

namespace hussar::cli {

Result<Measured> measure(Session& session, const std::vector<Tensor>& inputs, const MeasureOptions& options,
                         Progress& progress) {
  using Clock = std::chrono::steady_clock;
  Measured measured;
  auto begin = Clock::now();
  HUSSAR_TRY(session.run_in_order(inputs));
  measured.first_run_milliseconds = milliseconds_since(begin);
  progress.stage("warm up");
  for (int i = 0; i < options.warmup; ++i) {
    HUSSAR_TRY(session.run_in_order(inputs));
    progress.update(static_cast<double>(i + 1) / options.warmup);
  }
  progress.stage("measure");
  begin = Clock::now();
  auto enough = [&] {
    auto count = static_cast<int>(measured.milliseconds.size());
    if (options.iterations > 0) return count >= options.iterations;
    return count >= 3 && milliseconds_since(begin) >= options.seconds * 1000;
  };
  while (!enough()) {
    auto start = Clock::now();
    HUSSAR_TRY(session.run_in_order(inputs));
    measured.milliseconds.push_back(milliseconds_since(start));
    auto count = static_cast<double>(measured.milliseconds.size());
    progress.update(options.iterations > 0 ? count / options.iterations
                                           : milliseconds_since(begin) / (options.seconds * 1000));
  }
  for (double milliseconds : measured.milliseconds) measured.seconds += milliseconds / 1000;
  constexpr int kGroups = 15;
  for (int group = 0; group < kGroups && session.device_arena_bytes() > 0; ++group) {
    const double usual = std::max(measured.milliseconds.back(), 0.01);
    auto milliseconds = session.time_on_device(std::clamp(static_cast<int>(20 / usual), 3, 100));
    if (!milliseconds) break;  // the host has a part in every run
    measured.device_milliseconds.push_back(*milliseconds);
  }
  return measured;
}

static std::string measured_shape(const PlanValue& value, const std::map<std::string, int64_t, std::less<>>& symbols) {
  if (!value.dims) return "?";
  Dims dims;
  for (const Dim& dim : *value.dims) {
    const auto extent = dim.evaluate([&](std::string_view name) {
      auto it = symbols.find(name);
      return it == symbols.end() ? std::nullopt : std::optional<int64_t>(it->second);
    });
    dims.push_back(extent ? Dim(*extent) : dim);
  }
  return to_string(dims);
}

Result<std::vector<LayerTime>> measure_layers(Session& session, const std::vector<Tensor>& inputs, int runs) {
  const PlanGraph& graph = session.plan().graph;
  std::vector<std::vector<double>> samples(graph.steps.size());
  session.set_profiler([&](const StepTime& time) {
    samples[static_cast<size_t>(time.step - graph.steps.data())].push_back(time.microseconds);
  });
  for (int i = 0; i < runs; ++i) HUSSAR_TRY(session.run_in_order(inputs));
  session.set_profiler(nullptr);
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape());
  const auto symbols = bind_symbols(graph, shapes);
  std::vector<double> flops = step_flops(graph, shapes), bytes = step_bytes(graph, shapes);
  std::vector<LayerTime> layers;
  double total = 0;
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const PlanStep& step = graph.steps[i];
    const Kernel* kernel = find_kernel(step.kernel);
    LayerTime layer{step.name,
                    step.op,
                    step.kernel,
                    "",
                    statistics(samples[i]).median,
                    0,
                    flops[i],
                    bytes[i],
                    kernel != nullptr ? kernel->multiplies_in : DType::kUndefined,
                    conversion_of(graph, step)};
    if (!step.outputs.empty() && step.outputs[0] >= 0) {
      layer.shape = measured_shape(graph.values[step.outputs[0]], symbols);
    }
    total += layer.microseconds;
    layers.push_back(std::move(layer));
  }
  for (LayerTime& layer : layers) layer.share = total > 0 ? layer.microseconds / total : 0;
  return layers;
}

Conversions measured_conversions(const std::vector<LayerTime>& layers) {
  Conversions conversions;
  for (const LayerTime& layer : layers) conversions.add(layer.conversion, layer.kernel == "view", layer.microseconds);
  return conversions;
}

static double gigaflops(const LayerTime& layer) {
  return layer.microseconds > 0 ? layer.flops / layer.microseconds / 1e3 : 0;
}

static double roofline(const LayerTime& layer, const cpu::Peaks& peaks) {
  const double least = peaks.microseconds(layer.flops, layer.bytes, layer.multiplies_in);
  return layer.microseconds > 0 ? least / layer.microseconds : 0;
}

std::string to_text(const std::vector<LayerTime>& layers, const cpu::Peaks& peaks) {
  Table table({"step", "op", "kernel", "output", ">us", ">share", ">GFLOP/s", ">GB/s", ">of the roofline"});
  double total = 0, flops = 0, bytes = 0, roof = 0;
  auto rate = [](double work, double us) { return work > 0 && us > 0 ? fmt::format("{:.1f}", work / us / 1e3) : "-"; };
  auto percent = [](double part) { return part > 0 ? fmt::format("{:.0f} %", 100 * part) : "-"; };
  for (const LayerTime& layer : layers) {
    // Names of fused steps list all their nodes.
    std::string name = layer.step.size() > 48 ? layer.step.substr(0, 45) + "..." : layer.step;
    table.add({name, layer.op, layer.kernel, layer.shape, fmt::format("{:.1f}", layer.microseconds),
               fmt::format("{:.1f} %", 100 * layer.share), rate(layer.flops, layer.microseconds),
               rate(layer.bytes, layer.microseconds), percent(roofline(layer, peaks))});
    total += layer.microseconds;
    flops += layer.flops;
    bytes += layer.bytes;
    roof += peaks.microseconds(layer.flops, layer.bytes, layer.multiplies_in);
  }
  table.add({"all steps", "", "", "", fmt::format("{:.1f}", total), "100.0 %", rate(flops, total), rate(bytes, total),
             percent(total > 0 ? roof / total : 0)});
  return table.to_string() + "conversions: " + conversions_text(measured_conversions(layers), "the time") + "\n" +
         fmt::format("peaks of {} threads: {}\n", peaks.threads, peaks_text(peaks));
}

Json to_json(const std::vector<LayerTime>& layers, const cpu::Peaks& peaks) {
  Json list = Json::array();
  for (const LayerTime& layer : layers) {
    Json entry = Json::object();
    entry.set("step", layer.step).set("op", layer.op).set("kernel", layer.kernel).set("output", layer.shape);
    entry.set("us", layer.microseconds).set("share", layer.share).set("flops", layer.flops);
    entry.set("bytes", layer.bytes).set("roofline_share", roofline(layer, peaks));
    list.push(std::move(entry.set("gflops_per_s", gigaflops(layer))));
  }
  return list;
}

}  // namespace hussar::cli
