// Compiled code of steps: put together from the texts of device/ and generated ones, compiled when a plan is built.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>

#include "hussar/status.h"
#include "tactics/tactic.h"

namespace hussar::cuda {

// The text of src/backends/cuda/device/<name>.
std::string_view device_source(std::string_view name);
// Changes with any of those texts.
std::string_view device_source_digest();

// Lines of the form "#define NAME VALUE".
class Defines {
 public:
  Defines& set(std::string_view name, std::string_view value);
  Defines& set(std::string_view name, int64_t value);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// `defines`, then the device texts in their order, then `generated`.
std::string assemble(const Defines& defines, std::initializer_list<std::string_view> device_texts,
                     std::string_view generated = {});

// Gives the node its code, which is a job of the packing: compiled for its target. Always succeeds: errors in the text
// are those of the job.
Status attach_code(Packing& packing, const std::string& source);
// The `unpack` of kernels that leave nothing but code behind.
Status forget_code(Packing& packing);

}  // namespace hussar::cuda
