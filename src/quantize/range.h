// From the statistics of a tensor to its quantization: which range of real numbers the integers cover.
//
// All methods look at the histogram only, so that another one can be tried without the data, and all take less than a
// tenth of a second. The range always holds zero, which is represented exactly: padding and the zeros of a ReLU are.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/tensor.h"
#include "quantize/statistics.h"
#include "tensor/quant_params.h"

namespace hussar {

enum class Method {
  kAuto,            // for every tensor the method whose range does the least harm (automatic_method)
  kEntropy,         // least Kullback-Leibler divergence of 128 levels from the histogram, as IInt8EntropyCalibrator2
  kMinMax,          // nothing is clipped
  kPercentile999,   // 99.9 % of the elements are not clipped
  kPercentile9999,  // 99.99 %
  kPercentile99999,
  kMse,  // least mean squared error, rounding and clipping together
};
// All but kAuto, those first that are better when nothing else tells them apart.
inline constexpr Method kRangeMethods[] = {Method::kMse,           Method::kPercentile99999, Method::kPercentile9999,
                                           Method::kPercentile999, Method::kEntropy,         Method::kMinMax};
// "auto", "entropy", "minmax", "percentile99.9", "percentile99.99", "percentile99.999", "mse".
std::string_view method_name(Method method);
// The names above, and "percentile" for 99.99 %.
std::optional<Method> method_from_name(std::string_view name);
// In that order, separated by commas.
std::string all_method_names();

struct Range {
  float low = 0, high = 0;  // low <= 0 <= high
  Method method = Method::kMinMax;
  // Why it is another method than the one asked for, or what is special about the tensor; "" as a rule.
  std::string note;
};

// dtype: kUInt8, asymmetric, or kInt8, symmetric: then low == -high. kAuto is kMse: the histogram tells no more.
Range choose_range(const Statistics& statistics, Method method, DType dtype);
QuantParams params_of(const Range& range, DType dtype);

// Of quantizing every element counted and back, with the elements spread evenly within their bins.
double mean_squared_error(const Statistics& statistics, const QuantParams& params);
// Signal to noise power in decibels; infinite when nothing is lost.
double sqnr_db(const Statistics& statistics, const QuantParams& params);

}  // namespace hussar
