// What the instructions of device/hopper_pipeline.cuh and hopper_wgmma.cuh do, as the PTX ISA has it: barriers that
// count bytes, tiles that the copy engine brings ("Tensors", "Swizzling modes"), products of warpgroups ("Asynchronous
// Warpgroup Level Matrix Instructions": matrix descriptors, fragments, sparse matrices). A copy is there at once. A
// product reads shared memory as late as it may, when its end is waited for: a stage that is given back too early
// shows.
#pragma once
#define HUSSAR_BLOCKS 8
#include "emulated_warp.h"

struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

inline unsigned char* hussar_at(unsigned address, unsigned rank) {
  return hussar_shared + rank * kHussarSharedBytes + address;
}

// ---- barriers

struct HussarBarrier {
  unsigned short expected, pending;  // arrivals
  int bytes : 31;                    // that are to come; fewer than none: they came before they were announced
  unsigned phase : 1;
};
static_assert(sizeof(HussarBarrier) == 8);

inline HussarBarrier& hussar_barrier(unsigned address, unsigned rank) {
  return *reinterpret_cast<HussarBarrier*>(hussar_at(address, rank));
}
inline void hussar_end_phase(HussarBarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.expected;
}
inline void hussar_arrive(HussarBarrier& barrier) {
  if (barrier.pending == 0) __builtin_trap();
  --barrier.pending;
  hussar_end_phase(barrier);
}

inline void barrier_init(unsigned barrier, unsigned arrivals) {
  const auto count = static_cast<unsigned short>(arrivals);
  hussar_barrier(barrier, hussar_machine.rank) = {count, count, 0, 0};
}
inline void barrier_init_done() {}
inline void barrier_expect(unsigned barrier, unsigned bytes) {
  HussarBarrier& own = hussar_barrier(barrier, hussar_machine.rank);
  own.bytes += static_cast<int>(bytes);
  hussar_arrive(own);
}
inline void barrier_arrive(unsigned barrier) { hussar_arrive(hussar_barrier(barrier, hussar_machine.rank)); }
inline void barrier_arrive_at(unsigned barrier, unsigned rank) { hussar_arrive(hussar_barrier(barrier, rank)); }
inline void barrier_wait(unsigned barrier, unsigned parity) {
  struct {
    const HussarBarrier* barrier;
    unsigned parity;
  } what = {&hussar_barrier(barrier, hussar_machine.rank), parity};
  using What = decltype(what);
  hussar_machine.wait_until(
      [](const void* asked) {
        const What& of = *static_cast<const What*>(asked);
        return of.barrier->phase != of.parity;
      },
      &what);
}

// bar.sync and bar.arrive: of so many threads of the block.
using HussarMeeting = hussar_emulation::NumberedBarrier;
template <int kBarrier, int kCount>
inline HussarMeeting& threads_arrive() {
  HussarMeeting& meeting = hussar_machine.meetings[hussar_machine.rank][kBarrier];
  if (++meeting.arrived == kCount) meeting.arrived = 0, ++meeting.round;
  return meeting;
}
template <int kBarrier, int kCount>
inline void threads_meet() {
  struct {
    const HussarMeeting* meeting;
    unsigned round;
  } what = {nullptr, hussar_machine.meetings[hussar_machine.rank][kBarrier].round};
  using What = decltype(what);
  what.meeting = &threads_arrive<kBarrier, kCount>();
  hussar_machine.wait_until(
      [](const void* asked) {
        const What& of = *static_cast<const What*>(asked);
        return of.meeting->round != of.round;
      },
      &what);
}

inline unsigned cluster_rank() { return hussar_machine.rank; }
inline void cluster_meet() { hussar_machine.wait(hussar_emulation::kCluster); }
inline void cluster_meet_only() { cluster_meet(); }
inline void cluster_store(unsigned to, unsigned rank, unsigned a, unsigned b, unsigned c, unsigned d) {
  const unsigned words[4] = {a, b, c, d};
  memcpy(hussar_at(to, rank), words, sizeof(words));
}
inline void shared_load(unsigned from, unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
  unsigned words[4];
  memcpy(words, hussar_at(from, hussar_machine.rank), sizeof(words));
  a = words[0], b = words[1], c = words[2], d = words[3];
}
template <int kCount>
inline void registers_take() {}
template <int kCount>
inline void registers_give() {}

// ---- the copy engine

