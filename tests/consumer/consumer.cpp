// consumer_cpp MODEL.onnx PLAN PRODUCT.onnx CACHE: compiles, saves, loads, runs twice, calibrates (PRODUCT to CACHE),
// and provokes errors through the C++ interface.
#include <hussar/calibrate.h>
#include <hussar/compile.h>
#include <hussar/plan.h>
#include <hussar/prune.h>
#include <hussar/session.h>
#include <hussar/version.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

static int failures = 0;

static void expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("failed: %s\n", what);
  ++failures;
}

// The model: y = softmax(relu(x + b)) over [batch, 4], b = {0.5, -0.25, 0, 1}.
static void check_run(hussar::Session& session, int64_t batch) {
  hussar::Tensor x(hussar::DType::kFloat32, {batch, 4});
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = static_cast<float>(i % 7) - 3.0F;
  auto outputs = session.run({{"x", x}});
  expect(outputs.has_value(), "run");
  if (!outputs) return;
  expect(outputs->size() == 1 && (*outputs)[0].shape() == hussar::Shape({batch, 4}), "the shape of y");
  const float bias[4] = {0.5F, -0.25F, 0.0F, 1.0F};
  for (int64_t row = 0; row < batch; ++row) {
    double total = 0, wanted[4];
    for (int i = 0; i < 4; ++i) {
      float sum = x.data<float>()[row * 4 + i] + bias[i];
      wanted[i] = std::exp(sum > 0 ? sum : 0.0);
      total += wanted[i];
    }
    for (int i = 0; i < 4; ++i) {
      expect(std::abs((*outputs)[0].data<float>()[row * 4 + i] - wanted[i] / total) < 1e-5, "a value of y");
    }
  }
}

// Hands out `count` batches of four samples, and keeps the cache.
class Numbers : public hussar::Calibrator {
 public:
  explicit Numbers(int count) : rest_(count) {}
  hussar::Result<bool> next_batch(std::vector<hussar::NamedTensor>& inputs) override {
    if (rest_-- <= 0) return false;
    hussar::Tensor x(hussar::DType::kFloat32, {4, 4});
    for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = static_cast<float>(i % (rest_ + 2));
    inputs = {{"x", x}};
    ++handed_out;
    return true;
  }
  hussar::Result<std::string> read_cache() override { return cache; }
  hussar::Status write_cache(std::string_view text) override {
    cache = text;
    return {};
  }
  std::string cache;
  int handed_out = 0;

 private:
  int rest_;
};

static void check_calibration(const char* model) {
  Numbers numbers(3), few(1), again(3);
  int warnings = 0;
  hussar::CalibrateOptions options;
  options.warning = [&](std::string_view) { ++warnings; };
  auto cache = hussar::calibrate(model, numbers, options);
  expect(cache.has_value() && *cache == numbers.cache && cache->find("\"x\"") != std::string::npos, "calibrate");
  if (!cache) std::printf("%s\n", cache.error().message.c_str());
  expect(warnings > 0, "a warning that 12 samples are few");
  again.cache = numbers.cache;
  auto same = hussar::calibrate(model, again);
  expect(same.has_value() && *same == numbers.cache && again.handed_out == 0, "a cache saves the run");
  const std::string exported = std::string(model) + ".qdq.onnx";
  auto products = hussar::export_qdq(model, numbers.cache, exported);
  expect(!products && products.error().message.find("has no Conv, MatMul or Gemm") != std::string::npos, "export_qdq");
  hussar::QdqOptions options_of_export;
  options_of_export.activations = "int4";
  expect(!hussar::export_qdq(model, numbers.cache, exported, options_of_export), "unknown activations");
  auto refused = hussar::calibrate(model, few);
  expect(!refused && refused.error().message.find("4 samples are too few") != std::string::npos, "too few samples");
  few.cache = numbers.cache;
  few.cache.replace(few.cache.find("model_hash") + 14, 4, "beef");
  refused = hussar::calibrate(model, few);
  expect(!refused && refused.error().message.find("another model") != std::string::npos, "a stale cache");
  Numbers rounded(3);
  options.rounding = "adaptive";
  auto adaptive = hussar::calibrate(model, rounded, options);
  expect(adaptive.has_value() && adaptive->find("\"rounding\": \"adaptive\"") != std::string::npos,
         "adaptive rounding");
  options.rounding = "magic";
  expect(!hussar::calibrate(model, rounded, options), "an unknown rounding");
  options.rounding = "nearest";
  options.method = "magic";
  expect(!hussar::calibrate(model, numbers, options), "an unknown method");
}

