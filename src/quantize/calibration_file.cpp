// Calibration <-> JSON.
#include "quantize/calibration_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/error.h"
#include "base/file.h"

namespace hussar {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

// Counts up to the last that is not zero; -n stands for n zeros.
json encode_counts(std::span<const uint64_t> counts) {
  json list = json::array();
  int64_t zeros = 0;
  for (uint64_t count : counts) {
    if (count == 0) {
      ++zeros;
      continue;
    }
    if (zeros > 0) list.push_back(-zeros);
    zeros = 0;
    list.push_back(count);
  }
  return list;
}

json encode_tensor(const TensorCalibration& tensor) {
  json object;
  const Statistics& statistics = tensor.statistics;
  if (statistics.elements() > 0) {
    object["elements"] = statistics.elements();
    object["zeros"] = statistics.zeros();
    if (statistics.nans() > 0) object["nans"] = statistics.nans();
    if (statistics.infinities() > 0) object["infinities"] = statistics.infinities();
    object["min"] = statistics.min();
    object["max"] = statistics.max();
    object["exponent"] = statistics.exponent();
    object["positive"] = encode_counts(statistics.positive());
    object["negative"] = encode_counts(statistics.negative());
  }
  QuantParams params = params_of(tensor.range, DType::kUInt8);
  object["range"] = {{"low", tensor.range.low},
                     {"high", tensor.range.high},
                     {"method", method_name(tensor.range.method)},
                     {"scale", params.scale},
                     {"zero_point", params.zero_point}};
  if (!tensor.range.note.empty()) object["range"]["note"] = tensor.range.note;
  if (!tensor.channel_min.empty()) {
    object["channel_min"] = tensor.channel_min;
    object["channel_max"] = tensor.channel_max;
  }
  for (const auto& [method, error] : tensor.output_errors) object["output_errors"][method_name(method)] = error;
  return object;
}

json encode_product(const ProductCalibration& product) {
  json object = {{"weights", product.weights},
                 {"scale", product.scale},
                 {"zero_point", product.zero_point},
                 {"error", product.error},
                 {"corrected_error", product.corrected_error}};
  if (!product.flips.empty()) {
    object["flips"] = encode_base64(product.flips);
    object["nearest_error"] = product.nearest_error;
  }
  if (!product.bias.empty()) object["bias"] = product.bias;
  return object;
}

json encode_smoothing(const Smoothing& smoothing) {
  return {{"alpha", smoothing.alpha},   {"divisors", smoothing.divisors},
          {"low", smoothing.range.low}, {"high", smoothing.range.high},
          {"error", smoothing.error},   {"smoothed_error", smoothing.smoothed_error}};
}

// Reading: what is missing or of another type is remembered as the first complaint, and reads as nothing.
class Reader {
 public:
  Reader(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const json* find(const char* key, bool required = true) {
    static const json kNothing;
    if (!object_.is_object()) return complain(key, "is missing");
    auto it = object_.find(key);
    if (it == object_.end()) return required ? complain(key, "is missing") : nullptr;
    return &*it;
  }
  std::string text(const char* key, bool required = true) {
    const json* it = find(key, required);
    if (it == nullptr) return "";
    if (!it->is_string()) return complain(key, "is no string"), "";
    return it->get<std::string>();
  }
  uint64_t count(const char* key, bool required = true) {
    const json* it = find(key, required);
    if (it == nullptr) return 0;
    if (!it->is_number_unsigned()) return complain(key, "is no count"), 0;
    return it->get<uint64_t>();
  }
  float real(const char* key) {
    const json* it = find(key);
    if (it == nullptr) return 0;
    double value = it->is_number() ? it->get<double>() : NAN;
    if (!std::isfinite(static_cast<float>(value))) return complain(key, "is no finite number"), 0;
    return static_cast<float>(value);
  }
  double error(const char* key) {
    const json* it = find(key);
    if (it == nullptr) return 0;
    const double value = it->is_number() ? it->get<double>() : -1;
    if (!std::isfinite(value) || value < 0) return complain(key, "is no finite number from 0 on"), 0;
    return value;
  }
  int integer(const char* key) {
    const json* it = find(key);
    if (it == nullptr) return 0;
    int64_t value = it->is_number_integer() ? it->get<int64_t>() : INT64_MAX;
    if (value < -1000 || value > 1000) return complain(key, "is no small integer"), 0;
    return static_cast<int>(value);
  }
  std::vector<float> reals(const char* key, bool required = true) {
    const json* it = find(key, required);
    std::vector<float> list;
    if (it == nullptr) return list;
    if (!it->is_array()) return complain(key, "is no list"), list;
    for (const json& entry : *it) {
      const float value = entry.is_number() ? static_cast<float>(entry.get<double>()) : NAN;
      if (!std::isfinite(value)) return complain(key, "holds what is no finite number"), std::vector<float>();
      list.push_back(value);
    }
    return list;
  }
  std::vector<uint64_t> counts(const char* key) {
    const json* it = find(key);
    std::vector<uint64_t> list;
    if (it == nullptr) return list;
    if (!it->is_array()) return complain(key, "is no list"), list;
    for (const json& entry : *it) {
      int64_t zeros = entry.is_number_integer() && !entry.is_number_unsigned() ? -entry.get<int64_t>() : 0;
      bool fits = zeros >= 0 && zeros < Statistics::kBins && list.size() < Statistics::kBins &&
                  (zeros > 0 || entry.is_number_unsigned());
      if (!fits) return complain(key, "holds what is no count"), std::vector<uint64_t>();
      if (zeros > 0)
        list.resize(list.size() + static_cast<size_t>(zeros));
      else
        list.push_back(entry.get<uint64_t>());
    }
    if (list.size() > Statistics::kBins) complain(key, "is too long"), list.clear();
    return list;
  }
  const json* complain(const char* key, std::string_view what) {
    if (complaint_.empty()) complaint_ = fmt::format("{}\"{}\" {}", where_, key, what);
    return nullptr;
  }
  const std::string& complaint() const { return complaint_; }

 private:
  const json& object_;
  std::string where_, complaint_;
};

tl::unexpected<Error> damaged(const std::string& name, std::string_view complaint) {
  return fail(ErrorCode::kUsage, "'{}' is no calibration file or damaged ({}); make it with `hussar calibrate`", name,
              complaint);
}

Result<Method> read_method(Reader& reader, const std::string& name) {
  std::string method = reader.text("method");
  auto known = method_from_name(method);
  if (!known) return damaged(name, fmt::format("there is no method \"{}\"", method));
  return *known;
}

Status decode_output_errors(const json& object, const std::string& where, const std::string& name,
                            TensorCalibration& tensor) {
  auto it = object.find("output_errors");
  if (it == object.end()) return {};
  if (!it->is_object()) return damaged(name, where + "\"output_errors\" is no object");
  for (const auto& [key, value] : it->items()) {
    auto method = method_from_name(key);
    const double error = value.is_number() ? value.get<double>() : -1;
    if (!method || *method == Method::kAuto || !std::isfinite(error) || error < 0)
      return damaged(name, fmt::format("{}\"output_errors\" has no error for \"{}\"", where, key));
    tensor.output_errors[*method] = error;
  }
  return {};
}

Result<TensorCalibration> decode_tensor(const json& object, const std::string& tensor_name, const std::string& name) {
  TensorCalibration tensor;
  const std::string where = fmt::format("tensor '{}': ", tensor_name);
  Reader reader(object, where);
  if (reader.find("elements", false) != nullptr) {
    Statistics::Figures figures;
    figures.zeros = reader.count("zeros");
    figures.nans = reader.count("nans", false);
    figures.infinities = reader.count("infinities", false);
    figures.min = reader.real("min");
    figures.max = reader.real("max");
    figures.exponent = reader.integer("exponent");
    figures.positive = reader.counts("positive");
    figures.negative = reader.counts("negative");
    bool agrees =
        Statistics::from(figures, tensor.statistics) && tensor.statistics.elements() == reader.count("elements");
    if (!agrees) reader.complain("elements", "and the histogram contradict each other");
  }
  tensor.channel_min = reader.reals("channel_min", false);
  tensor.channel_max = reader.reals("channel_max", false);
  if (tensor.channel_min.size() != tensor.channel_max.size())
    reader.complain("channel_min", "and \"channel_max\" are not of the same length");
  const json* range_object = reader.find("range");
  if (!reader.complaint().empty()) return damaged(name, reader.complaint());
  Reader range(*range_object, where + "range: ");
  tensor.range.low = range.real("low");
  tensor.range.high = range.real("high");
  tensor.range.note = range.text("note", false);
  tensor.range.method = HUSSAR_TRY(read_method(range, name));
  bool holds_zero = tensor.range.low <= 0 && tensor.range.high >= 0;
  if (!holds_zero) range.complain("low", "and \"high\" are on one side of zero");
  if (!range.complaint().empty()) return damaged(name, range.complaint());
  HUSSAR_TRY(decode_output_errors(object, where, name, tensor));
  return tensor;
}

Result<ProductCalibration> decode_product(const json& object, const std::string& product_name,
                                          const std::string& name) {
  ProductCalibration product;
  Reader reader(object, fmt::format("product '{}': ", product_name));
  product.weights = reader.text("weights");
  product.scale = reader.real("scale");
  product.zero_point = reader.integer("zero_point");
  product.error = reader.error("error");
  product.corrected_error = reader.error("corrected_error");
  product.bias = reader.reals("bias", false);
  product.nearest_error = product.error;
  if (reader.find("flips", false) != nullptr) {
    auto flips = decode_base64(reader.text("flips"));
    if (flips) product.flips = std::move(*flips);
    if (product.flips.empty()) reader.complain("flips", "is no base64 text");
    product.nearest_error = reader.error("nearest_error");
  }
  if (!reader.complaint().empty()) return damaged(name, reader.complaint());
  return product;
}

Result<Smoothing> decode_smoothing(const json& object, const std::string& value_name, const std::string& name) {
  Smoothing smoothing;
  Reader reader(object, fmt::format("smoothing of '{}': ", value_name));
  smoothing.alpha = reader.error("alpha");
  smoothing.divisors = reader.reals("divisors");
  smoothing.range.low = reader.real("low");
  smoothing.range.high = reader.real("high");
  smoothing.error = reader.error("error");
  smoothing.smoothed_error = reader.error("smoothed_error");
  if (smoothing.range.low > 0 || smoothing.range.high < 0)
    reader.complain("low", "and \"high\" are on one side of zero");
  for (float divisor : smoothing.divisors) {
    if (!(divisor > 0)) reader.complain("divisors", "are not all positive");
  }
  if (!reader.complaint().empty()) return damaged(name, reader.complaint());
  return smoothing;
}

// The objects of the field "products" or "smoothings", which older files lack.
template <class Entry, class Decode>
Status decode_entries(const json& object, const char* key, const std::string& name, Decode&& decode,
                      std::map<std::string, Entry>& entries) {
  auto list = object.find(key);
  if (list == object.end()) return {};
  if (!list->is_object()) return damaged(name, fmt::format("\"{}\" is no object", key));
  for (const auto& [entry_name, entry] : list->items())
    entries[entry_name] = HUSSAR_TRY(decode(entry, entry_name, name));
  return {};
}

}  // namespace

std::string encode_calibration(const Calibration& calibration) {
  auto dump = [](const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); };
  std::string text = "{\n";
  auto field = [&](const char* key, const json& value) { text += fmt::format(" \"{}\": {},\n", key, dump(value)); };
  field("format", "hussar calibration");
  field("version", kVersion);
  field("model", calibration.model);
  field("model_hash", calibration.model_hash);
  field("data_hash", calibration.data_hash);
  field("samples", calibration.samples);
  field("complete", calibration.is_complete);
  field("method", method_name(calibration.method));
  if (calibration.rounding != Rounding::kNearest) field("rounding", rounding_name(calibration.rounding));
  // One line per entry: histograms are not for reading, but differences between files are.
  auto list = [&](const char* key, const auto& entries, auto&& encode, const char* end) {
    text += fmt::format(" \"{}\": {{", key);
    for (const auto& [name, entry] : entries) {
      text += fmt::format("{}\n  {}: {}", text.back() == '{' ? "" : ",", dump(name), dump(encode(entry)));
    }
    text += end;
  };
  list("products", calibration.products, encode_product, "\n },\n");
  list("smoothings", calibration.smoothings, encode_smoothing, "\n },\n");
  list("tensors", calibration.tensors, encode_tensor, "\n }\n}\n");
  return text;
}

