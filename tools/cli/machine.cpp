// Reading /proc and /sys. What is not there stays empty.
#include "tools/cli/machine.h"

#include <fmt/format.h>

#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "backends/cpu/isa.h"
#include "base/cores.h"

namespace hussar::cli {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number after "name:" in a file of "name:   12 kB" lines.
int64_t kilobytes(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::strtoll(line.c_str() + name.size() + 1, nullptr, 10);
  }
  return 0;
}

void read_cpuinfo(Machine& machine) {
  const std::set<std::string> wanted = {"avx",         "avx2",        "fma",      "f16c",     "avx512f",
                                        "avx512bw",    "avx512vl",    "avx512dq", "avx_vnni", "avx512_vnni",
                                        "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"};
  std::ifstream file("/proc/cpuinfo");
  std::set<std::pair<std::string, std::string>> cores;
  std::string package = "0";
  for (std::string line; std::getline(file, line);) {
    size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    std::string value = colon + 2 <= line.size() ? line.substr(colon + 2) : "";
    if (key == "model name") machine.cpu_model = value;
    if (key == "physical id") package = value;
    if (key == "core id") cores.emplace(package, value);
    if (key != "flags" || !machine.cpu_flags.empty()) continue;
    std::istringstream flags(value);
    for (std::string flag; flags >> flag;) {
      if (wanted.count(flag) != 0) machine.cpu_flags.push_back(flag);
    }
  }
  machine.physical_cores = static_cast<int>(cores.size());
}

void read_caches(Machine& machine) {
  for (int index = 0; index < 8; ++index) {
    std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    std::string level = first_line(folder + "level"), size = first_line(folder + "size");
    std::string type = first_line(folder + "type"), shared = first_line(folder + "shared_cpu_list");
    if (level.empty() || size.empty()) break;
    std::string letter = type == "Data" ? "d" : type == "Instruction" ? "i" : "";
    machine.caches.push_back("L" + level + letter + " " + size + ", of CPUs " + shared);
  }
}

}  // namespace

Machine inspect_machine() {
  Machine machine;
  machine.cpu_model = "unknown";
  machine.isa_found = cpu::isa_name(cpu::detected_isa());
  machine.isa_active = cpu::isa_name(cpu::active_isa());
  machine.logical_cores = static_cast<int>(std::thread::hardware_concurrency());
  machine.usable_cores = usable_cores();
  read_cpuinfo(machine);
  read_caches(machine);
  machine.memory_bytes = kilobytes("/proc/meminfo", "MemTotal") * 1024;
  machine.available_bytes = kilobytes("/proc/meminfo", "MemAvailable") * 1024;
  return machine;
}

Json to_json(const Machine& machine) {
  Json flags = Json::array(), caches = Json::array();
  for (const std::string& flag : machine.cpu_flags) flags.push(flag);
  for (const std::string& cache : machine.caches) caches.push(cache);
  Json json = Json::object();
  json.set("kind", "cpu").set("cpu_model", machine.cpu_model).set("isa_found", machine.isa_found);
  json.set("isa_active", machine.isa_active).set("cpu_flags", std::move(flags));
  json.set("logical_cores", machine.logical_cores).set("usable_cores", machine.usable_cores);
  json.set("physical_cores", machine.physical_cores).set("caches", std::move(caches));
  json.set("memory_bytes", machine.memory_bytes).set("available_bytes", machine.available_bytes);
  return json;
}

std::string peaks_text(const cpu::Peaks& peaks) {
  return fmt::format("{:.0f} GFLOP/s FP32, {:.0f} GOP/s INT8; {:.0f} GB/s from L2, {:.0f} from L3, {:.1f} from memory",
                     peaks.flops / 1e9, peaks.int8_ops / 1e9, peaks.l2_bytes / 1e9, peaks.l3_bytes / 1e9,
                     peaks.memory_bytes / 1e9);
}

Json to_json(const cpu::Peaks& peaks) {
  Json json = Json::object();
  json.set("threads", peaks.threads).set("flops_per_s", peaks.flops).set("int8_ops_per_s", peaks.int8_ops);
  json.set("l2_bytes_per_s", peaks.l2_bytes);
  return std::move(json.set("l3_bytes_per_s", peaks.l3_bytes).set("memory_bytes_per_s", peaks.memory_bytes));
}

int64_t peak_rss_bytes() { return kilobytes("/proc/self/status", "VmHWM") * 1024; }

}  // namespace hussar::cli