static float first_output(const hussar::Plan& plan) {
  auto session = hussar::Session::create(plan);
  expect(session.has_value(), "session");
  if (!session) return 0;
  hussar::Tensor x(hussar::DType::kFloat32, {1, 4});
  for (int i = 0; i < 4; ++i) x.data<float>()[i] = 0.73F * static_cast<float>(i);
  auto outputs = session->run({{"x", x}});
  expect(outputs.has_value(), "run");
  return outputs ? (*outputs)[0].data<float>()[0] : 0;
}

// The model: y = x * w. The cache goes to a file, which the C program reads.
static void check_int8(const char* model, const char* cache_file) {
  Numbers numbers(3);
  auto cache = hussar::calibrate(model, numbers);
  expect(cache.has_value(), "calibrate the product");
  if (!cache) return;
  std::ofstream(cache_file) << *cache;
  hussar::CompileOptions options;
  options.budget = "0";
  auto in_float = hussar::compile(model, options);
  options.int8.emplace();
  auto refused = hussar::compile(model, options);
  expect(!refused && refused.error().code == hussar::ErrorCode::kUsage, "INT8 without ranges is refused");
  options.int8->calibration = *cache;
  options.int8->strict = true;
  auto from_text = hussar::compile(model, options);
  if (!from_text) std::printf("%s\n", from_text.error().message.c_str());
  options.int8->calibration_file = cache_file;
  expect(!hussar::compile(model, options), "two calibrations are refused");
  options.int8->calibration.clear();
  auto from_file = hussar::compile(model, options);
  expect(in_float && from_text && from_file, "compile in INT8");
  if (!in_float || !from_text || !from_file) return;
  const float exact = first_output(*in_float), rounded = first_output(*from_text);
  expect(exact != rounded && std::abs(exact - rounded) < 0.05F, "INT8 is close, and not the same");
  expect(rounded == first_output(*from_file), "the file gives what the text gives");
  options.fp32_nodes = {"head"};
  auto kept = hussar::compile(model, options);
  expect(kept && first_output(*kept) == exact, "a node that is named stays in FP32, strict or not");
  options.int8->method = "auto";
  options.fp32_nodes.clear();
  options.int8->dynamic = true;
  expect(!hussar::compile(model, options), "dynamic ranges and a calibration are refused");
  options.int8->calibration_file.clear();
  auto dynamic = hussar::compile(model, options);
  const float found = dynamic ? first_output(*dynamic) : exact;
  expect(exact != found && std::abs(exact - found) < 0.05F, "INT8 without a calibration");
  options.int8->dynamic = false;
  options.int8->calibration_file = cache_file;
  options.int8->method = "magic";
  expect(!hussar::compile(model, options), "an unknown method");
}

// Whose tensors the cache does not know.
static void check_int8_refusals(const char* model, const char* cache_file) {
  hussar::CompileOptions options;
  options.int8.emplace();
  options.int8->calibration_file = cache_file;
  auto refused = hussar::compile(model, options);
  expect(!refused && refused.error().message.find("another model") != std::string::npos, "a cache of another model");
  options.int8->calibration_file = "no/such.json";
  expect(!hussar::compile(model, options), "a missing cache");
}

// One input of the product is unknown to a TensorRT cache that names its output alone.
static void check_strict(const char* model) {
  hussar::CompileOptions options;
  options.int8.emplace();
  options.int8->calibration = "TRT-8601-EntropyCalibration2\ny: 3c010204\n";
  options.budget = "0";
  expect(hussar::compile(model, options).has_value(), "ranges that are not known");
  options.int8->strict = true;
  auto refused = hussar::compile(model, options);
  expect(!refused && refused.error().code == hussar::ErrorCode::kAccuracy &&
             refused.error().message.find("head (MatMul): nothing is known") != std::string::npos,
         "strict names what stays in floats");
  options.int8->calibration = "TRT-8601-EntropyCalibration2\nnobody: 3c010204\n";
  refused = hussar::compile(model, options);
  expect(!refused && refused.error().code == hussar::ErrorCode::kUsage, "a cache that names nothing of the model");
}

