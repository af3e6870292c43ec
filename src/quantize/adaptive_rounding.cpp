#include "quantize/adaptive_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/product_weights.h"

namespace hussar {
namespace {

constexpr int64_t kTogether = AdaptiveRounding::kTogether;
constexpr int64_t kLanes = 16;
constexpr int64_t kPartElements = 32;
constexpr int64_t kChunk = 64;

// The loops that take the time, once for all x86-64 and once for those with AVX2; both give the same bits.
#define HUSSAR_INLINE __attribute__((always_inline)) inline

// Exact: 33,000 rows of bytes fit.
HUSSAR_INLINE int32_t dot(const int16_t* a, const int16_t* b, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += int32_t(a[i]) * b[i];
  return sum;
}

// sums[channel] += sum over i of x[i] * y[i][channel]
HUSSAR_INLINE void multiply_add(const float* x, const float* y, int64_t count, float* sums) {
  float own[kTogether];
  for (int64_t k = 0; k < kTogether; ++k) own[k] = sums[k];
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < kTogether; ++k) own[k] += x[i] * y[i * kTogether + k];
  }
  for (int64_t k = 0; k < kTogether; ++k) sums[k] = own[k];
}

// r += step * (a + b), and the element with the least of 2 * steps * r + costs. All have `count` elements, a multiple
// of kChunk; b may be null.
HUSSAR_INLINE int64_t flip_and_find(float step, const float* a, const float* b, int64_t count, const float* steps,
                                    const float* costs, float* r, float* least) {
  float best = std::numeric_limits<float>::infinity();
  int64_t best_chunk = 0;
  for (int64_t chunk = 0; chunk < count; chunk += kChunk) {
    float lanes[kLanes];
    for (float& lane : lanes) lane = std::numeric_limits<float>::infinity();
    for (int64_t i = chunk; i < chunk + kChunk; i += kLanes) {
      for (int64_t k = 0; k < kLanes && a != nullptr; ++k) r[i + k] += step * a[i + k];
      for (int64_t k = 0; k < kLanes && b != nullptr; ++k) r[i + k] += step * b[i + k];
      for (int64_t k = 0; k < kLanes; ++k) {
        const float gain = 2 * steps[i + k] * r[i + k] + costs[i + k];
        lanes[k] = gain < lanes[k] ? gain : lanes[k];
      }
    }
    const float least_here = *std::min_element(lanes, lanes + kLanes);
    if (least_here >= best) continue;
    best = least_here;
    best_chunk = chunk;
  }
  *least = best;
  for (int64_t i = best_chunk; i < best_chunk + kChunk; ++i) {
    if (2 * steps[i] * r[i] + costs[i] == best) return i;
  }
  return best_chunk;
}

struct Loops {
  int32_t (*dot)(const int16_t*, const int16_t*, int64_t);
  void (*multiply_add)(const float*, const float*, int64_t, float*);
  int64_t (*flip_and_find)(float, const float*, const float*, int64_t, const float*, const float*, float*, float*);
};

int32_t dot_anywhere(const int16_t* a, const int16_t* b, int64_t count) { return dot(a, b, count); }
void multiply_add_anywhere(const float* x, const float* y, int64_t count, float* sums) {
  multiply_add(x, y, count, sums);
}
int64_t flip_and_find_anywhere(float step, const float* a, const float* b, int64_t count, const float* steps,
                               const float* costs, float* r, float* least) {
  return flip_and_find(step, a, b, count, steps, costs, r, least);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) int32_t dot_avx2(const int16_t* a, const int16_t* b, int64_t count) {
  return dot(a, b, count);
}
__attribute__((target("avx2"))) void multiply_add_avx2(const float* x, const float* y, int64_t count, float* sums) {
  multiply_add(x, y, count, sums);
}
__attribute__((target("avx2"))) int64_t flip_and_find_avx2(float step, const float* a, const float* b, int64_t count,
                                                           const float* steps, const float* costs, float* r,
                                                           float* least) {
  return flip_and_find(step, a, b, count, steps, costs, r, least);
}
const Loops kLoops = __builtin_cpu_supports("avx2") != 0
                         ? Loops{dot_avx2, multiply_add_avx2, flip_and_find_avx2}
                         : Loops{dot_anywhere, multiply_add_anywhere, flip_and_find_anywhere};
