// Parsing of ranges, targets and times.
#include "compile/spelling.h"

#include <charconv>

#include "backends/cpu/isa.h"
#include "base/error.h"

namespace hussar {

Result<NamedShapes> shapes_of_range(const ShapeRange& range) {
  bool same_inputs = range.minimum.size() == range.optimum.size() && range.maximum.size() == range.optimum.size();
  HUSSAR_CHECK(same_inputs, ErrorCode::kUsage,
               "--min-shapes, --opt-shapes and --max-shapes go together and name the same inputs");
  NamedShapes shapes;
  for (const auto& [name, optimum] : range.optimum) {
    auto low = range.minimum.find(name), high = range.maximum.find(name);
    HUSSAR_CHECK(low != range.minimum.end() && high != range.maximum.end() && low->second.size() == optimum.size() &&
                     high->second.size() == optimum.size(),
                 ErrorCode::kUsage, "the minimum, optimum and maximum shapes of '{}' have different ranks", name);
    Dims& dims = shapes[name];
    for (size_t axis = 0; axis < optimum.size(); ++axis) {
      const Dim& from = low->second[axis];
      const Dim& usual = optimum[axis];
      const Dim& to = high->second[axis];
      bool numbers = from.is_constant() && usual.is_constant() && to.is_constant() && from.value() >= 0;
      HUSSAR_CHECK(numbers && from.value() <= usual.value() && usual.value() <= to.value(), ErrorCode::kUsage,
                   "dimension {} of '{}' has the range {} .. {} .. {}; rising numbers are needed", axis, name,
                   from.to_string(), usual.to_string(), to.to_string());
      dims.push_back(from == to ? usual : Dim(-1));
    }
  }
  return shapes;
}

Result<int> parse_target(std::string_view text) {
  if (text == "cpu") return -1;
  for (cpu::Isa isa : cpu::kAllIsas) {
    if (text == std::string("cpu:") + cpu::isa_name(isa)) return static_cast<int>(isa);
  }
  HUSSAR_CHECK(text.substr(0, 4) != "cuda", ErrorCode::kDeviceUnavailable,
               "target '{}': this build of hussar has no GPU backend; use --target cpu", text);
  return fail(ErrorCode::kUsage,
              "there is no target '{}': cpu, cpu:scalar, cpu:avx2, cpu:avx512, cpu:avx512fp16 or cpu:amx", text);
}

Result<double> parse_duration(std::string_view text) {
  std::string_view number = text;
  const double unit = number.ends_with('m') ? 60 : 1;
  if (number.ends_with('s') || number.ends_with('m')) number.remove_suffix(1);
  double value = 0;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  bool ok = error == std::errc() && end == number.data() + number.size() && value >= 0 && value <= 1e6;
  HUSSAR_CHECK(ok, ErrorCode::kUsage, "'{}' is not a time such as 60s, 2m or 0", text);
  return value * unit;
}

}  // namespace hussar
