// hussar version
#include <thread>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "hussar/version.h"
#include "plan/plan.h"
#include "tools/cli/console.h"
#include "tools/cli/verb.h"

namespace hussar::cli {

static Status run(Command& command) {
  if (!HUSSAR_TRY(command.parse())) return {};
  if (command.prints_text()) print_out(fmt::format("hussar {} (plan format {})\n", HUSSAR_VERSION, kPlanVersion));
  return command.report(Json::object().set("plan_version", static_cast<int64_t>(kPlanVersion)));
}

extern const Verb version_verb = {"version", "prints the version of hussar and of its plan format",
                                  "hussar version\nhussar version --json", run};

}  // namespace hussar::cli
