// Einsum becomes products, sums and transposes with the same values; Keras attention becomes one operator.
#include <algorithm>

#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dim kBatch = Dim::symbol("b"), kLength = Dim::symbol("n");

Value* einsum(GraphCase& test, const std::string& equation, std::vector<Value*> inputs) {
  return test.make("Einsum", std::move(inputs), with({{"equation", equation}}));
}

// Sizes of the labels: a to z and of the ellipsis.
int64_t size_of(char label) { return label < 'e' ? 2 + label - 'a' : 3 + (label - 'e') % 4; }

Dims dims_of(std::string_view term, const Dims& ellipsis) {
  Dims dims;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term[i] == '.') {
      dims.insert(dims.end(), ellipsis.begin(), ellipsis.end());
      i += 2;
    } else {
      dims.emplace_back(size_of(term[i]));
    }
  }
  return dims;
}

std::vector<std::string_view> terms_of(std::string_view equation) {
  equation = equation.substr(0, equation.find("->"));
  std::vector<std::string_view> terms;
  for (size_t begin = 0; begin <= equation.size();) {
    const size_t end = std::min(equation.find(',', begin), equation.size());
    terms.push_back(equation.substr(begin, end - begin));
    begin = end + 1;
  }
  return terms;
}

TEST(PassLowerEinsum, GivesTheSameAsTheReference) {
  unsigned seed = 17;
  for (const char* equation : {"ab->ba",
                               "abc->cb",
                               "ab->",
                               "abc",
                               "ba",
                               "ab,bc->ac",
                               "ab,bc",
                               "ab,cb->ac",
                               "ba,bc->ca",
                               "ab,bc->ca",
                               "abc,cd->abd",
                               "abc,cde->abde",
                               "abcd,cde->abe",
                               "abc,dc->abd",
                               "cd,abc->abd",
                               "aecd,abcd->acbe",
                               "acbe,aecd->abcd",
                               "abc,abd->acd",
                               "abc,bad->abcd",
                               "abcd,abef->abcdef",
                               "abcd,aefd->abcef",
                               "ab,ab->ab",
                               "ab,ab->a",
                               "ab,ab->",
                               "a,b->ab",
                               "a,b->ba",
                               "a,a->",
                               "a,ab->b",
                               "ab,a->b",
                               "abc,c->ab",
                               "abc,acd->bd",
                               "abc,db->ad",
                               "ab,cd->c",
                               "ab,cd->bd",
                               "abc,ade->bd",
                               "...ab->...ba",
                               "a...->...",
                               "...ab,bc->...ac",
                               "...ab,...bc->...ac",
                               "...ab,...bc",
                               "a...,b...->ab...",
                               "...a,...a->...",
                               "ab...,ac...->bc..."}) {
    for (int constants = 0; constants < 3; ++constants) {
      GraphCase test(++seed);
      std::vector<Value*> inputs;
      for (std::string_view term : terms_of(equation)) {
        const Dims dims = dims_of(term, {Dim(3), Dim(2)});
        Shape shape;
        for (const Dim& dim : dims) shape.push_back(dim.value());
        inputs.push_back(constants == static_cast<int>(inputs.size()) + 1 ? test.weights(shape) : test.input(dims));
      }
      test.output(test.make("Neg", {einsum(test, equation, inputs)}));
      EXPECT_EQ(test.run("lower_einsum"), 1) << equation;
      EXPECT_EQ(test.count("Einsum"), 0) << equation;
    }
  }
}

TEST(PassLowerEinsum, NamedOutputs) {
  GraphCase test;
  Value* x = test.input({2, 3});
  for (const char* equation : {"ab->ab", "ab->ba", "ab,ab->ab", "ab,cb->ac"})
    test.output(einsum(test, equation, std::vector<Value*>(terms_of(equation).size(), x)));
  EXPECT_EQ(test.run("lower_einsum"), 4);
  EXPECT_EQ(test.count("Einsum"), 0);
}

TEST(PassLowerEinsum, OpenDimensions) {
  struct Case {
    const char* equation;
    std::vector<Dims> dims;
    int rewrites;
  };
  const Dim other = Dim::symbol("m");
  for (const Case& one :
       std::vector<Case>{{"abc,cd->abd", {{kBatch, kLength, 4}, {4, 5}}, 1},
                         {"abc,cde->abde", {{kBatch, kLength, 4}, {4, 3, 5}}, 1},
                         {"abcd,cde->abe", {{kBatch, kLength, 3, 5}, {3, 5, 4}}, 1},
                         {"aecd,abcd->acbe", {{kBatch, kLength, 3, 4}, {kBatch, other, 3, 4}}, 1},
                         {"acbe,aecd->abcd", {{kBatch, 3, other, kLength}, {kBatch, kLength, 3, 4}}, 1},
                         {"ab,ab->ab", {{kBatch, kLength}, {kBatch, kLength}}, 1},
                         // One open dimension in a merged one, and two.
                         {"abcd,aed->abce", {{2, kLength, 3, 4}, {2, other, 4}}, 0},
                         {"abcd,aed->abce", {{2, kLength, 3, 4}, {2, 5, 4}}, 1},
                         {"abcd,aed->abce", {{2, kLength, other, 4}, {2, 5, 4}}, 0},
                         // Dimensions that may or may not broadcast.
                         {"ab,bc->ac", {{2, kLength}, {other, 3}}, 0}}) {
    GraphCase test;
    std::vector<Value*> inputs;
    for (const Dims& dims : one.dims) inputs.push_back(test.input(dims));
    test.output(einsum(test, one.equation, inputs));
    auto facts = infer_graph(test.graph);
    ASSERT_TRUE(facts);
    if (one.rewrites == 0) {
      const Timings nothing;
      PassContext context{test.graph, {}, *facts, nothing};
      for (const Pass* pass : all_passes()) {
        if (pass->name != "lower_einsum") continue;
        EXPECT_EQ(pass->run(context).value(), 0) << one.equation;
      }
      EXPECT_EQ(test.graph.nodes().size(), 1U);
    } else {
      EXPECT_EQ(test.run("lower_einsum"), one.rewrites) << one.equation;
    }
  }
}

