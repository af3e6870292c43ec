// The discrete Fourier transform by its definition.
#pragma once
#include <complex>
#include <vector>

namespace hussar {

// Transforms lines of `length` points; the roots of unity are computed once.
class FourierTransform {
 public:
  FourierTransform(int64_t length, bool inverse);
  // One output point: sum over n of in[n] exp(-+ 2 pi i k n / length), divided by length for the inverse. `in` may be
  // shorter than length (the rest is zeros) or longer (the rest is ignored).
  std::complex<double> point(const std::vector<std::complex<double>>& in, int64_t k) const;

 private:
  int64_t length_;
  double factor_;
  std::vector<std::complex<double>> roots_;
};

}  // namespace hussar
