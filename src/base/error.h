// Formatting of Errors: `return fail(ErrorCode::kUsage, "input '{}' is missing", name);`
#pragma once
#include <fmt/core.h>

#include "hussar/status.h"

namespace hussar {

template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) {
  return tl::unexpected(Error{code, fmt::format(text, std::forward<Args>(args)...)});
}

}  // namespace hussar

// Returns an Error from the enclosing function unless the condition holds.
#define HUSSAR_CHECK(condition, code, ...)      \
  do {                                          \
    if (!(condition)) [[unlikely]]              \
      return ::hussar::fail(code, __VA_ARGS__); \
  } while (false)
