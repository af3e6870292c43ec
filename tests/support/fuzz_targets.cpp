// Bytes of unknown worth through the whole program.
#include "tests/support/fuzz_targets.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "plan/format.h"
#include "tests/support/pipeline.h"

namespace hussar::tests {
namespace {

constexpr double kMostElements = 1e5;
constexpr int64_t kMostInputElements = 10000;
constexpr size_t kMostSteps = 1000;

constexpr SessionOptions kOneThread = {.threads = 1};

bool is_small(const PlanGraph& graph) {
  // Loops may rightly take for ever.
  bool has_bodies = std::any_of(graph.steps.begin(), graph.steps.end(),
                                [](const PlanStep& step) { return step.op == "Loop" || !step.bodies.empty(); });
  return !has_bodies && graph.steps.size() <= kMostSteps && largest_value(graph, 2) < kMostElements;
}

void run(const Plan& plan, Session& session) {
  if (auto inputs = make_inputs(plan, 1, 2, kMostInputElements)) (void)session.run_in_order(*inputs);
}

void open_plan(std::span<const std::byte> bytes) {
  auto [aligned, owner] = aligned_copy(bytes);
  (void)read_plan_header(aligned);
  auto plan = decode_plan(aligned, owner);
  if (!plan) return;
  auto session = Session::create(*plan, kOneThread);
  if (session && is_small((*plan)->graph)) run(**plan, **session);
}

}  // namespace

void try_any_model(std::span<const std::byte> bytes) {
  CompileOptions options;
  options.threads = 1;
  auto plan = build(bytes, options);
  if (!plan || !is_small((*plan)->graph)) return;
  auto session = Session::create(*plan, kOneThread);
  if (session) run(**plan, **session);
}

void try_any_plan(std::span<const std::byte> bytes) {
  open_plan(bytes);
  size_t size = bytes.size();
  if (size < sizeof(FileHeader)) return;
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
}

}  // namespace hussar::tests