static void check_pruning(const char* model) {
  const std::string pruned = std::string(model) + ".pruned.onnx";
  Numbers numbers(3);
  auto report = hussar::prune(model, &numbers, pruned);
  expect(!report && report.error().message.find("has no Conv, MatMul or Gemm") != std::string::npos, "prune");
  hussar::PruneOptions options;
  options.method = "wanda";
  report = hussar::prune(model, nullptr, pruned, options);
  expect(!report && report.error().message.find("needs data") != std::string::npos, "no data");
  options.pattern = "1:4";
  expect(!hussar::prune(model, nullptr, pruned, options), "an unknown pattern");
}

int main(int count, char** words) {
  if (count != 5) return 2;
  hussar::CompileOptions options;
  options.threads = 1;
  int stages = 0;
  options.progress = [&](std::string_view) { ++stages; };
  auto plan = hussar::compile(words[1], options);
  if (!plan) std::printf("%s\n", plan.error().message.c_str());
  expect(plan.has_value() && stages > 0, "compile");
  if (!plan) return 1;
  expect(plan->save(words[2]).has_value(), "save");
  auto loaded = hussar::Plan::load(words[2]);
  expect(loaded.has_value(), "load");
  if (!loaded) return 1;
  expect(loaded->inputs().size() == 1 && loaded->inputs()[0].name == "x" &&
             loaded->inputs()[0].dtype == hussar::DType::kFloat32 && loaded->inputs()[0].dims.size() == 2 &&
             loaded->inputs()[0].dims[0].size == -1 && loaded->inputs()[0].dims[1].size == 4,
         "the facts about x");
  expect(loaded->facts().at("hussar_version") == HUSSAR_VERSION, "the version in the plan");
  auto session = hussar::Session::create(*loaded);
  expect(session.has_value(), "session");
  if (!session) return 1;
  check_run(*session, 1);
  check_run(*session, 5);
  check_calibration(words[1]);
  check_int8(words[3], words[4]);
  check_int8_refusals(words[1], words[4]);
  check_strict(words[3]);
  check_pruning(words[1]);

  hussar::Tensor wrong(hussar::DType::kFloat32, {1, 5});
  auto refused = session->run({{"x", wrong}});
  expect(!refused && refused.error().code == hussar::ErrorCode::kUsage, "a wrong shape is refused");
  refused = session->run({{"z", wrong}});
  expect(!refused && refused.error().message.find("'z'") != std::string::npos, "a wrong name is refused by name");
  hussar::Tensor right(hussar::DType::kFloat32, {1, 4});
  refused = session->run({{"x", right, hussar::Place::kDevice}});
  expect(!refused && refused.error().message.find("built for the CPU") != std::string::npos, "no memory of a GPU");
  auto y = session->allocate_pinned(hussar::DType::kFloat32, {1, 4});
  expect(y.has_value(), "a pinned tensor");
  if (!y) return 1;
  auto placed = session->run({{"x", right}}, {{"y", hussar::Place::kHost, y->raw(), y->bytes()}});
  expect(placed.has_value() && (*placed)[0].raw() == y->raw() && y->data<float>()[0] > 0, "an output of the caller's");
  check_run(*session, 2);
  expect(!hussar::compile("no/such/model.onnx").has_value(), "a missing model is an error");
  options.target = "abacus";
  auto bad_target = hussar::compile(words[1], options);
  expect(!bad_target && bad_target.error().code == hussar::ErrorCode::kUsage, "an unknown target is refused");
  const char garbage[] = "not a plan";
  auto bad_plan = hussar::Plan::from_bytes(std::as_bytes(std::span(garbage)));
  expect(!bad_plan && bad_plan.error().code == hussar::ErrorCode::kPlanIncompatible, "garbage is no plan");
  return failures == 0 ? 0 : 1;
}
