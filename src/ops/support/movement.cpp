// Moving elements between tensors.
#include "ops/movement.h"

#include <cstring>

namespace hussar {

void copy_strided(const Tensor& in, int64_t base, const Shape& shape, const ElementStrides& strides, Tensor& out) {
  dispatch_width(in.dtype(), [&](auto tag) {
    using Word = typename decltype(tag)::type;
    const Word* from = in.data<Word>() + base;
    Word* to = out.data<Word>();
    if (shape.rank() == 0) {
      *to = *from;
      return;
    }
    auto outer_rank = static_cast<size_t>(shape.rank() - 1);
    int64_t length = shape[shape.rank() - 1];
    int64_t step = strides[shape.rank() - 1];
    ElementStrides outer_strides(strides.dims().first(outer_rank));
    for_each_index(Shape(shape.dims().first(outer_rank)), {outer_strides}, [&](int64_t row, const int64_t* offset) {
      for (int64_t i = 0; i < length; ++i) to[row * length + i] = from[offset[0] + i * step];
    });
  });
}

void copy_mapped(const Tensor& in, const std::vector<Ints>& maps, const void* fill, Tensor& out) {
  const Shape& shape = out.shape();
  dispatch_width(in.dtype(), [&](auto tag) {
    using Word = typename decltype(tag)::type;
    const Word* from = in.data<Word>();
    Word* to = out.data<Word>();
    Word filler = 0;
    if (fill != nullptr) std::memcpy(&filler, fill, sizeof(Word));
    int64_t index[kMaxRank] = {};
    int64_t total = out.elements();
    for (int64_t linear = 0; linear < total; ++linear) {
      int64_t offset = 0;
      bool inside = true;
      for (size_t axis = 0; axis < maps.size() && inside; ++axis) {
        int64_t step = maps[axis][static_cast<size_t>(index[axis])];
        inside = step >= 0;
        offset += step;
      }
      to[linear] = inside ? from[offset] : filler;
      for (int axis = shape.rank() - 1; axis >= 0 && ++index[axis] == shape[axis]; --axis) index[axis] = 0;
    }
  });
}

void copy_elements(const Tensor& in, Tensor& out) {
  if (out.bytes() > 0) std::memcpy(out.raw(), in.raw(), out.bytes());
}

Status evaluate_view(EvalContext& context) {
  if (context.input(0).elements() != context.output().elements()) {
    return context.fail("shape {} does not have the {} elements of the input", context.output().shape().to_string(),
                        context.input(0).elements());
  }
  copy_elements(context.input(0), context.output());
  return {};
}

void infer_view_elements(InferContext& context) {
  const auto& dims = context.outputs[0].dims;
  if (!dims || dims->size() > 1) return;
  if (auto elements = context.elements(0)) context.set_elements(0, std::move(*elements));
}

}  // namespace hussar
