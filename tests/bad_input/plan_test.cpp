// Plans with any byte changed or cut: an error, or, when someone has made the checksums fit, at least no crash.
#include <gtest/gtest.h>

#include <cstring>

#include "plan/format.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

std::vector<std::byte> plan_bytes(const Message& model) {
  CompileOptions options;
  options.threads = 1;
  auto plan = build(model.bytes(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? encode_plan(**plan) : std::vector<std::byte>();
}

Result<std::shared_ptr<const Plan>> decode(std::span<const std::byte> bytes) {
  auto [aligned, owner] = aligned_copy(bytes);
  return decode_plan(aligned, owner);
}

// Opens a session and runs it, if the plan wants a sensible amount of memory.
void run_once(const std::shared_ptr<const Plan>& plan) {
  if (!(largest_value(plan->graph, 3) < 1e6)) return;
  auto inputs = make_inputs(*plan, 1, 3, 100000);
  if (!inputs) return;
  SessionOptions options;
  options.threads = 1;
  auto session = Session::create(plan, options);
  if (session) (void)(*session)->run_in_order(*inputs);
}

void expect_every_change_is_refused(const Message& model) {
  auto bytes = plan_bytes(model);
  ASSERT_TRUE(decode(bytes));
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int change : {0x01, 0x80, 0xFF}) {
      auto changed = bytes;
      changed[at] ^= static_cast<std::byte>(change);
      auto plan = decode(changed);
      ASSERT_FALSE(plan) << "byte " << at << " of " << bytes.size() << " changed by " << change;
      ASSERT_EQ(plan.error().code, ErrorCode::kPlanIncompatible);
    }
  }
  for (size_t length = 0; length < bytes.size(); ++length) {
    auto plan = decode(std::span(bytes).first(length));
    ASSERT_FALSE(plan) << "cut to " << length;
    ASSERT_EQ(plan.error().code, ErrorCode::kPlanIncompatible);
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode(bytes));
}

TEST(BadPlan, EveryByteAndLengthOfADensePlan) { expect_every_change_is_refused(dense_model()); }
TEST(BadPlan, EveryByteAndLengthOfAControlFlowPlan) { expect_every_change_is_refused(control_model()); }

// Writes the checksums that fit the contents.
void forge(std::vector<std::byte>& bytes) {
  FileHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  for (SectionEntry& entry : header.sections) {
    if (entry.offset > bytes.size() || entry.bytes > bytes.size() - entry.offset) continue;
    entry.hash = hash_bytes(std::span(bytes).subspan(entry.offset, entry.bytes));
  }
  header.header_hash = hash_bytes(std::as_bytes(std::span(&header, 1)).first(sizeof(header) - sizeof(uint64_t)));
  std::memcpy(bytes.data(), &header, sizeof(header));
}

void expect_forgeries_do_not_crash(const Message& model) {
  auto bytes = plan_bytes(model);
  FileHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  size_t accepted = 0;
  for (const SectionEntry& entry : {header.sections[0], header.sections[1]}) {
    for (size_t at = entry.offset; at < entry.offset + entry.bytes; ++at) {
      for (int change : {0x01, 0x02, 0x04, 0x80, 0xFF}) {
        auto changed = bytes;
        changed[at] ^= static_cast<std::byte>(change);
        forge(changed);
        auto plan = decode(changed);
        if (!plan) continue;
        ++accepted;
        run_once(*plan);
      }
    }
  }
  EXPECT_GT(accepted, 0U);  // names and reports may be anything
}

TEST(BadPlan, ForgedDensePlans) { expect_forgeries_do_not_crash(dense_model()); }
TEST(BadPlan, ForgedConvolutionPlans) { expect_forgeries_do_not_crash(conv_model()); }
TEST(BadPlan, ForgedControlFlowPlans) { expect_forgeries_do_not_crash(control_model()); }

TEST(BadPlan, OtherVersionsSayWhatToDo) {
  auto bytes = plan_bytes(dense_model());
  for (uint32_t version : {0U, kPlanVersion + 1, 4000000000U}) {
    auto changed = bytes;
    std::memcpy(changed.data() + offsetof(FileHeader, version), &version, sizeof(version));
    auto plan = decode(changed);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::kPlanIncompatible);
    EXPECT_NE(plan.error().message.find(std::to_string(version)), std::string::npos);
    EXPECT_NE(plan.error().message.find("build the plan again"), std::string::npos) << plan.error().message;
    // The header of any version can be read.
    auto facts = read_plan_header(changed);
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->version, version);
  }
}

TEST(BadPlan, OtherFilesAreNotPlans) {
  for (std::string text : {std::string(), std::string("\x89HSR"), std::string(1000, 'a'), std::string(256, '\0')}) {
    auto plan = decode(std::as_bytes(std::span(text)));
    ASSERT_FALSE(plan);
    EXPECT_NE(plan.error().message.find("not a Hussar plan"), std::string::npos) << plan.error().message;
  }
}

TEST(BadPlan, DamagedLargeConstantsAreFoundOnDemand) {
  std::vector<float> large((kAlwaysVerifiedBytes >> 2) + 1024, 0.5F);
  int64_t count = static_cast<int64_t>(large.size());
  auto bytes = plan_bytes(model(graph({{node("Add", {"x", "w"}, {"y"})},
                                       {value("x", {count})},
                                       {value("y", {count})},
                                       {tensor_of("w", DType::kFloat32, {count}, large)}})));
  bytes[bytes.size() - 100] ^= std::byte{1};
  auto [aligned, owner] = aligned_copy(bytes);
  EXPECT_TRUE(decode_plan(aligned, owner));
  EXPECT_FALSE(decode_plan(aligned, owner, {.verify_constants = true}));
}

}  // namespace
}  // namespace hussar
