// RoiAlign (Mask R-CNN, He et al. 2017): the mean or maximum of bilinear samples in each cell of a grid laid over every
// region of interest [x1, y1, x2, y2]; nothing is rounded.
#include "ops/elementwise.h"

namespace hussar {

static Status upgrade(UpgradeContext& context) {
  if (context.opset < 16 && !context.node.attributes.has("coordinate_transformation_mode")) {
    context.node.attributes.set("coordinate_transformation_mode", std::string("output_half_pixel"));
  }
  return {};
}

static Status infer(InferContext& context) {
  int64_t height = context.attributes.get_int("output_height", 1),
          width = context.attributes.get_int("output_width", 1);
  int64_t ratio = context.attributes.get_int("sampling_ratio", 0);
  if (std::min(height, width) < 1 || std::max(height, width) > 1 << 16)
    return context.fail("the output size is {}x{}", height, width);
  if (ratio < 0 || ratio > 1 << 12) return context.fail("sampling_ratio is {}", ratio);
  if (context.rank(0) >= 0 && context.rank(0) != 4) return context.fail("x must have rank 4");
  if (context.rank(2) >= 0 && context.rank(2) != 1) return context.fail("batch_indices must have rank 1");
  Dim count = context.dims(2) != nullptr ? (*context.dims(2))[0] : context.fresh();
  if (context.rank(1) >= 0) {
    const Dims& rois = *context.dims(1);
    bool fits = rois.size() == 2 && (!rois[1].is_constant() || rois[1].is(4)) &&
                (!rois[0].is_constant() || !count.is_constant() || rois[0] == count);
    if (!fits) return context.fail("rois of shape [{}] for {} batch indices", to_string(rois), count.to_string());
  }
  Dim channels = context.dims(0) != nullptr ? (*context.dims(0))[1] : context.fresh();
  context.set(0, context.dtype(0), {count, channels, height, width});
  return {};
}

namespace {

// One bilinear sample: four offsets into a plane and their weights.
struct Sample {
  int64_t offset[4] = {0, 0, 0, 0};
  double weight[4] = {0, 0, 0, 0};
};

Sample sample_at(double y, double x, int64_t height, int64_t width) {
  Sample sample;
  if (!(y >= -1 && y <= static_cast<double>(height) && x >= -1 && x <= static_cast<double>(width))) return sample;
  auto split = [](double at, int64_t size, int64_t& low, int64_t& high, double& fraction) {
    at = std::max(at, 0.0);
    low = std::min(static_cast<int64_t>(at), size - 1);
    high = std::min(low + 1, size - 1);
    fraction = low == size - 1 ? 0 : at - static_cast<double>(low);
  };
  int64_t top = 0, bottom = 0, left = 0, right = 0;
  double down = 0, across = 0;
  split(y, height, top, bottom, down);
  split(x, width, left, right, across);
  int64_t offsets[4] = {top * width + left, top * width + right, bottom * width + left, bottom * width + right};
  double weights[4] = {(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across};
  std::copy_n(offsets, 4, sample.offset);
  std::copy_n(weights, 4, sample.weight);
  return sample;
}

struct Region {
  double x, y, cell_width, cell_height;
  int64_t columns, rows;  // samples per cell
};

Region make_region(const double* roi, double scale, bool half_pixel, int64_t ratio, const Shape& pooled) {
  double shift = half_pixel ? 0.5 : 0;
  Region region{roi[0] * scale - shift, roi[1] * scale - shift, 0, 0, ratio, ratio};
  double width = roi[2] * scale - shift - region.x, height = roi[3] * scale - shift - region.y;
  if (!half_pixel) {
    width = std::max(width, 1.0);
    height = std::max(height, 1.0);
  }
  region.cell_width = width / static_cast<double>(pooled[3]);
  region.cell_height = height / static_cast<double>(pooled[2]);
  // A region far larger than any image is sampled no more finely than this.
  auto adaptive = [](double cell) { return static_cast<int64_t>(std::clamp(std::ceil(cell), 0.0, 1024.0)); };
  if (ratio == 0) {
    region.columns = adaptive(region.cell_width);
    region.rows = adaptive(region.cell_height);
  }
  return region;
}

double pool_cell(const std::vector<Sample>& samples, const double* plane, bool maximum) {
  double sum = 0, best = 0;
  for (size_t s = 0; s < samples.size(); ++s) {
    double largest = samples[s].weight[0] * plane[samples[s].offset[0]];
    for (int k = 0; k < 4; ++k) {
      double part = samples[s].weight[k] * plane[samples[s].offset[k]];
      sum += part;
      largest = std::max(largest, part);
    }
    best = s == 0 ? largest : std::max(best, largest);
  }
  return maximum ? best : sum / static_cast<double>(std::max<size_t>(samples.size(), 1));
}

}  // namespace

static Status evaluate(EvalContext& context) {
  const Attributes& attributes = context.attributes;
  const Shape& shape = context.shape(0);
  const Shape& pooled = context.output().shape();
  bool half_pixel = attributes.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  bool maximum = attributes.get_string("mode", "avg") == "max";
  auto x = context.read<double>(0), rois = context.read<double>(1);
  auto images = context.read<int64_t>(2);
  auto y = context.write<double>();
  int64_t plane_size = shape[2] * shape[3], cells = pooled[2] * pooled[3];
  if (plane_size == 0 && y.size() > 0) return context.fail("the image is empty");
  std::vector<Sample> samples;
  for (int64_t r = 0; r < pooled[0]; ++r) {
    if (images[r] < 0 || images[r] >= shape[0])
      return context.fail("region {} is in image {} of {}", r, images[r], shape[0]);
    Region region = make_region(rois.data() + r * 4, attributes.get_float("spatial_scale", 1), half_pixel,
                                attributes.get_int("sampling_ratio", 0), pooled);
    for (int64_t cell = 0; cell < cells; ++cell) {
      double top = region.y + static_cast<double>(cell / pooled[3]) * region.cell_height;
      double left = region.x + static_cast<double>(cell % pooled[3]) * region.cell_width;
      samples.clear();
      for (int64_t i = 0; i < region.rows; ++i) {
        for (int64_t j = 0; j < region.columns; ++j) {
          double down = top + (static_cast<double>(i) + 0.5) * region.cell_height / static_cast<double>(region.rows);
          double across =
              left + (static_cast<double>(j) + 0.5) * region.cell_width / static_cast<double>(region.columns);
          samples.push_back(sample_at(down, across, shape[2], shape[3]));
        }
      }
      for (int64_t c = 0; c < pooled[1]; ++c) {
        const double* plane = x.data() + (images[r] * shape[1] + c) * plane_size;
        y[(r * pooled[1] + c) * cells + cell] = pool_cell(samples, plane, maximum);
      }
    }
  }
  return {};
}

extern const OpDef roi_align_op = {
    .name = "RoiAlign", .min_inputs = 3, .max_inputs = 3, .upgrade = upgrade, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
