// The table of rivals.
#include "tools/cli/bench_problem.h"

#include <fmt/format.h>

#include "backends/cpu/isa.h"
#include "backends/cpu/peaks.h"
#include "base/cores.h"
#include "base/error.h"
#include "compile/measure_problem.h"
#include "tools/cli/console.h"
#include "tools/cli/machine.h"

namespace hussar::cli {
namespace {

std::string to_text(const ProblemTimes& times, const cpu::Peaks& peaks) {
  const double roof = peaks.microseconds(times.flops, times.bytes, times.multiplies_in);
  const double rate = times.multiplies_in == DType::kInt8 ? peaks.int8_ops : peaks.flops;
  std::string text =
      fmt::format("{}\n{:.4g} MFLOP, {}; {} threads could take {:.1f} us ({:.0f} GFLOP/s, {:.0f} GB/s)\n",
                  times.problem, times.flops / 1e6, format_bytes(times.bytes), peaks.threads, roof, rate / 1e9,
                  peaks.bandwidth(times.bytes) / 1e9);
  Table table({"kernel", ">us", ">least us", ">GFLOP/s", ">GB/s", ">of the roofline", ">predicted us", ""});
  for (const ProblemTime& time : times.rivals) {
    if (!time.median) {
      table.add({time.name, "-", "-", "-", "-", "-", "-", "refused: " + time.refusal.value_or("")});
      continue;
    }
    const double us = *time.median;
    table.add({time.name, fmt::format("{:.1f}", us), fmt::format("{:.1f}", time.least),
               fmt::format("{:.1f}", times.flops / us / 1e3), fmt::format("{:.1f}", times.bytes / us / 1e3),
               fmt::format("{:.0f} %", 100 * roof / us), time.predicted ? fmt::format("{:.1f}", *time.predicted) : "-",
               time.is_choice ? "chosen by prediction" : ""});
  }
  return text + table.to_string();
}

// Without what this CPU could reach.
std::string device_text(const ProblemTimes& times) {
  Table table({"kernel", ">us", ">GFLOP/s", ">GB/s", ">predicted us", ""});
  for (const ProblemTime& time : times.rivals) {
    const std::string predicted = time.predicted ? fmt::format("{:.1f}", *time.predicted) : "-";
    if (!time.median) {
      table.add({time.name, "-", "-", "-", predicted, time.refusal ? "refused: " + *time.refusal : "not measured"});
      continue;
    }
    table.add({time.name, fmt::format("{:.1f}", *time.median), fmt::format("{:.1f}", times.flops / *time.median / 1e3),
               fmt::format("{:.1f}", times.bytes / *time.median / 1e3), predicted,
               time.is_choice ? "chosen by prediction" : ""});
  }
  return fmt::format("{}\n{:.4g} MFLOP, {}\n{}", times.problem, times.flops / 1e6, format_bytes(times.bytes),
                     table.to_string());
}

// `peaks`: of this CPU, where it did the work.
Json problem_json(const ProblemTimes& times, const std::optional<cpu::Peaks>& peaks) {
  Json rivals = Json::array(), json = Json::object();
  for (const ProblemTime& time : times.rivals) {
    Json entry = Json::object();
    entry.set("kernel", time.name).set("refusal", time.refusal ? Json(*time.refusal) : Json());
    entry.set("us", time.median ? Json(*time.median) : Json()).set("least_us", time.least);
    rivals.push(std::move(
        entry.set("predicted_us", time.predicted ? Json(*time.predicted) : Json()).set("is_choice", time.is_choice)));
  }
  json.set("problem", times.problem).set("flops", times.flops).set("bytes", times.bytes);
  if (peaks) json.set("roofline_us", peaks->microseconds(times.flops, times.bytes, times.multiplies_in));
  json.set("rivals", std::move(rivals));
  if (peaks) json.set("peaks", cli::to_json(*peaks));
  return std::move(json.set("device", to_json(inspect_machine())));
}

}  // namespace

Status bench_problem(const ProblemArguments& arguments, const Command& command) {
  const CompileOptions& options = arguments.options;
  Target target{static_cast<int>(cpu::active_isa()), arguments.threads};
  target.place = options.place;
  target.sm = options.sm;
  if (options.fp16) target.no_fp16 = {};
  if (options.bf16) target.no_bf16 = {};
  if (options.tf32) target.no_tf32 = {};
  if (target.threads <= 0) target.threads = usable_cores();
  if (target.place == Place::kDevice) {
    const ProblemTimes times = HUSSAR_TRY(measure_problem(arguments.text, target, arguments.seconds));
    if (command.prints_text()) print_out(device_text(times));
    return command.report(problem_json(times, std::nullopt));
  }
  ProblemTimes times = HUSSAR_TRY(measure_problem(arguments.text, target, arguments.seconds));
  cpu::Peaks peaks = cpu::measure_peaks(cpu::active_isa(), target.threads);
  if (command.prints_text()) print_out(to_text(times, peaks));
  return command.report(problem_json(times, peaks));
}

}  // namespace hussar::cli
