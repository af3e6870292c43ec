// How many cores this process may use.
#pragma once
#include <string>

namespace hussar {

// What the scheduler and control groups leave to this process, at least 1.
int usable_cores();

// Control groups limit processor time rather than cores: 150 ms in every 100 ms count as 2 cores. The least of this
// process's group and those around it, version 1 or 2; 0: no limit. `root` is where control groups are mounted,
// `membership` tells this process's groups.
int control_group_cores(const std::string& root = "/sys/fs/cgroup",
                        const std::string& membership = "/proc/self/cgroup");

}  // namespace hussar
