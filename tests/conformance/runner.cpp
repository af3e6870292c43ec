// Runs ONNX backend tests: conformance_runner MANIFEST --json OUT [--target reference|cpu|cuda|emulated]
//
// The manifest and the report are described in run.py. Every test runs in a forked child, so that a crash or a hang is
// one line of the report. `reference` interprets the imported graph; the others build a plan and run that, `emulated`
// with the kernels for GPUs on the CPU.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
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

// Starting a process costs more than most tests, on a GPU many times as much.
constexpr size_t kGroup = 32;

struct Child {
  pid_t process = -1;
  int channel = -1;
};

// Runs the tests one after another and writes the message of each, with a zero at its end, into the channel.
Result<Child> start_child(std::span<const Case> tests, const std::string& target) {
  int channel[2];
  HUSSAR_CHECK(::pipe(channel) == 0, ErrorCode::kRunFailed, "pipe failed");
  const pid_t process = ::fork();
  if (process != 0) {
    ::close(channel[1]);
    return Child{process, channel[0]};
  }
  ::close(channel[0]);
  for (const Case& test : tests) {
    Status status = run_case(test, target);
    std::string message = status ? "pass" : "fail" + status.error().message.substr(0, 2000);
    message.push_back('\0');
    if (::write(channel[1], message.data(), message.size()) != static_cast<ssize_t>(message.size())) ::_exit(1);
  }
  ::_exit(0);
}

// The next message; false: none came in time, or the child ended.
bool read_message(const Child& child, std::string& buffered, std::string& message, bool& timed_out) {
  for (;;) {
    if (const size_t end = buffered.find('\0'); end != std::string::npos) {
      message = buffered.substr(0, end);
      buffered.erase(0, end + 1);
      return true;
    }
    pollfd wait{child.channel, POLLIN, 0};
    timed_out = ::poll(&wait, 1, kTimeoutSeconds * 1000) <= 0;
    if (timed_out) return false;
    char buffer[4096];
    const ssize_t count = ::read(child.channel, buffer, sizeof(buffer));
    if (count <= 0) return false;
    buffered.append(buffer, static_cast<size_t>(count));
  }
}

Outcome outcome_of_end(const Child& child, bool timed_out) {
  if (timed_out) ::kill(child.process, SIGKILL);
  int state = 0;
  ::waitpid(child.process, &state, 0);
  if (timed_out) return {"timeout", "still running after " + std::to_string(kTimeoutSeconds) + " s"};
  if (!WIFEXITED(state)) return {"crash", "signal " + std::to_string(WTERMSIG(state))};
  return {"fail", "the test process ended early"};
}

// The outcomes of the first tests: of all, or up to the one that ends its process.
std::vector<Outcome> run_group(std::span<const Case> tests, const std::string& target) {
  auto child = start_child(tests, target);
  if (!child) return {{"fail", child.error().message}};
  std::vector<Outcome> outcomes;
  std::string buffered, message;
  bool timed_out = false, is_ended = false;
  while (outcomes.size() < tests.size() && !is_ended) {
    const auto begin = std::chrono::steady_clock::now();
    is_ended = !read_message(*child, buffered, message, timed_out);
    Outcome outcome = is_ended            ? outcome_of_end(*child, timed_out)
                      : message == "pass" ? Outcome{"pass", ""}
                                          : Outcome{"fail", message.substr(4)};
    outcome.milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    outcomes.push_back(std::move(outcome));
  }
  if (!is_ended) outcome_of_end(*child, false);
  ::close(child->channel);
  return outcomes;
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
    std::fprintf(stderr, "usage: conformance_runner MANIFEST --json OUT [--target reference|cpu|cuda|emulated]\n");
    return 2;
  }
  nlohmann::json results = nlohmann::json::array();
  const std::vector<Case> all = read_manifest(manifest);
  std::vector<Case> tests;
  std::copy_if(all.begin(), all.end(), std::back_inserter(tests), [](const Case& test) { return test.skip.empty(); });
  std::vector<Outcome> outcomes;
  while (outcomes.size() < tests.size()) {
    const auto rest = std::span<const Case>(tests).subspan(outcomes.size());
    for (Outcome& outcome : run_group(rest.first(std::min(rest.size(), kGroup)), target)) {
      outcomes.push_back(std::move(outcome));
    }
  }
  size_t next = 0;
  for (const Case& test : all) {
    const Outcome outcome = test.skip.empty() ? outcomes[next++] : Outcome{"skip", test.skip};
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
