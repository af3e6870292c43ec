// The normal form of dimension expressions: a sum of terms, each an integer times a product of atoms.
#include "tensor/dim.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <set>

namespace hussar {

enum class AtomKind : uint8_t { kSymbol, kFloorDiv, kMin, kMax };

struct Atom {
  AtomKind kind;
  std::string key;  // the canonical spelling: atoms are equal when their keys are
  Dim a, b;         // operands, unless a symbol
};
using AtomPtr = std::shared_ptr<const Atom>;

struct Term {
  int64_t coefficient;
  std::vector<AtomPtr> atoms;  // sorted by key
};

// Terms by the joined keys of their atoms; the constant term has the key "".
struct DimExpression {
  std::map<std::string, Term> terms;
};

// Larger expressions become symbols of their own: they can only come from a broken or hostile file, and everything here
// takes time in proportion to the length.
constexpr size_t kMaxKeyBytes = 4096;
constexpr size_t kMaxTerms = 128;
constexpr size_t kMaxNameBytes = 200;
// parse() reads what print() writes: a level of nesting takes at least nine characters.
constexpr int kMaxDepth = static_cast<int>(kMaxKeyBytes) / 9;

namespace {

std::string term_key(const std::vector<AtomPtr>& atoms) {
  std::string key;
  for (const AtomPtr& atom : atoms) key += (key.empty() ? "" : "*") + atom->key;
  return key;
}

// Integer arithmetic that stops at +-kMost instead of overflowing. No machine has room for such dimensions.
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

int64_t clamped(int64_t value) { return std::max(value, -kMost); }

int64_t add_clamped(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return a < 0 ? -kMost : kMost;
  return clamped(sum);
}

int64_t multiply_clamped(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return (a < 0) != (b < 0) ? -kMost : kMost;
  return clamped(product);
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) return 0;
  a = clamped(a);  // the smallest integer has no opposite
  int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

bool is_name_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// What parse() reads as a symbol.
bool is_identifier(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
         std::all_of(name.begin(), name.end(), is_name_character);
}

uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

struct DimAlgebra {
  using Terms = std::map<std::string, Term>;

  static Terms terms(const Dim& dim) {
    if (dim.expression_ != nullptr) return dim.expression_->terms;
    if (dim.value_ == 0) return {};
    return {{"", Term{dim.value_, {}}}};
  }

  static Dim from(Terms terms) {
    std::erase_if(terms, [](const auto& entry) { return entry.second.coefficient == 0; });
    if (terms.empty()) return Dim(0);
    if (terms.size() == 1 && terms.begin()->first.empty()) return Dim(terms.begin()->second.coefficient);
    size_t bytes = 0;
    for (const auto& [key, term] : terms) bytes += key.size() + 20;
    if (terms.size() > kMaxTerms || bytes > kMaxKeyBytes) {
      std::string all;
      for (const auto& [key, term] : terms) all += fmt::format("{}*{}+", term.coefficient, key);
      return Dim::symbol(fmt::format("huge_{:016x}", hash_text(all)));
    }
    Dim dim;
    dim.expression_ = std::make_shared<const DimExpression>(DimExpression{std::move(terms)});
    return dim;
  }

  static Dim from_atom(AtomPtr atom) {
    std::string key = atom->key;
    return from({{key, Term{1, {std::move(atom)}}}});
  }

  static Dim function(AtomKind kind, const char* name, const Dim& a, const Dim& b) {
    auto atom = std::make_shared<Atom>();
    atom->kind = kind;
    atom->key = fmt::format("{}({},{})", name, a.to_string(), b.to_string());
    atom->a = a;
    atom->b = b;
    return from_atom(std::move(atom));
  }

  // What min(a, b) or max(a, b) is when one of the two is a min or max with the other inside: min(a, max(a, c)) is a,
  // min(a, min(a, c)) is min(a, c).
  static std::optional<Dim> absorb(AtomKind kind, const Dim& a, const Dim& b) {
    for (const auto& [outer, inner] : {std::pair(&a, &b), std::pair(&b, &a)}) {
      if (inner->is_constant() || inner->expression_->terms.size() != 1) continue;
      const Term& term = inner->expression_->terms.begin()->second;
      if (term.coefficient != 1 || term.atoms.size() != 1) continue;
      const Atom& atom = *term.atoms[0];
      if (atom.kind != AtomKind::kMin && atom.kind != AtomKind::kMax) continue;
      if (atom.a == *outer || atom.b == *outer) return atom.kind == kind ? *inner : *outer;
    }
    return std::nullopt;
  }

