// RotaryEmbedding (Su et al. 2021): rotates pairs of elements of every head by the angle of its position.
// x: [B][heads][S][D] or [B][S][heads * D]; the caches: [positions][R / 2] with position_ids [B][S], else [B][S][R /
// 2].
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  int rank = context.rank(0);
  if (rank >= 0 && rank != 3 && rank != 4) return context.fail("x has rank {} instead of 3 or 4", rank);
  if (rank == 3 && context.attributes.get_int("num_heads", 0) < 1) return context.fail("num_heads is missing");
  return infer_same(context);
}

namespace {

struct Heads {
  int64_t batch, heads, length, size;
  bool heads_first;
  int64_t offset(int64_t b, int64_t h, int64_t s) const {
    return (heads_first ? (b * heads + h) * length + s : (b * length + s) * heads + h) * size;
  }
};

Result<Heads> read_heads(const EvalContext& context) {
  const Shape& x = context.shape(0);
  if (x.rank() == 4) return Heads{x[0], x[1], x[2], x[3], true};
  int64_t heads = context.attributes.get_int("num_heads", 1);
  if (x[2] % heads != 0) return context.fail("{} elements in {} heads", x[2], heads);
  return Heads{x[0], heads, x[1], x[2] / heads, false};
}

}  // namespace

static Status evaluate(EvalContext& context) {
  Heads heads = HUSSAR_TRY(read_heads(context));
  int64_t rotated = context.attributes.get_int("rotary_embedding_dim", 0);
  if (rotated == 0) rotated = heads.size;
  if (rotated < 0 || rotated > heads.size || rotated % 2 != 0)
    return context.fail("{} of {} elements cannot be rotated", rotated, heads.size);
  int64_t half = rotated / 2, tokens = heads.batch * heads.length;
  bool interleaved = context.attributes.get_int("interleaved", 0) != 0, by_id = context.has(3);
  Ints ids = context.integers(3);
  const Shape& cache = context.shape(1);
  bool fits = cache == context.shape(2) && cache.rank() >= 1 && cache[cache.rank() - 1] == half;
  fits = fits &&
         (by_id ? cache.rank() == 2 && static_cast<int64_t>(ids.size()) == tokens : cache.elements() == tokens * half);
  if (!fits)
    return context.fail("caches of shape {} and {} do not fit x of shape {}", cache.to_string(),
                        context.shape(2).to_string(), context.shape(0).to_string());
  auto x = context.read<double>(0), cosines = context.read<double>(1), sines = context.read<double>(2);
  auto y = context.write<double>();
  for (int64_t token = 0; token < tokens; ++token) {
    int64_t at = by_id ? ids[token] : token;
    if (by_id && (at < 0 || at >= cache[0])) return context.fail("position {} of {}", at, cache[0]);
    for (int64_t h = 0; h < heads.heads; ++h) {
      int64_t first = heads.offset(token / heads.length, h, token % heads.length);
      for (int64_t i = rotated; i < heads.size; ++i) y[first + i] = x[first + i];
      for (int64_t i = 0; i < half; ++i) {
        int64_t a = first + (interleaved ? 2 * i : i), b = interleaved ? a + 1 : a + half;
        double cosine = cosines[at * half + i], sine = sines[at * half + i];
        y[a] = cosine * x[a] - sine * x[b];
        y[b] = sine * x[a] + cosine * x[b];
      }
    }
  }
  return {};
}

extern const OpDef rotary_embedding_op = {
    .name = "RotaryEmbedding", .min_inputs = 3, .max_inputs = 4, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