// Where 16 bytes lie: bits 4 to 6 of an address XORed with bits 7 to 9; with 64 bytes one bit fewer.
inline unsigned hussar_swizzled(unsigned address, int swizzle_bytes) {
  return address ^ (address >> 7 & (swizzle_bytes == 128 ? 7U : 3U)) << 4;
}
inline void tensor_prefetch(const TensorMap&) {}

// `count` elements of a row, from the one at `first` on; what lies outside stays as it is. Floats rounded to TF32.
template <class Map>
inline void hussar_fetch(const Map& map, const unsigned char* row, int first, unsigned count, unsigned char* to) {
  const auto bytes = static_cast<unsigned>(map.element_bytes);
  for (unsigned i = 0; i < count; ++i) {
    const long long index = first + static_cast<long long>(i);
    if (index < 0 || index >= static_cast<long long>(map.sizes[0])) continue;
    memcpy(to + i * bytes, row + index * map.element_bytes, bytes);
    if (!map.rounds) continue;
    unsigned bits;
    memcpy(&bits, to + i * bytes, sizeof(bits));
    bits = (bits + 0x1000U) & ~0x1fffU;
    memcpy(to + i * bytes, &bits, sizeof(bits));
  }
}

// Row `row` of what comes to address `to`, in every block that `blocks` names.
inline void hussar_put(unsigned to, const unsigned char* line, unsigned row, unsigned bytes, int swizzle_bytes,
                       unsigned blocks) {
  for (unsigned block = 0; block < HUSSAR_BLOCKS; ++block) {
    for (unsigned byte = 0; (blocks >> block & 1U) != 0 && byte < bytes; byte += 16)
      memcpy(hussar_at(hussar_swizzled(to + row * bytes + byte, swizzle_bytes), block), line + byte, 16);
  }
}
inline void hussar_end_copy(unsigned barrier, unsigned bytes, unsigned blocks) {
  for (unsigned block = 0; block < HUSSAR_BLOCKS; ++block) {
    if ((blocks >> block & 1U) == 0) continue;
    HussarBarrier& own = hussar_barrier(barrier, block);
    own.bytes -= static_cast<int>(bytes);
    hussar_end_phase(own);
  }
}

// Row `row` of a box that begins at `at`; null: it lies outside.
inline const unsigned char* hussar_row_of(const hussar_emulation::TileMap& map, const int* at, unsigned row) {
  const unsigned char* from = map.data;
  for (int i = 1; i < map.rank; ++i) {
    const long long index = at[i] + static_cast<long long>(row % map.box[i]);
    row /= map.box[i];
    if (index < 0 || index >= static_cast<long long>(map.sizes[i])) return nullptr;
    from += index * static_cast<long long>(map.strides[i - 1]);
  }
  return from;
}
inline void hussar_copy_box(unsigned to, const TensorMap& encoded, unsigned barrier, int rank, const int* at,
                            unsigned blocks) {
  hussar_emulation::TileMap map;
  memcpy(&map, encoded.bytes, sizeof(map));
  if (map.rank != rank || to % 128 != 0) __builtin_trap();
  const unsigned bytes = map.box[0] * static_cast<unsigned>(map.element_bytes);
  unsigned rows = 1;
  for (int i = 1; i < rank; ++i) rows *= map.box[i];
  for (unsigned row = 0; row < rows; ++row) {
    unsigned char line[128] = {};
    if (const unsigned char* from = hussar_row_of(map, at, row)) hussar_fetch(map, from, at[0], map.box[0], line);
    hussar_put(to, line, row, bytes, map.swizzle_bytes, blocks);
  }
  hussar_end_copy(barrier, rows * bytes, blocks);
}
inline bool is_elected() { return threadIdx.x % 32 == 0; }
template <int kBlocks>
inline void tensor_copy(unsigned to, const TensorMap& map, unsigned barrier, int c0, int c1, int c2,
                        unsigned short mask) {
  const int at[] = {c0, c1, c2};
  hussar_copy_box(to, map, barrier, 3, at, kBlocks > 1 ? mask : 1U << hussar_machine.rank);
}
template <int kBlocks>
inline void tensor_copy(unsigned to, const TensorMap& map, unsigned barrier, int c0, int c1, int c2, int c3, int c4,
                        unsigned short mask) {
  const int at[] = {c0, c1, c2, c3, c4};
  hussar_copy_box(to, map, barrier, 5, at, kBlocks > 1 ? mask : 1U << hussar_machine.rank);
}

