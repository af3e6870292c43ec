// Status and Result: how every Hussar function that can fail says so.
//
// Hussar never throws across its boundary and never prints. A function that can fail returns Result<T>
// (tl::expected<T, Error>) or Status (= Result<void>). Error::message names the ONNX node or the file, the cause, and
// the next step to take.
#pragma once
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace hussar {

// The numeric values are the exit codes of the `hussar` program and are stable.
enum class ErrorCode : int {
  kRunFailed = 1,          // I/O, out of memory, a fault while running
  kUsage = 2,              // the caller's arguments: unknown name, wrong shape or dtype
  kInvalidModel = 3,       // the ONNX model is malformed or uses something unsupported
  kAccuracy = 4,           // an accuracy check failed
  kDeviceUnavailable = 6,  // the requested device is not there
  kPlanIncompatible = 7,   // the plan is damaged, foreign, or of another version
  kInterrupted = 130,
};

struct Error {
  ErrorCode code = ErrorCode::kRunFailed;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

namespace detail {
template <class T>
T take(Result<T>& result) {
  return std::move(*result);
}
inline void take(Status&) {}
}  // namespace detail

}  // namespace hussar

// Evaluates a Result; on failure returns its Error from the enclosing function, else yields the value.
#define HUSSAR_TRY(expression)                                                     \
  __extension__({                                                                  \
    auto hussar_result = (expression);                                             \
    if (!hussar_result) return ::tl::unexpected(std::move(hussar_result).error()); \
    ::hussar::detail::take(hussar_result);                                         \
  })
