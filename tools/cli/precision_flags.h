// The flags that allow kernels which not every user wants: --fp16, --bf16, --tf32 and --precision, --sparsity,
// --libraries.
#pragma once
#include <string>
#include <vector>

#include "compile/compile.h"
#include "hussar/status.h"
#include "tools/cli/command.h"

namespace hussar::cli {

// The names in a list of NODE=fp32 and @FILE.
Result<std::vector<std::string>> parse_fp32_nodes(const std::vector<std::string>& texts);

class PrecisionFlags {
 public:
  // forces: --sparsity force is offered, which is up to the verb.
  void declare(Command& command, bool forces = false);
  // Into the options, whose target is settled. Notes where no kernel of the target can make use of what is allowed.
  // int8: that is allowed too, so that --precision has a meaning without the others.
  Status apply(CompileOptions& options, bool int8 = false) const;
  bool fp16() const { return fp16_; }
  bool forces_sparsity() const { return sparsity_ == "force"; }

 private:
  bool fp16_ = false, bf16_ = false, tf32_ = false;
  std::string sparsity_ = "auto", libraries_ = "off";
  std::vector<std::string> nodes_;
};

}  // namespace hussar::cli