// Windows of pictures, from the one at (across, down, picture) on: over the places of a line, of the lines, of
// pictures. `right` and `below` lead to the tap.
template <int kBlocks>
inline void window_copy(unsigned to, const TensorMap& encoded, unsigned barrier, int channel, int across, int down,
                        int picture, unsigned short right, unsigned short below, unsigned short mask) {
  const unsigned blocks = kBlocks > 1 ? mask : 1U << hussar_machine.rank;
  hussar_emulation::WindowMap map;
  memcpy(&map, encoded.bytes, sizeof(map));
  if (to % 128 != 0) __builtin_trap();
  const int width = static_cast<int>(map.sizes[1]), height = static_cast<int>(map.sizes[2]);
  const unsigned bytes = map.channels * static_cast<unsigned>(map.element_bytes);
  for (unsigned pixel = 0; pixel < map.pixels; ++pixel) {
    unsigned char line[128] = {};
    const int x = across + right, y = down + below;
    if (x >= 0 && x < width && y >= 0 && y < height && picture < static_cast<int>(map.sizes[3]))
      hussar_fetch(map, map.data + x * map.strides[0] + y * map.strides[1] + picture * map.strides[2], channel,
                   map.channels, line);
    hussar_put(to, line, pixel, bytes, map.swizzle_bytes, blocks);
    across += static_cast<int>(map.step[0]);
    if (across <= width - 1 + map.upper[0]) continue;
    across = map.lower[0];
    down += static_cast<int>(map.step[1]);
    if (down <= height - 1 + map.upper[1]) continue;
    down = map.lower[1];
    ++picture;
  }
  hussar_end_copy(barrier, map.pixels * bytes, blocks);
}

// ---- products of warpgroups

// Elements by their names in PTX.
struct HussarU8 {
  using Number = int;
  static constexpr int kBytes = 1;
  static int number(const unsigned char* from) { return *from; }
};
struct HussarS8 {
  using Number = int;
  static constexpr int kBytes = 1;
  static int number(const unsigned char* from) { return static_cast<signed char>(*from); }
};
struct HussarE4m3 {
  using Number = float;
  static constexpr int kBytes = 1;
  static float number(const unsigned char* from) { return hussar_number(HussarFloat8{*from}); }
};
struct HussarF16 {
  using Number = float;
  static constexpr int kBytes = 2;
  static float number(const unsigned char* from) {
    _Float16 half;
    memcpy(&half, from, sizeof(half));
    return static_cast<float>(half);
  }
};
struct HussarBf16 {
  using Number = float;
  static constexpr int kBytes = 2;
  static float number(const unsigned char* from) {
    unsigned short bits;
    memcpy(&bits, from, sizeof(bits));
    return __uint_as_float(static_cast<unsigned>(bits) << 16);
  }
};
struct HussarTf32 {
  using Number = float;
  static constexpr int kBytes = 4;
  static float number(const unsigned char* from) {
    unsigned bits;
    memcpy(&bits, from, sizeof(bits));
    return __uint_as_float(bits & ~0x1fffU);
  }
};
// Of the two bytes: of all values an element can have, so that they are decoded once. Larger ones are decoded each
// time.
template <class Element>
inline typename Element::Number hussar_number_of(const unsigned char* from) {
  if constexpr (Element::kBytes > 2) {
    return Element::number(from);
  } else {
    constexpr unsigned kCount = 1U << 8 * Element::kBytes;
    static typename Element::Number numbers[kCount];
    static bool is_made = false;
    for (unsigned i = 0; !is_made && i < kCount; ++i)
      numbers[i] = Element::number(reinterpret_cast<unsigned char*>(&i));
    is_made = true;
    unsigned bits = 0;
    memcpy(&bits, from, Element::kBytes);
    return numbers[bits];
  }
}

// What a descriptor of a matrix says whose rows lie along k: where byte `byte` of row `row` is.
struct HussarMatrix {
  unsigned start, group_bytes;  // from eight rows to the next eight
  int swizzle_bytes;
  explicit HussarMatrix(unsigned long long bits)
      : start(static_cast<unsigned>(bits & 0x3fffU) << 4),
        group_bytes(static_cast<unsigned>(bits >> 32 & 0x3fffU) << 4),
        swizzle_bytes(bits >> 62 == 1 ? 128 : 64) {
    const bool is_known = bits >> 62 == 1 || bits >> 62 == 2;
    if (!is_known || (bits >> 49 & 7U) != 0) __builtin_trap();  // no swizzle, or that of 32 bytes; a base offset
  }
  const unsigned char* at(int row, int byte) const {
    const auto within = static_cast<unsigned>(row % 8 * swizzle_bytes + byte);
    return hussar_at(hussar_swizzled(start + static_cast<unsigned>(row / 8) * group_bytes + within, swizzle_bytes),
                     hussar_machine.rank);
  }
};

