// view: Reshape and its kin when memory can be shared. The compiler places the output inside the input; nothing runs.
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar {

// Never offered as a tactic of its own: freezing decides it, because it is about memory and not about speed.
static Refusal supports(const Problem&) { return "op"; }

static Status run(const Run&) { return {}; }

extern const Kernel view_kernel = {.name = "view", .run = run};
extern const Tactic view_tactic = {.kernel = "view", .supports = supports};

}  // namespace hussar
