// Tuning plans that leave out padding: kernels are told how many rows are needed, as a rule, while they are measured.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "backends/cuda/queue.h"
#include "compile/compile.h"
#include "onnx/import.h"
#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tensor/expected_rows.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"

namespace hussar::tests {
namespace {

// What kernels were told.
struct Seen {
  std::map<const std::byte*, int32_t> numbers;  // that were copied to the device, by their place
  std::vector<int32_t> counts;                  // of rows, which products were launched with
  std::vector<std::vector<int32_t>> starts;     // of sequences
};
Seen seen;
constexpr int64_t kBatch = 4, kLength = 12;

// The emulated device, with an eye on what goes there.
class Spy : public cuda::Queue {
 public:
  explicit Spy(std::unique_ptr<Device> device) : device_(std::move(device)), queue_(cuda::queue_of(device_.get())) {
    facts_ = queue_.facts();
    index_ = queue_.index();
  }
  Result<std::byte*> allocate(size_t bytes) override { return queue_.allocate(bytes); }
  void release(std::byte* memory) override { queue_.release(memory); }
  Result<std::shared_ptr<std::byte>> allocate_pinned(size_t bytes) override { return queue_.allocate_pinned(bytes); }
  Residence residence(const std::byte* memory) override { return queue_.residence(memory); }
  Status copy_in(std::byte* to, const std::byte* from, size_t bytes) override {
    std::vector<int32_t> numbers(bytes / sizeof(int32_t));
    if (bytes == sizeof(int32_t)) std::memcpy(&seen.numbers[to], from, bytes);
    if (bytes == (kBatch + 1) * sizeof(int32_t)) {
      std::memcpy(numbers.data(), from, bytes);
      // The memory is filled with zeros before.
      if (numbers.back() != 0) seen.starts.push_back(numbers);
    }
    return queue_.copy_in(to, from, bytes);
  }
  Status copy_out(std::byte* to, const std::byte* from, size_t bytes) override {
    return queue_.copy_out(to, from, bytes);
  }
  Status copy_within(std::byte* to, const std::byte* from, size_t bytes) override {
    return queue_.copy_within(to, from, bytes);
  }
  Status wait() override { return queue_.wait(); }
  Status follow(void* stream) override { return queue_.follow(stream); }
  Status lead(void* stream) override { return queue_.lead(stream); }
  Status begin_recording() override { return queue_.begin_recording(); }
  Result<int> end_recording() override { return queue_.end_recording(); }
  Status replay(int recording) override { return queue_.replay(recording); }
  void drop_recording(int recording) override { queue_.drop_recording(recording); }
  void drop_recordings() override { queue_.drop_recordings(); }
  std::string describe() const override { return queue_.describe(); }
  std::string identity() const override { return queue_.identity(); }
  Result<cuda::FunctionHandle*> load(std::span<const std::byte> code, const std::string& function,
                                     unsigned shared_bytes) override {
    return queue_.load(code, function, shared_bytes);
  }
  // The last parameter of products is where the number of rows is; other kernels have one parameter.
  Status launch(const cuda::Launch& launch, std::span<void* const> arguments) override {
    if (arguments.size() > 4) {
      const std::byte* rows = nullptr;
      std::memcpy(&rows, arguments.back(), sizeof(rows));
      if (const auto found = seen.numbers.find(rows); found != seen.numbers.end()) seen.counts.push_back(found->second);
    }
    return queue_.launch(launch, arguments);
  }
  Result<cuda::TensorMap> encode(const cuda::TileMap& map, const std::byte* data) override {
    return queue_.encode(map, data);
  }
  Result<cuda::TensorMap> encode(const cuda::WindowMap& map, const std::byte* data) override {
    return queue_.encode(map, data);
  }
  void* stream() override { return queue_.stream(); }
  Status make_current() override { return queue_.make_current(); }