#else
const Loops kLoops = {dot_anywhere, multiply_add_anywhere, flip_and_find_anywhere};
#endif

int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// Every element counts as if it had an independent part of this power, in parts of the mean element's: what the rows
// say of how elements go together is not believed wholly.
constexpr double kDamping = 0.1;

// One output channel.
struct Channel {
  std::vector<float> excess;     // e of the nearest integers
  std::vector<float> steps;      // what a flip adds to the integer: 1, -1, or 0 where there is no other neighbour
  std::vector<float> errors[2];  // A e of either half
};

// The flips that lower the error on one half of the rows (b null), or on both.
std::vector<int32_t> descend(const Channel& channel, int64_t elements, std::vector<float> r, const float* a,
                             const float* b) {
  const int64_t stride = padded(elements, kChunk);
  double trace = 0;
  for (int64_t i = 0; i < elements; ++i) trace += a[i * stride + i] + (b != nullptr ? b[i * stride + i] : 0.0F);
  const auto damped = static_cast<float>(kDamping * trace / static_cast<double>(elements));
  std::vector<float> steps = channel.steps, excess = channel.excess;
  std::vector<float> costs(static_cast<size_t>(stride), std::numeric_limits<float>::infinity());
  auto set_cost = [&](int64_t at) {
    const auto i = static_cast<size_t>(at);
    const float own = a[at * stride + at] + (b != nullptr ? b[at * stride + at] : 0.0F);
    costs[i] = own + damped * (1 + 2 * steps[i] * excess[i]);
  };
  for (int64_t i = 0; i < elements; ++i) {
    if (steps[static_cast<size_t>(i)] != 0) set_cost(i);
  }
  std::vector<uint8_t> is_flipped(static_cast<size_t>(elements));
  float least = 0;
  int64_t at = kLoops.flip_and_find(0, nullptr, nullptr, stride, steps.data(), costs.data(), r.data(), &least);
  // What is lowered by less than this is lost in the rounding of the sums.
  const auto enough = static_cast<float>(-1e-5 * trace / static_cast<double>(elements));
  for (int64_t rest = 4 * elements; rest > 0 && least < enough; --rest) {
    const auto i = static_cast<size_t>(at);
    const float step = steps[i];
    is_flipped[i] ^= 1;
    excess[i] += step;
    steps[i] = -step;
    set_cost(at);
    at = kLoops.flip_and_find(step, a + at * stride, b != nullptr ? b + at * stride : nullptr, stride, steps.data(),
                              costs.data(), r.data(), &least);
  }
  std::vector<int32_t> flips;
  for (int64_t i = 0; i < elements; ++i) {
    if (is_flipped[static_cast<size_t>(i)] != 0) flips.push_back(static_cast<int32_t>(i));
  }
  return flips;
}

// By how much flips change the error on one half.
double change(const Channel& channel, const std::vector<int32_t>& flips, size_t half, const float* gram,
              int64_t stride) {
  double sum = 0;
  for (int32_t i : flips) {
    double along = 2.0 * channel.errors[half][static_cast<size_t>(i)];
    for (int32_t j : flips) along += double(channel.steps[static_cast<size_t>(j)]) * gram[i * stride + j];
    sum += channel.steps[static_cast<size_t>(i)] * along;
  }
  return sum;
}

}  // namespace

AdaptiveRounding::AdaptiveRounding(const RoundingRows& rows, const QuantParams& input) : elements_(rows.elements) {
  for (int64_t row = 0; row < rows.count; ++row) ++halves_[rows.halves[row]].rows;
  const int64_t stride = padded(rows.elements, kChunk);
  for (Half& half : halves_) {
    half.padded = padded(half.rows, kLanes);
    half.bytes.resize(static_cast<size_t>(half.padded * rows.elements));
    half.gram.resize(static_cast<size_t>(stride * rows.elements));
  }
  int64_t next[2] = {0, 0};
  const auto least = static_cast<float>(-input.zero_point), greatest = static_cast<float>(255 - input.zero_point);
  for (int64_t row = 0; row < rows.count; ++row) {
    Half& half = halves_[rows.halves[row]];
    int16_t* to = half.bytes.data() + next[rows.halves[row]]++;
    const float* x = rows.x + row * rows.row_stride;
    for (int64_t i = 0; i < rows.elements; ++i) {
      const float rounded = std::nearbyint(std::clamp(x[i] / input.scale, least, greatest));
      to[i * half.padded] = static_cast<int16_t>(rounded);
    }
  }
}

