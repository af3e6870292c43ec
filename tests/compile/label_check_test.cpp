// When a model that is right so often is guessing.
#include "compile/label_check.h"

#include <gtest/gtest.h>

namespace hussar {
namespace {

// `right` of the samples are, the others one class further; labels take turns.
LabelScore score_of(int64_t samples, int64_t right, int64_t classes) {
  std::vector<int64_t> predicted, labels;
  for (int64_t i = 0; i < samples; ++i) {
    labels.push_back(i * 7 % classes);
    predicted.push_back((labels.back() + (i < right ? 0 : 1)) % classes);
  }
  return score_classes(predicted, labels, classes);
}

TEST(LabelCheck, CountsAndExpects) {
  const LabelScore score = score_of(100, 40, 10);
  EXPECT_EQ(score.samples, 100);
  EXPECT_EQ(score.right, 40);
  EXPECT_EQ(score.label_classes, 10);
  EXPECT_NEAR(score.by_chance, 10, 1e-9);
}

TEST(LabelCheck, ChanceIsWhatGuessingGives) {
  EXPECT_TRUE(score_of(100, 10, 10).is_chance());
  EXPECT_TRUE(score_of(100, 0, 10).is_chance());
  EXPECT_TRUE(score_of(100, 53, 2).is_chance());
  EXPECT_FALSE(score_of(100, 40, 10).is_chance());
  EXPECT_FALSE(score_of(100, 75, 2).is_chance());
  EXPECT_FALSE(score_of(8, 7, 10).is_chance());
  EXPECT_FALSE(score_of(0, 0, 10).is_chance());
}

TEST(LabelCheck, OneClassOfEverythingIsAGuess) {
  std::vector<int64_t> labels(100, 0), always(100, 0);
  for (size_t i = 0; i < 60; ++i) labels[i] = 1 + static_cast<int64_t>(i % 9);
  const LabelScore score = score_classes(always, labels, 10);
  EXPECT_EQ(score.right, 40);
  EXPECT_TRUE(score.is_chance());
  EXPECT_FALSE(check_knows_labels(score).has_value());
}

TEST(LabelCheck, LabelsOfOneClassAreHeldToAGuess) {
  const std::vector<int64_t> labels(100, 3);
  std::vector<int64_t> predicted(100, 3);
  EXPECT_FALSE(score_classes(predicted, labels, 10).is_chance());
  for (size_t i = 0; i < 60; ++i) predicted[i] = static_cast<int64_t>(i % 3);
  EXPECT_FALSE(score_classes(predicted, labels, 10).is_chance());
  for (size_t i = 0; i < 95; ++i) predicted[i] = static_cast<int64_t>(i % 3);
  EXPECT_TRUE(score_classes(predicted, labels, 10).is_chance());
}

}  // namespace
}  // namespace hussar
