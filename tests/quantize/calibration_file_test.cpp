// Calibration files: our own and TensorRT's, there and back, damaged, of other models.
#include "quantize/calibration_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "onnx/import.h"
#include "quantize/trt_cache.h"
#include "tests/support/folder.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

Calibration some_calibration() {
  Calibration calibration;
  calibration.model = "net.onnx";
  calibration.model_hash = "0123456789abcdef";
  calibration.data_hash = "fedcba9876543210";
  calibration.samples = 12;
  std::mt19937 random(1);
  std::vector<float> values(5000);
  for (float& value : values) value = std::normal_distribution<float>()(random);
  calibration.tensors["both"].statistics.add(values);
  for (float& value : values) value = std::max(0.0F, value);
  calibration.tensors["relu: 0"].statistics.add(values);
  calibration.tensors["zero"].statistics.add(std::vector<float>(7, 0.0F));
  calibration.tensors["bad"].statistics.add(std::vector<float>{NAN, 1, 2});
  decide(calibration, Method::kPercentile999);
  return calibration;
}

TEST(CalibrationFile, ComesBackAsItWas) {
  Calibration calibration = some_calibration();
  tests::Folder folder;
  ASSERT_TRUE(write_calibration(calibration, folder.file("c.json")));
  auto back = read_calibration(folder.file("c.json"));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(encode_calibration(*back), encode_calibration(calibration));
  EXPECT_EQ(back->method, Method::kPercentile999);
  EXPECT_EQ(back->samples, 12);
  for (const auto& [name, tensor] : calibration.tensors) {
    EXPECT_EQ(back->tensors[name].statistics, tensor.statistics) << name;
    EXPECT_EQ(back->tensors[name].range.high, tensor.range.high) << name;
    EXPECT_EQ(back->tensors[name].range.note, tensor.range.note) << name;
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"c.json"});
}

TEST(CalibrationFile, AnotherMethodNeedsNoData) {
  auto back = decode_calibration(encode_calibration(some_calibration()), "c.json");
  ASSERT_TRUE(back) << back.error().message;
  for (Method method : {Method::kMinMax, Method::kEntropy, Method::kMse, Method::kPercentile999}) {
    for (DType dtype : {DType::kUInt8, DType::kInt8}) {
      auto params = activation_params(*back, method, dtype);
      ASSERT_EQ(params.size(), 4);
      for (const auto& [name, tensor] : some_calibration().tensors) {
        QuantParams expected = params_of(choose_range(tensor.statistics, method, dtype), dtype);
        EXPECT_EQ(params[name].scale, expected.scale) << name;
        EXPECT_EQ(params[name].zero_point, expected.zero_point) << name;
        EXPECT_EQ(params[name].dtype, dtype) << name;
      }
    }
  }
}

TEST(CalibrationFile, DamagedOnesAreRefused) {
  const std::string text = encode_calibration(some_calibration());
  auto refusal = [&](std::string_view from, std::string_view to) {
    std::string changed = text;
    size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    auto outcome = decode_calibration(changed, "c.json");
    return outcome ? "accepted" : outcome.error().message;
  };
  EXPECT_NE(refusal("\"version\": 1", "\"version\": 2").find("has version 2, this hussar reads 1"), std::string::npos);
  EXPECT_NE(refusal("hussar calibration", "other").find("\"format\""), std::string::npos);
  EXPECT_NE(refusal("percentile99.9", "magic").find("no method \"magic\""), std::string::npos);
  EXPECT_NE(refusal("\"elements\":5000", "\"elements\":5001").find("contradict"), std::string::npos);
  EXPECT_NE(refusal("\"exponent\":-9", "\"exponent\":9").find("contradict"), std::string::npos);
  EXPECT_NE(refusal("\"exponent\":-9", "\"exponent\":1e99").find("\"exponent\""), std::string::npos);
  EXPECT_NE(refusal("\"positive\":[", "\"positive\":[-1e9,").find("no count"), std::string::npos);
  EXPECT_NE(refusal("\"positive\":[", "\"positive\":[-2000,-2000,").find("\"positive\""), std::string::npos);
  EXPECT_NE(refusal("\"samples\": 12", "\"samples\": -1").find("\"samples\""), std::string::npos);
  EXPECT_NE(refusal("\"complete\": true", "\"complete\": 3").find("\"complete\""), std::string::npos);
  EXPECT_NE(refusal("\"low\":", "\"low\":\"x\",\"l\":").find("\"low\""), std::string::npos);
  // Cut off anywhere.
  for (size_t size = 0; size < text.size() - 2; size += 997) {
    EXPECT_FALSE(decode_calibration(text.substr(0, size), "c.json")) << size;
  }
}

