// Lines of names and scales.
#include "quantize/trt_cache.h"

#include <bit>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/file.h"

namespace hussar {
namespace {

std::string_view next_line(std::string_view& text) {
  size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

}  // namespace

Result<Calibration> decode_trt_cache(std::string_view text, const std::string& name) {
  std::string_view header = next_line(text);
  HUSSAR_CHECK(header.substr(0, 4) == "TRT-" && header.find("Calibration") != std::string_view::npos, ErrorCode::kUsage,
               "'{}' is no calibration cache of TensorRT: it begins with '{}', not with 'TRT-<version>-<calibrator>'",
               name, header.substr(0, 40));
  Calibration calibration;
  calibration.model = name;
  calibration.method = header.find("MinMax") != std::string_view::npos ? Method::kMinMax : Method::kEntropy;
  for (int number = 2; !text.empty(); ++number) {
    std::string_view line = next_line(text);
    if (line.empty()) continue;
    size_t colon = line.rfind(": ");
    std::string_view digits = colon == std::string_view::npos ? "" : line.substr(colon + 2);
    uint32_t bits = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits, 16);
    float scale = std::bit_cast<float>(bits);
    bool ok = error == std::errc() && end == digits.data() + digits.size() && digits.size() == 8 && colon > 0 &&
              std::isfinite(scale * 127) && scale >= 0;
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "'{}', line {}: '{}' is not 'name: <8 hexadecimal digits of a scale>'", name,
                 number, line.substr(0, 100));
    TensorCalibration& tensor = calibration.tensors[std::string(line.substr(0, colon))];
    tensor.range = {-127 * scale, 127 * scale, calibration.method, "from a TensorRT cache"};
  }
  HUSSAR_CHECK(!calibration.tensors.empty(), ErrorCode::kUsage, "'{}' names no tensor", name);
  return calibration;
}

std::string encode_trt_cache(const Calibration& calibration, Method method) {
  // TensorRT takes a cache only where this line is its calibrator's; most have this one.
  std::string text =
      fmt::format("TRT-8601-{}\n", method == Method::kMinMax ? "MinMaxCalibration" : "EntropyCalibration2");
  for (const auto& [name, params] : activation_params(calibration, method, DType::kInt8)) {
    text += fmt::format("{}: {:08x}\n", name, std::bit_cast<uint32_t>(params.scale));
  }
  return text;
}

Result<Calibration> read_trt_cache(const std::string& path) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  return decode_trt_cache({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}, path);
}

Status write_trt_cache(const Calibration& calibration, Method method, const std::string& path) {
  std::string text = encode_trt_cache(calibration, method);
  return write_file_atomically(path, {std::as_bytes(std::span(text.data(), text.size()))});
}

}  // namespace hussar
