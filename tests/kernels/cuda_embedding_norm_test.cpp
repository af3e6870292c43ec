// Embeddings that are added and normalized in one step.
#include <algorithm>
#include <fstream>

#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr const char* kNorms[] = {"LayerNormalization", "RMSNormalization", "hussar.NormToBytes", "hussar.NormToRows"};

DType any_float() {
  constexpr DType kFloats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  return kFloats[pick(0, 2)];
}

// The sum is rounded after every addition by the reference, and not by the kernel.
double tolerance_of(DType dtype) { return dtype == DType::kFloat32 ? 2e-5 : dtype == DType::kFloat16 ? 1e-2 : 8e-2; }

// What one of the terms is.
enum class Kind { kTable, kBytes, kValue };

void add_term(KernelCase& test, Kind kind, DType dtype, int64_t length, Shape places) {
  if (kind == Kind::kValue) {
    places.push_back(length);
    test.inputs.push_back({random_tensor(dtype, places), pick(0, 1) == 0});
    test.inputs.resize(test.inputs.size() + 2);
    return;
  }
  const int64_t rows = pick(1, 40);
  if (kind == Kind::kBytes) {
    test.inputs.push_back({random_tensor(DType::kUInt8, {rows, length}, 0, 255), true});
    test.inputs.push_back({random_tensor(DType::kFloat32, {rows}, 0.002, 0.02), true});
  } else {
    test.inputs.push_back({random_tensor(dtype, {rows, length}), true});
    test.inputs.push_back({});
  }
  // From the end, too.
  const DType index = pick(0, 1) == 0 ? DType::kInt32 : DType::kInt64;
  test.inputs.push_back({random_tensor(index, places, static_cast<double>(-rows), static_cast<double>(rows - 1))});
}

KernelCase norm_case(std::string norm, DType dtype, int64_t length, bool bias) {
  KernelCase test{"cuda_embedding_norm", "hussar.EmbeddingNorm", {{}, {random_tensor(dtype, {length})}}};
  bias = bias && norm != "RMSNormalization";
  test.inputs.push_back(bias ? Argument{random_tensor(dtype, {length})} : Argument{});
  test.inputs.push_back({});
  test.attributes = attributes({{"epsilon", 1e-2F}});
  if (norm == "hussar.NormToBytes") {
    test.attributes.set("y_scale", 0.03F);
    test.attributes.set("y_zero_point", pick(0, 255));
    if (pick(0, 1) == 0) test.inputs[3] = {random_tensor(DType::kFloat32, {length}, 0.25F, 4)};
    test.outputs = 2;
  }
  if (norm == "hussar.NormToRows") test.outputs = 3;
  if (test.outputs > 1) test.attributes.set("center", pick(0, 1));
  test.attributes.set("norm", std::move(norm));
  test.tolerance = tolerance_of(dtype);
  return test;
}

Shape broadcast_of(const Shape& places) {
  switch (pick(0, 3)) {
    case 0: return places;
    case 1: return {1, places[1]};
    case 2: return {places[0], 1};
    default: return {places[1]};
  }
}

