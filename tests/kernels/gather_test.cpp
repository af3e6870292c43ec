// gather and gather_elements against the reference, and what they say to bad indices.
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr DType kOfEverySize[] = {DType::kBool, DType::kFloat16, DType::kFloat32, DType::kInt64};

TEST(GatherKernel, AnyAxis) {
  for (DType dtype : kOfEverySize) {
    for (int repeat = 0; repeat < 30; ++repeat) {
      Shape shape{pick(1, 5), pick(1, 9), pick(1, 4)};
      auto axis = pick(-3, 2);
      int64_t length = shape[static_cast<int>(axis < 0 ? axis + 3 : axis)];
      Shape index_shape;
      for (int64_t rank = pick(0, 2); rank > 0; --rank) index_shape.push_back(pick(0, 5));
      DType index = pick(0, 1) == 0 ? DType::kInt64 : DType::kInt32;
      KernelCase test{
          "gather",
          "Gather",
          {{random_tensor(dtype, shape, 0, 1)},
           {random_tensor(index, index_shape, static_cast<double>(-length), static_cast<double>(length - 1))}},
          attributes({{"axis", axis}})};
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(GatherKernel, Embedding) {
  expect_kernel_agrees(
      {"gather",
       "Gather",
       {{random_tensor(DType::kFloat32, {1000, 384})}, {random_tensor(DType::kInt64, {2, 128}, 0, 999)}}});
}

TEST(GatherKernel, IndexOutOfRange) {
  for (int64_t bad : {4, -5}) {
    std::string error =
        run_error_of({"gather", "Gather", {{random_tensor(DType::kFloat32, {4, 3})}, {integers({0, bad})}}});
    EXPECT_NE(error.find("index " + std::to_string(bad) + " is out of range"), std::string::npos) << error;
    EXPECT_NE(error.find("'node'"), std::string::npos) << error;
  }
}

TEST(GatherElementsKernel, AnyAxis) {
  for (DType dtype : kOfEverySize) {
    for (int repeat = 0; repeat < 30; ++repeat) {
      Shape shape, index_shape;
      for (int64_t rank = pick(1, 4); rank > 0; --rank) {
        shape.push_back(pick(1, 8));
        index_shape.push_back(pick(1, shape[shape.rank() - 1]));
      }
      int axis = static_cast<int>(pick(0, shape.rank() - 1));
      index_shape[axis] = pick(1, 12);
      auto length = static_cast<double>(shape[axis]);
      DType index = pick(0, 1) == 0 ? DType::kInt64 : DType::kInt32;
      expect_kernel_agrees(
          {"gather_elements",
           "GatherElements",
           {{random_tensor(dtype, shape, 0, 1)}, {random_tensor(index, index_shape, -length, length - 1)}},
           attributes({{"axis", static_cast<int64_t>(axis)}})});
      if (HasFailure()) return;
    }
  }
}

TEST(GatherElementsKernel, IndexOutOfRange) {
  Tensor indices(DType::kInt64, {2, 2});
  indices.data<int64_t>()[3] = 7;
  std::string error =
      run_error_of({"gather_elements", "GatherElements", {{random_tensor(DType::kFloat32, {2, 2})}, {indices}}});
  EXPECT_NE(error.find("index 7 is out of range for 2"), std::string::npos) << error;
}

TEST(GatherNDKernel, AnyTuples) {
  for (DType dtype : kOfEverySize) {
    for (int repeat = 0; repeat < 40; ++repeat) {
      Shape data;
      for (int64_t rank = pick(1, 4); rank > 0; --rank) data.push_back(pick(1, 6));
      const auto batch_dims = pick(0, data.rank() - 1);
      const auto tuple = static_cast<int>(pick(1, data.rank() - batch_dims));
      Shape index_shape;
      for (int axis = 0; axis < batch_dims; ++axis) index_shape.push_back(data[axis]);
      for (int64_t more = pick(0, 2); more > 0; --more) index_shape.push_back(pick(0, 5));
      index_shape.push_back(tuple);
      Tensor indices(DType::kInt64, index_shape);
      for (int64_t i = 0; i < indices.elements(); ++i) {
        const int64_t length = data[static_cast<int>(batch_dims + i % tuple)];
        indices.data<int64_t>()[i] = pick(-length, length - 1);
      }
      expect_kernel_agrees({"gather_nd",
                            "GatherND",
                            {{random_tensor(dtype, data, 0, 1)}, {indices}},
                            attributes({{"batch_dims", batch_dims}})});
      if (HasFailure()) return;
    }
  }
}

TEST(GatherNDKernel, IndexOutOfRange) {
  for (int64_t bad : {3, -4}) {
    Tensor indices(DType::kInt64, {2, 2});
    indices.data<int64_t>()[3] = bad;
    std::string error = run_error_of({"gather_nd", "GatherND", {{random_tensor(DType::kFloat32, {4, 3})}, {indices}}});
    EXPECT_NE(error.find("index " + std::to_string(bad) + " is out of range"), std::string::npos) << error;
  }
}

TEST(GatherBytesKernel, RowsOfATable) {
  for (int repeat = 0; repeat < 30; ++repeat) {
    const int64_t rows = pick(1, 40), columns = pick(1, 70);
    const DType index = pick(0, 1) == 0 ? DType::kInt64 : DType::kInt32;
    Shape index_shape;
    for (int64_t rank = pick(0, 2); rank > 0; --rank) index_shape.push_back(pick(0, 30));
    expect_kernel_agrees(
        {"gather_bytes",
         "hussar.GatherBytes",
         {{random_tensor(DType::kUInt8, {rows, columns}, 0, 255)},
          {random_tensor(DType::kFloat32, {rows})},
          {random_tensor(index, index_shape, static_cast<double>(-rows), static_cast<double>(rows - 1))}}});
    if (HasFailure()) return;
  }
  std::string error = run_error_of(
      {"gather_bytes",
       "hussar.GatherBytes",
       {{random_tensor(DType::kUInt8, {4, 3}, 0, 255)}, {random_tensor(DType::kFloat32, {4})}, {integers({0, 4})}}});
  EXPECT_NE(error.find("index 4 is out of range"), std::string::npos) << error;
}

}  // namespace
}  // namespace hussar