TEST(PassLowerEinsum, OthersStay) {
  GraphCase test;
  Value* x = test.input({3, 3});
  test.output(einsum(test, "aa->a", {x}));
  test.output(einsum(test, "ab,bb->a", {x, x}));
  test.output(einsum(test, "ab,bc,cd->ad", {x, x, x}));
  test.output(einsum(test, "ab,bc->ac", {test.input({2, 1}), x}));
  Value* whole = test.input({3, 3}, DType::kInt32);
  test.output(einsum(test, "ab,bc->ac", {whole, whole}));
  EXPECT_EQ(test.run("lower_einsum"), 0);
}

TEST(PassBiasBeforeReshape, PerHead) {
  GraphCase test;
  Value* x = test.input({kBatch, kLength, 12});
  Value* y = test.reshape(test.make("MatMul", {x, test.weights({12, 12})}), {0, 0, 3, 4});
  test.output(test.make("Add", {test.weights({3, 4}), y}));
  Value* z = test.reshape(test.make("MatMul", {x, test.weights({12, 12})}), {0, 0, 3, 4});
  test.output(test.make("Add", {z, test.weights({1, 4})}));
  EXPECT_EQ(test.run("bias_before_reshape"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 6U);
}

// A projection to heads of Keras (EinsumDense), as an Einsum or as tf2onnx writes it with products.
Value* to_heads(GraphCase& test, Value* x, bool is_einsum) {
  constexpr int64_t kWidth = 12;
  Value* heads = is_einsum ? einsum(test, "abc,cde->abde", {x, test.weights({kWidth, 3, 4})})
                           : test.reshape(test.make("MatMul", {x, test.weights({kWidth, kWidth})}), {0, 0, 3, 4});
  return test.make("Add", {heads, test.weights({3, 4})});
}

// MultiHeadAttention of Keras becomes one operator that reads one product.
TEST(PassLowerEinsum, KerasMultiHeadAttention) {
  for (bool is_einsum : {false, true}) {
    for (bool is_open : {false, true}) {
      GraphCase test;
      Value* x = test.input(is_open ? Dims{kBatch, kLength, 12} : Dims{2, 5, 12});
      Value* mask = test.input(is_open ? Dims{kBatch, 1, kLength, kLength} : Dims{2, 1, 5, 5});
      Value* q = test.make("Mul", {to_heads(test, x, is_einsum), test.number(0.5)});
      Value* k = to_heads(test, x, is_einsum);
      Value* v = to_heads(test, x, is_einsum);
      Value* scores = is_einsum
                          ? einsum(test, "aecd,abcd->acbe", {k, q})
                          : test.make("MatMul", {test.transpose(q, {0, 2, 1, 3}), test.transpose(k, {0, 2, 3, 1})});
      Value* p = test.make("Softmax", {test.make("Add", {scores, mask})}, with({{"axis", int64_t{-1}}}));
      Value* mixed = is_einsum
                         ? einsum(test, "acbe,aecd->abcd", {p, v})
                         : test.transpose(test.make("MatMul", {p, test.transpose(v, {0, 2, 1, 3})}), {0, 2, 1, 3});
      Value* out = is_einsum ? einsum(test, "abcd,cde->abe", {mixed, test.weights({3, 4, 12})})
                             : test.make("MatMul", {test.reshape(mixed, {0, 0, 12}), test.weights({12, 12})});
      test.output(test.make("Add", {out, test.weights({12})}));
      Graph whole = test.graph.clone();
      ASSERT_TRUE(run_pipeline(whole, {}));
      auto attention = [](const auto& node) { return node->op == "hussar.Attention"; };
      EXPECT_EQ(std::count_if(whole.nodes().begin(), whole.nodes().end(), attention), 1);
      EXPECT_EQ(whole.nodes().size(), 3U) << whole.to_string();
      // The passes that matter, one by one, with their effect on the values.
      for (const char* pass : {"lower_einsum", "fold_constants", "simplify_reshape", "bias_before_reshape",
                               "recognise_attention", "merge_qkv"})
        test.run(pass);
      EXPECT_EQ(test.count("hussar.Attention"), 1);
      EXPECT_EQ(test.count("MatMul"), 2);
      EXPECT_EQ(test.graph.nodes().size(), 5U) << test.graph.to_string();
    }
  }
}

}  // namespace
}  // namespace hussar