 private:
  std::unique_ptr<Device> device_;
  cuda::Queue& queue_;
};

const cuda::Emulation* usual_emulation = nullptr;
Result<std::unique_ptr<Device>> open_spy(std::string_view target, int index) {
  auto device = usual_emulation->open(target, index);
  if (!device) return tl::unexpected(device.error());
  return std::make_unique<Spy>(std::move(*device));
}

class CudaTuningPacked : public ::testing::Test {
 protected:
  void SetUp() override {
    options_ = for_device();
    if (!is_emulated(use_test_device())) GTEST_SKIP() << "skipped: looks on as an emulated device works";
    options_.sm = 80;
    options_.fp16 = true;
    options_.packed = true;
    options_.timings = &cache_;
    options_.tune_seconds = 100;
    options_.tune_clock = [reads = std::make_shared<int>(0)] { return 1e-3 * ++*reads; };
    options_.tune_shapes = {{"ids", {kBatch, kLength}}, {"mask", {kBatch, kLength}}};
    EncoderForm form;
    form.layers = 1;
    form.dims = {"batch", kLength};
    model_ = encoder_model(form);
    usual_emulation = cuda::emulation();
    static const cuda::Emulation spying = {open_spy, usual_emulation->compile};
    cuda::set_emulation(&spying);
    seen = {};
  }
  void TearDown() override {
    if (usual_emulation != nullptr) cuda::set_emulation(usual_emulation);
  }
  Result<Plan> compile(CompileReport* report) {
    auto imported = onnx::import_bytes(model_.bytes(), nullptr, "");
    if (!imported) return tl::unexpected(imported.error());
    return compile_graph(std::move(imported->graph), options_, report);
  }
  int measured() {
    CompileReport report;
    auto plan = compile(&report);
    EXPECT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(report.tuning.skipped, "");
    return report.tuning.measured;
  }
  TimingCache cache_;
  CompileOptions options_;
  Message model_;
};

TEST_F(CudaTuningPacked, KernelsAreMeasuredWithTheUsualRows) {
  options_.token_part = 0.25;
  EXPECT_GT(measured(), 0);
  // Of 48 rows.
  ASSERT_FALSE(seen.counts.empty());
  for (const int32_t count : seen.counts) EXPECT_EQ(count, 12);
  // Sequences differ: 1.875, 2.625, 3.375 and 4.125 tokens.
  ASSERT_FALSE(seen.starts.empty());
  for (const auto& starts : seen.starts) EXPECT_EQ(starts, (std::vector<int32_t>{0, 1, 4, 7, 12}));
}

TEST_F(CudaTuningPacked, TimesAreOfThatPart) {
  options_.token_part = 0.25;
  const int first = measured();
  EXPECT_GT(first, 0);
  EXPECT_NE(cache_.to_string().find("hussar_token_part=0.25"), std::string::npos) << cache_.to_string();
  EXPECT_EQ(measured(), 0);
  options_.token_part = 0.5;
  const int of_half = measured();
  EXPECT_GT(of_half, 0);
  // The pooled state has all of its rows, and is known.
  EXPECT_LT(of_half, first);
  options_.packed = false;
  EXPECT_GT(measured(), 0);
}

TEST_F(CudaTuningPacked, Refusals) {
  for (const double part : {0.0, -1.0, 1.5, std::nan("")}) {
    options_.token_part = part;
    auto plan = compile(nullptr);
    ASSERT_FALSE(plan);
    EXPECT_NE(plan.error().message.find("above 0 and at most 1"), std::string::npos) << plan.error().message;
  }
}

// What is predicted is of the rows that are expected, by the same ways to go about it.
TEST(CudaPackedPredictions, AreOfTheExpectedRows) {
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_fp16 = {};
  auto product = parse_problem("matmul x0=12288x1024:float16 x1=1024x1024:float16:const");
  auto attention = parse_problem(
      "hussar.Attention x0=32x384x3072:float16 x1=32x384x3072:float16 x2=32x384x3072:float16 heads=16 head_dim=64 "
      "k_offset=1024 v_offset=2048");
  ASSERT_TRUE(product && attention);
  for (ProblemGraph* problem : {&*product, &*attention}) {
    const Choice all = choose(Problem{*problem->node, target});
    problem->node->attributes.set(kTokenPartAttribute, 0.5F);
    const Choice half = choose(Problem{*problem->node, target});
    ASSERT_EQ(all.rivals.size(), half.rivals.size());
    int compared = 0;
    for (size_t i = 0; i < all.rivals.size(); ++i) {
      EXPECT_EQ(all.rivals[i].configuration, half.rivals[i].configuration);
      EXPECT_EQ(all.rivals[i].refusal, half.rivals[i].refusal);
      const std::string_view kernel = all.rivals[i].tactic->kernel;
      const bool leaves_out = kernel.starts_with("cuda_product") || kernel.starts_with("cuda_attention");
      if (all.rivals[i].refusal || !leaves_out) continue;
      EXPECT_LT(half.rivals[i].predicted, 0.8 * all.rivals[i].predicted) << all.rivals[i].name(target);
      ++compared;
    }
    EXPECT_GT(compared, 2);
  }
}

}  // namespace
}  // namespace hussar::tests
