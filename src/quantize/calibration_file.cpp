// Calibration <-> JSON.
#include "quantize/calibration_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

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
  return object;
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
  int integer(const char* key) {
    const json* it = find(key);
    if (it == nullptr) return 0;
    int64_t value = it->is_number_integer() ? it->get<int64_t>() : INT64_MAX;
    if (value < -1000 || value > 1000) return complain(key, "is no small integer"), 0;
    return static_cast<int>(value);
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
  return tensor;
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
  text += " \"tensors\": {";
  // One line per tensor: histograms are not for reading, but differences between files are.
  for (const auto& [name, tensor] : calibration.tensors) {
    text += fmt::format("{}\n  {}: {}", text.back() == '{' ? "" : ",", dump(name), dump(encode_tensor(tensor)));
  }
  return text + "\n }\n}\n";
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
  for (const auto& [tensor_name, tensor] : tensors->items()) {
    calibration.tensors[tensor_name] = HUSSAR_TRY(decode_tensor(tensor, tensor_name, name));
  }
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
