// Public compile over the inner compiler.
#include "api/core.h"

namespace hussar {
inline namespace api {

static SelfCheck inner(Check check) {
  return check == Check::kOff ? SelfCheck::kOff : check == Check::kQuick ? SelfCheck::kQuick : SelfCheck::kFull;
}

Result<Plan> compile(const std::string& model_path, const CompileOptions& options) {
  return core::guarded([&]() -> Result<Plan> {
    core::CompileOptions inner_options;
    inner_options.shapes = HUSSAR_TRY(parse_shapes(options.shapes));
    inner_options.isa = HUSSAR_TRY(parse_target(options.target));
    inner_options.fp16 = options.fp16;
    inner_options.fp32_nodes = options.fp32_nodes;
    inner_options.threads = options.threads;
    inner_options.disabled_passes = options.disabled_passes;
    inner_options.progress = options.progress;
    SelfCheckOptions check;
    check.level = inner(options.check);
    check.tolerance = options.tolerance;
    return make_plan(HUSSAR_TRY(compile_checked(model_path, inner_options, check)));
  });
}

}  // namespace api
}  // namespace hussar
