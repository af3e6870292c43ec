// The algebra of dimensions against plain integer arithmetic, on random expressions.
#include "tensor/dim.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace hussar {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) return 0;
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

// An expression built twice: as a Dim and as its value for one assignment of the symbols.
struct Pair {
  Dim dim;
  int64_t value;
};

class Expressions {
 public:
  explicit Expressions(uint32_t seed) : random_(seed) {
    for (int64_t& value : values_) value = pick(0, 9);
  }

  Pair make(int depth) {
    if (depth == 0) return leaf();
    Pair a = make(depth - 1), b = make(static_cast<int>(pick(0, depth - 1)));
    switch (pick(0, 6)) {
      case 0: return {a.dim + b.dim, a.value + b.value};
      case 1: return {a.dim - b.dim, a.value - b.value};
      case 2: return {a.dim * b.dim, a.value * b.value};
      case 3:
        if (b.value == 0) return a;  // exact divisions are simplified as if no divisor were zero
        return {floor_div(a.dim, b.dim), floor_divide(a.value, b.value)};
      case 4:
        if (b.value == 0) return a;
        return {mod(a.dim, b.dim), a.value - floor_divide(a.value, b.value) * b.value};
      case 5: return {min(a.dim, b.dim), std::min(a.value, b.value)};
      default: return {max(a.dim, b.dim), std::max(a.value, b.value)};
    }
  }

  std::optional<int64_t> evaluate(const Dim& dim) const {
    return dim.evaluate([&](std::string_view name) -> std::optional<int64_t> {
      if (name.size() != 1 || name[0] < 'A' || name[0] > 'C') return std::nullopt;
      return values_[name[0] - 'A'];
    });
  }

 private:
  Pair leaf() {
    int64_t which = pick(0, 5);
    if (which > 2) {
      int64_t number = pick(-3, 8);
      return {Dim(number), number};
    }
    return {Dim::symbol(std::string(1, static_cast<char>('A' + which))), values_[which]};
  }
  int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }

  std::mt19937 random_;
  int64_t values_[3] = {};
};

TEST(Dim, AgreesWithIntegers) {
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    Expressions expressions(seed);
    Pair pair = expressions.make(static_cast<int>(seed % 5));
    auto value = expressions.evaluate(pair.dim);
    if (pair.dim.to_string().find("huge_") != std::string::npos) continue;
    ASSERT_TRUE(value.has_value()) << pair.dim.to_string();
    ASSERT_EQ(*value, pair.value) << "seed " << seed << ": " << pair.dim.to_string();
  }
}

TEST(Dim, ParseReadsWhatPrintWrites) {
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    Dim dim = Expressions(seed).make(static_cast<int>(seed % 5)).dim;
    auto parsed = Dim::parse(dim.to_string());
    ASSERT_TRUE(parsed.has_value()) << "seed " << seed << ": " << dim.to_string();
    ASSERT_TRUE(*parsed == dim) << "seed " << seed << ": " << dim.to_string() << " became " << parsed->to_string();
  }
}

TEST(Dim, KnownBoundsHold) {
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    Expressions expressions(seed);
    Pair pair = expressions.make(static_cast<int>(seed % 4));
    for (int64_t bound : {-10, -1, 0, 1, 5}) {
      if (known_at_least(pair.dim, bound)) {
        ASSERT_GE(pair.value, bound) << "seed " << seed << ": " << pair.dim.to_string();
      }
    }
  }
}

TEST(Dim, NormalFormsAreEqual) {
  Dim b = Dim::symbol("B"), s = Dim::symbol("S"), h = Dim::symbol("H");
  EXPECT_TRUE(floor_div(b * s * 768, s * 768) == b);
  EXPECT_TRUE(b * s == s * b);
  EXPECT_TRUE((b + s) * (b - s) == b * b - s * s);
  EXPECT_TRUE(floor_div(h * 2 + 1, 2) == h);
  EXPECT_TRUE(mod(h * 4, 4) == Dim(0));
  EXPECT_TRUE(max(floor_div(h - 1, 2) + 1, 0) == floor_div(h - 1, 2) + 1);
  EXPECT_FALSE(b == s);
  EXPECT_FALSE(max(floor_div(h - 3, 2), 0) == floor_div(h - 3, 2));
  EXPECT_EQ(ceil_div(Dim(7), Dim(2)).value(), 4);
}

TEST(Dim, ExtremeIntegersDoNotTrap) {
  const int64_t numbers[] = {std::numeric_limits<int64_t>::min(), -kMost, -1, 0, 1, 2, kMost - 1, kMost};
  Dim symbol = Dim::symbol("A");
  for (int64_t a : numbers) {
    for (int64_t b : numbers) {
      for (const Dim& x : {Dim(a), Dim(a) + symbol, Dim(a) * symbol}) {
        for (const Dim& y : {Dim(b), Dim(b) - symbol, Dim(b) * symbol}) {
          for (const Dim& result :
               {x + y, x - y, x * y, floor_div(x, y), ceil_div(x, y), mod(x, y), min(x, y), max(x, y)}) {
            (void)result.evaluate([](std::string_view) { return std::optional<int64_t>(kMost); });
            EXPECT_TRUE(Dim::parse(result.to_string()).has_value()) << result.to_string();
          }
        }
      }
    }
  }
  EXPECT_EQ((Dim(kMost) + Dim(1)).value(), kMost);
  EXPECT_EQ((Dim(kMost) * Dim(-2)).value(), -kMost);
}

TEST(Dim, GrowthIsBounded) {
  Dim dim = Dim::symbol("A");
  for (int i = 0; i < 200; ++i) {
    dim = dim * (dim + Dim::symbol("S" + std::to_string(i))) + floor_div(dim, Dim::symbol("B"));
    ASSERT_LT(dim.to_string().size(), 10000U);
  }
  Dim deep = Dim::symbol("H");
  for (int i = 0; i < 2000; ++i) {
    deep = floor_div(deep - 3, 2) + 1;
    ASSERT_TRUE(Dim::parse(deep.to_string()).has_value()) << i;
  }
}

TEST(Dim, ParseRefusesOtherText) {
  for (const char* text : {"", "+", "A+", "A++B", "floor(A)", "floor(A,B", "mystery(A,B)", "3A", "99999999999999999999",
                           "A B", "A,B", "()", "-", "A*", "min(,)", "\xff"}) {
    EXPECT_FALSE(Dim::parse(text).has_value()) << text;
  }
  EXPECT_FALSE(Dim::parse(std::string(300, 'a')).has_value());
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += "floor(";
  EXPECT_FALSE(Dim::parse(nested).has_value());
}

TEST(Dim, AnyNameMakesAReadableSymbol) {
  for (const char* name : {"", "a b", "input:0", "7", "-", "A+B"}) {
    Dim dim = Dim::symbol(name);
    auto parsed = Dim::parse(dim.to_string());
    ASSERT_TRUE(parsed.has_value()) << name;
    EXPECT_TRUE(*parsed == dim) << name;
  }
  EXPECT_FALSE(Dim::symbol("a b") == Dim::symbol("a c"));
}

}  // namespace
}  // namespace hussar
