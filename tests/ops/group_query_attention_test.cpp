// com.microsoft.GroupQueryAttention, which the backend tests of ONNX do not cover, against its definition.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

constexpr int64_t kBatch = 2, kHeads = 4, kKvHeads = 2, kSize = 3;

Message gqa_model(int64_t queries, int64_t past, const std::vector<Message>& more = {}) {
  std::vector<Message> attributes = {attribute("num_heads", kHeads), attribute("kv_num_heads", kKvHeads)};
  attributes.insert(attributes.end(), more.begin(), more.end());
  const bool has_past = past >= 0;
  std::vector<Message> inputs = {value("q", {kBatch, queries, kHeads * kSize}),
                                 value("k", {kBatch, queries, kKvHeads * kSize}),
                                 value("v", {kBatch, queries, kKvHeads * kSize})};
  if (has_past) {
    inputs.push_back(value("past_k", {kBatch, kKvHeads, past, kSize}));
    inputs.push_back(value("past_v", {kBatch, kKvHeads, past, kSize}));
  }
  inputs.push_back(value("lengths", {kBatch}, DType::kInt32));
  inputs.push_back(value("total", {}, DType::kInt32));
  Names names = {"q", "k", "v", has_past ? "past_k" : "", has_past ? "past_v" : "", "lengths", "total"};
  return model(graph({{node("GroupQueryAttention", names, {"y", "keys", "values"}, attributes, "com.microsoft")},
                      inputs,
                      {any_shape("y"), any_shape("keys"), any_shape("values")},
                      {}}));
}

Tensor numbers(const Shape& shape, uint32_t seed) {
  Tensor tensor(DType::kFloat32, shape);
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    seed = seed * 1664525U + 1013904223U;
    tensor.data<float>()[i] = static_cast<float>(seed >> 8) * 0x1p-23F - 1;
  }
  return tensor;
}

// Row `at` of sequence `batch` with the head `head`: of the past, of the new ones behind the valid part of the past.
const float* row(const Tensor* past, const Tensor& added, int64_t batch, int64_t head, int64_t at, int64_t begin) {
  if (at < begin) return past->data<float>() + ((batch * kKvHeads + head) * past->shape()[2] + at) * kSize;
  return added.data<float>() + ((batch * added.shape()[1] + at - begin) * kKvHeads + head) * kSize;
}

// What attention gives for element `e` of a query.
double expected(const float* query, const Tensor* past_k, const Tensor& k, const Tensor* past_v, const Tensor& v,
                int64_t batch, int64_t head, int64_t begin, int64_t last, int64_t e) {
  double sum = 0, total = 0;
  for (int64_t at = 0; at <= last; ++at) {
    const float* key = row(past_k, k, batch, head, at, begin);
    double dot = 0;
    for (int64_t i = 0; i < kSize; ++i) dot += static_cast<double>(query[i] * key[i]);
    double weight = std::exp(dot / std::sqrt(static_cast<double>(kSize)));
    sum += weight;
    total += weight * static_cast<double>(row(past_v, v, batch, head, at, begin)[e]);
  }
  return total / sum;
}

// lengths: of the sequences with the new keys.
void check(int64_t queries, int64_t past, const std::vector<int64_t>& lengths) {
  auto plan = build(gqa_model(queries, past).bytes());
  ASSERT_TRUE(plan) << plan.error().message;
  auto session = Session::create(*plan);
  ASSERT_TRUE(session);
  std::vector<Tensor> inputs = {numbers({kBatch, queries, kHeads * kSize}, 1),
                                numbers({kBatch, queries, kKvHeads * kSize}, 2),
                                numbers({kBatch, queries, kKvHeads * kSize}, 3)};
  const Tensor q = inputs[0], k = inputs[1], v = inputs[2];
  Tensor past_k, past_v;
  if (past >= 0) {
    inputs.push_back(past_k = numbers({kBatch, kKvHeads, past, kSize}, 4));
    inputs.push_back(past_v = numbers({kBatch, kKvHeads, past, kSize}, 5));
  }
  const int32_t last_keys[] = {static_cast<int32_t>(lengths[0] - 1), static_cast<int32_t>(lengths[1] - 1)};
  const int32_t total[] = {static_cast<int32_t>(std::max(lengths[0], lengths[1]))};
  inputs.push_back(Tensor::from<int32_t>(DType::kInt32, {kBatch}, last_keys));
  inputs.push_back(Tensor::from<int32_t>(DType::kInt32, {}, total));
  auto outputs = (*session)->run_in_order(inputs);
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_EQ((*outputs)[1].shape().to_string(),
            (Shape{kBatch, kKvHeads, std::max<int64_t>(past, 0) + queries, kSize}).to_string());
  for (int64_t b = 0; b < kBatch; ++b) {
    const int64_t begin = std::max<int64_t>(lengths[static_cast<size_t>(b)] - queries, 0);
    for (int64_t i = 0; i < queries * kHeads * kSize; ++i) {
      const int64_t query = i / (kHeads * kSize), head = i / kSize % kHeads;
      const float* from = q.data<float>() + (b * queries * kHeads + i / kSize) * kSize;
      double want =
          expected(from, &past_k, k, &past_v, v, b, head / (kHeads / kKvHeads), begin, begin + query, i % kSize);
      ASSERT_NEAR((*outputs)[0].data<float>()[b * queries * kHeads * kSize + i], want, 1e-5) << b << " " << i;
    }
    const int64_t rows = (*outputs)[1].shape()[2];
    for (int64_t head = 0; head < kKvHeads; ++head) {
      for (int64_t at = 0; at < begin + queries; ++at) {
        const int64_t offset = ((b * kKvHeads + head) * rows + at) * kSize;
        EXPECT_EQ((*outputs)[1].data<float>()[offset], row(&past_k, k, b, head, at, begin)[0]);
        EXPECT_EQ((*outputs)[2].data<float>()[offset], row(&past_v, v, b, head, at, begin)[0]);
      }
    }
  }
}

TEST(GroupQueryAttention, WithoutPast) {
  check(4, -1, {4, 4});
  check(4, -1, {4, 2});
}

TEST(GroupQueryAttention, EmptyPast) { check(4, 0, {4, 3}); }

TEST(GroupQueryAttention, OneMoreToken) {
  check(1, 5, {6, 6});
  check(1, 5, {6, 3});
}

TEST(GroupQueryAttention, SeveralMoreTokens) { check(3, 5, {8, 8}); }

TEST(GroupQueryAttention, RefusalsSayWhy) {
  const std::pair<const char*, int64_t> cases[] = {{"do_rotary", 1}, {"local_window_size", 8}, {"smooth_softmax", 1}};
  for (const auto& [name, number] : cases) {
    auto plan = build(gqa_model(1, 5, {attribute(name, number)}).bytes());
    ASSERT_FALSE(plan) << name;
    EXPECT_NE(plan.error().message.find(name), std::string::npos) << plan.error().message;
  }
}

}  // namespace
}  // namespace hussar
