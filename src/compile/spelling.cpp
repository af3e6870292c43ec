// Parsing of ranges, targets and times.
#include "compile/spelling.h"

#include <charconv>

#include "backends/cpu/isa.h"
#include "backends/cuda/driver.h"
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

// ":sm_90a" -> 90, ":1" -> what GPU 1 is; nothing: what GPU 0 is.
static Result<int> parse_capability(std::string_view text) {
  int number = 0;
  std::string_view digits = text;
  const bool names = digits.starts_with(":sm_");
  if (names) digits.remove_prefix(4);
  if (names && digits.ends_with('a')) digits.remove_suffix(1);
  if (!names && digits.starts_with(':')) digits.remove_prefix(1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool is_number = error == std::errc() && end == digits.data() + digits.size();
  HUSSAR_CHECK(text.empty() || is_number, ErrorCode::kUsage, "there is no target 'cuda{}': cuda, cuda:0 or cuda:sm_90a",
               text);
  if (!names) {
    auto devices = HUSSAR_TRY(cuda::find_devices());
    HUSSAR_CHECK(number >= 0 && number < static_cast<int>(devices.size()), ErrorCode::kDeviceUnavailable,
                 "there is no GPU {}: the driver knows {}; --target cuda:sm_90a builds for one that is not here",
                 number, devices.size());
    number = devices[static_cast<size_t>(number)].sm;
  }
  constexpr int kOldest = 80;
  HUSSAR_CHECK(number >= kOldest, ErrorCode::kDeviceUnavailable,
               "sm_{} is not supported: GPUs from sm_80 on (Ampere, 2020) are; use --target cpu", number);
  return number;
}

Result<TargetName> parse_target(std::string_view text) {
  TargetName target;
  if (text == "cpu") return target;
  for (cpu::Isa isa : cpu::kAllIsas) {
    if (text != std::string("cpu:") + cpu::isa_name(isa)) continue;
    target.isa = static_cast<int>(isa);
    return target;
  }
  HUSSAR_CHECK(text.starts_with("cuda"), ErrorCode::kUsage,
               "there is no target '{}': cpu, cpu:scalar, cpu:avx2, cpu:avx512, cpu:avx512fp16, cpu:amx, cuda, cuda:0 "
               "or cuda:sm_90a",
               text);
  target.sm = HUSSAR_TRY(parse_capability(text.substr(4)));
  target.place = Place::kDevice;
  return target;
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