int64_t AdaptiveRounding::parts() const { return 2 * padded(elements_, kPartElements) / kPartElements; }

void AdaptiveRounding::make(int64_t part) {
  Half& half = halves_[part % 2];
  const int64_t stride = padded(elements_, kChunk), first = part / 2 * kPartElements;
  const int64_t end = std::min(first + kPartElements, elements_);
  // The columns of the part stay in the cache.
  for (int64_t j = 0; j < end; ++j) {
    for (int64_t i = std::max(first, j); i < end; ++i) {
      const int32_t sum =
          kLoops.dot(half.bytes.data() + i * half.padded, half.bytes.data() + j * half.padded, half.padded);
      half.gram[static_cast<size_t>(i * stride + j)] = half.gram[static_cast<size_t>(j * stride + i)] =
          static_cast<float>(sum);
    }
  }
}

// A e of either half, [element][channel].
void AdaptiveRounding::errors_of(const float* weights, const int8_t* numbers, int64_t channels,
                                 std::vector<float> (&errors)[2]) const {
  const int64_t stride = padded(elements_, kChunk);
  std::vector<float> excess(static_cast<size_t>(elements_ * kTogether));
  for (int64_t i = 0; i < elements_; ++i) {
    for (int64_t k = 0; k < channels; ++k) {
      excess[static_cast<size_t>(i * kTogether + k)] =
          static_cast<float>(numbers[i * channels + k]) - weights[i * channels + k];
    }
  }
  for (size_t half : {0, 1}) {
    errors[half].assign(excess.size(), 0.0F);
    for (int64_t i = 0; i < elements_; ++i) {
      kLoops.multiply_add(halves_[half].gram.data() + i * stride, excess.data(), elements_,
                          errors[half].data() + i * kTogether);
    }
  }
}

std::vector<std::vector<int32_t>> AdaptiveRounding::round(const float* weights, const int8_t* numbers,
                                                          int64_t channels) const {
  std::vector<std::vector<int32_t>> flips(static_cast<size_t>(channels));
  if (halves_[0].rows == 0 || halves_[1].rows == 0) return flips;
  std::vector<float> errors[2];
  errors_of(weights, numbers, channels, errors);
  const int64_t elements = elements_, stride = padded(elements, kChunk);
  const float *a = halves_[0].gram.data(), *b = halves_[1].gram.data();
  Channel channel;
  for (int64_t k = 0; k < channels; ++k) {
    for (auto* list : {&channel.excess, &channel.steps, &channel.errors[0], &channel.errors[1]})
      list->assign(static_cast<size_t>(stride), 0.0F);
    std::vector<float> sum(static_cast<size_t>(stride));
    for (int64_t at = 0; at < elements; ++at) {
      const auto i = static_cast<size_t>(at);
      const int number = numbers[at * channels + k];
      const float weight = weights[at * channels + k];
      channel.excess[i] = static_cast<float>(number) - weight;
      channel.steps[i] = static_cast<float>(other_neighbour(weight, number) - number);
      for (size_t half : {0, 1}) channel.errors[half][i] = errors[half][static_cast<size_t>(at * kTogether + k)];
      sum[i] = channel.errors[0][i] + channel.errors[1][i];
    }
    const double held_out = change(channel, descend(channel, elements, channel.errors[0], a, nullptr), 1, b, stride) +
                            change(channel, descend(channel, elements, channel.errors[1], b, nullptr), 0, a, stride);
    if (held_out >= 0) continue;
    std::vector<int32_t> list = descend(channel, elements, std::move(sum), a, b);
    if (change(channel, list, 0, a, stride) + change(channel, list, 1, b, stride) < 0)
      flips[static_cast<size_t>(k)] = std::move(list);
  }
  return flips;
}

}  // namespace hussar
