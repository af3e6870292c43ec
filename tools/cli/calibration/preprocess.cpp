// Reading the declaration, and doing what it says.
#include "tools/cli/calibration/preprocess.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "tools/cli/calibration/decode_image.h"

namespace hussar::cli {
namespace {

constexpr int kLargestSide = 16384;

// What stands before the next separator; the rest stays.
std::string_view cut_word(std::string_view& text, char separator) {
  size_t end = std::min(text.find(separator), text.size());
  std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

std::optional<double> parse_number(std::string_view text) {
  std::string_view above = cut_word(text, '/');
  double value = 0, divisor = 1;
  auto read = [](std::string_view digits, double& number) {
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() && std::isfinite(number);
  };
  bool ok = read(above, value) && (text.empty() || (read(text, divisor) && divisor != 0));
  return ok ? std::optional(value / divisor) : std::nullopt;
}

// "224" or "WIDTHxHEIGHT"; false where it is neither.
bool parse_size(std::string_view text, int& width, int& height) {
  auto read = [](std::string_view digits, int& number) {
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() && number > 0 && number <= kLargestSide;
  };
  std::string_view first = cut_word(text, 'x');
  if (!read(first, width)) return false;
  height = 0;
  return text.empty() || read(text, height);
}

bool parse_list(std::string_view text, std::vector<double>& list) {
  list.clear();
  while (!text.empty()) {
    auto number = parse_number(cut_word(text, ','));
    if (!number) return false;
    list.push_back(*number);
  }
  return list.size() == 1 || list.size() == 3;
}

Status apply(std::string_view key, std::string_view value, Preprocess& preprocess) {
  auto check = [&](bool ok, const char* wanted) -> Status {
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "--preprocess: {}={} is not {}", key, value, wanted);
    return {};
  };
  if (key == "resize") {
    int width = 0, height = 0;
    HUSSAR_TRY(check(parse_size(value, width, height), "256 (the shorter side) or WIDTHxHEIGHT"));
    preprocess.shorter_side = height == 0 ? width : 0;
    preprocess.width = height == 0 ? 0 : width;
    preprocess.height = height;
    return {};
  }
  if (key == "crop") {
    HUSSAR_TRY(check(parse_size(value, preprocess.crop_width, preprocess.crop_height), "224 or WIDTHxHEIGHT"));
    if (preprocess.crop_height == 0) preprocess.crop_height = preprocess.crop_width;
    return {};
  }
  if (key == "scale") {
    auto number = parse_number(value);
    preprocess.scale = number.value_or(0);
    return check(number && *number != 0, "a number such as 1/255");
  }
  if (key == "mean") return check(parse_list(value, preprocess.mean), "one number or three, separated by commas");
  if (key == "std") {
    bool ok = parse_list(value, preprocess.deviation);
    for (double number : preprocess.deviation) ok = ok && number > 0;
    return check(ok, "one positive number or three, separated by commas");
  }
  if (key == "layout") {
    preprocess.channels_last = value == "nhwc";
    return check(value == "nchw" || value == "nhwc", "nchw or nhwc");
  }
  if (key == "color") {
    using Color = Preprocess::Color;
    preprocess.color = value == "bgr" ? Color::kBgr : value == "gray" ? Color::kGray : Color::kRgb;
    return check(value == "rgb" || value == "bgr" || value == "gray", "rgb, bgr or gray");
  }
  return fail(ErrorCode::kUsage,
              "--preprocess: there is no '{}'; it takes resize, crop, scale, mean, std, layout, color", key);
}

// How one output position along an axis is a mean of input positions.
struct Taps {
  int first = 0;
  std::vector<float> weights;
};

// Bilinear; when an axis shrinks the triangle is as much wider, so that every input pixel counts, as in Pillow and
// torchvision with antialias.
std::vector<Taps> make_taps(int from, int to) {
  const double ratio = static_cast<double>(from) / to, reach = std::max(1.0, ratio);
  std::vector<Taps> all(static_cast<size_t>(to));
  for (int i = 0; i < to; ++i) {
    const double center = (i + 0.5) * ratio;
    Taps& taps = all[static_cast<size_t>(i)];
    taps.first = std::max(0, static_cast<int>(center - reach + 0.5));
    int last = std::min(from, static_cast<int>(center + reach + 0.5));
    double sum = 0;
    for (int k = taps.first; k < last; ++k) {
      double weight = std::max(0.0, 1 - std::fabs((k + 0.5 - center) / reach));
      taps.weights.push_back(static_cast<float>(weight));
      sum += weight;
    }
    for (float& weight : taps.weights) weight /= static_cast<float>(sum);
  }
  return all;
}

// A picture in floats, height x width x channels.
struct Pixels {
  int width = 0, height = 0, channels = 0;
  std::vector<float> values;
  float* at(int y, int x) {
    return values.data() + (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) *
                               static_cast<size_t>(channels);
  }
};

Pixels make_pixels(int width, int height, int channels) {
  return {width, height, channels,
          std::vector<float>(static_cast<size_t>(width) * static_cast<size_t>(height) * static_cast<size_t>(channels))};
}

Pixels resized(Pixels& source, int width, int height) {
  Pixels wide = make_pixels(width, source.height, source.channels),
         result = make_pixels(width, height, source.channels);
  const std::vector<Taps> columns = make_taps(source.width, width), rows = make_taps(source.height, height);
  for (int y = 0; y < source.height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Taps& taps = columns[static_cast<size_t>(x)];
      for (size_t k = 0; k < taps.weights.size(); ++k) {
        const float* pixel = source.at(y, taps.first + static_cast<int>(k));
        for (int c = 0; c < source.channels; ++c) wide.at(y, x)[c] += taps.weights[k] * pixel[c];
      }
    }
  }
  for (int y = 0; y < height; ++y) {
    const Taps& taps = rows[static_cast<size_t>(y)];
    for (size_t k = 0; k < taps.weights.size(); ++k) {
      const float* row = wide.at(taps.first + static_cast<int>(k), 0);
      float* out = result.at(y, 0);
      for (int i = 0; i < width * source.channels; ++i) out[i] += taps.weights[k] * row[i];
    }
  }
  // Image libraries keep bytes between the steps, and networks were trained on those.
  for (float& value : result.values) value = std::clamp(std::nearbyint(value), 0.0F, 255.0F);
  return result;
}

Result<Pixels> cropped(Pixels source, int width, int height, const std::string& path) {
  HUSSAR_CHECK(source.width >= width && source.height >= height, ErrorCode::kUsage,
               "'{}' has {} x {} pixels; {} x {} cannot be cropped from them: resize first", path, source.width,
               source.height, width, height);
  Pixels result = make_pixels(width, height, source.channels);
  const int left = static_cast<int>(std::lround((source.width - width) / 2.0));
  const int top = static_cast<int>(std::lround((source.height - height) / 2.0));
  for (int y = 0; y < height; ++y) std::copy_n(source.at(top + y, left), width * source.channels, result.at(y, 0));
  return result;
}

Pixels as_pixels(const Picture& picture) {
  return {picture.width, picture.height, picture.channels, {picture.bytes.begin(), picture.bytes.end()}};
}

double of_channel(const std::vector<double>& list, int channel, double otherwise) {
  if (list.empty()) return otherwise;
  return list[list.size() == 1 ? 0 : static_cast<size_t>(channel)];
}

Tensor as_tensor(Pixels& pixels, const Preprocess& preprocess, DType dtype) {
  const int channels = pixels.channels, width = pixels.width, height = pixels.height;
  Tensor tensor(dtype,
                preprocess.channels_last ? Shape{1, height, width, channels} : Shape{1, channels, height, width});
  for (int c = 0; c < channels; ++c) {
    // mean and std go by the order that the network sees.
    const int source = preprocess.color == Preprocess::Color::kBgr ? channels - 1 - c : c;
    const double mean = of_channel(preprocess.mean, c, 0), deviation = of_channel(preprocess.deviation, c, 1);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const float value = pixels.at(y, x)[source];
        const int index = preprocess.channels_last ? (y * width + x) * channels + c : (c * height + y) * width + x;
        if (dtype == DType::kUInt8)
          tensor.data<uint8_t>()[index] = static_cast<uint8_t>(value);
        else
          tensor.data<float>()[index] = static_cast<float>((value * preprocess.scale - mean) / deviation);
      }
    }
  }
  return tensor;
}

}  // namespace

