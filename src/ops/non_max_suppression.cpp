// NonMaxSuppression: greedily keeps the boxes [B][N][4] of highest score [B][C][N] in each class that overlap no kept
// box by more than a threshold. Gives [count][3] of (batch, class, box). Inputs: boxes, scores,
// max_output_boxes_per_class, iou_threshold, score_threshold.
#include <numeric>

#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  for (size_t i : {0, 1}) {
    if (context.rank(i) >= 0 && context.rank(i) != 3) return context.fail("input {} must have rank 3", i);
  }
  if (context.dims(0) != nullptr && context.dims(1) != nullptr) {
    auto differ = [](const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && !(a == b); };
    const Dims& boxes = *context.dims(0);
    const Dims& scores = *context.dims(1);
    if (differ(boxes[2], Dim(4)) || differ(boxes[0], scores[0]) || differ(boxes[1], scores[2])) {
      return context.fail("boxes of shape {} and scores of shape {}", to_string(boxes), to_string(scores));
    }
  }
  context.set(0, DType::kInt64, {context.fresh(), Dim(3)});
  return {};
}

namespace {

struct Box {
  float left, top, right, bottom;
};

// Corners may come in either order, as (y1, x1, y2, x2); with `centred` it is (x, y, width, height).
Box make_box(const float* values, bool centred) {
  if (centred) {
    float half_width = values[2] / 2, half_height = values[3] / 2;
    return {values[0] - half_width, values[1] - half_height, values[0] + half_width, values[1] + half_height};
  }
  return {std::min(values[1], values[3]), std::min(values[0], values[2]), std::max(values[1], values[3]),
          std::max(values[0], values[2])};
}

bool overlap(const Box& a, const Box& b, float threshold) {
  float width = std::min(a.right, b.right) - std::max(a.left, b.left);
  float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  if (!(width > 0 && height > 0)) return false;
  float area_a = (a.right - a.left) * (a.bottom - a.top), area_b = (b.right - b.left) * (b.bottom - b.top);
  float both = area_a + area_b - width * height;
  return area_a > 0 && area_b > 0 && both > 0 && width * height / both > threshold;
}

}  // namespace

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(1);
  int64_t classes = shape[1], count = shape[2];
  auto boxes = context.read<float>(0), scores = context.read<float>(1);
  double limit = context.number(2, 0);
  auto iou_threshold = static_cast<float>(context.number(3, 0));
  bool filter = context.has(4) && context.input(4).elements() > 0;
  auto score_threshold = static_cast<float>(context.number(4, 0));
  if (!(iou_threshold >= 0 && iou_threshold <= 1)) return context.fail("iou_threshold is {}", iou_threshold);
  bool centred = context.attributes.get_int("center_point_box", 0) != 0;
  std::vector<int64_t> selected, candidates;
  std::vector<Box> kept;
  for (int64_t line = 0; line < shape[0] * classes; ++line) {
    const float* score = scores.data() + line * count;
    const float* box = boxes.data() + line / classes * count * 4;
    candidates.clear();
    for (int64_t i = 0; i < count; ++i) {
      if (!std::isnan(score[i]) && (!filter || score[i] > score_threshold)) candidates.push_back(i);
    }
    std::stable_sort(candidates.begin(), candidates.end(), [&](int64_t a, int64_t b) { return score[a] > score[b]; });
    kept.clear();
    for (int64_t candidate : candidates) {
      if (static_cast<double>(kept.size()) >= limit) break;
      Box next = make_box(box + candidate * 4, centred);
      bool free =
          std::none_of(kept.begin(), kept.end(), [&](const Box& other) { return overlap(next, other, iou_threshold); });
      if (!free) continue;
      kept.push_back(next);
      selected.insert(selected.end(), {line / classes, line % classes, candidate});
    }
  }
  Tensor& y = context.allocate(0, DType::kInt64, {static_cast<int64_t>(selected.size()) / 3, 3});
  std::copy(selected.begin(), selected.end(), y.data<int64_t>());
  return {};
}

extern const OpDef non_max_suppression_op = {.name = "NonMaxSuppression",
                                             .min_inputs = 2,
                                             .max_inputs = 5,
                                             .traits = kSizesOutputs,
                                             .infer = infer,
                                             .evaluate = evaluate};

}  // namespace hussar
