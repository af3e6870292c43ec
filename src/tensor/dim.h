// Dim: one dimension of a tensor, an integer or an expression over named symbols ("batch", "(H+1)/2").
//
// Integers stop at the limits of int64_t instead of overflowing, and an expression of more than a few thousand
// characters becomes a symbol of its own (equal ones the same), so that no input makes the arithmetic trap or explode.
// Expressions are kept in a normal form, a sum of integer-weighted products of atoms, so that equal dimensions compare
// equal however they were computed: (B*S*768)/(S*768) is B. An atom is a symbol, or a floor division, modulus, minimum
// or maximum that could not be simplified. Immutable and safe to share between threads.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hussar {

struct DimExpression;

class Dim {
 public:
  Dim(int64_t value = 0) : value_(value) {}
  // Symbols are identified by name; all symbols stand for integers >= 0 (they are dimensions). A name that is not an
  // identifier is replaced by one that is made from its hash.
  static Dim symbol(std::string_view name);

  bool is_constant() const { return expression_ == nullptr; }
  // Requires is_constant().
  int64_t value() const { return value_; }
  bool is(int64_t value) const { return is_constant() && value_ == value; }
  bool operator==(const Dim& other) const;

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  // Rounded towards minus infinity. Division by zero yields 0, except that an exact division is simplified as if the
  // divisor were not zero: (A*B)/B is A.
  friend Dim floor_div(const Dim& a, const Dim& b);
  friend Dim ceil_div(const Dim& a, const Dim& b);
  friend Dim mod(const Dim& a, const Dim& b);
  friend Dim min(const Dim& a, const Dim& b);
  friend Dim max(const Dim& a, const Dim& b);

  // The value under an assignment of the symbols; nullopt when a symbol has none or on overflow.
  using Lookup = std::function<std::optional<int64_t>(std::string_view symbol)>;
  std::optional<int64_t> evaluate(const Lookup& lookup) const;
  // The names of all symbols in it.
  std::vector<std::string> symbols() const;
  // "3", "batch", "floor(H+1, 2)*768"; parse() reads it back.
  std::string to_string() const;
  static std::optional<Dim> parse(std::string_view text);

 private:
  friend struct DimExpression;
  friend struct DimAlgebra;
  int64_t value_ = 0;
  std::shared_ptr<const DimExpression> expression_;
};

// True when a is known to be at least `bound` for every assignment; false when unknown.
bool known_at_least(const Dim& a, int64_t bound);

using Dims = std::vector<Dim>;
Dim product(const Dims& dims);
std::string to_string(const Dims& dims);

}  // namespace hussar
