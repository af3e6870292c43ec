// SIGINT and SIGTERM end the program at once, or, where work is kept that was done so far, when that is in its file.
#pragma once
#include <string_view>

#include "hussar/status.h"

namespace hussar::cli {

// For main().
void end_on_signals();

// While one lives and is on, the first signal is remembered instead; the second one ends the program at once.
class SignalDeferral {
 public:
  SignalDeferral() = default;
  ~SignalDeferral() { turn(false); }
  SignalDeferral(const SignalDeferral&) = delete;
  SignalDeferral& operator=(const SignalDeferral&) = delete;
  static void turn(bool on);
};
// Whether a signal is remembered.
bool is_interrupted();

// 128 + the signal for what a remembered signal has ended.
int exit_code(ErrorCode code);

}  // namespace hussar::cli
