#include "sparsify/refit.h"

#include <algorithm>
#include <atomic>
#include <numeric>

#include "sparsify/linear.h"

namespace hussar {
namespace {

// Rows of the weights that one share works on.
constexpr int64_t kShareRows = 64;
// The first step that lowers the objective by no more than this part of what all did is the last.
constexpr double kEnough = 3e-4;

// One conjugate gradient method for every row of the weights, preconditioned by the diagonal. Matrices are [k][n].
class Gradients {
 public:
  Gradients(const Layer& layer, const Masks& masks, double damping, const float* weights)
      : layer_(layer), masks_(masks), damping_(static_cast<float>(damping)) {
    const auto size = static_cast<size_t>(layer.n * layer.k), n = static_cast<size_t>(layer.n);
    for (auto* matrix : {&values_, &rest_, &direction_, &image_}) matrix->resize(size);
    power_.resize(n);
    gains_.resize(n);
    transpose(weights, layer.n, layer.k, values_.data());
  }

  void run() {
    multiply(values_);
    shares([&](Rows rows) { begin(rows); });
    double lowered = 0;
    for (int step = 0; step < kMostSteps; ++step) {
      multiply(direction_);
      shares([&](Rows rows) { advance(rows); });
      const double gain = std::accumulate(gains_.begin(), gains_.end(), 0.0);
      lowered += gain;
      if (gain <= kEnough * lowered) break;
    }
  }

  void give(float* weights) const { transpose(values_.data(), layer_.k, layer_.n, weights); }

 private:
  struct Rows {
    int64_t first, count;
  };
  template <class Function>
  void shares(Function&& function) {
    run_shares(layer_.threads, (layer_.n + kShareRows - 1) / kShareRows, [&](int64_t share) {
      const int64_t first = share * kShareRows;
      function(Rows{first, std::min(kShareRows, layer_.n - first)});
    });
  }

  // image = H of
  void multiply(const std::vector<float>& of) {
    const int64_t n = layer_.n, k = layer_.k;
    std::fill(image_.begin(), image_.end(), 0.0F);
    (*layer_.product)({k, n, k, layer_.h(), k, of.data(), n, image_.data(), n});
  }

  // 0 for an input that is always 0 where nothing damps.
  float inverse_diagonal(int64_t i) const {
    const float diagonal = layer_.h()[i * layer_.k + i] + damping_;
    return diagonal > 0 ? 1 / diagonal : 0;
  }

  // Of column i of the weights: 1 for the rows that keep it, else 0.
  void fill_kept(Rows rows, int64_t i, float* kept) const {
    const int64_t shared = masks_.pattern.shared_rows;
    int64_t block = rows.first / shared;
    for (int64_t row = 0, end = (block + 1) * shared - rows.first; row < rows.count; end += shared, ++block) {
      const float is_kept = masks_.keeps(block, i) ? 1.0F : 0.0F;
      for (; row < std::min(end, rows.count); ++row) kept[row] = is_kept;
    }
  }

  void begin(Rows rows) {
    float kept[kShareRows];
    for (int64_t i = 0; i < layer_.k; ++i) {
      fill_kept(rows, i, kept);
      const float part = inverse_diagonal(i);
      for (int64_t row = 0; row < rows.count; ++row) {
        const auto at = static_cast<size_t>(i * layer_.n + rows.first + row);
        const auto wanted = static_cast<float>(layer_.wanted(rows.first + row, i, damping_));
        rest_[at] = kept[row] * (wanted - image_[at] - damping_ * values_[at]);
        direction_[at] = rest_[at] * part;
        power_[static_cast<size_t>(rows.first + row)] += double(rest_[at]) * direction_[at];
      }
    }
  }

