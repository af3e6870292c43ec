// Plan: a model compiled for a kind of machine. Made by hussar::compile, kept in a .plan file, run by hussar::Session.
//
// A Plan is a handle: copies share the same immutable contents, which any number of sessions in any threads may use.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {
inline namespace api {

struct Dimension {
  int64_t size = -1;   // -1: open, chosen by the inputs of a run
  std::string symbol;  // of an open dimension: "batch", "floor(H+1, 2)"
};

struct TensorInfo {
  std::string name;
  DType dtype = DType::kUndefined;
  bool has_rank = true;         // false: only a run tells
  std::vector<Dimension> dims;  // outermost first
};

class Plan {
 public:
  // Maps a plan file into memory and validates it. The file must not be changed in place while the Plan lives.
  // kPlanIncompatible: damaged, foreign, or of another format version.
  static Result<Plan> load(const std::string& path);
  // The same from a copy of bytes in memory.
  static Result<Plan> from_bytes(std::span<const std::byte> bytes);
  // Writes the file under a temporary name and renames it: `path` is either complete or untouched.
  Status save(const std::string& path) const;

  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  // What the compiler wrote down: "model", "target", "threads", "self_check", ...
  const std::map<std::string, std::string>& facts() const;

  struct State;
  explicit Plan(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  const State& state() const { return *state_; }

 private:
  std::shared_ptr<const State> state_;
};

}  // namespace api
}  // namespace hussar
