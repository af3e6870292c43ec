// The fixed part of a .plan file. docs/plan_format.md explains it.
#pragma once
#include <cstdint>
#include <span>

namespace hussar {

// The high bit catches seven-bit transfers, the line ends catch text conversions.
inline constexpr char kMagic[8] = {'\x89', 'H', 'S', 'R', '\r', '\n', '\x1a', '\n'};
inline constexpr uint32_t kSectionCount = 3;  // meta, graph, constants
inline constexpr uint64_t kConstantAlignment = 4096;
// Constants up to this size are hashed on every load; it takes about a millisecond.
inline constexpr uint64_t kAlwaysVerifiedBytes = 8 << 20;

struct SectionEntry {
  uint32_t id;  // 1 meta, 2 graph, 3 constants
  uint32_t flags;
  uint64_t offset;
  uint64_t bytes;
  uint64_t hash;  // XXH3-64
};

// The fields up to and including file_bytes keep their place in every future version.
struct FileHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  char written_by[32];
  char target[32];
  uint64_t file_bytes;
  uint32_t section_count;
  uint32_t reserved;
  SectionEntry sections[kSectionCount];
  uint64_t reserved_too[7];
  uint64_t header_hash;  // XXH3-64 of everything before it
};
static_assert(sizeof(FileHeader) == 256);

uint64_t hash_bytes(std::span<const std::byte> bytes);

}  // namespace hussar
