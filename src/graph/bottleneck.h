// hussar.Bottleneck: two convolutions of one kind, Conv or hussar.QuantizedConv, of which the second reads nothing but
// the first, as in residual networks (He et al. 2015). A pass forms it where a kernel keeps what lies between in a
// GPU's shared memory.
//
// Inputs: x, then weights, scales and bias of the first convolution, the same of the second, then the operands of the
// second one's program, which is the node's. Scales are those of hussar.QuantizedConv; all but x and weights may be
// missing.
// Attributes: `op`, the operator of both; those of the second convolution as they are, those of the first one behind
// "first_"; first_activation, if the first one has a program: {op, p0, p1} of its only step in tensor/program.h, with
// the constant p0 as second argument.
#pragma once
#include "graph/graph.h"

namespace hussar {

inline constexpr std::string_view kBottleneck = "hussar.Bottleneck";

struct Bottleneck {
  enum Input : size_t {
    kX,
    kFirstWeights,
    kFirstScales,
    kFirstBias,
    kSecondWeights,
    kSecondScales,
    kSecondBias,
    kOperands
  };
};

// The two convolutions without what they read and write. nullopt: the attributes make none.
struct BottleneckParts {
  Node first, second;
};
std::optional<BottleneckParts> bottleneck_parts(const std::string& name, const Attributes& attributes);

// The inverse: the node that both are, with its inputs, attributes and program, and without outputs. nullopt: they are
// no such convolutions, or the first one's program has more than one step, or operands.
std::optional<Node> bottleneck_of(const Node& first, const Node& second);

// Gives the parts of a node of that kind what they read: first.inputs, and second.inputs with `middle`; and the second
// one the program.
void link_parts(const Node& node, Value* middle, BottleneckParts& parts);

}  // namespace hussar