Result<Calibration> decode_calibration(std::string_view text, const std::string& name) {
  json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return damaged(name, "it is no JSON object");
  Reader reader(object, "");
  if (reader.text("format") != "hussar calibration") return damaged(name, "\"format\" is not \"hussar calibration\"");
  int version = reader.integer("version");
  HUSSAR_CHECK(version == kVersion, ErrorCode::kUsage,
               "calibration '{}' has version {}, this hussar reads {}; make it again with `hussar calibrate`", name,
               version, kVersion);
  Calibration calibration;
  calibration.model = reader.text("model");
  calibration.model_hash = reader.text("model_hash");
  calibration.data_hash = reader.text("data_hash");
  uint64_t samples = reader.count("samples");
  if (samples > INT64_MAX / 2) reader.complain("samples", "is no count");
  calibration.samples = static_cast<int64_t>(samples);
  const json* complete = reader.find("complete");
  if (complete != nullptr && !complete->is_boolean()) reader.complain("complete", "is neither true nor false");
  const json* tensors = reader.find("tensors");
  if (tensors != nullptr && !tensors->is_object()) reader.complain("tensors", "is no object");
  if (!reader.complaint().empty()) return damaged(name, reader.complaint());
  calibration.is_complete = complete->get<bool>();
  calibration.method = HUSSAR_TRY(read_method(reader, name));
  if (reader.find("rounding", false) != nullptr) {
    auto rounding = rounding_from_name(reader.text("rounding"));
    if (!rounding) return damaged(name, "\"rounding\" is neither \"nearest\" nor \"adaptive\"");
    calibration.rounding = *rounding;
  }
  for (const auto& [tensor_name, tensor] : tensors->items()) {
    calibration.tensors[tensor_name] = HUSSAR_TRY(decode_tensor(tensor, tensor_name, name));
  }
  HUSSAR_TRY(decode_entries(object, "products", name, decode_product, calibration.products));
  HUSSAR_TRY(decode_entries(object, "smoothings", name, decode_smoothing, calibration.smoothings));
  return calibration;
}

Status write_calibration(const Calibration& calibration, const std::string& path) {
  std::string text = encode_calibration(calibration);
  return write_file_atomically(path, {std::as_bytes(std::span(text.data(), text.size()))});
}

Result<Calibration> read_calibration(const std::string& path) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  return decode_calibration({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}, path);
}

}  // namespace hussar
