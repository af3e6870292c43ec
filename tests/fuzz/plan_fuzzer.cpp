// Any bytes as a plan, once as they are and once with checksums that fit, so that what comes after them is reached.
#include <cstring>

#include "plan/format.h"
#include "tests/support/pipeline.h"

static void open_plan(std::span<const std::byte> bytes) {
  using namespace hussar;  // NOLINT
  auto [aligned, owner] = tests::aligned_copy(bytes);
  (void)read_plan_header(aligned);
  auto plan = decode_plan(aligned, owner);
  if (!plan) return;
  SessionOptions options;
  options.threads = 1;
  (void)Session::create(*plan, options);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hussar;  // NOLINT
  auto bytes = std::as_bytes(std::span(data, size));
  open_plan(bytes);
  if (size < sizeof(FileHeader)) return 0;
  std::vector<std::byte> forged(bytes.begin(), bytes.end());
  FileHeader header{};
  std::memcpy(&header, forged.data(), sizeof(header));
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kPlanVersion;
  header.header_bytes = sizeof(header);
  header.section_count = kSectionCount;
  header.file_bytes = size;
  for (SectionEntry& entry : header.sections) {
    if (entry.offset > size || entry.bytes > size - entry.offset) continue;
    entry.hash = hash_bytes(std::span(forged).subspan(entry.offset, entry.bytes));
  }
  header.header_hash = hash_bytes(std::as_bytes(std::span(&header, 1)).first(sizeof(header) - sizeof(uint64_t)));
  std::memcpy(forged.data(), &header, sizeof(header));
  open_plan(forged);
  return 0;
}
