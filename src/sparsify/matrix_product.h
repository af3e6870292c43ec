// MatrixProduct: the one operation that takes the time of this room, as an argument, because the library's own fast
// kernels are in another room.
#pragma once
#include <cstdint>
#include <functional>

namespace hussar {

// c (rows x columns) += a' b, with a (depth x rows) and b (depth x columns) in row-major order. c overlaps neither a
// nor b. Strides, from one row to the next, are in elements.
struct ProductArgs {
  int64_t rows = 0, columns = 0, depth = 0;
  const float* a = nullptr;
  int64_t a_stride = 0;
  const float* b = nullptr;
  int64_t b_stride = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
};

// Uses as many threads as it likes and returns when all is done; called from one thread at a time. The sum of an
// element may be taken in any order that depends neither on threads nor on chance.
using MatrixProduct = std::function<void(const ProductArgs&)>;

// With code for every machine, on at most so many threads of the process's pool; 0: on all.
MatrixProduct plain_product(int threads = 0);

}  // namespace hussar