struct HussarTask {
  void (*run)(const HussarTask&);
  void* sum;
  unsigned long long a, b;
  bool keep;
  int selector;       // of sparse products, and
  unsigned where[4];  // the words of the four threads that have the same rows
  int group;
};
// Of a thread: what it has begun and not waited for.
struct HussarTasks {
  HussarTask tasks[64];
  int count, group;
};
inline HussarTasks hussar_tasks[hussar_emulation::kMostThreads];
inline void hussar_begin(const HussarTask& task) {
  HussarTasks& own = hussar_tasks[hussar_machine.number];
  if (own.count == 64) __builtin_trap();
  own.tasks[own.count] = task;
  own.tasks[own.count++].group = own.group;
}
inline void hopper_begin_multiply() {}
inline void hopper_end_multiply() { ++hussar_tasks[hussar_machine.number].group; }
template <int kGroups>
inline void hopper_wait_multiply() {
  HussarTasks& own = hussar_tasks[hussar_machine.number];
  int done = 0;
  for (; done < own.count && own.tasks[done].group < own.group - kGroups; ++done) own.tasks[done].run(own.tasks[done]);
  for (int i = done; i < own.count; ++i) own.tasks[i - done] = own.tasks[i];
  own.count -= done;
  __syncwarp();
}

// The k of kept element `element` of row `row` of a warp's 16. Bytes: each of the four threads has 32 of k of a row,
// the third and the fourth those of the second half; odd ones of the row eight behind. Halves: two threads, 2 *
// selector and the next, have 16 of k each, of the row in the lower half of the word and of the row eight behind it in
// the upper.
inline int hussar_place_of(const HussarTask& task, int row, int element, int bytes) {
  const int group = element / 2;
  const unsigned word = bytes == 1 ? task.where[group / 8 * 2 + row / 8] : task.where[task.selector * 2 + group / 4];
  const unsigned bits = word >> (bytes == 1 ? group % 8 * 4 : row / 8 * 16 + group % 4 * 4);
  if ((bits & 3U) >= (bits >> 2 & 3U)) __builtin_trap();  // places ascend
  return group * 4 + static_cast<int>(bits >> element % 2 * 2 & 3U);
}

// The thread's part of a product of 64 rows of A, 32 bytes of each, and kColumns rows of B.
template <class A, class B, int kColumns, bool kSparse, class Sum>
inline void hussar_multiply_warpgroup(const HussarTask& task) {
  constexpr int kElements = 32 / A::kBytes;
  Sum* const sum = static_cast<Sum*>(task.sum);
  const HussarMatrix a(task.a), b(task.b);
  const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
  typename A::Number left[2][kElements];
  int byte[2][kElements];  // of the row of B that it meets
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    for (int i = 0; i < kElements; ++i) {
      left[half][i] = hussar_number_of<A>(a.at(thread / 32 * 16 + row, i * A::kBytes));
      byte[half][i] = (kSparse ? hussar_place_of(task, row, i, A::kBytes) : i) * B::kBytes;
    }
  }
  for (int i = 0; i < kColumns / 2; ++i) {
    const int column = i / 4 * 8 + lane % 4 * 2 + i % 2, half = i / 2 % 2;
    Sum added = task.keep ? sum[i] : Sum{};
    for (int k = 0; k < kElements; ++k) added += left[half][k] * hussar_number_of<B>(b.at(column, byte[half][k]));
    sum[i] = added;
  }
}

template <class A, class B, class Sum, int kSums>
inline void hussar_wgmma(Sum (&sum)[kSums], unsigned long long a, unsigned long long b, int keep) {
  hussar_begin({hussar_multiply_warpgroup<A, B, 2 * kSums, false, Sum>, sum, a, b, keep != 0, 0, {}, 0});
}
template <class A, class B, class Sum, int kSums>
inline void hussar_wgmma_sparse(Sum (&sum)[kSums], unsigned long long a, unsigned long long b, unsigned where,
                                int selector, int keep) {
  const HussarGiven* warp = hussar_give({{}, {}, where});
  HussarTask task{hussar_multiply_warpgroup<A, B, 2 * kSums, true, Sum>, sum, a, b, keep != 0, selector, {}, 0};
  for (unsigned i = 0; i < 4; ++i) task.where[i] = warp[(threadIdx.x & 28U) + i].where;
  __syncwarp();
  hussar_begin(task);
}
template <class Sum>
inline void hopper_settle(Sum&) {}
