// The texts of the CUDA kernels, compiled by NVRTC for every GPU that there may
// be: without errors, and without registers that spill.
#include <algorithm>
#include <cstdlib>
#include <regex>
#include <set>

#include "backends/cuda/nvrtc.h"
#include "plan/kernel.h"
#include "tensor/convert.h"
#include "tensor/shared_mask.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/projected_attention_case.h"

namespace hussar {
namespace {

KernelCase with(KernelCase test, Attributes list) {
  test.attributes = std::move(list);
  return test;
}

KernelCase channels_last(KernelCase test) {
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  return test;
}

// For each text the form that needs the most registers, and what is compiled
// differently.
std::vector<KernelCase> texts() {
  const DType f16 = DType::kFloat16, f32 = DType::kFloat32, bf16 = DType::kBFloat16;
  auto x = [](DType dtype, const Shape& shape) { return Argument{random_tensor(dtype, shape, 1, 2)}; };
  auto list = [](const Ints& values) { return Argument{integers(values), true}; };
  const Argument image = x(f16, {2, 16, 9, 9});
  const Attributes window = attributes({{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}});
  const Attributes meanings = attributes({{"x_scale", 0.1F}, {"x_zero_point", int64_t{7}}, {"y_scale", 0.2F}});
  Attributes byte_window = window;
  for (const auto& [name, value] : meanings.all()) byte_window.set(name, value);
  const Attributes pads = attributes({{"mode", std::string("reflect")}});
  std::vector<KernelCase> cases = {
      {"cuda_elementwise", "Add", {x(f16, {4, 16}), x(f16, {4, 16})}},
      {"cuda_elementwise", "Pow", {x(bf16, {4, 3}), x(bf16, {4, 1})}},
      {"cuda_elementwise", "Mod", {x(DType::kInt32, {4, 3}), x(DType::kInt32, {4, 3})}},
      with({"cuda_copy", "Transpose", {x(f32, {3, 4, 5, 6})}}, attributes({{"perm", Ints{3, 1, 2, 0}}})),
      with({"cuda_transpose", "Transpose", {x(f16, {3, 40, 5, 60})}}, attributes({{"perm", Ints{0, 2, 3, 1}}})),
      {"cuda_norm", "LayerNormalization", {x(f16, {4, 1024}), x(f16, {1024}), x(f32, {1024})}},
      {"cuda_norm", "RMSNormalization", {x(bf16, {4, 8192}), x(bf16, {8192})}},
      {"cuda_norm", "hussar.NormToBytes", {x(f16, {4, 1024}), x(f16, {1024})}, attributes({{"y_scale", 0.1F}}), 2},
      {"cuda_norm", "LayerNormalization", {x(f32, {4, 9000}), x(f32, {9000})}},
      {"cuda_softmax", "Softmax", {x(f32, {4, 1024})}},
      {"cuda_softmax", "LogSoftmax", {x(f16, {4, 8192})}},
      with({"cuda_softmax", "Softmax", {x(f16, {4, 5, 3})}}, attributes({{"axis", int64_t{1}}})),
      {"cuda_group_norm", "InstanceNormalization", {image, x(f16, {16}), x(f16, {16})}},
      {"cuda_lrn", "LRN", {image}, attributes({{"size", int64_t{5}}})},
      {"cuda_reduce", "ReduceMean", {x(f16, {4, 4096}), list({1})}},
      {"cuda_reduce", "ReduceMax", {x(f32, {4, 100, 7, 3}), list({0, 2})}},
      {"cuda_reduce", "ReduceSum", {x(DType::kInt64, {4, 300}), list({1})}},
      {"cuda_arg_extreme", "ArgMax", {x(f16, {4, 3000})}, attributes({{"axis", int64_t{1}}})},
      {"cuda_arg_extreme", "ArgMin", {x(DType::kInt64, {4, 3})}, attributes({{"axis", int64_t{0}}})},
      with(channels_last({"cuda_pool", "MaxPool", {image}}), window),
      with({"cuda_pool", "AveragePool", {image}}, window),
      with(channels_last({"cuda_pool", "MaxPool", {x(DType::kUInt8, {2, 64, 9, 9})}}), window),
      with(channels_last({"cuda_pool", "hussar.AverageBytes", {x(DType::kUInt8, {2, 64, 9, 9})}}), byte_window),
      with(channels_last({"cuda_reduce", "hussar.GlobalAverageBytes", {x(DType::kUInt8, {2, 64, 9, 9})}}), meanings),
      {"cuda_gather", "Gather", {x(f16, {9, 16}), x(DType::kInt64, {2, 3})}},
      {"cuda_gather_bytes", "hussar.GatherBytes", {x(DType::kUInt8, {9, 16}), x(f32, {9}), x(DType::kInt64, {2})}},
      {"cuda_token_order", "hussar.TokenOrder", {x(DType::kInt64, {3, 300})}, {}, 3},
      {"cuda_gather_rows", "hussar.GatherRows", {x(f16, {3, 4, 64}), {integers(Ints(12, 1), DType::kInt32)}}},
      {"cuda_gather_elements", "GatherElements", {x(f32, {9, 4}), x(DType::kInt32, {2, 3})}},
      {"cuda_gather_nd", "GatherND", {x(f32, {9, 4, 4}), x(DType::kInt64, {3, 2})}},
      {"cuda_gather_nd", "ScatterND", {x(f32, {9, 4, 4}), x(DType::kInt64, {1, 2}), x(f32, {1, 4})}},
      with({"cuda_pad", "Pad", {x(f32, {4, 4, 4, 4}), list({0, 0, 1, 1, 0, 0, 1, 1})}}, pads),
      {"cuda_top_k", "TopK", {x(f32, {3, 3000}), list({5})}, {}, 2},
      {"cuda_top_k", "TopK", {x(DType::kInt64, {3, 4096}), list({5})}, {}, 2},
      {"cuda_cum_sum", "CumSum", {x(f16, {3, 100}), list({1})}},
      {"cuda_trilu", "Trilu", {x(f32, {3, 4})}},
      {"cuda_one_hot", "OneHot", {x(DType::kInt64, {3}), list({5}), x(f32, {2})}},
      {"cuda_softmax_mean",
       "hussar.SoftmaxMean",
       {x(f16, {2, 4, 16, 9}), x(f16, {16})},
       attributes({{"axis", int64_t{2}}})},
      with(channels_last({"cuda_concat_transposed", "Concat", {image, image}}), attributes({{"axis", int64_t{1}}})),
  };
  cases.back().output_layout = Layout::kPlain;
  cases.back().inputs[1].layout = Layout::kChannelsLast;
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    cases.push_back(channels_last({"cuda_resize", "Resize", {image, {}, {}, list({2, 16, 18, 18})}}));
    cases.back().attributes = attributes({{"mode", std::string(mode)}});
  }
  return cases;
}

// Words in bytes, types in floats, and places that are computed.
KernelCase embeddings(std::string norm, DType dtype, int64_t rows, int64_t length) {
  auto x = [](DType type, const Shape& shape) { return Argument{random_tensor(type, shape, 1, 2), true}; };
  const Argument ids{random_tensor(DType::kInt64, {rows, 2}, 0, 1)};
  KernelCase test{"cuda_embedding_norm",
                  "hussar.EmbeddingNorm",
                  {{integers(Ints(static_cast<size_t>(2 * rows), 1), DType::kInt32)},
                   x(dtype, {length}),
                   x(dtype, {length}),
                   {},
                   x(DType::kUInt8, {9, length}),
                   x(DType::kFloat32, {9}),
                   ids,
                   x(dtype, {2, length}),
                   {},
                   ids,
                   x(dtype, {1, 2, length}),
                   {},
                   {}}};
  test.attributes = attributes({{"y_scale", 0.1F}});
  test.outputs = norm == "hussar.NormToRows" ? 3 : norm == "hussar.NormToBytes" ? 2 : 1;
  if (test.outputs != 2) test.attributes.erase("y_scale");
  test.attributes.set("norm", std::move(norm));
  return test;
}

KernelCase in_tf32(KernelCase test) {
  test.tf32 = true;
  return test;
}

// With a shortcut that is added, and GELU.
KernelCase with_shortcut(KernelCase test, const Shape& output) {
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  test.inputs.push_back({random_tensor(DType::kFloat16, output, -1, 1), false, test.output_layout});
  test.program.emplace();
  test.program->operand_count = 1;
  test.program->step_count = 2;
  test.program->steps[0].op = ProgramOp::kAdd;
  test.program->steps[0].source = ProgramSource::kOperand;
  test.program->steps[1].op = ProgramOp::kGeluErf;
  return test;
}

// The same of bytes, with everything that there may be behind them: scales,
// bias, residual; results are bytes.
KernelCase of_bytes(KernelCase test, int64_t columns, const Shape& output) {
  test.op = test.op == "Conv" ? "hussar.QuantizedConv" : "hussar.QuantizedMatMul";
  test.inputs[0].tensor = random_tensor(DType::kUInt8, test.inputs[0].tensor.shape(), 0, 255);
  test.inputs[1].tensor = random_tensor(DType::kInt8, test.inputs[1].tensor.shape(), -128, 127);
  for (int i = 0; i < 2; ++i) test.inputs.push_back({random_tensor(DType::kFloat32, {columns}, 1, 2), true});
  test.attributes.set("y_scale", 0.1F);
  return with_shortcut(std::move(test), output);
}

// With BF16 in place of halves.
KernelCase of_bf16(KernelCase test) {
  for (Argument& input : test.inputs) {
    if (input.tensor.valid() && input.tensor.dtype() == DType::kFloat16)
      input.tensor = converted(input.tensor, DType::kBFloat16);
  }
  return test;
}
bool has_halves(const KernelCase& test) {
  return std::any_of(test.inputs.begin(), test.inputs.end(), [](const Argument& input) {
    return input.tensor.valid() && input.tensor.dtype() == DType::kFloat16;
  });
}

// The same in FP8.
KernelCase of_fp8(KernelCase test) {
  for (int i = 0; i < 2; ++i)
    test.inputs[i].tensor = random_tensor(DType::kFloat8E4M3FN, test.inputs[i].tensor.shape(), -448, 448);
  test.attributes.set("y_type", static_cast<int64_t>(DType::kFloat8E4M3FN));
  return test;
}

// The same of rows of bytes that have scales of their own; results are halves.
KernelCase of_rows(KernelCase test, int64_t columns, const Shape& output) {
  test.op = "hussar.QuantizedMatMul";
  const int64_t rows = test.inputs[0].tensor.shape()[0];
  for (int i = 0; i < 2; ++i)
    test.inputs[i].tensor = random_tensor(DType::kInt8, test.inputs[i].tensor.shape(), -127, 127);
  for (int i = 0; i < 2; ++i) test.inputs.push_back({random_tensor(DType::kFloat32, {columns}, 1, 2), true});
  test.inputs.push_back({random_tensor(DType::kFloat32, {rows, 1}, 1, 2)});
  test.attributes.set("y_type", static_cast<int64_t>(DType::kFloat16));
  return with_shortcut(std::move(test), output);
}

// Of bytes that have one scale and one zero point, found when the model runs.
KernelCase of_one_scale(KernelCase test) {
  test.inputs[0].tensor = random_tensor(DType::kUInt8, test.inputs[0].tensor.shape(), 0, 255);
  test.inputs[4].tensor = random_tensor(DType::kFloat32, Shape{}, 1, 2);
  test.inputs.insert(test.inputs.begin() + 5, {random_tensor(DType::kUInt8, Shape{}, 0, 255)});
  ++test.program_inputs;
  return test;
}

// What GPUs from sm_89 on compile only.
std::vector<KernelCase> fp8_texts() {
  const DType f16 = DType::kFloat16;
  auto x = [&](const Shape& shape) { return Argument{random_tensor(f16, shape, 1, 2)}; };
  auto weights = [&](const Shape& shape) { return Argument{random_tensor(f16, shape, 1, 2), true}; };
  const Argument many = x({99, 64, 128}), number{random_tensor(DType::kFloat32, Shape{}, 1, 2), true};
  const Argument zero{Tensor(DType::kFloat8E4M3FN, Shape{}), true};
  Attributes to_fp8 = attributes({{"y_scale", 0.1F}, {"y_type", static_cast<int64_t>(DType::kFloat8E4M3FN)}});
  Attributes heads = to_fp8;
  heads.set("heads", int64_t{2});
  heads.set("head_dim", int64_t{64});
  const Attributes pads = attributes({{"pads", Ints{1, 1, 1, 1}}});
  KernelCase adds =
      of_fp8(of_bytes({"cuda_product", "MatMul", {x({512, 64}), weights({64, 1024})}}, 1024, {512, 1024}));
  adds.inputs.back().tensor = random_tensor(DType::kFloat8E4M3FN, {512, 1024}, -9, 9);
  adds.attributes.set("operand_scale", 0.1F);
  return {
      of_fp8(of_bytes({"cuda_product", "MatMul", {x({512, 64}), weights({64, 1024})}}, 1024, {512, 1024})),
      of_fp8(of_bytes({"cuda_product", "MatMul", {x({64, 64}), weights({64, 64})}}, 64, {64, 64})),
      adds,
      of_fp8(of_bytes({"cuda_matmul_simple", "MatMul", {x({5, 7}), weights({7, 9})}}, 9, {5, 9})),
      of_fp8(of_bytes(with(channels_last({"cuda_conv", "Conv", {x({2, 16, 9, 9}), weights({16, 16, 3, 3})}}), pads), 16,
                      {2, 16, 9, 9})),
      with({"cuda_norm", "hussar.NormToBytes", {x({4, 1024}), x({1024})}, {}, 2}, to_fp8),
      with({"cuda_attention_tensor", "hussar.Attention", {many, many, many}}, heads),
      {"cuda_elementwise", "QuantizeLinear", {{random_tensor(DType::kFloat32, {4, 64})}, number, zero}},
      {"cuda_elementwise", "DequantizeLinear", {{random_tensor(DType::kFloat8E4M3FN, {4, 64})}, number, zero}},
  };
}

// The first two of each four weights along k are zero.
KernelCase thinned(KernelCase test) {
  Tensor& weights = test.inputs[1].tensor;
  auto clear = [&](auto* data) {
    const WeightForm form = test.op.ends_with("Conv") ? WeightForm::kFilter : WeightForm::kMatrix;
    const auto view = view_weights(data, weights.shape(), form);
    for (int64_t k = 0; k < view.k; ++k) {
      for (int64_t column = 0; column < view.n && k % 4 < 2; ++column) view.row(k)[column * view.column_stride] = {};
    }
  };
  if (dtype_size(weights.dtype()) == 1)
    clear(reinterpret_cast<int8_t*>(weights.raw()));
  else
    clear(weights.data<Half>());
  return test;
}

// Products and convolutions with sparse weights, in every tile.
std::vector<KernelCase> sparse_texts() {
  std::vector<KernelCase> cases;
  auto values = [](const Shape& shape) { return Argument{random_tensor(DType::kFloat16, shape, 1, 2)}; };
  auto add = [&](KernelCase test, const Shape& output) {
    test.inputs[1].constant = true;
    for (const char* tile : {"128x128", "128x64", "64x128", "64x64"}) {
      test.attributes.set(kConfigurationAttribute, std::string(tile));
      cases.push_back(thinned(with_shortcut(test, output)));
      cases.push_back(thinned(of_bytes(test, output[1], output)));
    }
  };
  add({"cuda_product_sparse_ampere", "MatMul", {values({64, 64}), values({64, 128})}}, {64, 128});
  KernelCase conv{"cuda_conv_sparse_ampere", "Conv", {values({2, 64, 9, 9}), values({128, 64, 3, 3})}};
  conv.attributes = attributes({{"pads", Ints{1, 1, 1, 1}}});
  add(channels_last(conv), {2, 128, 9, 9});
  return cases;
}

// The same for Hopper's warpgroups: halves, bytes and FP8, each with a residual
// and GELU.
std::vector<KernelCase> hopper_sparse_texts() {
  std::vector<KernelCase> cases;
  auto values = [](const Shape& shape) { return Argument{random_tensor(DType::kFloat16, shape, 1, 2)}; };
  auto add = [&](KernelCase test, const Shape& output) {
    test.inputs[1].constant = true;
    for (const char* tile : {"pair_128x256", "quad_128x256", "wide_pair_128x256", "pair_turns_128x128", "256x128",
                             "128x128", "64x256", "64x128"}) {
      test.attributes.set(kConfigurationAttribute, std::string(tile));
      cases.push_back(thinned(with_shortcut(test, output)));
      const KernelCase bytes = of_bytes(test, output[1], output);
      cases.push_back(thinned(bytes));
      cases.push_back(thinned(of_fp8(bytes)));
    }
  };
  add({"cuda_product_sparse", "MatMul", {values({512, 256}), values({256, 256})}}, {512, 256});
  KernelCase conv{"cuda_conv_sparse", "Conv", {values({2, 128, 9, 9}), values({256, 128, 3, 3})}};
  conv.attributes = attributes({{"pads", Ints{1, 1, 1, 1}}});
  add(channels_last(conv), {2, 256, 9, 9});
  return cases;
}

// Products, convolutions and attention.
std::vector<KernelCase> product_texts() {
  const DType f16 = DType::kFloat16, f32 = DType::kFloat32;
  auto x = [](DType dtype, const Shape& shape) { return Argument{random_tensor(dtype, shape, 1, 2)}; };
  auto weights = [](DType dtype, const Shape& shape) { return Argument{random_tensor(dtype, shape, 1, 2), true}; };
  const Attributes pads = attributes({{"pads", Ints{1, 1, 1, 1}}});
  const Attributes heads = attributes({{"heads", int64_t{2}}, {"head_dim", int64_t{64}}});
  Attributes heads_to_bytes = heads;
  heads_to_bytes.set("y_scale", 0.1F);
  const Attributes wide = attributes({{"heads", int64_t{1}}, {"head_dim", int64_t{128}}});
  auto starts_of = [](int64_t batch) {
    return Argument{integers(Ints(static_cast<size_t>(batch) + 1), DType::kInt32)};
  };
  const Argument rows = x(f16, {2, 64, 128}), many = x(f16, {99, 64, 128});
  const Argument few_floats = x(f32, {2, 64, 128}), floats = x(f32, {99, 64, 128}), more = x(f32, {199, 64, 128});
  return {
      {"cuda_product", "MatMul", {x(f16, {512, 64}), weights(f16, {64, 1024})}},
      {"cuda_product", "MatMul", {x(f16, {64, 64}), weights(f16, {64, 64})}},
      {"cuda_product", "MatMul", {x(f32, {512, 64}), weights(f32, {64, 1024})}},
      in_tf32({"cuda_product", "MatMul", {x(f32, {512, 64}), weights(f32, {64, 1024})}}),
      {"cuda_matmul_simple", "MatMul", {x(f16, {3, 5, 7}), x(f16, {7, 9})}},
      of_bytes({"cuda_product", "MatMul", {x(f16, {512, 64}), weights(f16, {64, 1024})}}, 1024, {512, 1024}),
      of_bytes({"cuda_product", "MatMul", {x(f16, {64, 64}), weights(f16, {64, 64})}}, 64, {64, 64}),
      of_bytes({"cuda_matmul_simple", "MatMul", {x(f16, {5, 7}), weights(f16, {7, 9})}}, 9, {5, 9}),
      of_bytes(with(channels_last({"cuda_conv", "Conv", {x(f16, {2, 16, 9, 9}), weights(f16, {16, 16, 3, 3})}}), pads),
               16, {2, 16, 9, 9}),
      of_bytes(
          with(channels_last({"cuda_conv_simple", "Conv", {x(f32, {2, 3, 9, 9}), weights(f32, {5, 3, 3, 3})}}), pads),
          5, {2, 5, 9, 9}),
      with(channels_last({"cuda_conv", "Conv", {x(f16, {2, 16, 9, 9}), weights(f16, {16, 16, 3, 3})}}), pads),
      with(channels_last({"cuda_conv_patch", "Conv", {x(f16, {2, 16, 99, 99}), weights(f16, {16, 16, 3, 3})}}), pads),
      with(channels_last({"cuda_conv_patch", "Conv", {x(f16, {2, 64, 9, 9}), weights(f16, {64, 64, 3, 3})}}), pads),
      in_tf32(with(channels_last({"cuda_conv_patch", "Conv", {x(f32, {2, 16, 99, 99}), weights(f32, {16, 16, 3, 3})}}),
                   pads)),
      of_bytes(with(channels_last({"cuda_conv_patch", "Conv", {x(f16, {2, 32, 99, 99}), weights(f16, {32, 32, 3, 3})}}),
                    pads),
               32, {2, 32, 99, 99}),
      with(channels_last({"cuda_conv_columns", "Conv", {x(f16, {2, 3, 9, 9}), weights(f16, {16, 3, 3, 3})}}), pads),
      with(channels_last({"cuda_conv_depthwise", "Conv", {x(f16, {2, 64, 9, 9}), weights(f16, {64, 1, 7, 7})}}),
           attributes({{"group", int64_t{64}}})),
      of_bytes(
          with(channels_last({"cuda_conv_depthwise", "Conv", {x(f16, {2, 64, 9, 9}), weights(f16, {64, 1, 5, 5})}}),
               attributes({{"group", int64_t{64}}})),
          64, {2, 64, 5, 5}),
      with(channels_last({"cuda_conv_simple", "Conv", {x(f32, {2, 3, 9, 9}), weights(f32, {5, 3, 3, 3})}}), pads),
      with({"cuda_attention_tensor", "hussar.Attention", {rows, rows, rows, x(f16, {64, 64})}}, heads),
      with({"cuda_attention_tensor", "hussar.Attention", {many, many, many, x(f16, {64, 64})}}, heads),
      with({"cuda_attention_tensor", "hussar.Attention", {many, many, many, x(f16, {99, 1, 1, 64})}}, heads),
      in_tf32(with({"cuda_attention_tensor", "hussar.Attention", {few_floats, few_floats, few_floats}}, heads)),
      in_tf32(with({"cuda_attention_tensor", "hussar.Attention", {floats, floats, floats, x(f32, {64, 64})}}, heads)),
      in_tf32(with({"cuda_attention_tensor", "hussar.Attention", {few_floats, few_floats, few_floats}}, wide)),
      in_tf32(with({"cuda_attention_tensor", "hussar.Attention", {more, more, more, x(f32, {64, 64})}}, wide)),
      with({"cuda_attention_tensor", "hussar.Attention", {many, many, many, x(f16, {64, 64})}}, heads_to_bytes),
      with({"cuda_attention_tensor", "hussar.Attention", {many, many, many, {}, starts_of(99)}}, heads),
      with({"cuda_attention_tensor", "hussar.Attention", {many, many, many, {}, starts_of(99)}}, heads_to_bytes),
      with({"cuda_attention_tensor", "hussar.Attention", {rows, rows, rows, {}, starts_of(2)}}, heads),
      in_tf32(with({"cuda_attention_tensor", "hussar.Attention", {floats, floats, floats, {}, starts_of(99)}}, heads)),
      in_tf32(with({"cuda_attention_tensor", "hussar.Attention", {more, more, more, {}, starts_of(199)}}, wide)),
      with({"cuda_attention_simple", "hussar.Attention", {rows, rows, rows, {}, starts_of(2)}}, heads),
      with({"cuda_attention_tiles", "hussar.Attention", {few_floats, few_floats, few_floats, {}, starts_of(2)}}, heads),
      with({"cuda_attention_tiles", "hussar.Attention", {more, more, more, {}, starts_of(199)}}, wide),
      with({"cuda_attention_simple", "hussar.Attention", {rows, rows, rows}}, heads_to_bytes),
      with({"cuda_attention_tiles", "hussar.Attention", {few_floats, few_floats, few_floats, x(f32, {64, 64})}}, heads),
      with({"cuda_attention_tiles", "hussar.Attention", {more, more, more}}, wide),
  };
}

// Attention of bytes, in every tile, with every size of a head and every kind
// of mask.
std::vector<KernelCase> byte_attention_texts() {
  std::vector<KernelCase> cases;
  auto scales = [](int64_t count) { return Argument{random_tensor(DType::kFloat32, {count}, 1, 2), true}; };
  for (const char* tile : {"64_queries", "128_queries", "128_queries_8_warps", "64_queries_128_keys",
                           "64_queries_2_warps", "32_queries"}) {
    for (int64_t head : {32, 64, 128}) {
      // They are for smaller heads.
      if (head > 64 && (tile == std::string_view("128_queries") || tile == std::string_view("64_queries_2_warps")))
        continue;
      const Argument rows{random_tensor(DType::kUInt8, {3, 64, 2 * head}, 0, 255)};
      KernelCase plain{"cuda_attention_int8", "hussar.QuantizedAttention", {rows, rows, rows}};
      for (int64_t count : {int64_t{2}, int64_t{2}, 2 * head}) plain.inputs.push_back(scales(count));
      plain.attributes = attributes({{"heads", int64_t{2}}, {"head_dim", head}, {"y_scale", 0.1F}});
      for (const char* name : {"q_zero_point", "k_zero_point", "v_zero_point"})
        plain.attributes.set(name, int64_t{128});
      plain.attributes.set(kConfigurationAttribute, std::string(tile));
      for (const Shape& mask : {Shape{3, 1, 1, 64}, Shape{64, 64}}) {
        cases.push_back(plain);
        cases.back().inputs.push_back({random_tensor(DType::kFloat16, mask)});
      }
      plain.attributes.set("causal", int64_t{1});
      cases.push_back(plain);
      plain.attributes.erase("causal");
      plain.inputs.insert(plain.inputs.end(), {{}, {integers({0, 64, 80, 99}, DType::kInt32)}});
      cases.push_back(plain);
    }
  }
  return cases;
}

void expect_no_spills(const KernelCase& test, const std::vector<int>& gpus) {
  const std::regex spills(R"((\d+) bytes spill stores, (\d+) bytes spill loads)");
  std::set<std::string> before_hopper;
  for (int sm : gpus) {
    const std::string source = source_of(test, sm);
    // These GPUs have the same registers, and the same instructions where the
    // text is the same.
    if (sm < 90 && !before_hopper.insert(source).second) continue;
    const auto* tile = test.attributes.find<std::string>(kConfigurationAttribute);
    SCOPED_TRACE(test.kernel + " of " + test.op + (tile != nullptr ? " in " + *tile : "") + " for sm_" +
                 std::to_string(sm) + ", input 0: " + test.inputs[0].tensor.shape().to_string());
    auto resources = cuda::compiler_resources(source, sm);
    ASSERT_TRUE(resources) << resources.error().message;
    std::sregex_iterator it(resources->begin(), resources->end(), spills), end;
    EXPECT_NE(it, end) << *resources;
    for (; it != end; ++it) EXPECT_EQ((*it)[1].str() + " " + (*it)[2].str(), "0 0") << *resources;
    // What the compiler says of products of warpgroups whose registers are
    // touched meanwhile.
    EXPECT_EQ(resources->find("serialized"), std::string::npos) << *resources;
  }
}

// A text, and the GPUs that it is compiled for.
struct Compilation {
  KernelCase test;
  std::vector<int> gpus;
};

class Compilations {
 public:
  void add(KernelCase test, std::vector<int> gpus) { list.push_back({std::move(test), std::move(gpus)}); }
  void add_general();
  void add_hopper();
  void add_projected_attention();
  void add_tiles_and_pictures();
  void add_sums_of_two();
  void add_scales_of_the_run();