  static void add(Terms& sum, const Terms& other, int64_t factor) {
    for (const auto& [key, term] : other) {
      auto [it, inserted] = sum.try_emplace(key, Term{0, term.atoms});
      it->second.coefficient = add_clamped(it->second.coefficient, multiply_clamped(term.coefficient, factor));
    }
  }

  static Term multiply(const Term& a, const Term& b) {
    Term result{multiply_clamped(a.coefficient, b.coefficient), a.atoms};
    result.atoms.insert(result.atoms.end(), b.atoms.begin(), b.atoms.end());
    std::sort(result.atoms.begin(), result.atoms.end(),
              [](const AtomPtr& x, const AtomPtr& y) { return x->key < y->key; });
    return result;
  }

  // a / b when b divides a exactly.
  static std::optional<Term> divide(const Term& a, const Term& b) {
    if (b.coefficient == 0 || clamped(a.coefficient) % b.coefficient != 0) return std::nullopt;
    Term result{clamped(a.coefficient) / b.coefficient, a.atoms};
    for (const AtomPtr& atom : b.atoms) {
      auto it = std::find_if(result.atoms.begin(), result.atoms.end(),
                             [&](const AtomPtr& candidate) { return candidate->key == atom->key; });
      if (it == result.atoms.end()) return std::nullopt;
      result.atoms.erase(it);
    }
    return result;
  }

  // Polynomial long division; nullopt unless the remainder is zero.
  static std::optional<Dim> divide_exactly(const Dim& a, const Dim& b) {
    Terms divisor = terms(b);
    if (divisor.empty()) return std::nullopt;
    const Term& lead = divisor.rbegin()->second;
    Terms rest = terms(a);
    Terms quotient;
    for (int step = 0; !rest.empty(); ++step) {
      if (step > 16) return std::nullopt;
      std::optional<Term> factor;
      for (const auto& [key, term] : rest) {
        if ((factor = divide(term, lead))) break;
      }
      if (!factor) return std::nullopt;
      Terms single = {{term_key(factor->atoms), *factor}};
      add(quotient, single, 1);
      for (const auto& [key, term] : divisor) {
        Term part = multiply(term, *factor);
        add(rest, {{term_key(part.atoms), part}}, -1);
      }
      std::erase_if(rest, [](const auto& entry) { return entry.second.coefficient == 0; });
    }
    return from(std::move(quotient));
  }

  // A lower bound for all assignments; nullopt when there is none or it is not seen.
  static std::optional<int64_t> least(const Dim& dim) {
    if (dim.is_constant()) return dim.value_;
    int64_t sum = 0;
    for (const auto& [key, term] : dim.expression_->terms) {
      if (key.empty()) {
        sum = add_clamped(sum, term.coefficient);
        continue;
      }
      if (term.coefficient < 0) return std::nullopt;
      int64_t product = term.coefficient;
      for (const AtomPtr& atom : term.atoms) {
        auto bound = least(*atom);
        if (!bound || (*bound < 0 && term.atoms.size() > 1)) return std::nullopt;
        product = multiply_clamped(product, *bound);
      }
      sum = add_clamped(sum, product);
    }
    return sum;
  }

  static std::optional<int64_t> least(const Atom& atom) {
    if (atom.kind == AtomKind::kSymbol) return 0;
    auto a = least(atom.a), b = least(atom.b);
    switch (atom.kind) {
      case AtomKind::kFloorDiv:
        if (!a || !b || *b < 0) return std::nullopt;
        if (atom.b.is_constant() && *b > 0) return floor_divide(*a, *b);
        // Of a negative dividend, the least quotient is the one by the smallest divisor; division by zero yields 0.
        return *a >= 0 ? 0 : floor_divide(*a, std::max<int64_t>(*b, 1));
      case AtomKind::kMin: return a && b ? std::optional(std::min(*a, *b)) : std::nullopt;
      default: return a && b ? std::max(a, b) : (a ? a : b);
    }
  }

  static std::optional<int64_t> evaluate(const Dim& dim, const Dim::Lookup& lookup) {
    if (dim.is_constant()) return dim.value_;
    int64_t sum = 0;
    for (const auto& [key, term] : dim.expression_->terms) {
      int64_t product = term.coefficient;
      for (const AtomPtr& atom : term.atoms) {
        auto value = evaluate_atom(*atom, lookup);
        if (!value || __builtin_mul_overflow(product, *value, &product)) return std::nullopt;
      }
      if (__builtin_add_overflow(sum, product, &sum)) return std::nullopt;
    }
    return sum;
  }

