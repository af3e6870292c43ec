// Facts about this machine and this process, from /proc and /sys.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/peaks.h"
#include "tools/cli/json.h"

namespace hussar::cli {

struct Machine {
  std::string cpu_model;               // "unknown" where the system does not tell
  std::string isa_found;               // what CPUID and the operating system allow
  std::string isa_active;              // lower when HUSSAR_ISA asks for it
  std::vector<std::string> cpu_flags;  // of those that Hussar uses or will use
  int logical_cores = 0;
  int usable_cores = 0;  // that the scheduler and control groups leave to this process
  int physical_cores = 0;
  std::vector<std::string> caches;  // "L1d 48 kB, per core"
  int64_t memory_bytes = 0, available_bytes = 0;
};
Machine inspect_machine();
Json to_json(const Machine& machine);
std::string peaks_text(const cpu::Peaks& peaks);
Json to_json(const cpu::Peaks& peaks);

// The largest resident size that this process has had, in bytes.
int64_t peak_rss_bytes();

}  // namespace hussar::cli