Result<Preprocess> parse_preprocess(std::string_view text) {
  Preprocess preprocess;
  while (!text.empty()) {
    std::string_view word = cut_word(text, ' ');
    if (word.empty()) continue;
    std::string_view key = cut_word(word, '=');
    HUSSAR_TRY(apply(key, word, preprocess));
  }
  const auto channels = static_cast<size_t>(preprocess.channels());
  for (const auto* list : {&preprocess.mean, &preprocess.deviation}) {
    HUSSAR_CHECK(list->size() <= channels, ErrorCode::kUsage,
                 "--preprocess: mean and std have {} numbers for {} channel", list->size(), channels);
  }
  return preprocess;
}

bool is_image_name(std::string_view path) {
  std::string end = std::filesystem::path(path).extension().string();
  for (char& c : end) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return end == ".png" || end == ".jpg" || end == ".jpeg" || end == ".bmp";
}

Result<Tensor> load_image(const std::string& path, const Preprocess& preprocess, DType dtype) {
  HUSSAR_CHECK(dtype == DType::kFloat32 || dtype == DType::kUInt8, ErrorCode::kUsage,
               "'{}': pictures become float32 or uint8; the model takes {}", path, dtype_name(dtype));
  auto file = HUSSAR_TRY(MappedFile::open(path));
  Pixels pixels = as_pixels(HUSSAR_TRY(decode_image(file->bytes(), path, preprocess.channels())));
  int width = preprocess.width, height = preprocess.height;
  if (preprocess.shorter_side > 0) {
    const int shorter = std::min(pixels.width, pixels.height);
    auto scaled = [&](int side) {
      return static_cast<int>(static_cast<int64_t>(side) * preprocess.shorter_side / shorter);
    };
    width = scaled(pixels.width);
    height = scaled(pixels.height);
    HUSSAR_CHECK(std::max(width, height) <= kLargestSide, ErrorCode::kUsage, "'{}' would become {} x {} pixels", path,
                 width, height);
  }
  if (width > 0 && (width != pixels.width || height != pixels.height)) pixels = resized(pixels, width, height);
  if (preprocess.crop_width > 0) {
    pixels = HUSSAR_TRY(cropped(std::move(pixels), preprocess.crop_width, preprocess.crop_height, path));
  }
  return as_tensor(pixels, preprocess, dtype);
}

}  // namespace hussar::cli