  static std::optional<int64_t> evaluate_atom(const Atom& atom, const Dim::Lookup& lookup) {
    if (atom.kind == AtomKind::kSymbol) return lookup(atom.key);
    auto a = evaluate(atom.a, lookup);
    auto b = evaluate(atom.b, lookup);
    if (!a || !b) return std::nullopt;
    switch (atom.kind) {
      case AtomKind::kFloorDiv: return floor_divide(*a, *b);
      case AtomKind::kMin: return std::min(*a, *b);
      default: return std::max(*a, *b);
    }
  }

  static void collect(const Dim& dim, std::set<std::string>& names) {
    if (dim.is_constant()) return;
    for (const auto& [key, term] : dim.expression_->terms) {
      for (const AtomPtr& atom : term.atoms) {
        if (atom->kind == AtomKind::kSymbol) {
          names.insert(atom->key);
        } else {
          collect(atom->a, names);
          collect(atom->b, names);
        }
      }
    }
  }

  static std::string print(const Dim& dim) {
    if (dim.is_constant()) return std::to_string(dim.value_);
    std::string text;
    // The constant term sorts first; it reads better last.
    auto append = [&](const std::string& key, int64_t coefficient) {
      if (coefficient < 0)
        text += '-';
      else if (!text.empty())
        text += '+';
      int64_t magnitude = coefficient < 0 ? -clamped(coefficient) : coefficient;
      if (key.empty())
        text += std::to_string(magnitude);
      else
        text += magnitude == 1 ? key : fmt::format("{}*{}", magnitude, key);
    };
    for (const auto& [key, term] : dim.expression_->terms) {
      if (!key.empty()) append(key, term.coefficient);
    }
    if (auto it = dim.expression_->terms.find(""); it != dim.expression_->terms.end()) {
      append("", it->second.coefficient);
    }
    return text;
  }
};

Dim Dim::symbol(std::string_view name) {
  auto atom = std::make_shared<Atom>();
  atom->kind = AtomKind::kSymbol;
  atom->key = is_identifier(name) ? std::string(name) : fmt::format("s_{:016x}", hash_text(name));
  return DimAlgebra::from_atom(std::move(atom));
}

bool Dim::operator==(const Dim& other) const {
  if (is_constant() || other.is_constant()) return is_constant() && other.is_constant() && value_ == other.value_;
  return expression_ == other.expression_ || to_string() == other.to_string();
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(add_clamped(a.value_, b.value_));
  auto sum = DimAlgebra::terms(a);
  DimAlgebra::add(sum, DimAlgebra::terms(b), 1);
  return DimAlgebra::from(std::move(sum));
}

Dim operator-(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(add_clamped(a.value_, -clamped(b.value_)));
  auto sum = DimAlgebra::terms(a);
  DimAlgebra::add(sum, DimAlgebra::terms(b), -1);
  return DimAlgebra::from(std::move(sum));
}

Dim operator*(const Dim& a, const Dim& b) {
  if (a.is_constant() && b.is_constant()) return Dim(multiply_clamped(a.value_, b.value_));
  DimAlgebra::Terms result;
  for (const auto& [key_a, term_a] : DimAlgebra::terms(a)) {
    for (const auto& [key_b, term_b] : DimAlgebra::terms(b)) {
      Term term = DimAlgebra::multiply(term_a, term_b);
      DimAlgebra::add(result, {{term_key(term.atoms), term}}, 1);
    }
  }
  return DimAlgebra::from(std::move(result));
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (b.is(1)) return a;
  if (a.is_constant() && b.is_constant()) return Dim(floor_divide(a.value_, b.value_));
  if (auto exact = DimAlgebra::divide_exactly(a, b)) return *exact;
  if (!b.is_constant() || b.value_ <= 0) return DimAlgebra::function(AtomKind::kFloorDiv, "floor", a, b);
  // floor((b*whole + rest) / b) = whole + floor(rest / b)
  DimAlgebra::Terms whole, rest;
  for (const auto& [key, term] : DimAlgebra::terms(a)) {
    int64_t quotient = floor_divide(term.coefficient, b.value_);
    whole.emplace(key, Term{quotient, term.atoms});
    // In [0, b); the product may pass the smallest integer, the difference does not.
    auto remainder =
        static_cast<uint64_t>(term.coefficient) - static_cast<uint64_t>(quotient) * static_cast<uint64_t>(b.value_);
    rest.emplace(key, Term{static_cast<int64_t>(remainder), term.atoms});
  }
  Dim remainder = DimAlgebra::from(std::move(rest));
  Dim fraction = remainder.is_constant() ? Dim(floor_divide(remainder.value_, b.value_))
                                         : DimAlgebra::function(AtomKind::kFloorDiv, "floor", remainder, b);
  return DimAlgebra::from(std::move(whole)) + fraction;
}

Dim ceil_div(const Dim& a, const Dim& b) { return Dim(0) - floor_div(Dim(0) - a, b); }
Dim mod(const Dim& a, const Dim& b) { return a - floor_div(a, b) * b; }

Dim min(const Dim& a, const Dim& b) {
  if (known_at_least(a - b, 0)) return b;
  if (known_at_least(b - a, 0)) return a;
  if (auto absorbed = DimAlgebra::absorb(AtomKind::kMin, a, b)) return *absorbed;
  return DimAlgebra::function(AtomKind::kMin, "min", a, b);
}

Dim max(const Dim& a, const Dim& b) {
  if (known_at_least(a - b, 0)) return a;
  if (known_at_least(b - a, 0)) return b;
  if (auto absorbed = DimAlgebra::absorb(AtomKind::kMax, a, b)) return *absorbed;
  return DimAlgebra::function(AtomKind::kMax, "max", a, b);
}

bool known_at_least(const Dim& a, int64_t bound) {
  auto least = DimAlgebra::least(a);
  return least && *least >= bound;
}

std::optional<int64_t> Dim::evaluate(const Lookup& lookup) const { return DimAlgebra::evaluate(*this, lookup); }

std::vector<std::string> Dim::symbols() const {
  std::set<std::string> names;
  DimAlgebra::collect(*this, names);
  return {names.begin(), names.end()};
}

std::string Dim::to_string() const { return DimAlgebra::print(*this); }

Dim product(const Dims& dims) {
  Dim result(1);
  for (const Dim& dim : dims) result = result * dim;
  return result;
}

std::string to_string(const Dims& dims) {
  std::string text;
  for (const Dim& dim : dims) text += (text.empty() ? "" : "x") + dim.to_string();
  return dims.empty() ? "scalar" : text;
}

namespace {

// sum := ['-'] product (('+' | '-') product)*   product := factor ('*' factor)*
// factor := integer | name | ("floor" | "min" | "max") '(' sum ',' sum ')'
struct DimParser {
  std::string_view text;
  size_t position = 0;
  int depth = 0;