  std::vector<Compilation> list;
};

// Scales that are found when the model runs, and products of what has them, in
// every tile.
void Compilations::add_scales_of_the_run() {
  auto product = [](const char* kernel, const char* tile, const Shape& x, int64_t n) {
    const Argument rows{random_tensor(DType::kFloat16, x, 1, 2)};
    const Argument weights{random_tensor(DType::kFloat16, {x[1], n}, 1, 2), true};
    KernelCase test{kernel, "MatMul", {rows, weights}};
    if (*tile != '\0') test.attributes.set(kConfigurationAttribute, std::string(tile));
    return of_rows(test, n, {x[0], n});
  };
  auto compile = [&](const KernelCase& test, const std::vector<int>& gpus) {
    add(test, gpus);
    add(of_one_scale(test), gpus);
  };
  add({"cuda_dynamic_quantize", "DynamicQuantizeLinear", {{random_tensor(DType::kFloat32, {40})}}, {}, 3},
      {80, 86, 89, 90});
  for (DType dtype : {DType::kFloat32, DType::kFloat16}) {
    for (int64_t length : {7, 1024, 4096, 9000})
      add({"cuda_quantize_rows", "hussar.QuantizeRows", {{random_tensor(dtype, {4, length})}}, {}, 2},
          {80, 86, 89, 90});
  }
  for (int64_t length : {768, 1024, 4096, 9000}) {
    const Argument x{random_tensor(DType::kFloat16, {4, length})}, of_columns{random_tensor(DType::kFloat16, {length})};
    add({"cuda_norm", "hussar.NormToRows", {x, of_columns, of_columns}, {}, 3}, {80, 86, 89, 90});
  }
  compile(product("cuda_matmul_simple", "", {5, 7}, 9), {80, 86, 89, 90});
  compile(product("cuda_product", "", {512, 64}, 1024), {80, 86, 89, 90});
  compile(product("cuda_product", "", {64, 64}, 64), {80, 86, 89, 90});
  for (const char* tile : {"128x128", "128x64", "64x128", "64x64"})
    compile(thinned(product("cuda_product_sparse_ampere", tile, {64, 64}, 128)), {80, 86, 89, 90});
  for (const char* tile :
       {"pair_128x256", "128x256", "256x128", "128x192", "128x96", "pair_turns_128x128", "128x128_by_4", "128x64",
        "turns_64x64", "256x64", "two_128x64", "two_turns_64x64", "near_128x128", "near_turns_128x128", "near_128x256",
        "near_256x128", "near_two_128x64", "near_two_turns_64x64"})
    compile(product("cuda_product_hopper", tile, {4096, 512}, 256), {90});
  for (const char* tile : {"pair_128x256", "quad_128x256", "wide_pair_128x256", "pair_turns_128x128", "256x128",
                           "128x128", "64x256", "64x128"})
    compile(thinned(product("cuda_product_sparse", tile, {512, 256}, 256)), {90});
}

void Compilations::add_general() {
  for (const KernelCase& test : byte_attention_texts()) add(test, {80, 86, 89, 90});
  for (const auto& cases : {texts(), product_texts()}) {
    for (const KernelCase& test : cases) {
      add(test, {80, 86, 89, 90});
      if (has_halves(test)) add(of_bf16(test), {80, 90});
    }
  }
  for (const char* norm : {"LayerNormalization", "hussar.NormToBytes", "hussar.NormToRows"}) {
    for (int64_t length : {384, 1024, 9000}) {
      add(embeddings(norm, DType::kFloat16, 4, length), {80, 86, 89, 90});
      add(embeddings(norm, DType::kFloat16, 600, length), {80, 90});
    }
    add(embeddings(norm, DType::kFloat32, 600, 1024), {80, 90});
    add(embeddings(norm, DType::kBFloat16, 600, 1024), {80, 90});
  }
  for (const KernelCase& test : fp8_texts()) add(test, {89, 90});
  for (const KernelCase& test : sparse_texts()) {
    add(test, {80, 86, 89, 90});
    if (has_halves(test)) add(of_bf16(test), {80, 90});
    if (test.inputs[0].tensor.dtype() == DType::kUInt8) add(thinned(of_fp8(test)), {89});
  }
}

void Compilations::add_hopper() {
  for (const Shape& rows : {Shape{4096, 64}, Shape{128, 64}}) {
    const Argument x{random_tensor(DType::kFloat16, rows, 1, 2)};
    const Argument weights{random_tensor(DType::kFloat16, {64, 1024}, 1, 2), true};
    add({"cuda_product_hopper", "MatMul", {x, weights}}, {90});
    add(of_bf16({"cuda_product_hopper", "MatMul", {x, weights}}), {90});
    const Argument floats{random_tensor(DType::kFloat32, rows, 1, 2)};
    const Argument float_weights{random_tensor(DType::kFloat32, {64, 1024}, 1, 2), true};
    add(in_tf32({"cuda_product_hopper", "MatMul", {floats, float_weights}}), {90});
    KernelCase bytes = of_bytes({"cuda_product_hopper", "MatMul", {x, weights}}, 1024, {rows[0], 1024});
    add(bytes, {90});
    add(of_fp8(bytes), {90});
  }
  for (const KernelCase& test : hopper_sparse_texts()) {
    add(test, {90});
    if (has_halves(test)) add(of_bf16(test), {90});
  }
  for (int64_t batch : {1, 64}) {
    const Argument x{random_tensor(DType::kFloat16, {batch, 64, 14, 14}, 1, 2)};
    const Argument filter{random_tensor(DType::kFloat16, {256, 64, 3, 3}, 1, 2), true};
    KernelCase test = channels_last({"cuda_conv_hopper", "Conv", {x, filter}});
    test.attributes = attributes({{"pads", Ints{1, 1, 1, 1}}});
    add(test, {90});
    add(of_bf16(test), {90});
    add(of_bytes(test, 256, {batch, 256, 14, 14}), {90});
    add(of_fp8(of_bytes(test, 256, {batch, 256, 14, 14})), {90});
  }
}

// Both parts in one kernel, with a mask and without one.
void Compilations::add_projected_attention() {
  const DType f16 = DType::kFloat16, bf16 = DType::kBFloat16, bytes = DType::kUInt8;
  for (const ProjectedTypes& types : {ProjectedTypes{f16, f16, f16},
                                      {f16, f16, bytes},
                                      {bf16, bf16, bf16},
                                      {bytes, bytes, bytes},
                                      {bytes, bytes, f16},
                                      {bytes, f16, bytes},
                                      {DType::kInt8, f16, f16}}) {
    for (int64_t dim : {32, 64}) {
      for (const Ints& mask : {Ints{}, Ints{3, 1, 1, 128}})
        add(projected_case({3, 128, 2, dim, 1024, mask}, types), {90});
      KernelCase pair = projected_case({3, 100, 2, dim, 1024, {3, 1, 1, 100}}, types);
      pair.attributes.set(kConfigurationAttribute, std::string("pair"));
      add(pair, {90});
    }
  }
}

void Compilations::add_tiles_and_pictures() {
  // Two blocks on a multiprocessor have half the registers each; others bring
  // the shortcut that is added.
  for (const char* tile : {"256x64", "two_128x64", "two_turns_64x64", "near_128x128", "near_turns_128x128",
                           "near_128x256", "near_256x128", "near_two_128x64", "near_two_turns_64x64"}) {
    const Argument x{random_tensor(DType::kFloat16, {4096, 64}, 1, 2)};
    const Argument weights{random_tensor(DType::kFloat16, {64, 256}, 1, 2), true};
    KernelCase test{"cuda_product_hopper", "MatMul", {x, weights}};
    test.attributes.set(kConfigurationAttribute, std::string(tile));
    add(with_shortcut(test, {4096, 256}), {90});
    add(of_bf16(with_shortcut(test, {4096, 256})), {90});
    const KernelCase bytes = of_bytes(std::move(test), 256, {4096, 256});
    add(bytes, {90});
    add(of_fp8(bytes), {90});
  }
  const Argument picture{random_tensor(DType::kFloat16, {2, 3, 33, 31}, 1, 2)};
  const Argument filter{random_tensor(DType::kFloat16, {64, 3, 7, 7}, 1, 2), true};
  KernelCase test{"cuda_conv_lines", "Conv", {picture, filter}, attributes({{"strides", Ints{2, 2}}})};
  test.output_layout = Layout::kChannelsLast;
  add(test, {90});
  add(of_bf16(test), {90});
  test.op = "hussar.ConvToBytes";
  test.attributes.set("y_scale", 0.02F);
  test.inputs[0].tensor = random_tensor(DType::kFloat32, {2, 3, 33, 31}, 1, 2);
  add(test, {90});
  test.kernel = "cuda_conv_picture";
  add(test, {80, 86, 89, 90});
  test.kernel = "cuda_conv_columns";
  test.inputs[0] = {random_tensor(DType::kFloat16, {2, 3, 33, 31}, 1, 2), false, Layout::kChannelsLast};
  add(test, {80, 86, 89});
}

// Two convolutions in one step, with all that may lie behind their sum.
void Compilations::add_sums_of_two() {
  auto x = [](DType dtype, const Shape& shape) {
    return Argument{random_tensor(dtype, shape, 1, 2), false, Layout::kChannelsLast};
  };
  auto vector = [](DType dtype) { return Argument{random_tensor(dtype, {256}, 1, 2), true}; };
  auto block = [&](DType dtype, int64_t stride) {
    const bool of_bytes = !is_half(dtype);
    KernelCase test{"cuda_conv_sum_hopper", of_bytes ? "hussar.QuantizedConvSum" : "hussar.ConvSum", {}};
    for (int64_t side : {28L, 28 * stride}) {
      test.inputs.push_back(x(dtype, {8, 64, side, side}));
      test.inputs.push_back(
          {random_tensor(dtype == DType::kUInt8 ? DType::kInt8 : dtype, {256, 64, 1, 1}, 1, 2), true});
      if (of_bytes) test.inputs.push_back(vector(DType::kFloat32));
      test.inputs.push_back(vector(of_bytes ? DType::kFloat32 : dtype));
    }
    test.output_layout = Layout::kChannelsLast;
    test.attributes = attributes({{"shortcut_strides", Ints{stride, stride}}});
    if (of_bytes) test.attributes.set("y_scale", 0.1F);
    if (dtype == DType::kFloat8E4M3FN) test.attributes.set("y_type", static_cast<int64_t>(dtype));
    if (dtype == DType::kUInt8) test.attributes.set("y_zero_point", int64_t{7});
    test.program = Program{};
    test.program->step_count = 1;
    test.program->steps[0].op = ProgramOp::kRelu;
    test.program_inputs = static_cast<int32_t>(test.inputs.size());
    return test;
  };
  for (DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kUInt8, DType::kFloat8E4M3FN}) {
    for (int64_t stride : {1, 2}) {
      KernelCase test = block(dtype, stride);
      for (const char* tile : {"128x256", "pair_256x128", "quad_turns_128x128", "128x128", "turns_64x128", "128x96",
                               "128x64", "turns_64x64", "two_128x64", "two_turns_64x64", "256x64"}) {
        test.attributes.set(kConfigurationAttribute, std::string(tile));
        add(test, {90});
      }
    }
  }
}

// In shards, which test programs that run side by side take.
constexpr size_t kShards = 20;

class CudaCompile : public ::testing::TestWithParam<size_t> {};

TEST_P(CudaCompile, EveryTextForEveryGpu) {
  ::setenv("VIRTUAL_ENV", HUSSAR_TESTS "/../.venv", 0);
  const auto compiler = cuda::find_compiler();
  if (!compiler) GTEST_SKIP() << "skipped: " << compiler.error().message;
  Compilations all;
  all.add_general();
  all.add_hopper();
  all.add_projected_attention();
  all.add_tiles_and_pictures();
  all.add_scales_of_the_run();
  all.add_sums_of_two();
  ASSERT_GE(all.list.size(), kShards);
  for (size_t i = GetParam(); i < all.list.size(); i += kShards) expect_no_spills(all.list[i].test, all.list[i].gpus);
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaCompile, ::testing::Range(size_t{0}, kShards));

}  // namespace
}  // namespace hussar
