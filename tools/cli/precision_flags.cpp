#include "tools/cli/precision_flags.h"

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "tools/cli/console.h"

namespace hussar::cli {

void PrecisionFlags::declare(Command& command) {
  command.toggle(
      "--fp16", fp16_,
      "allows steps to multiply in FP16 where that is faster (CPUs with AVX512-FP16); activations, norms and "
      "sums stay FP32");
  command.option("--precision", "NODE=fp32", nodes_, "with --fp16 or --int8: this ONNX node stays in FP32; repeatable");
}

Status PrecisionFlags::apply(CompileOptions& options, bool int8) const {
  HUSSAR_CHECK(fp16_ || int8 || nodes_.empty(), ErrorCode::kUsage,
               "--precision goes with --fp16 or --int8: everything is FP32 without them");
  options.fp16 = fp16_;
  for (const std::string& text : nodes_) {
    // Names of nodes may contain anything.
    const size_t equals = text.rfind('=');
    const bool ok = equals != std::string::npos && equals > 0 && text.substr(equals + 1) == "fp32";
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "--precision '{}' is not of the form NODE=fp32", text);
    options.fp32_nodes.push_back(text.substr(0, equals));
  }
  const int isa = options.isa >= 0 ? options.isa : static_cast<int>(cpu::active_isa());
  if (fp16_ && isa < static_cast<int>(cpu::Isa::kAvx512Fp16)) {
    warn(fmt::format(
        "--fp16: no kernel for cpu:{} multiplies in FP16, everything stays FP32; --target cpu:{} builds for "
        "CPUs that can",
        cpu::isa_name(static_cast<cpu::Isa>(isa)), cpu::isa_name(cpu::Isa::kAvx512Fp16)));
  }
  return {};
}

}  // namespace hussar::cli
