// Runs ONNX backend tests: conformance_runner MANIFEST --json OUT [--target reference|cpu]
//
// The manifest and the report are described in run.py. Every test runs in a forked child, so that a crash or a hang is
// one line of the report. `reference` interprets the imported graph; `cpu` builds a plan and runs that.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "conformance/targets.h"
#include "onnx/import.h"
#include "tensor/convert.h"

namespace fs = std::filesystem;
using namespace hussar;

namespace {

constexpr int kTimeoutSeconds = 60;

struct Case {
  fs::path folder;
  double rtol = 1e-3, atol = 1e-7;
  std::string skip;
  std::string name() const { return folder.parent_path().filename().string() + "/" + folder.filename().string(); }
};

struct Outcome {
  std::string status, detail;
  double milliseconds = 0;
};

std::vector<Case> read_manifest(const char* path) {
  std::vector<Case> cases;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::stringstream fields(line);
    std::string folder, rtol, atol, skip;
    std::getline(fields, folder, '\t');
    std::getline(fields, rtol, '\t');
    std::getline(fields, atol, '\t');
    std::getline(fields, skip, '\t');
    if (!folder.empty()) cases.push_back({folder, std::stod(rtol), std::stod(atol), skip});
  }
  return cases;
}

// The tensors input_0.pb, input_1.pb, ... by index; missing files are inputs that the test leaves out.
Result<std::map<size_t, Tensor>> read_tensors(const fs::path& folder, const std::string& prefix) {
  std::map<size_t, Tensor> tensors;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::string name = entry.path().filename().string();
    if (name.rfind(prefix, 0) != 0) continue;
    auto file = HUSSAR_TRY(MappedFile::open(entry.path().string()));
    onnx::TensorProto proto = HUSSAR_TRY(onnx::parse_tensor(file->bytes()));
    tensors[std::stoul(name.substr(prefix.size()))] = HUSSAR_TRY(onnx::load_tensor(proto, file, ""));
  }
  return tensors;
}

bool close(double got, double want, const Case& test) {
  if (std::isnan(got) || std::isnan(want)) return std::isnan(got) && std::isnan(want);
  if (std::isinf(got) || std::isinf(want)) return got == want;
  return std::fabs(got - want) <= test.atol + test.rtol * std::fabs(want);
}

Status compare(const Tensor& got, const Tensor& want, size_t index, const Case& test) {
  if (got.dtype() != want.dtype() || !(got.shape() == want.shape())) {
    return fail(ErrorCode::kAccuracy, "output {} is {}[{}] instead of {}[{}]", index, dtype_name(got.dtype()),
                got.shape().to_string(), dtype_name(want.dtype()), want.shape().to_string());
  }
  std::vector<double> a(static_cast<size_t>(got.elements())), b(a.size());
  load_elements<double>(got, 0, got.elements(), a.data());
  load_elements<double>(want, 0, want.elements(), b.data());
  for (size_t i = 0; i < a.size(); ++i) {
    if (!close(a[i], b[i], test)) {
      return fail(ErrorCode::kAccuracy, "output {} element {} is {} instead of {}", index, i, a[i], b[i]);
    }
  }
  return {};
}

Status run_case(const Case& test, const std::string& target) {
  auto runner = HUSSAR_TRY(make_runner(target, (test.folder / "model.onnx").string()));
  for (const auto& entry : fs::directory_iterator(test.folder)) {
    if (entry.path().filename().string().rfind("test_data_set_", 0) != 0) continue;
    auto inputs = HUSSAR_TRY(read_tensors(entry.path(), "input_"));
    auto expected = HUSSAR_TRY(read_tensors(entry.path(), "output_"));
    std::vector<Tensor> outputs = HUSSAR_TRY(runner(inputs));
    for (const auto& [index, want] : expected) {
      HUSSAR_CHECK(index < outputs.size(), ErrorCode::kAccuracy, "output {} is missing", index);
      HUSSAR_TRY(compare(outputs[index], want, index, test));
    }
  }
  return {};
}

Outcome run_isolated(const Case& test, const std::string& target) {
  auto begin = std::chrono::steady_clock::now();
  int channel[2];
  if (::pipe(channel) != 0) return {"fail", "pipe failed"};
  pid_t child = ::fork();
  if (child == 0) {
    ::close(channel[0]);
    Status status = run_case(test, target);
    std::string message = status ? "pass" : "fail" + status.error().message.substr(0, 2000);
    ssize_t written = ::write(channel[1], message.data(), message.size());
    ::_exit(written == static_cast<ssize_t>(message.size()) ? 0 : 1);
  }
  ::close(channel[1]);
  std::string message;
  bool timed_out = false;
  for (;;) {
    pollfd wait{channel[0], POLLIN, 0};
    timed_out = ::poll(&wait, 1, kTimeoutSeconds * 1000) <= 0;
    if (timed_out) break;
    char buffer[4096];
    ssize_t count = ::read(channel[0], buffer, sizeof(buffer));
    if (count <= 0) break;
    message.append(buffer, static_cast<size_t>(count));
  }
  if (timed_out) ::kill(child, SIGKILL);
  ::close(channel[0]);
  int state = 0;
  ::waitpid(child, &state, 0);
  double elapsed = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (timed_out) return {"timeout", "still running after " + std::to_string(kTimeoutSeconds) + " s", elapsed};
  if (!WIFEXITED(state)) return {"crash", "signal " + std::to_string(WTERMSIG(state)), elapsed};
  if (message == "pass") return {"pass", "", elapsed};
  return {"fail", message.size() > 4 ? message.substr(4) : "the test process ended early", elapsed};
}

}  // namespace

int main(int argc, char** argv) {
  std::string json_path, target = "cpu";
  const char* manifest = nullptr;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument == "--json" && i + 1 < argc)
      json_path = argv[++i];
    else if (argument == "--target" && i + 1 < argc)
      target = argv[++i];
    else
      manifest = argv[i];
  }
  if (manifest == nullptr || json_path.empty()) {
    std::fprintf(stderr, "usage: conformance_runner MANIFEST --json OUT [--target reference|cpu]\n");
    return 2;
  }
  nlohmann::json results = nlohmann::json::array();
  for (const Case& test : read_manifest(manifest)) {
    Outcome outcome = test.skip.empty() ? run_isolated(test, target) : Outcome{"skip", test.skip};
    if (outcome.status != "pass" && outcome.status != "skip") {
      std::fprintf(stderr, "%s %s: %s\n", outcome.status.c_str(), test.name().c_str(), outcome.detail.c_str());
    }
    results.push_back({{"name", test.name()},
                       {"status", outcome.status},
                       {"detail", outcome.detail},
                       {"milliseconds", outcome.milliseconds}});
  }
  std::ofstream(json_path) << nlohmann::json{{"schema_version", 1}, {"target", target}, {"results", results}}.dump(
      1, ' ', false, nlohmann::json::error_handler_t::replace);
  return 0;
}
