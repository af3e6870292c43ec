// Public compile over the inner compiler.
#include "api/int8_options.h"

#include "api/core.h"
#include "compile/timing_file.h"

namespace hussar {
inline namespace api {

static SelfCheck inner(Check check) {
  return check == Check::kOff ? SelfCheck::kOff : check == Check::kQuick ? SelfCheck::kQuick : SelfCheck::kFull;
}

Result<Plan> compile(const std::string& model_path, const CompileOptions& options) {
  return core::guarded([&]() -> Result<Plan> {
    core::CompileOptions inner_options;
    inner_options.shapes = HUSSAR_TRY(parse_shapes(options.shapes));
    inner_options.set_target(HUSSAR_TRY(parse_target(options.target)));
    inner_options.packed = options.packed;
    inner_options.token_part = options.token_part;
    inner_options.fp16 = options.fp16;
    inner_options.bf16 = options.bf16;
    inner_options.tf32 = options.tf32;
    inner_options.libraries = HUSSAR_TRY(parse_libraries(options.libraries));
    inner_options.fp32_nodes = options.fp32_nodes;
    if (options.int8) {
      const Int8Options& int8 = *options.int8;
      const Int8Request request{int8.calibration, int8.calibration_file, int8.method,
                                int8.dynamic,     int8.strict,           int8.fp8};
      HUSSAR_TRY(apply_int8(model_path, request, inner_options));
    }
    inner_options.threads = options.threads;
    inner_options.disabled_passes = options.disabled_passes;
    inner_options.progress = options.progress;
    inner_options.stage_progress = options.stage_progress;
    inner_options.tune_seconds = HUSSAR_TRY(parse_duration(options.budget));
    TimingFile timings = HUSSAR_TRY(TimingFile::open(options.timing_cache));
    inner_options.timings = &timings.cache;
    SelfCheckOptions check;
    check.level = inner(options.check);
    check.tolerance = options.tolerance;
    auto plan = HUSSAR_TRY(compile_checked(model_path, inner_options, check));
    HUSSAR_TRY(timings.save());
    return make_plan(std::move(plan));
  });
}

}  // namespace api
}  // namespace hussar
