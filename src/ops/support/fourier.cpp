// The discrete Fourier transform by its definition.
#include "ops/fourier.h"

#include <algorithm>
#include <cmath>

namespace hussar {

FourierTransform::FourierTransform(int64_t length, bool inverse)
    : length_(length), factor_(inverse ? 1 / static_cast<double>(length) : 1), roots_(static_cast<size_t>(length)) {
  for (int64_t k = 0; k < length; ++k) {
    double angle = 2 * M_PI * static_cast<double>(k) / static_cast<double>(length);
    roots_[k] = {std::cos(angle), inverse ? std::sin(angle) : -std::sin(angle)};
  }
}

std::complex<double> FourierTransform::point(const std::vector<std::complex<double>>& in, int64_t k) const {
  double real = 0, imaginary = 0;
  int64_t count = std::min(static_cast<int64_t>(in.size()), length_);
  int64_t at = 0;
  for (int64_t n = 0; n < count; ++n) {
    const std::complex<double>& root = roots_[at];
    real += in[n].real() * root.real() - in[n].imag() * root.imag();
    imaginary += in[n].real() * root.imag() + in[n].imag() * root.real();
    at += k;
    if (at >= length_) at -= length_;
  }
  return {real * factor_, imaginary * factor_};
}

}  // namespace hussar
