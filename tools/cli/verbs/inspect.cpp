// hussar inspect: what is in a model or a plan.
#include "base/error.h"
#include "tools/cli/console.h"
#include "tools/cli/inspection.h"
#include "tools/cli/subject.h"
#include "tools/cli/verb.h"

namespace hussar::cli {

static Status run(Command& command) {
  std::string file, shapes;
  InspectOptions options;
  bool brief = false;
  command.positional("FILE", file, "an .onnx or a .plan");
  command.option("--shapes", "SHAPES", shapes, "x:1x3x224x224,...: sizes for the dimensions that are left open");
  declare_verify(command, options.verify);
  command.toggle("--brief", brief, "leaves out the table of regions of a plan, of product weights of a model");
  if (!HUSSAR_TRY(command.parse())) return {};
  options.regions = !brief;
  options.shapes = HUSSAR_TRY(parse_shapes(shapes));
  return is_plan_file(file) ? inspect_plan(file, options, command) : inspect_model(file, options, command);
}

extern const Verb inspect_verb = {
    "inspect", "explains a model (operators, support, sparsity of each product) or a plan (regions, memory)",
    "hussar inspect model.plan\n"
    "hussar inspect model.onnx --shapes x:1x3x224x224\n"
    "hussar inspect model.plan --verify --brief --json plan.json",
    run};

}  // namespace hussar::cli
