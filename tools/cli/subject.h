// Subject: something that can be run: a plan file, an ONNX model compiled on the fly, or the reference interpreter.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "compile/sample.h"
#include "graph/graph.h"
#include "runtime/session.h"
#include "tools/cli/command.h"

namespace hussar::cli {

struct SubjectOptions {
  CompileOptions compile;  // for ONNX models
  bool reference = false;  // ONNX models run in the reference interpreter
  int threads = 0;         // 0: as the plan says
  bool verify = false;     // plans: ReadOptions::verify_constants
};

// --verify, which is the same for all verbs that open plans.
void declare_verify(Command& command, bool& verify);

// Called with every tensor that a run produces, by name, in the order of execution.
using TensorObserver = std::function<void(const std::string& name, const Tensor&)>;

class Subject {
 public:
  static Result<Subject> open(const std::string& path, const SubjectOptions& options);

  const std::string& path() const { return path_; }
  // "plan", "compiled", "reference"
  const char* kind() const;
  const std::vector<InputFacts>& inputs() const { return inputs_; }
  const std::vector<std::string>& output_names() const { return output_names_; }
  // Null for the reference interpreter.
  const Plan* plan() const { return plan_.get(); }
  // Null for everything else.
  const Graph* graph() const { return graph_.get(); }
  Session* session() const { return session_.get(); }
  double load_milliseconds() const { return load_milliseconds_; }
  double build_milliseconds() const { return build_milliseconds_; }

  // The outputs own their bytes. progress: told how much of the run is done, 0 to 1.
  Result<std::vector<Tensor>> run(const std::vector<Tensor>& inputs, const TensorObserver& observer = nullptr,
                                  const std::function<void(double)>& progress = nullptr);
  // "node 'encoder/fc' (Conv)" that produces a tensor; "" when unknown.
  std::string producer_of(const std::string& tensor) const;

 private:
  Status open_reference(const SubjectOptions& options);
  Status open_plan(const SubjectOptions& options, bool is_plan);
  Result<std::vector<Tensor>> run_reference(const std::vector<Tensor>& inputs, const TensorObserver& observer,
                                            const std::function<void(double)>& progress) const;

  std::string path_;
  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Graph> graph_;  // of the reference interpreter
  std::vector<InputFacts> inputs_;
  std::vector<std::string> output_names_;
  double load_milliseconds_ = 0, build_milliseconds_ = 0;
};

double milliseconds_since(std::chrono::steady_clock::time_point begin);

}  // namespace hussar::cli
