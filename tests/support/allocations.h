// Counts what the test program allocates, on all threads: by malloc and its kin from code that is linked into the test
// program, and by operator new from anywhere.
#pragma once
#include <cstdint>

namespace hussar::tests {

// False in sanitizer builds, whose allocators must not be replaced: count nothing there.
bool can_count_allocations();
// Allocations so far.
int64_t allocation_count();

}  // namespace hussar::tests
