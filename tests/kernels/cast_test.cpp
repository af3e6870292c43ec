// cast against the reference: every pair of types, special values.
#include <cstring>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt32,
                            DType::kInt64,   DType::kUInt8,   DType::kInt8,     DType::kBool};

KernelCase cast_case(Tensor x, DType to) {
  return {"cast", "Cast", {{std::move(x)}}, attributes({{"to", static_cast<int64_t>(to)}})};
}

bool rounds_twice(DType from, DType to) {
  bool wide = from == DType::kInt32 || from == DType::kInt64;
  return wide && (to == DType::kFloat16 || to == DType::kBFloat16);
}

TEST(CastKernel, EveryPair) {
  for (DType from : kTypes) {
    for (DType to : kTypes) {
      if (from == to) continue;
      double low = from == DType::kBool ? 0 : from == DType::kUInt8 ? 0 : -100, high = from == DType::kBool ? 1 : 120;
      KernelCase test = cast_case(random_tensor(from, {pick(1, 100)}, low, high), to);
      if (rounds_twice(from, to)) {
        EXPECT_EQ(refusal_of(test), "rounds twice");
      } else {
        expect_kernel_agrees(test);
      }
      if (HasFailure()) return;
    }
  }
}

// Random bits: infinities, NaN, denormals and every magnitude.
TEST(CastKernel, RandomBitsOfFloats) {
  for (DType from : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (DType to : kTypes) {
      if (from == to) continue;
      Tensor x(from, {70003});
      for (size_t i = 0; i < x.bytes(); ++i) x.raw()[i] = static_cast<std::byte>(pick(0, 255));
      expect_kernel_agrees(cast_case(x, to));
      if (HasFailure()) return;
    }
  }
}

TEST(CastKernel, EveryHalfAndBack) {
  for (DType narrow : {DType::kFloat16, DType::kBFloat16}) {
    Tensor x(narrow, {65536});
    for (int i = 0; i < 65536; ++i) x.data<uint16_t>()[i] = static_cast<uint16_t>(i);
    expect_kernel_agrees(cast_case(x, DType::kFloat32));
  }
}

// Values next to and halfway between float16 numbers.
TEST(CastKernel, RoundingOfHalves) {
  Tensor x(DType::kFloat32, {60000});
  for (int i = 0; i < 60000; ++i) {
    uint32_t bits = static_cast<uint32_t>(pick(0x33000000 >> 12, 0x47800000 >> 12)) << 12;
    bits += static_cast<uint32_t>(pick(-1, 1));
    std::memcpy(x.data<float>() + i, &bits, sizeof(bits));
  }
  expect_kernel_agrees(cast_case(x, DType::kFloat16));
}

TEST(CastKernel, WideIntegersWrap) {
  Tensor x(DType::kInt64, {100});
  for (int i = 0; i < 100; ++i) x.data<int64_t>()[i] = pick(INT64_MIN, INT64_MAX);
  for (DType to : {DType::kInt32, DType::kUInt8, DType::kInt8, DType::kBool, DType::kFloat32}) {
    expect_kernel_agrees(cast_case(x, to));
  }
}

}  // namespace
}  // namespace hussar