  void advance(Rows rows) {
    double curvature[kShareRows] = {}, power[kShareRows] = {};
    float step[kShareRows], kept[kShareRows], turn[kShareRows];
    const int64_t n = layer_.n, k = layer_.k;
    for (int64_t i = 0; i < k; ++i) {
      const float *direction = direction_.data() + i * n + rows.first, *image = image_.data() + i * n + rows.first;
      for (int64_t row = 0; row < rows.count; ++row)
        curvature[row] += double(direction[row]) * (image[row] + damping_ * direction[row]);
    }
    double *last = power_.data() + rows.first, *gains = gains_.data() + rows.first;
    for (int64_t row = 0; row < rows.count; ++row) {
      const double length = curvature[row] > 0 ? last[row] / curvature[row] : 0;
      step[row] = static_cast<float>(length);
      gains[row] = length * last[row];
    }
    for (int64_t i = 0; i < k; ++i) {
      fill_kept(rows, i, kept);
      const int64_t at = i * n + rows.first;
      const float *direction = direction_.data() + at, *image = image_.data() + at, part = inverse_diagonal(i);
      float *values = values_.data() + at, *rest = rest_.data() + at;
      for (int64_t row = 0; row < rows.count; ++row) {
        values[row] += step[row] * direction[row];
        rest[row] -= step[row] * kept[row] * (image[row] + damping_ * direction[row]);
        power[row] += double(rest[row]) * rest[row] * part;
      }
    }
    for (int64_t row = 0; row < rows.count; ++row) {
      turn[row] = last[row] > 0 ? static_cast<float>(power[row] / last[row]) : 0.0F;
      last[row] = power[row];
    }
    for (int64_t i = 0; i < k; ++i) {
      float* direction = direction_.data() + i * n + rows.first;
      const float *rest = rest_.data() + i * n + rows.first, part = inverse_diagonal(i);
      for (int64_t row = 0; row < rows.count; ++row) direction[row] = rest[row] * part + turn[row] * direction[row];
    }
  }

  const Layer& layer_;
  const Masks& masks_;
  float damping_;
  std::vector<float> values_, rest_, direction_, image_;
  std::vector<double> power_, gains_;  // by row of the weights
};

}  // namespace

double refit_cost(const Masks& masks) {
  const auto kept = static_cast<double>(masks.groups() * kKeptColumns), rows = static_cast<double>(masks.n);
  return static_cast<double>(masks.blocks()) * kept * kept * kept / 6 + rows * kept * kept;
}

bool solve_block(const Layer& layer, const Masks& masks, int64_t block, double damping, std::vector<double>& values,
                 double& gain) {
  const std::vector<int32_t> columns = masks.columns(block);
  const auto size = static_cast<int64_t>(columns.size());
  std::vector<double> matrix(static_cast<size_t>(size * size));
  for (int64_t i = 0; i < size; ++i) {
    const float* from = layer.h() + columns[static_cast<size_t>(i)] * layer.k;
    for (int64_t j = 0; j <= i; ++j) matrix[static_cast<size_t>(i * size + j)] = from[columns[static_cast<size_t>(j)]];
    matrix[static_cast<size_t>(i * size + i)] += damping;
  }
  const int64_t first = masks.first_row(block), rows = masks.block_rows(block);
  values.clear();
  for (int64_t row = first; row < first + rows; ++row) {
    for (int32_t column : columns) values.push_back(layer.wanted(row, column, damping));
  }
  const std::vector<double> wanted = values;
  if (!solve_positive(matrix.data(), size, values.data(), rows)) return false;
  gain = std::inner_product(wanted.begin(), wanted.end(), values.begin(), 0.0);
  return true;
}

bool refit_exactly(const Layer& layer, const Masks& masks, double damping, float* weights) {
  std::atomic<bool> failed = false;
  const int64_t kept = masks.groups() * kKeptColumns;
  auto refit = [&](int64_t block) {
    std::vector<double> values;
    double gain = 0;
    if (!solve_block(layer, masks, block, damping, values, gain)) {
      failed = true;
      return;
    }
    const std::vector<int32_t> columns = masks.columns(block);
    const double* from = values.data();
    const int64_t first = masks.first_row(block);
    for (int64_t row = first; row < first + masks.block_rows(block); ++row) {
      std::fill_n(weights + row * layer.k, layer.k, 0.0F);
      for (int32_t column : columns) weights[row * layer.k + column] = static_cast<float>(*from++);
    }
  };
  run_shares(layer.threads, masks.blocks(), refit, 2 * kept * kept);
  return !failed;
}

void refit_by_gradients(const Layer& layer, const Masks& masks, double damping, float* weights) {
  Gradients gradients(layer, masks, damping, weights);
  gradients.run();
  gradients.give(weights);
}

}  // namespace hussar
