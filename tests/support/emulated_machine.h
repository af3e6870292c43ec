// What the emulated device and the kernels that it runs know of each other.
#pragma once

namespace hussar_emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// Of threads that run at once: those of a block, or of the blocks of a cluster.
constexpr unsigned kMostThreads = 4096;
constexpr unsigned kMostBlocks = 8;
// Who waits for each other.
enum Meeting { kWarp, kBlock, kCluster };

struct NumberedBarrier {
  unsigned arrived, round;
};

struct Machine {
  Index thread, block, threads, blocks;         // threadIdx, blockIdx, blockDim, gridDim
  unsigned rank = 0, number = 0;                // of the block in its cluster; of the thread among all that run at once
  unsigned long long shown[kMostThreads] = {};  // what threads show the others of their warp
  // Of every block's numbered barriers: who has arrived, and how often all had.
  NumberedBarrier meetings[kMostBlocks][16] = {};
  void (*wait)(int meeting) = nullptr;
  void (*wait_until)(bool (*ready)(const void*), const void* what) = nullptr;
};

// What a TensorMap holds here: cuda::TileMap, with the tensor's memory.
struct TileMap {
  const unsigned char* data;
  int element_bytes, rank, swizzle_bytes;
  bool rounds;  // floats, to TF32
  unsigned long long sizes[5], strides[4];
  unsigned box[5];
};
// And of cuda::WindowMap.
struct WindowMap {
  const unsigned char* data;
  int element_bytes, swizzle_bytes;
  bool rounds;
  unsigned channels, pixels;
  unsigned long long sizes[4], strides[3];
  int lower[2], upper[2];
  unsigned step[2];  // across, down
};
static_assert(sizeof(TileMap) <= 128 && sizeof(WindowMap) <= 128);

// A kernel: how to call it with pointers to its arguments.
struct Entry {
  void (*call)(void** arguments);
  const unsigned* argument_bytes;
  unsigned argument_count;
  Machine* machine;
};

}  // namespace hussar_emulation
