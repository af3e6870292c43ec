#include "sparsify/prune_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "sparsify/layer.h"
#include "sparsify/linear.h"
#include "sparsify/obc.h"
#include "sparsify/output_error.h"
#include "sparsify/refit.h"
#include "sparsify/swap.h"
#include "sparsify/sweep.h"

namespace hussar {
namespace {

constexpr std::pair<PruneMethod, std::string_view> kMethods[] = {{PruneMethod::kMagnitude, "magnitude"},
                                                                 {PruneMethod::kWanda, "wanda"},
                                                                 {PruneMethod::kSparseGpt, "sparsegpt"},
                                                                 {PruneMethod::kObc, "obc"}};

// Multiply-adds: up to the first, systems are solved exactly; up to the second, columns are swapped.
constexpr double kMostExact = 6e10, kMostSwapping = 3e10;
// Damping is raised tenfold so many times at most.
constexpr int kMostRaises = 8;

bool all_finite(const float* values, size_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

class Pruning {
 public:
  Pruning(const float* weights, int64_t n, int64_t k, const LayerMoments* moments, const PruneOptions& options)
      : options_(options), size_(static_cast<size_t>(n * k)) {
    layer_ = {n, k, weights, moments, &options.product, options.threads};
    result_.weights.assign(weights, weights + n * k);
    result_.masks = Masks(options.pattern, n, k);
    if (moments == nullptr) return;
    int64_t dead = 0;
    for (int64_t i = 0; i < k; ++i) {
      const double power = layer_.h()[i * k + i];
      mean_power_ += power / static_cast<double>(k);
      dead += power == 0;
    }
    if (dead > 0) note("{} of {} inputs are always 0", dead, k);
    if (mean_power_ == 0) mean_power_ = 1;
  }

  Result<PrunedLayer> run() {
    HUSSAR_TRY(choose_masks());
    if (layer_.moments != nullptr) {
      const bool stays = options_.method == PruneMethod::kMagnitude || options_.method == PruneMethod::kWanda;
      if (stays || options_.refit) result_.error_before_refit = output_error(layer_, result_.weights.data());
      if (options_.refit) HUSSAR_TRY(refit());
    }
    if (options_.int8_grid) HUSSAR_TRY(put_on_grid());
    // What was not kept is +0 now, whatever came before.
    apply_masks(result_.masks, result_.weights.data());
    HUSSAR_CHECK(all_finite(result_.weights.data(), size_), ErrorCode::kRunFailed,
                 "the equations of the layer have no usable solution: raise the damping or use more data");
    finish();
    return std::move(result_);
  }

 private:
  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    result_.notes.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  // U of the damped H, and the damping that it took.
  Status make_factor() {
    if (!factor_.empty()) return {};
    double part = options_.mask_damping;
    for (int raises = 0; raises <= kMostRaises; ++raises, part = std::max(10 * part, 1e-6)) {
      damping_ = part * mean_power_;
      factor_ = layer_.moments->h;
      for (int64_t i = 0; i < layer_.k; ++i)
        factor_[static_cast<size_t>(i * layer_.k + i)] += static_cast<float>(damping_);
      if (!factor_inverse(factor_.data(), layer_.k, options_.product)) continue;
      if (raises > 0) note("second moments of the inputs are not positive definite: damping raised to {:.2g}", part);
      return {};
    }
    return fail(ErrorCode::kRunFailed, "the second moments of the layer's inputs are of no use: check the data");
  }

  // The weights that would be best if all were kept: dense ones, with what the input lost made good. [n][k]
  std::vector<float> best_dense() const {
    const int64_t n = layer_.n, k = layer_.k;
    const std::vector<float> rest = lacking(layer_, layer_.dense);
    std::vector<float> turned(static_cast<size_t>(k * k)), half(rest.size()), whole(rest.size());
    transpose(factor_.data(), k, k, turned.data());
    options_.product({k, n, k, turned.data(), k, rest.data(), n, half.data(), n});
    options_.product({k, n, k, factor_.data(), k, half.data(), n, whole.data(), n});
    std::vector<float> result(whole.size());
    transpose(whole.data(), k, n, result.data());
    for (size_t i = 0; i < result.size(); ++i) result[i] += layer_.dense[i];
    return result;
  }

  Status choose_masks() {
    const int64_t n = layer_.n, k = layer_.k;
    switch (options_.method) {
      case PruneMethod::kMagnitude:
      case PruneMethod::kWanda: {
        const bool is_wanda = options_.method == PruneMethod::kWanda;
        const std::vector<float> scores = importance(layer_.dense, n, k, is_wanda ? layer_.moments : nullptr);
        result_.masks = masks_of_scores(scores.data(), n, k, options_.pattern);
        apply_masks(result_.masks, result_.weights.data());
        return {};
      }
      case PruneMethod::kObc:
        if (k <= kMostObcColumns) return choose_by_obc();
        note("k = {} is more than obc is for ({}): masks are those of sparsegpt", k, kMostObcColumns);
        [[fallthrough]];
      case PruneMethod::kSparseGpt: break;
    }
    HUSSAR_TRY(make_factor());
    result_.weights = best_dense();
    sweep(layer_, factor_.data(), true, nullptr, result_.masks, result_.weights.data());
    return {};
  }

  Status choose_by_obc() {
    const int64_t k = layer_.k;
    HUSSAR_TRY(make_factor());
    const std::vector<float> dense = best_dense();
    std::vector<float> inverse(static_cast<size_t>(k * k));
    options_.product({k, k, k, factor_.data(), k, factor_.data(), k, inverse.data(), k});
    result_.masks = obc_masks(layer_, options_.pattern, damping_, inverse.data(), dense.data());
    result_.weights = dense;
    // What the removals, one after another, make of the weights left is what the equations of their masks give.
    return fit(damping_, options_.refit ? kMostExact / 8 : kMostExact);
  }

  // The best weights under the masks, solved for exactly where that takes at most so many multiply-adds.
  Status fit(double damping, double most_exact) {
    if (refit_cost(result_.masks) > most_exact) {
      apply_masks(result_.masks, result_.weights.data());
      refit_by_gradients(layer_, result_.masks, damping, result_.weights.data());
      return {};
    }
    for (int raises = 0; raises <= kMostRaises; ++raises, damping = std::max(10 * damping, 1e-6 * mean_power_)) {
      if (!refit_exactly(layer_, result_.masks, damping, result_.weights.data())) continue;
      if (raises > 0)
        note("equations of kept columns are not positive definite: damping raised to {:.2g}", damping / mean_power_);
      return {};
    }
    return fail(ErrorCode::kRunFailed, "the equations of the layer's kept columns have no solution: check the data");
  }

  Status refit() {
    const double damping = options_.refit_damping * mean_power_;
    if (options_.swaps) swap(damping);
    return fit(damping, kMostExact);
  }

  void swap(double damping) {
    if (layer_.k > kMostSwapColumns || swap_cost(result_.masks) > kMostSwapping) {
      note("columns are not swapped: that would take too long");
      return;
    }
    std::vector<int64_t> swaps(static_cast<size_t>(result_.masks.blocks()));
    auto run = [&](int64_t block) {
      swaps[static_cast<size_t>(block)] = swap_columns(layer_, damping, block, result_.masks);
    };
    run_shares(options_.threads, result_.masks.blocks(), run, 3 * layer_.k * layer_.k);
  }

  Status put_on_grid() {
    const int64_t n = layer_.n, k = layer_.k;
    for (int64_t row = 0; row < n; ++row) {
      float largest = 0;
      for (int64_t i = 0; i < k; ++i) {
        const bool is_kept = result_.masks.keeps(row / options_.pattern.shared_rows, i);
        if (is_kept) largest = std::max(largest, std::abs(result_.weights[static_cast<size_t>(row * k + i)]));
      }
      result_.scales.push_back(largest / 127);
    }
    if (layer_.moments != nullptr) {
      HUSSAR_TRY(make_factor());
      sweep(layer_, factor_.data(), false, result_.scales.data(), result_.masks, result_.weights.data());
      return {};
    }
    for (size_t i = 0; i < size_; ++i)
      result_.weights[i] = on_grid(result_.weights[i], result_.scales[i / static_cast<size_t>(k)]);
    return {};
  }

  void finish() {
    const int64_t n = layer_.n, k = layer_.k;
    result_.kept_energy = kept_part(importance(layer_.dense, n, k, nullptr).data(), result_.masks);
    if (layer_.moments == nullptr) return;
    result_.error = output_error(layer_, result_.weights.data());
    if (result_.error_before_refit < 0) result_.error_before_refit = result_.error;
    for (int64_t row = 0; row < n; ++row) {
      double change = layer_.moments->y_sum[static_cast<size_t>(row)];
      for (int64_t i = 0; i < k; ++i)
        change -=
            double(result_.weights[static_cast<size_t>(row * k + i)]) * layer_.moments->x_sum[static_cast<size_t>(i)];
      result_.bias_change.push_back(static_cast<float>(change / static_cast<double>(layer_.moments->rows)));
    }
  }

  const PruneOptions& options_;
  size_t size_;
  Layer layer_;
  PrunedLayer result_;
  double mean_power_ = 0;      // of the inputs
  double damping_ = 0;         // of factor_
  std::vector<float> factor_;  // of factor_inverse()
};

Status check(const float* weights, int64_t n, int64_t k, const LayerMoments* moments, const PruneOptions& options) {
  HUSSAR_CHECK(n > 0 && k > 0 && k % kGroupColumns == 0, ErrorCode::kUsage,
               "a layer of {} rows of {} weights does not fit 2:4: rows must be groups of 4", n, k);
  HUSSAR_CHECK(all_finite(weights, static_cast<size_t>(n * k)), ErrorCode::kInvalidModel,
               "weights are infinite or NaN: check the model");
  HUSSAR_CHECK(options.mask_damping >= 0 && options.refit_damping >= 0, ErrorCode::kUsage, "damping is negative");
  if (moments == nullptr) {
    HUSSAR_CHECK(options.method == PruneMethod::kMagnitude, ErrorCode::kUsage, "the method {} needs data",
                 spell(options.method));
    return {};
  }
  const auto wide = static_cast<size_t>(k), high = static_cast<size_t>(n);
  HUSSAR_CHECK(moments->k == k && moments->n == n && moments->rows > 0 && moments->h.size() == wide * wide &&
                   moments->p.size() == wide * high && moments->x_sum.size() == wide && moments->y_sum.size() == high &&
                   moments->y_squared.size() == high,
               ErrorCode::kUsage, "the moments are of another layer, of {} outputs and {} inputs instead of {} and {}",
               moments->n, moments->k, n, k);
  HUSSAR_CHECK(all_finite(moments->h.data(), moments->h.size()) && all_finite(moments->p.data(), moments->p.size()),
               ErrorCode::kUsage, "inputs or outputs of the layer are infinite or NaN: check the data");
  return {};
}

}  // namespace

Result<PruneMethod> parse_prune_method(std::string_view text) {
  for (const auto& [method, name] : kMethods) {
    if (name == text) return method;
  }
  return fail(ErrorCode::kUsage, "'{}' is no method of pruning: use magnitude, wanda, sparsegpt or obc", text);
}

std::string_view spell(PruneMethod method) {
  for (const auto& [known, name] : kMethods) {
    if (known == method) return name;
  }
  return "?";
}

std::vector<float> importance(const float* weights, int64_t n, int64_t k, const LayerMoments* moments) {
  std::vector<float> scores(static_cast<size_t>(n * k));
  std::vector<float> powers(static_cast<size_t>(k), 1.0F);
  for (int64_t i = 0; i < k && moments != nullptr; ++i)
    powers[static_cast<size_t>(i)] = moments->h[static_cast<size_t>(i * k + i)] / static_cast<float>(moments->rows);
  // Squares of such weights are no floats.
  float largest = 0;
  for (size_t i = 0; i < scores.size(); ++i) largest = std::max(largest, std::abs(weights[i]));
  const float unit = largest > 1e12F || (largest > 0 && largest < 1e-12F) ? largest : 1.0F;
  for (size_t i = 0; i < scores.size(); ++i) {
    const float weight = weights[i] / unit;
    scores[i] = weight * weight * powers[i % powers.size()];
  }
  return scores;
}

Result<PrunedLayer> prune_layer(const float* weights, int64_t n, int64_t k, const LayerMoments* moments,
                                const PruneOptions& options) {
  HUSSAR_TRY(check(weights, n, k, moments, options));
  return Pruning(weights, n, k, moments, options).run();
}

}  // namespace hussar
