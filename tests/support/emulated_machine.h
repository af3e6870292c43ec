// What the emulated device and the kernels that it runs know of each other.
#pragma once

namespace hussar_emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

struct Machine {
  Index thread, block, threads, blocks;  // threadIdx, blockIdx, blockDim, gridDim
  unsigned long long shown[1024] = {};   // what threads show the others of their warp
  void (*wait)(bool whole_block) = nullptr;
};

// A kernel: how to call it with pointers to its arguments.
struct Entry {
  void (*call)(void** arguments);
  const unsigned* argument_bytes;
  unsigned argument_count;
  Machine* machine;
};

}  // namespace hussar_emulation
