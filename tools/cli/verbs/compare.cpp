// hussar compare: how far models, plans and the reference interpreter are apart.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "compile/precision.h"
#include "tools/cli/comparison.h"
#include "tools/cli/console.h"
#include "tools/cli/inputs.h"
#include "tools/cli/subject.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

struct Arguments {
  std::vector<std::string> models, inputs;
  std::string shapes;
  int threads = 0, seed = 1;
  double tolerance = std::nan("");  // none given
  bool layers = false, reference = false, verify = false;
};

void declare(Command& command, Arguments& arguments) {
  command.positionals("MODEL", arguments.models,
                      "two or more .onnx or .plan files; the first is what the others are held against", 2);
  command.option("--tolerance", "X", arguments.tolerance,
                 "largest error relative to the output range; default 1e-3, where a plan computes in FP16 1e-2, in "
                 "BF16 8e-2, in INT8 "
                 "3e-2");
  command.toggle(
      "--layers", arguments.layers,
      "compares every tensor that both sides name, finds the first that differs, and ranks the layers by what "
      "they add to the error");
  command.toggle("--reference", arguments.reference,
                 "runs .onnx files in the reference interpreter (slow); implied by --layers");
  command.option("--load-inputs", "NAME=FILE", arguments.inputs,
                 "FILE.npy, FILE.raw or, without NAME=, FILE.npz; default: random; what indexes a table "
                 "stays within it");
  command.option("--shapes", "SHAPES", arguments.shapes,
                 "x:1x3x224x224,...: sizes for the dimensions that are left open");
  command.option("--seed", "N", arguments.seed, "of random inputs; default 1");
  command.option("--threads", "N", arguments.threads, "default: as each plan was built for");
  declare_verify(command, arguments.verify);
}

// What was given, else what suits the precision of the two.
double tolerance_for(const Arguments& arguments, const Subject& first, const Subject& second) {
  if (!std::isnan(arguments.tolerance)) return arguments.tolerance;
  const auto of_floats = [](const Subject& subject) {
    return subject.plan() != nullptr ? tolerance_of_floats(subject.plan()->graph) : kFp32Tolerance;
  };
  const auto computes_in_int8 = [](const Subject& subject) {
    return subject.plan() != nullptr && has_int8_steps(subject.plan()->graph);
  };
  const auto computes_in_fp8 = [](const Subject& subject) {
    return subject.plan() != nullptr && has_fp8_steps(subject.plan()->graph);
  };
  if (computes_in_fp8(first) || computes_in_fp8(second)) return kFp8Tolerance;
  const double larger = std::max(of_floats(first), of_floats(second));
  return computes_in_int8(first) || computes_in_int8(second) ? std::max(larger, kInt8Tolerance) : larger;
}

// Those of the first subject; what another one knows of masks and of the rows of tables holds for made-up inputs.
std::vector<InputFacts> common_inputs(const std::vector<Subject>& subjects) {
  std::vector<InputFacts> inputs = subjects[0].inputs();
  for (const Subject& subject : subjects) {
    for (const InputFacts& other : subject.inputs()) {
      for (InputFacts& input : inputs) {
        if (input.name != other.name) continue;
        if (other.mask != InputFacts::Mask::kNone) input.mask = other.mask;
        // Where one does not see all that happens to it, the integers stay as they are for it.
        input.below = std::min(input.below, other.below);
      }
    }
  }
  return inputs;
}

Status work(const Arguments& arguments, const Command& command) {
  Progress progress("compare");
  LoadedInputs loaded = HUSSAR_TRY(load_inputs(arguments.inputs));
  SubjectOptions options;
  // Whether --verify is there or not: a damaged plan shall be called damaged, not inaccurate.
  options.verify = true;
  options.threads = options.compile.threads = arguments.threads;
  options.reference = arguments.reference || arguments.layers;
  options.compile.shapes = HUSSAR_TRY(parse_shapes(arguments.shapes));
  // An .onnx stands for what the model means, so it is compiled in the plainest way.
  options.compile.disabled_passes = {"all"};
  options.compile.isa = 0;
  std::vector<Subject> subjects;
  for (const std::string& path : arguments.models) {
    progress.stage("open " + path);
    subjects.push_back(HUSSAR_TRY(Subject::open(path, options)));
    const Plan* plan = subjects.back().plan();
    HUSSAR_CHECK(!arguments.layers || plan == nullptr || !leaves_out_padding(plan->graph), ErrorCode::kUsage,
                 "'{}' leaves out padding, so that its tensors have their rows in another order: --layers needs a plan "
                 "that is built without --packed",
                 path);
  }
  NamedShapes shapes = HUSSAR_TRY(common_shapes(subjects, options.compile.shapes));
  InputChoice choice{std::move(shapes), true, static_cast<uint64_t>(arguments.seed)};
  std::vector<Tensor> inputs = HUSSAR_TRY(match_inputs(common_inputs(subjects), loaded, choice));
  const CompareOptions each{arguments.layers, [&](double fraction) { progress.update(fraction); }};
  progress.stage("run " + subjects[0].path());
  Recorded reference = HUSSAR_TRY(record(subjects[0], inputs, each));
  std::vector<Comparison> comparisons;
  for (size_t i = 1; i < subjects.size(); ++i) {
    progress.stage("run " + subjects[i].path());
    const double tolerance = tolerance_for(arguments, subjects[0], subjects[i]);
    auto own = HUSSAR_TRY(reorder_inputs(subjects[0], inputs, subjects[i]));
    comparisons.push_back(HUSSAR_TRY(compare_with(reference, subjects[i], own, each, tolerance)));
  }
  progress.finish();
  if (command.prints_text()) print_out(to_text(reference, comparisons));
  HUSSAR_TRY(command.report(to_json(reference, comparisons)));
  for (const Comparison& comparison : comparisons) {
    HUSSAR_CHECK(comparison.passes, ErrorCode::kAccuracy, "{}", comparison.verdict);
  }
  return {};
}

Status run(Command& command) {
  Arguments arguments;
  declare(command, arguments);
  if (!HUSSAR_TRY(command.parse())) return {};
  return work(arguments, command);
}

}  // namespace

extern const Verb compare_verb = {"compare", "compares the outputs, or all tensors, of models and plans",
                                  "hussar compare model.onnx model.plan\n"
                                  "hussar compare model.onnx model.plan --layers --tolerance 1e-5\n"
                                  "hussar compare model.onnx a.plan b.plan --load-inputs inputs.npz --json diff.json",
                                  run};

}  // namespace hussar::cli
