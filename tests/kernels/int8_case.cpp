#include "tests/kernels/int8_case.h"

#include <cmath>

#include "tensor/row_term.h"

namespace hussar {

ProgramStep step(ProgramOp op) { return {op, 0, 0, ProgramSource::kConstant, 0, {}, 0, 0}; }
ProgramStep add_operand(uint8_t index) { return {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, index, {}, 0, 0}; }
ProgramStep clip(float low, float high) { return {ProgramOp::kClip, 0, 0, ProgramSource::kConstant, 0, {}, low, high}; }

void add_step(KernelCase& test, ProgramStep next) {
  if (!test.program) test.program = Program{};
  test.program_inputs = 4;
  test.program->steps[test.program->step_count++] = next;
}

void add_full_operand(KernelCase& test, DType dtype, const Shape& shape, Layout layout, int64_t gap) {
  test.inputs.push_back({random_tensor(dtype, shape, dtype == DType::kUInt8 ? 0 : -2, dtype == DType::kUInt8 ? 255 : 2),
                         false, layout, gap});
  add_step(test, add_operand(test.program ? test.program->operand_count : 0));
  ++test.program->operand_count;
}

// One byte per element, column or row of the output, or one for all.
void add_byte_operand(KernelCase& test, const Shape& output, Layout layout, int64_t gap) {
  Shape shape = output;
  const int64_t kept = pick(0, 3);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool is_column = layout == Layout::kChannelsLast ? axis == 1 : axis + 1 == shape.rank();
    if (kept == 1 || (kept == 2 && !is_column) || (kept == 3 && is_column)) shape[axis] = 1;
  }
  const bool is_full = shape == output;
  add_full_operand(test, DType::kUInt8, shape, is_full || kept == 3 ? layout : Layout::kPlain, is_full ? gap : 0);
}

// One number per column.
void add_column_operand(KernelCase& test, ProgramOp op, const Shape& output, Layout layout) {
  Ints dims(layout == Layout::kChannelsLast ? static_cast<size_t>(output.rank() - 1) : 1, 1);
  dims[0] = output[layout == Layout::kChannelsLast ? 1 : output.rank() - 1];
  test.inputs.push_back({random_tensor(DType::kFloat32, Shape(std::span(dims))), true});
  ProgramStep next = add_operand(test.program ? test.program->operand_count : 0);
  next.op = op;
  add_step(test, next);
  ++test.program->operand_count;
}

void add_row_term(KernelCase& test, const Shape& output, Layout layout) {
  const int column = layout == Layout::kChannelsLast ? 1 : output.rank() - 1;
  Shape rows = output;
  rows[column] = 1;
  Ints columns(static_cast<size_t>(output.rank() - column), 1);
  columns[0] = output[column];
  if (!test.program) test.program = Program{};
  test.program_inputs = 4;
  const uint8_t first = test.program->operand_count;
  test.inputs.push_back({random_tensor(DType::kFloat32, rows), false, layout});
  test.inputs.push_back({random_tensor(DType::kFloat32, Shape(std::span(columns))), true});
  put_row_term(*test.program, {first, first + 1});
  test.program->operand_count = first + 2;
}

void add_any_end(KernelCase& test, const Shape& output, Layout layout, int64_t gap) {
  if (pick(0, 1) == 1) {
    test.attributes.set("y_scale", 0.05F);
    test.attributes.set("y_zero_point", pick(0, 255));
  }
  switch (pick(0, 6)) {
    case 0: return;
    case 1: return add_step(test, step(ProgramOp::kRelu));
    case 2: add_full_operand(test, DType::kFloat32, output, layout, gap); return add_step(test, step(ProgramOp::kRelu));
    case 3:
      test.attributes.set("operand_scale", 0.03F);
      test.attributes.set("operand_zero_point", pick(0, 255));
      add_full_operand(test, DType::kUInt8, output, layout, gap);
      return add_step(test, clip(-3, 6));
    case 4:
      test.attributes.set("operand_scale", 0.03F);
      test.attributes.set("operand_zero_point", pick(0, 255));
      add_step(test, step(ProgramOp::kAbs));
      return add_byte_operand(test, output, layout, gap);
    case 5:
      if (pick(0, 1) == 1) add_step(test, clip(-3, 6));
      return add_column_operand(test, ProgramOp::kMul, output, layout);
    default:
      // Nothing that a level may compute in another way.
      add_full_operand(test, DType::kFloat32, output, layout, gap);
      add_step(test, step(ProgramOp::kAbs));
      add_step(test, step(ProgramOp::kSqrt));
  }
}

void add_epilogue(KernelCase& test, const Shape& output, Layout layout, int64_t gap) {
  add_any_end(test, output, layout, gap);
  if (pick(0, 2) == 0) add_row_term(test, output, layout);
}

KernelCase product_case(const char* kernel, const char* op, Argument x, const Shape& weights, int64_t k,
                        int64_t filters) {
  KernelCase test{.kernel = kernel, .op = op, .inputs = {}};
  test.inputs.push_back(std::move(x));
  test.inputs.push_back({random_tensor(DType::kInt8, weights, -128, 127), true});
  // Sums of random bytes have a deviation of about 10,000 times the root of k.
  const double scale = 1 / std::sqrt(static_cast<double>(k)) / 1e4;
  test.inputs.push_back({random_tensor(DType::kFloat32, {filters}, scale / 2, scale), true});
  test.inputs.push_back(pick(0, 1) == 1 ? Argument{random_tensor(DType::kFloat32, {filters}), true} : Argument{});
  test.attributes.set("x_scale", 1.5F);
  test.attributes.set("x_zero_point", pick(0, 255));
  return test;
}

Argument random_bytes(const Shape& shape, Layout layout, int64_t gap) {
  return {random_tensor(DType::kUInt8, shape, 0, 255), false, layout, gap};
}

void expect_int8_conv(const char* kernel, const Shape& input, const Shape& filter, const Attributes& extra, int64_t gap,
                      const ChangeWeights& change) {
  const int64_t k = filter.elements(1, filter.rank());
  KernelCase test = product_case(kernel, "hussar.QuantizedConv", random_bytes(input, Layout::kChannelsLast, gap),
                                 filter, k, filter[0]);
  if (change) change(test.inputs[1].tensor);
  for (const auto& [name, value] : extra.all()) test.attributes.set(name, value);
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = gap;
  Shape output = {input[0], filter[0]};
  Ints one(static_cast<size_t>(input.rank() - 2), 1);
  const Ints strides = extra.get_ints("strides", one), dilations = extra.get_ints("dilations", one);
  const Ints pads = extra.get_ints("pads", Ints(one.size() * 2, 0));
  for (size_t axis = 0; axis < one.size(); ++axis) {
    const int at = static_cast<int>(axis) + 2;
    const int64_t extent = (filter[at] - 1) * dilations[axis] + 1;
    output.push_back((input[at] + pads[axis] + pads[axis + one.size()] - extent) / strides[axis] + 1);
  }
  add_epilogue(test, output, Layout::kChannelsLast, gap);
  expect_kernel_agrees(test);
}

void expect_int8_matmul(const char* kernel, int64_t rows, int64_t k, int64_t n, const ChangeWeights& change) {
  KernelCase test =
      product_case(kernel, "hussar.QuantizedMatMul", random_bytes({rows, k}, Layout::kPlain, 0), {k, n}, k, n);
  if (change) change(test.inputs[1].tensor);
  add_epilogue(test, {rows, n}, Layout::kPlain, 0);
  expect_kernel_agrees(test);
}

}  // namespace hussar
