// Upsample, the predecessor of Resize: becomes a Resize with asymmetric coordinates on import.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Status upgrade(UpgradeContext& context) {
  Node& node = context.node;
  if (node.inputs.size() != 2) return {};
  Value* scales = node.inputs[1];
  context.graph.set_input(&node, 1, nullptr);
  context.graph.append_input(&node, scales);
  node.op = "Resize";
  node.attributes.set("coordinate_transformation_mode", std::string("asymmetric"));
  node.attributes.set("nearest_mode", std::string("floor"));
  return {};
}

// A node that import could not turn into a Resize has no scales.
static Status expand(Builder& builder) { return builder.fail("scales are missing"); }

constexpr AttributeInput kAttributeInputs[] = {{"scales", 1, 9}};

extern const OpDef upsample_op = {.name = "Upsample",
                                  .min_inputs = 1,
                                  .max_inputs = 2,
                                  .attribute_inputs = kAttributeInputs,
                                  .upgrade = upgrade,
                                  .expand = expand};

}  // namespace hussar
