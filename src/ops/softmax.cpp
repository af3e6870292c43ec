// Softmax: exp(x - max) / sum along one axis. Before opset 13 it flattened to two dimensions first.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

// Opsets 9 to 12: all axes from `axis` on are one.
static Status upgrade(UpgradeContext& context) { return upgrade_flattening_softmax(context, 13); }

static Status evaluate(EvalContext& context) {
  return dispatch_floating(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    AxisSplit split = split_at(context.shape(0), context.attributes.get_int("axis", -1));
    for (int64_t outer = 0; outer < split.outer; ++outer) {
      for (int64_t inner = 0; inner < split.inner; ++inner) {
        const T* in = x.data() + outer * split.length * split.inner + inner;
        T* out = y.data() + outer * split.length * split.inner + inner;
        T largest = -std::numeric_limits<T>::infinity();
        for (int64_t i = 0; i < split.length; ++i) largest = std::max(largest, in[i * split.inner]);
        T sum = 0;
        for (int64_t i = 0; i < split.length; ++i)
          sum += out[i * split.inner] = std::exp(in[i * split.inner] - largest);
        for (int64_t i = 0; i < split.length; ++i) out[i * split.inner] /= sum;
      }
    }
    return {};
  });
}

extern const OpDef softmax_op = {.name = "Softmax",
                                 .min_inputs = 1,
                                 .max_inputs = 1,
                                 .upgrade = upgrade,
                                 .infer = infer_along_axis,
                                 .evaluate = evaluate};

}  // namespace hussar