TEST(CalibrationFile, OfAnotherModelOrCutOffIsRefused) {
  auto imported = [](const tests::Message& message) {
    auto model = onnx::import_bytes(message.bytes(), nullptr, ".");
    EXPECT_TRUE(model);
    return model_fingerprint(model->graph);
  };
  std::string dense = imported(tests::dense_model()), conv = imported(tests::conv_model());
  EXPECT_EQ(dense, imported(tests::dense_model()));
  EXPECT_NE(dense, conv);
  std::string other = tests::conv_model().str();
  other[other.rfind("w2") + 40] ^= 1;  // one weight
  EXPECT_NE(conv, imported(tests::Message().append(other)));
  Calibration calibration = some_calibration();
  calibration.model_hash = conv;
  EXPECT_TRUE(check_is_of_model(calibration, conv, "c.json"));
  auto stale = check_is_of_model(calibration, dense, "c.json");
  ASSERT_FALSE(stale);
  EXPECT_NE(stale.error().message.find("another model ('net.onnx'"), std::string::npos) << stale.error().message;
  calibration.is_complete = false;
  EXPECT_NE(check_is_of_model(calibration, conv, "c.json").error().message.find("cut off after 12"), std::string::npos);
}

TEST(CalibrationFile, TensorRTCachesAreReadAndWritten) {
  auto cache = decode_trt_cache("TRT-7000-EntropyCalibration2\r\n167: 3c009976\na: b: 3c010204\n\n", "t.cache");
  ASSERT_TRUE(cache) << cache.error().message;
  EXPECT_EQ(cache->method, Method::kEntropy);
  auto params = activation_params(*cache, Method::kAuto, DType::kInt8);
  ASSERT_EQ(params.count("a: b"), 1);
  EXPECT_EQ(params["a: b"].scale, 1.0F / 127);
  EXPECT_EQ(params["a: b"].zero_point, 0);
  EXPECT_NEAR(activation_params(*cache, Method::kAuto)["a: b"].scale, 2.0F / 255, 1e-8F);
  std::string text = encode_trt_cache(*cache, Method::kEntropy);
  EXPECT_EQ(text, "TRT-8601-EntropyCalibration2\n167: 3c009976\na: b: 3c010204\n");
  text = encode_trt_cache(some_calibration(), Method::kMinMax);
  EXPECT_EQ(text.substr(0, 26), "TRT-8601-MinMaxCalibration");
  auto back = decode_trt_cache(text, "t.cache");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(encode_trt_cache(*back, Method::kMinMax), text);
}

TEST(CalibrationFile, DamagedTensorRTCachesAreRefused) {
  for (const char* text : {"", "hello\n", "TRT-8601-EntropyCalibration2\n", "TRT-8601-EntropyCalibration2\nx\n",
                           "TRT-8601-EntropyCalibration2\nx: 3c0102\n", "TRT-8601-EntropyCalibration2\nx: 3c01020g\n",
                           "TRT-8601-EntropyCalibration2\nx: 7f800000\n", "TRT-8601-EntropyCalibration2\nx: bc010204\n",
                           "TRT-8601-EntropyCalibration2\nx: 0x010204\n"}) {
    auto outcome = decode_trt_cache(text, "t.cache");
    ASSERT_FALSE(outcome) << text;
    EXPECT_NE(outcome.error().message.find("t.cache"), std::string::npos);
  }
}

}  // namespace
}  // namespace hussar
