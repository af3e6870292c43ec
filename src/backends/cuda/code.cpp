// Assembling and compiling the code of steps.
#include "backends/cuda/code.h"

#include <fmt/format.h>

#include "backends/cuda/nvrtc.h"
#include "base/error.h"

namespace hussar::cuda {

Defines& Defines::set(std::string_view name, std::string_view value) {
  text_ += fmt::format("#define {} {}\n", name, value);
  return *this;
}
Defines& Defines::set(std::string_view name, int64_t value) { return set(name, fmt::format("{}", value)); }

std::string assemble(const Defines& defines, std::initializer_list<std::string_view> device_texts,
                     std::string_view generated) {
  std::string source = defines.text();
  for (std::string_view name : device_texts) {
    std::string_view text = device_source(name);
    // One file for the compiler: the headers include nothing, and are there once.
    constexpr std::string_view kOnce = "#pragma once\n";
    const size_t once = text.find(kOnce);
    source += text.substr(0, once);
    if (once != std::string_view::npos) source += text.substr(once + kOnce.size());
  }
  source += generated;
  return source;
}

Status attach_code(Packing& packing, const std::string& source) {
  const int sm = packing.target.sm;
  packing.node.code = packing.graph.add_constant(packing.graph.unique_name("code"), Tensor());
  packing.jobs.push_back({packing.node.code, source, [source, sm, name = packing.node.name]() -> Result<Tensor> {
                            auto code = compile_cuda(source, sm);
                            if (!code) return fail(code.error().code, "node '{}': {}", name, code.error().message);
                            return code;
                          }});
  return {};
}

Status forget_code(Packing&) { return {}; }

}  // namespace hussar::cuda
