// hussar doctor: what this machine can do, and what is missing.
#include <fmt/format.h>

#include "backends/cpu/isa.h"
#include "backends/cpu/peaks.h"
#include "backends/cuda/driver.h"
#include "backends/cuda/libraries.h"
#include "base/error.h"
#include "hussar/version.h"
#include "ops/op_def.h"
#include "passes/pass.h"
#include "plan/kernel.h"
#include "tools/cli/console.h"
#include "tools/cli/machine.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

std::vector<std::string> advice_for(const Machine& machine) {
  std::vector<std::string> advice;
  if (machine.isa_active != machine.isa_found) {
    advice.push_back(
        fmt::format("HUSSAR_ISA limits the code to {}; unset it to use {}", machine.isa_active, machine.isa_found));
  }
  if (machine.isa_found == "scalar") {
    advice.push_back("no AVX2 was found: models run on scalar code, many times slower than on any x86 CPU since 2015");
  }
  if (machine.usable_cores < machine.logical_cores) {
    advice.push_back(fmt::format("this process may use {} of {} logical cores; plans that it builds are for {} threads",
                                 machine.usable_cores, machine.logical_cores, machine.usable_cores));
  }
  if (machine.physical_cores > 0 && machine.logical_cores > machine.physical_cores) {
    advice.push_back(fmt::format("{} logical cores share {} physical ones; try `hussar bench --threads {}` too",
                                 machine.logical_cores, machine.physical_cores, machine.physical_cores));
  }
#ifndef NDEBUG
  advice.push_back("this is a debug build: do not judge speed by it");
#endif
  return advice;
}

// GPUs and NVIDIA's libraries: what was found, where, or why not.
struct GpuFacts {
  std::vector<std::pair<std::string, std::string>> rows;
  Json json = Json::object();
};

GpuFacts find_gpu() {
  GpuFacts facts;
  Json devices = Json::array(), libraries = Json::object();
  auto found = cuda::find_devices();
  if (!found) facts.rows.emplace_back("GPU", "none: " + found.error().message);
  for (size_t i = 0; found && i < found->size(); ++i) {
    const cuda::DeviceFacts& device = (*found)[i];
    facts.rows.emplace_back(
        fmt::format("GPU {}", i),
        fmt::format("{}, sm_{}, {} multiprocessors, {}", device.name, device.sm, device.multiprocessors,
                    format_bytes(static_cast<double>(device.memory_bytes))));
    devices.push(std::move(Json::object()
                               .set("name", device.name)
                               .set("sm", device.sm)
                               .set("multiprocessors", device.multiprocessors)
                               .set("memory_bytes", static_cast<int64_t>(device.memory_bytes))));
  }
  if (auto version = cuda::driver_version()) {
    facts.rows.emplace_back("NVIDIA driver", "for CUDA " + *version);
    facts.json.set("driver_cuda", *version);
  }
  for (const cuda::LibraryUse& library : cuda::kLibraries) {
    const std::string text = cuda::describe_library(library);
    facts.rows.emplace_back(library.name, text);
    libraries.set(std::string(library.name), text);
  }
  facts.json.set("devices", std::move(devices)).set("libraries", std::move(libraries));
  return facts;
}

Status run(Command& command) {
  if (!HUSSAR_TRY(command.parse())) return {};
  Machine machine = inspect_machine();
  std::vector<std::string> advice = advice_for(machine);
  std::string levels;
  for (cpu::Isa isa : cpu::kAllIsas) levels += (levels.empty() ? "" : ", ") + std::string(cpu::isa_name(isa));
  Table table({"what", "found"});
  table.add({"hussar", HUSSAR_VERSION});
  table.add({"CPU", machine.cpu_model});
  table.add({"code levels built", levels});
  table.add({"best level here", machine.isa_found});
  table.add({"level in use", machine.isa_active});
  table.add({"CPU features", fmt::format("{}", fmt::join(machine.cpu_flags, " "))});
  table.add({"cores", fmt::format("{} logical, {} physical, {} usable", machine.logical_cores, machine.physical_cores,
                                  machine.usable_cores)});
  for (const std::string& cache : machine.caches) table.add({"cache", cache});
  table.add({"memory", fmt::format("{} total, {} available", format_bytes(static_cast<double>(machine.memory_bytes)),
                                   format_bytes(static_cast<double>(machine.available_bytes)))});
  cpu::Peaks peaks = cpu::measure_peaks(cpu::active_isa(), machine.usable_cores);
  table.add({"measured peaks", fmt::format("{}; {} threads", cli::peaks_text(peaks), peaks.threads)});
  const GpuFacts gpu = find_gpu();
  for (const auto& [what, found] : gpu.rows) table.add({what, found});
  table.add({"operators, kernels, passes",
             fmt::format("{}, {}, {}", all_ops().size(), all_kernels().size(), all_passes().size())});
  table.add({
    "compiler", fmt::format("{} {}",
#if defined(__clang__)
                            "clang",
#else
                            "gcc",
#endif
                            __VERSION__)
  });
  if (command.prints_text()) {
    print_out(table.to_string());
    for (const std::string& line : advice) print_out("- " + line + "\n");
  }
  Json lines = Json::array(), json = Json::object();
  for (const std::string& line : advice) lines.push(line);
  Json names = Json::array();
  for (cpu::Isa isa : cpu::kAllIsas) names.push(cpu::isa_name(isa));
  json.set("levels", std::move(names));
  json.set("device", to_json(machine))
      .set("peaks", cli::to_json(peaks))
      .set("gpu", gpu.json)
      .set("operators", all_ops().size());
  json.set("kernels", all_kernels().size()).set("passes", all_passes().size()).set("advice", std::move(lines));
  return command.report(std::move(json));
}

}  // namespace

extern const Verb doctor_verb = {"doctor", "says what this machine can do, and what is missing",
                                 "hussar doctor\nhussar doctor --json machine.json", run};

}  // namespace hussar::cli