TEST(CudaEmbeddingNorm, AgreesWithTheReference) {
  for (int64_t length : {1, 5, 33, 96, 384, 768, 1000, 1024, 1026, 9000}) {
    for (const char* norm : kNorms) {
      const DType dtype = any_float();
      const Shape places = {pick(1, 4), pick(1, 7)};
      KernelCase test = norm_case(norm, dtype, length, pick(0, 1) == 0);
      add_term(test, pick(0, 1) == 0 ? Kind::kTable : Kind::kBytes, dtype, length, places);
      for (int64_t more = pick(0, 3); more > 0; --more)
        add_term(test, static_cast<Kind>(pick(0, 2)), dtype, length, broadcast_of(places));
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

// As BERT begins, at full precision: words, places of a sequence and types, with everything that they can be.
TEST(CudaEmbeddingNorm, WordsPlacesAndTypes) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (Kind words : {Kind::kTable, Kind::kBytes}) {
      for (const char* norm : kNorms) {
        KernelCase test = norm_case(norm, dtype, 256, true);
        add_term(test, words, dtype, 256, {3, 9});
        add_term(test, Kind::kTable, dtype, 256, {3, 9});
        add_term(test, Kind::kValue, dtype, 256, {1, 9});
        expect_kernel_agrees(test);
        if (HasFailure()) return;
      }
    }
  }
}

// Where there are many, a row is the work of a warp.
TEST(CudaEmbeddingNorm, ManyRows) {
  KernelCase test = norm_case("hussar.NormToRows", DType::kFloat16, 256, true);
  add_term(test, Kind::kBytes, DType::kFloat16, 256, {8, 160});
  add_term(test, Kind::kBytes, DType::kFloat16, 256, {1, 160});
  add_term(test, Kind::kTable, DType::kFloat16, 256, {8, 160});
  expect_kernel_agrees(test);
}

TEST(CudaEmbeddingNorm, InAnotherOrder) {
  for (const char* norm : kNorms) {
    const int64_t rows = 12;
    KernelCase test = norm_case(norm, DType::kFloat32, 64, true);
    Ints order;
    // What is no row is zeros before it is normalized.
    for (int64_t i = 0; i < rows; ++i) order.push_back(pick(-2, rows + 1));
    test.inputs[0] = {integers(order, DType::kInt32)};
    add_term(test, Kind::kTable, DType::kFloat32, 64, {3, 4});
    add_term(test, Kind::kTable, DType::kFloat32, 64, {3, 1});
    add_term(test, Kind::kValue, DType::kFloat32, 64, {1, 4});
    expect_kernel_agrees(test);
    test.all_rows = rows;
    for (int64_t needed : {0, 5, 12}) {
      test.needed_rows = needed;
      test.leaves_other_rows = true;
      expect_kernel_agrees(test);
    }
    if (HasFailure()) return;
  }
}

TEST(CudaEmbeddingNorm, NoRows) {
  KernelCase test = norm_case("LayerNormalization", DType::kFloat32, 64, true);
  add_term(test, Kind::kTable, DType::kFloat32, 64, {0, 4});
  expect_kernel_agrees(test);
}

TEST(CudaEmbeddingNorm, Refusals) {
  auto of_one = [](Kind kind) {
    KernelCase test = norm_case("LayerNormalization", DType::kFloat32, 64, true);
    add_term(test, kind, DType::kFloat32, 64, {2, 4});
    return test;
  };
  EXPECT_EQ(refusal_of(of_one(Kind::kBytes)), std::nullopt);
  KernelCase other_sum = of_one(Kind::kTable);
  other_sum.inputs[4].tensor = random_tensor(DType::kFloat16, {3, 64});
  other_sum.inputs[6].tensor = random_tensor(DType::kInt64, {2, 4}, 0, 2);
  EXPECT_EQ(refusal_of(other_sum), "dtype of a table");
  KernelCase many = of_one(Kind::kTable);
  for (int i = 0; i < 4; ++i) add_term(many, Kind::kTable, DType::kFloat32, 64, {2, 4});
  EXPECT_EQ(refusal_of(many), "number of terms");
  KernelCase wide = of_one(Kind::kTable);
  wide.attributes.set("axis", int64_t{1});
  wide.inputs[1].tensor = wide.inputs[2].tensor = random_tensor(DType::kFloat32, {4, 64});
  EXPECT_EQ(refusal_of(wide), "axis");
  KernelCase narrow = of_one(Kind::kTable);
  narrow.inputs[1].tensor = random_tensor(DType::kFloat32, {1});
  EXPECT_EQ(refusal_of(narrow), "scale or bias of another shape than the rows");
}

// What bench/problems/embedding_gpu.txt asks to be measured is what kernels of a GPU do.
TEST(CudaEmbeddingNorm, ProblemsToMeasure) {
  std::ifstream file(HUSSAR_TESTS "/../bench/problems/embedding_gpu.txt");
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    SCOPED_TRACE(line);
    auto problem = parse_problem(line.substr(line.find(": ") + 2));
    ASSERT_TRUE(problem) << problem.error().message;
    EXPECT_TRUE(has_own_kernel(Problem{*problem->node, target}));
    ++count;
  }
  EXPECT_EQ(count, 7);
}

}  // namespace
}  // namespace hussar
