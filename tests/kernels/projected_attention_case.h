// A projection and its attention as one node, for tests of the kernel and of what it compiles.
#pragma once
#include <algorithm>
#include <cmath>

#include "tensor/projected_attention.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {

struct ProjectedSizes {
  int64_t batch, tokens, heads, dim, k;
  Ints mask = {};  // empty: none
};

// What is multiplied, what the projection makes, and what comes of it.
struct ProjectedTypes {
  DType factors, rows, results;
};

inline Attributes heads_of(const ProjectedSizes& s) {
  const int64_t hidden = s.heads * s.dim;
  return attributes({{"heads", s.heads}, {"head_dim", s.dim}, {"k_offset", hidden}, {"v_offset", 2 * hidden}});
}

// Elements of queries, keys and values are about 1, or 40 steps of bytes; scores of one query differ by a few units.
inline KernelCase projected_case(const ProjectedSizes& s, const ProjectedTypes& types) {
  const int64_t hidden = s.heads * s.dim, columns = 3 * hidden;
  const double root = std::sqrt(static_cast<double>(s.k));
  const bool of_bytes = dtype_size(types.factors) == 1, on_bytes = types.rows == DType::kUInt8;
  const Shape x{s.batch, s.tokens, s.k}, w{s.k, columns};
  KernelCase test{"cuda_projected_attention", "", {}};
  test.attributes = heads_of(s);
  if (of_bytes) {
    test.op = kQuantizedProjectedAttention;
    const double unit = (on_bytes ? 40 : 1) / (74.0 * 74.0 * root);
    test.inputs = {{types.factors == DType::kInt8 ? random_tensor(DType::kInt8, x, -127, 127)
                                                  : random_tensor(DType::kUInt8, x, 0, 255)},
                   {random_tensor(DType::kInt8, w, -127, 127), true},
                   {random_tensor(DType::kFloat32, {columns}, 80 * unit, 120 * unit), true},
                   {random_tensor(DType::kFloat32, {columns}, -1, 1), true}};
    if (types.factors == DType::kInt8) {
      test.inputs.push_back({random_tensor(DType::kFloat32, {s.batch, s.tokens, 1}, 0.008, 0.012)});
    } else {
      test.attributes.set("product_x_scale", 0.01F);
      test.attributes.set("product_x_zero_point", int64_t{120});
    }
    test.attributes.set("product_y_type", static_cast<int64_t>(types.rows));
    if (on_bytes) {
      test.attributes.erase("product_y_type");
      test.attributes.set("product_y_scale", 1.0F);
      test.attributes.set("product_y_zero_point", int64_t{128});
    }
  } else {
    test.op = kProjectedAttention;
    test.inputs = {{random_tensor(types.factors, x, -1, 1)},
                   {random_tensor(types.factors, w, -3 / root, 3 / root), true},
                   {random_tensor(types.factors, {columns}, -1, 1), true}};
  }
  test.attributes.set("attention", std::string(on_bytes ? "hussar.QuantizedAttention" : "hussar.Attention"));
  test.inputs.resize(projected::kInputs);
  if (!s.mask.empty()) {
    Tensor mask = random_tensor(DType::kFloat32, Shape(s.mask), -1, 1);
    // Padding, which the first key of a sequence is not.
    for (int64_t i = 0; i < mask.elements(); ++i) {
      if (i % s.tokens > std::max<int64_t>(s.tokens - 1 - i / s.tokens % 40, 0)) mask.data<float>()[i] = -3e38F;
    }
    test.inputs[projected::kMask] = {mask};
  }
  if (on_bytes) {
    test.inputs[projected::kQScale] = {random_tensor(DType::kFloat32, {s.heads}, 0.01, 0.02), true};
    test.inputs[projected::kKScale] = {random_tensor(DType::kFloat32, {s.heads}, 0.01, 0.02), true};
    test.inputs[projected::kVScale] = {random_tensor(DType::kFloat32, {hidden}, 0.01, 0.02), true};
    for (const char* name : {"q_zero_point", "k_zero_point", "v_zero_point"}) test.attributes.set(name, int64_t{128});
  }
  while (!test.inputs.back().tensor.valid()) test.inputs.pop_back();
  if (types.results == DType::kUInt8) {
    test.attributes.set("y_scale", 0.02F);
    test.attributes.set("y_zero_point", int64_t{120});
  } else if (on_bytes) {
    test.attributes.set("y_type", static_cast<int64_t>(types.results));
  }
  test.emulated_sm = 90;
  return test;
}

}  // namespace hussar
