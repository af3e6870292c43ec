#include "tools/cli/interruption.h"

#include <csignal>
#include <cstdlib>

#include "base/file.h"

namespace hussar::cli {
namespace {

static_assert(static_cast<int>(ErrorCode::kInterrupted) == 128 + SIGINT);

volatile std::sig_atomic_t deferred = 0, remembered = 0;

// Only async-signal-safe calls.
void handle(int signal) {
  if (deferred != 0 && remembered == 0) {
    remembered = signal;
    return;
  }
  remove_unfinished_file();
  std::_Exit(128 + signal);
}

}  // namespace

void end_on_signals() {
  std::signal(SIGINT, handle);
  std::signal(SIGTERM, handle);
}

void SignalDeferral::turn(bool on) { deferred = on ? 1 : 0; }

bool is_interrupted() { return remembered != 0; }

int exit_code(ErrorCode code) {
  return code == ErrorCode::kInterrupted && is_interrupted() ? 128 + remembered : static_cast<int>(code);
}

}  // namespace hussar::cli
