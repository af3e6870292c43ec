// The stand-in that is in use.
#include "backends/cuda/emulation.h"

#include <atomic>

namespace hussar::cuda {

static std::atomic<const Emulation*> in_use{nullptr};

void set_emulation(const Emulation* emulation) { in_use = emulation; }
const Emulation* emulation() { return in_use; }

}  // namespace hussar::cuda
