// GridSample (Jaderberg et al. 2015): samples x [N][C][D1]..[Dk] at the positions of grid [N][O1]..[Ok][k], whose last
// axis holds coordinates in [-1, 1], that of Dk first.
#include "ops/elementwise.h"

namespace hussar {

// Before opset 20 the modes were named for two dimensions.
static Status upgrade(UpgradeContext& context) {
  std::string mode = context.node.attributes.get_string("mode", "linear");
  if (mode == "bilinear") context.node.attributes.set("mode", std::string("linear"));
  if (mode == "bicubic") context.node.attributes.set("mode", std::string("cubic"));
  return {};
}

static Status infer(InferContext& context) {
  std::string mode = context.attributes.get_string("mode", "linear");
  std::string padding = context.attributes.get_string("padding_mode", "zeros");
  if (mode != "linear" && mode != "nearest" && mode != "cubic") return context.fail("unknown mode '{}'", mode);
  if (padding != "zeros" && padding != "border" && padding != "reflection")
    return context.fail("unknown padding_mode '{}'", padding);
  const Dims* x = context.dims(0);
  const Dims* grid = context.dims(1);
  if (x == nullptr || grid == nullptr) return context.set_unknown(0, context.dtype(0)), Status();
  if (x->size() < 3 || grid->size() != x->size())
    return context.fail("x has rank {}, grid {}", x->size(), grid->size());
  auto differ = [](const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && !(a == b); };
  if (differ((*x)[0], (*grid)[0]) || differ(grid->back(), Dim(static_cast<int64_t>(x->size()) - 2))) {
    return context.fail("a grid of shape {} does not belong to x of shape {}", to_string(*grid), to_string(*x));
  }
  Dims output = {(*x)[0], (*x)[1]};
  output.insert(output.end(), grid->begin() + 1, grid->end() - 1);
  context.set(0, context.dtype(0), std::move(output));
  return {};
}

namespace {

enum class Padding : uint8_t { kZeros, kBorder, kReflection };

struct Sampler {
  bool nearest, cubic, align_corners;
  Padding padding;
};

double reflect(double x, double low, double high) {
  if (x >= low && x <= high) return x;
  double range = high - low;
  if (!(range > 0)) return low;
  double distance = x < low ? low - x : x - high;
  double turns = std::floor(distance / range), rest = distance - turns * range;
  bool even = std::fmod(turns, 2) == 0;
  return (x < low) == even ? low + rest : high - rest;
}

struct Tap {
  int64_t index;  // -1: a zero outside
  double weight;
};

// What one coordinate reads along an axis of extent `size` > 0.
void axis_taps(const Sampler& sampler, float coordinate, int64_t size, std::vector<Tap>& taps) {
  auto extent = static_cast<float>(size);
  float place = sampler.align_corners ? (coordinate + 1) / 2 * (extent - 1) : ((coordinate + 1) * extent - 1) / 2;
  double x = std::isnan(place) ? -1 : std::clamp<double>(place, -1e15, 1e15);
  double low = sampler.align_corners ? 0 : -0.5, high = static_cast<double>(size) - (sampler.align_corners ? 1 : 0.5);
  auto last = static_cast<double>(size - 1);
  if (sampler.nearest) x = std::nearbyint(x);
  if (x < low || x > high) {
    if (sampler.padding == Padding::kBorder) x = std::clamp(x, 0.0, last);
    if (sampler.padding == Padding::kReflection) x = reflect(x, low, high);
  }
  double base = std::floor(x), t = x - base;
  constexpr double kA = -0.75;  // Keys' cubic kernel as in bicubic resizing
  auto far = [](double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; };
  auto near = [](double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; };
  double weights[4] = {far(t + 1), near(t), near(1 - t), far(2 - t)};
  int first = sampler.cubic ? -1 : 0, count = sampler.cubic ? 4 : sampler.nearest ? 1 : 2;
  taps.clear();
  for (int i = 0; i < count; ++i) {
    double at = base + first + i, weight = sampler.cubic ? weights[i] : count == 1 ? 1 : i == 0 ? 1 - t : t;
    if (sampler.padding == Padding::kBorder) at = std::clamp(at, 0.0, last);
    if (sampler.padding == Padding::kReflection) at = std::clamp(std::trunc(reflect(at, low, high)), 0.0, last);
    taps.push_back({at < 0 || at > last ? -1 : static_cast<int64_t>(at), weight});
  }
}

// The offsets into a plane, and their weights, that one grid position reads.
void plane_taps(const Sampler& sampler, const float* coordinates, const Shape& plane, std::vector<Tap>& result) {
  std::vector<Tap> taps, wider;
  result.assign(1, {0, 1});
  for (int axis = 0; axis < plane.rank(); ++axis) {
    axis_taps(sampler, coordinates[plane.rank() - 1 - axis], plane[axis], taps);
    wider.clear();
    for (const Tap& outer : result) {
      for (const Tap& tap : taps) {
        if (tap.index >= 0) wider.push_back({outer.index * plane[axis] + tap.index, outer.weight * tap.weight});
      }
    }
    result.swap(wider);
  }
}

}  // namespace

static Status evaluate(EvalContext& context) {
  std::string mode = context.attributes.get_string("mode", "linear");
  std::string padding = context.attributes.get_string("padding_mode", "zeros");
  Sampler sampler{mode == "nearest", mode == "cubic", context.attributes.get_int("align_corners", 0) != 0,
                  padding == "zeros"    ? Padding::kZeros
                  : padding == "border" ? Padding::kBorder
                                        : Padding::kReflection};
  const Shape& shape = context.shape(0);
  auto x = context.read<double>(0);
  auto grid = context.read<float>(1);
  auto y = context.write<double>();
  Shape plane(shape.dims().subspan(2));
  if (plane.elements() == 0 && y.size() > 0) return context.fail("x is empty");
  int64_t positions = y.size() == 0 ? 0 : y.size() / (shape[0] * shape[1]);
  std::vector<Tap> taps;
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t position = 0; position < positions; ++position) {
      plane_taps(sampler, grid.data() + (n * positions + position) * plane.rank(), plane, taps);
      for (int64_t c = n * shape[1]; c < (n + 1) * shape[1]; ++c) {
        double sum = 0;
        for (const Tap& tap : taps) sum += tap.weight * x[c * plane.elements() + tap.index];
        y[c * positions + position] = sum;
      }
    }
  }
  return {};
}

extern const OpDef grid_sample_op = {
    .name = "GridSample", .min_inputs = 2, .max_inputs = 2, .upgrade = upgrade, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
