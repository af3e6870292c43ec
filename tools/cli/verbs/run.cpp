// hussar run: one inference from files to files.
#include <sys/stat.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "tensor/convert.h"
#include "tools/cli/console.h"
#include "tools/cli/inputs.h"
#include "tools/cli/npy.h"
#include "tools/cli/precision_flags.h"
#include "tools/cli/subject.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

struct Arguments {
  std::string model, output, shapes;
  std::vector<std::string> inputs;
  int thread_count = 0;
  bool check_finite = false, verify = false;
  PrecisionFlags precision;
};

// Output names may contain anything; file names hold letters, digits, dots, dashes and underscores.
std::string file_name(const std::string& output, std::set<std::string>& taken) {
  std::string name = output;
  for (char& c : name) {
    bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
    if (!plain) c = '_';
  }
  if (name.empty() || name[0] == '.') name = "_" + name;
  std::string unique = name.substr(0, 200);
  for (int i = 2; !taken.insert(unique).second; ++i) unique = name.substr(0, 200) + "_" + std::to_string(i);
  return unique + ".npy";
}

// Whether make_folder() will do, before the work begins whose outputs it is for.
Status check_folder(std::string path) {
  struct stat info {};
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (::stat(path.c_str(), &info) != 0) return check_can_write(path);
  HUSSAR_CHECK(S_ISDIR(info.st_mode), ErrorCode::kUsage, "-o names the folder for the outputs; '{}' is a file", path);
  return check_can_write(path + "/output.npy");
}

Status make_folder(const std::string& path) {
  HUSSAR_CHECK(::mkdir(path.c_str(), 0777) == 0 || errno == EEXIST, ErrorCode::kRunFailed,
               "cannot create the folder '{}': {}", path, std::strerror(errno));
  return {};
}

std::vector<std::string> summarize(const std::string& name, const Tensor& tensor) {
  double low = 0, high = 0, sum = 0;
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  if (!values.empty()) load_elements<double>(tensor, 0, tensor.elements(), values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    low = i == 0 ? values[i] : std::min(low, values[i]);
    high = i == 0 ? values[i] : std::max(high, values[i]);
    sum += values[i];
  }
  double mean = values.empty() ? 0 : sum / static_cast<double>(values.size());
  return {name,
          std::string(dtype_name(tensor.dtype())),
          tensor.shape().to_string(),
          fmt::format("{:.6g}", low),
          fmt::format("{:.6g}", high),
          fmt::format("{:.6g}", mean)};
}

Status check_finite(const std::string& what, const std::string& name, const Tensor& tensor, bool is_error) {
  int64_t found = count_non_finite(tensor);
  if (found == 0) return {};
  std::string text = fmt::format("{} '{}' has {} NaN or infinite of {} elements", what, name, found, tensor.elements());
  if (is_error) return fail(ErrorCode::kRunFailed, "{}", text);
  warn(text);
  return {};
}

Status work(const Arguments& arguments, const Command& command) {
  if (!arguments.output.empty()) HUSSAR_TRY(check_folder(arguments.output));
  LoadedInputs loaded = HUSSAR_TRY(load_inputs(arguments.inputs));
  SubjectOptions options;
  options.verify = arguments.verify;
  options.threads = options.compile.threads = arguments.thread_count;
  options.compile.shapes = HUSSAR_TRY(parse_shapes(arguments.shapes));
  HUSSAR_TRY(arguments.precision.apply(options.compile));
  Subject subject = HUSSAR_TRY(Subject::open(arguments.model, options));
  InputChoice choice{options.compile.shapes, false, 0};
  std::vector<Tensor> inputs = HUSSAR_TRY(match_inputs(subject.inputs(), loaded, choice));
  for (size_t i = 0; i < inputs.size(); ++i) {
    HUSSAR_TRY(check_finite("input", subject.inputs()[i].name, inputs[i], arguments.check_finite));
  }
  auto begin = std::chrono::steady_clock::now();
  std::vector<Tensor> outputs = HUSSAR_TRY(subject.run(inputs));
  double milliseconds = milliseconds_since(begin);
  for (size_t i = 0; i < outputs.size(); ++i) {
    HUSSAR_TRY(check_finite("output", subject.output_names()[i], outputs[i], arguments.check_finite));
  }
  if (!arguments.output.empty()) HUSSAR_TRY(make_folder(arguments.output));
  Table table({"output", "dtype", "shape", ">min", ">max", ">mean"});
  Json list = Json::array();
  std::set<std::string> taken;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = subject.output_names()[i];
    Json dims = Json::array(), entry = Json::object();
    for (int64_t dim : outputs[i].shape()) dims.push(dim);
    entry.set("name", name).set("dtype", dtype_name(outputs[i].dtype())).set("shape", std::move(dims));
    if (!arguments.output.empty()) {
      std::string path = arguments.output + "/" + file_name(name, taken);
      HUSSAR_TRY(write_file_atomically(path, {encode_npy(outputs[i])}));
      entry.set("file", path);
    }
    table.add(summarize(name, outputs[i]));
    list.push(std::move(entry));
  }
  if (command.prints_text()) print_out(table.to_string());
  Json json = Json::object();
  json.set("model", arguments.model).set("run_ms", milliseconds).set("outputs", std::move(list));
  return command.report(std::move(json));
}

Status run(Command& command) {
  Arguments arguments;
  command.positional("MODEL", arguments.model, "a .plan, or an .onnx that is compiled on the fly");
  command.option("-i,--input", "NAME=FILE", arguments.inputs,
                 "FILE.npy, FILE.raw (the elements alone) or, without NAME=, FILE.npz");
  command.option("-o,--output", "FOLDER", arguments.output, "writes every output to FOLDER/<output>.npy");
  command.option("--shapes", "SHAPES", arguments.shapes, "x:1x3x224x224,...: of .raw inputs and of an .onnx");
  command.option("--threads", "N", arguments.thread_count, "default: as the plan was built for");
  arguments.precision.declare(command);
  declare_verify(command, arguments.verify);
  command.toggle("--check-finite", arguments.check_finite, "fail when an input or output has NaN or infinite elements");
  if (!HUSSAR_TRY(command.parse())) return {};
  return work(arguments, command);
}

}  // namespace

extern const Verb run_verb = {"run", "runs a plan or model once on given inputs",
                              "hussar run model.plan --input x=x.npy -o out/\n"
                              "hussar run model.plan --input inputs.npz --json result.json\n"
                              "hussar run model.onnx --input ids=ids.raw --shapes ids:1x128 --check-finite",
                              run};

}  // namespace hussar::cli
