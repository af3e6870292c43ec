// Ranges from statistics, and which model they are of.
#include "quantize/calibration.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <limits>

#include "base/error.h"
#include "base/thread_pool.h"

namespace hussar {
namespace {

// Clipping must make the error less than this part of it. What is clipped is the same elements for all samples and adds
// up from layer to layer, and other data are clipped more; rounding does neither.
constexpr double kWorthClipping = 0.9;

Range range_for(const TensorCalibration& tensor, const Calibration& calibration, Method method, DType dtype) {
  bool is_decided = method == calibration.method && dtype == DType::kUInt8 && tensor.range.low <= tensor.range.high;
  if (tensor.statistics.elements() == 0 || is_decided) return tensor.range;
  return choose_range(tensor.statistics, method == Method::kAuto ? automatic_method(tensor) : method, dtype);
}

// A search takes some hundredths of a second, and models have hundreds of tensors.
template <class Function>
void run_all(size_t count, Function&& function) {
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease lease(pool, pool.cores());
  lease.run(static_cast<int>(count), [&](int index) { function(static_cast<size_t>(index)); });
}

class Hash {
 public:
  Hash() { XXH3_64bits_reset(&state_); }
  void add(std::string_view text) {
    auto size = static_cast<uint64_t>(text.size());
    XXH3_64bits_update(&state_, &size, sizeof(size));
    XXH3_64bits_update(&state_, text.data(), text.size());
  }
  void add(const Tensor& tensor) {
    add(dtype_name(tensor.dtype()));
    add(tensor.shape().to_string());
    add(std::string_view(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes()));
  }
  void add(const Graph& graph) {
    add(graph.to_string());
    for (const auto& value : graph.values()) {
      if (value->is_constant()) add(*value->constant);
    }
    for (const auto& node : graph.nodes()) {
      for (const auto& [name, attribute] : node->attributes.all()) {
        if (const auto* tensor = std::get_if<Tensor>(&attribute)) add(*tensor);
        // The text has six digits of floats only.
        if (const auto* real = std::get_if<float>(&attribute)) add(fmt::format("{}", *real));
      }
      for (const Body& body : node->bodies) add(*body.graph);
    }
  }
  std::string digest() const { return fmt::format("{:016x}", XXH3_64bits_digest(&state_)); }

 private:
  XXH3_state_t state_;
};

}  // namespace

Method automatic_method(const TensorCalibration& tensor) {
  Method best = Method::kMse;
  double least = std::numeric_limits<double>::infinity();
  if (auto it = tensor.output_errors.find(Method::kMinMax); it != tensor.output_errors.end()) {
    best = Method::kMinMax;
    least = kWorthClipping * it->second;
  }
  // The first of equals.
  for (Method method : kRangeMethods) {
    auto it = tensor.output_errors.find(method);
    if (it == tensor.output_errors.end() || it->second >= least) continue;
    least = it->second;
    best = method;
  }
  return best;
}

std::string_view rounding_name(Rounding rounding) { return rounding == Rounding::kNearest ? "nearest" : "adaptive"; }

std::optional<Rounding> rounding_from_name(std::string_view name) {
  for (Rounding rounding : {Rounding::kNearest, Rounding::kAdaptive}) {
    if (rounding_name(rounding) == name) return rounding;
  }
  return std::nullopt;
}

void decide(Calibration& calibration, Method method) {
  calibration.method = method;
  std::vector<TensorCalibration*> counted;
  for (auto& [name, tensor] : calibration.tensors) {
    if (tensor.statistics.elements() > 0) counted.push_back(&tensor);
  }
  run_all(counted.size(), [&](size_t index) {
    TensorCalibration& tensor = *counted[index];
    const Method chosen = method == Method::kAuto ? automatic_method(tensor) : method;
    tensor.range = choose_range(tensor.statistics, chosen, DType::kUInt8);
  });
}

std::map<std::string, QuantParams> activation_params(const Calibration& calibration, Method method, DType dtype) {
  std::vector<std::pair<const TensorCalibration*, QuantParams*>> work;
  std::map<std::string, QuantParams> params;
  for (const auto& [name, tensor] : calibration.tensors) work.emplace_back(&tensor, &params[name]);
  run_all(work.size(), [&](size_t index) {
    auto [tensor, result] = work[index];
    *result = params_of(range_for(*tensor, calibration, method, dtype), dtype);
  });
  return params;
}

std::string model_fingerprint(const Graph& imported) {
  Hash hash;
  hash.add(imported);
  return hash.digest();
}

Status check_is_of_model(const Calibration& calibration, const std::string& fingerprint, const std::string& path) {
  HUSSAR_CHECK(calibration.is_complete, ErrorCode::kUsage,
               "calibration '{}' was cut off after {} samples; the same `hussar calibrate` goes on with it", path,
               calibration.samples);
  HUSSAR_CHECK(calibration.model_hash.empty() || calibration.model_hash == fingerprint, ErrorCode::kUsage,
               "calibration '{}' is of another model ('{}', hash {}; this one has {}): calibrate again with "
               "`hussar calibrate`",
               path, calibration.model, calibration.model_hash, fingerprint);
  return {};
}

}  // namespace hussar
