// BitShift: unsigned a shifted by b bits to the LEFT or RIGHT, with broadcasting; bits that leave the type are lost.
#include "ops/bitwise.h"

namespace hussar {

constexpr auto kLeft = [](uint64_t a, uint64_t b) { return b < 64 ? a << b : 0; };
constexpr auto kRight = [](uint64_t a, uint64_t b) { return b < 64 ? a >> b : 0; };

static Status infer(InferContext& context) {
  std::string direction = context.attributes.get_string("direction", "");
  if (direction != "LEFT" && direction != "RIGHT")
    return context.fail("direction '{}' is not LEFT or RIGHT", direction);
  if (!is_unsigned_integer(context.dtype(0))) return context.fail("takes unsigned integers only");
  return infer_broadcast(context);
}

static Status evaluate(EvalContext& context) {
  bool left = context.attributes.get_string("direction", "") == "LEFT";
  return left ? evaluate_binary_bits<kLeft>(context) : evaluate_binary_bits<kRight>(context);
}

extern const OpDef bit_shift_op = binary_op("BitShift", infer, evaluate);

}  // namespace hussar