  bool accept(char wanted) {
    if (position < text.size() && text[position] == wanted) return ++position, true;
    return false;
  }

  std::optional<Dim> sum() {
    if (++depth > kMaxDepth) return std::nullopt;
    bool negative = accept('-');
    auto first = product();
    if (!first) return std::nullopt;
    Dim total = negative ? Dim(0) - *first : *first;
    while (position < text.size() && (text[position] == '+' || text[position] == '-')) {
      bool minus = text[position++] == '-';
      auto next = product();
      if (!next) return std::nullopt;
      total = minus ? total - *next : total + *next;
    }
    --depth;
    return total;
  }

  std::optional<Dim> product() {
    auto total = factor();
    while (total && accept('*')) {
      auto next = factor();
      if (!next) return std::nullopt;
      total = *total * *next;
    }
    return total;
  }

  std::optional<Dim> factor() {
    size_t begin = position;
    while (position < text.size() && is_name_character(text[position])) ++position;
    std::string_view word = text.substr(begin, position - begin);
    if (word.empty() || word.size() > kMaxNameBytes) return std::nullopt;
    if (std::isdigit(static_cast<unsigned char>(word[0])) != 0) {
      // Clamped like all arithmetic here: the least integer prints with one magnitude more than the greatest.
      int64_t value = 0;
      for (char c : word) {
        if (std::isdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
        bool overflow = __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value);
        if (overflow) return word == "9223372036854775808" ? std::optional<Dim>(Dim(INT64_MAX)) : std::nullopt;
      }
      return Dim(value);
    }
    if (!accept('(')) return Dim::symbol(word);
    auto a = sum();
    if (!a || !accept(',')) return std::nullopt;
    auto b = sum();
    if (!b || !accept(')')) return std::nullopt;
    if (word == "floor") return floor_div(*a, *b);
    if (word == "min") return min(*a, *b);
    if (word == "max") return max(*a, *b);
    return std::nullopt;
  }
};

}  // namespace

std::optional<Dim> Dim::parse(std::string_view text) {
  DimParser parser{text};
  auto dim = parser.sum();
  return parser.position == text.size() ? dim : std::nullopt;
}

}  // namespace hussar
