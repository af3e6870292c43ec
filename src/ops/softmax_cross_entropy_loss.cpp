// SoftmaxCrossEntropyLoss: NegativeLogLikelihoodLoss of the log-softmax over axis 1, which is output 1.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  Attributes axis;
  axis.set("axis", int64_t{1});
  Value* log_probability = builder.make("LogSoftmax", {builder.input(0)}, axis);
  std::vector<Value*> inputs = {log_probability, builder.input(1)};
  if (builder.has(2)) inputs.push_back(builder.input(2));
  Attributes attributes;
  attributes.set("reduction", builder.attributes.get_string("reduction", "mean"));
  if (builder.attributes.has("ignore_index"))
    attributes.set("ignore_index", builder.attributes.get_int("ignore_index", 0));
  builder.result(0, builder.make("NegativeLogLikelihoodLoss", inputs, attributes));
  builder.result(1, log_probability);
  return {};
}

extern const OpDef softmax_cross_entropy_loss_op = {
    .name = "SoftmaxCrossEntropyLoss", .min_inputs = 2, .max_inputs = 3, .max_outputs = 2, .expand = expand};

}  // namespace hussar
