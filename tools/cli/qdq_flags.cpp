#include "tools/cli/qdq_flags.h"

#include "base/error.h"
#include "tools/cli/precision_flags.h"

namespace hussar::cli {

void QdqFlags::declare(Command& command) {
  command.option("--qdq", "OUT.onnx", path_,
                 "also writes the model with QuantizeLinear and DequantizeLinear around its products and INT8 weights, "
                 "for TensorRT, ONNX Runtime or OpenVINO");
  command.option("--qdq-activations", "TYPE", activations_,
                 "with --qdq: uint8 (default), or int8, symmetric around zero, as TensorRT wants it");
  command.suggest("--qdq-activations", {"uint8", "int8"});
  command.option("--precision", "NODE=fp32", nodes_,
                 "with --qdq: this ONNX node stays in FP32; repeatable; @FILE has one a line, as --advice writes them");
}

Status QdqFlags::check(const std::string& model, const std::string& shapes) {
  if (path_.empty()) {
    HUSSAR_CHECK(nodes_.empty() && activations_ == "uint8", ErrorCode::kUsage,
                 "--precision and --qdq-activations go with --qdq");
    return {};
  }
  HUSSAR_CHECK(activations_ == "uint8" || activations_ == "int8", ErrorCode::kUsage,
               "--qdq-activations takes uint8 or int8, not '{}'", activations_);
  options_.activations = activations_ == "int8" ? DType::kInt8 : DType::kUInt8;
  options_.shapes = HUSSAR_TRY(parse_shapes(shapes));
  options_.fp32_nodes = HUSSAR_TRY(parse_fp32_nodes(nodes_));
  return check_can_export_qdq(model, path_);
}

Result<QdqReport> QdqFlags::run(const std::string& model, const Calibration& calibration,
                                const std::string& calibration_name) {
  return export_qdq(model, calibration, calibration_name, path_, options_);
}

std::string QdqFlags::summary(const QdqReport& report) const {
  std::string text = fmt::format(
      "{}: {:.1f} MB, {} of {} products quantized, {} inputs in {}", path_, static_cast<double>(report.bytes) / 1e6,
      report.quantized, report.quantized + static_cast<int64_t>(report.left_out.size()), report.inputs, activations_);
  text += fmt::format("; {} biases corrected", report.corrected_biases);
  if (report.smoothed + report.smoothings_left_out > 0) {
    text += fmt::format("; {} of {} tensors divided per channel", report.smoothed,
                        report.smoothed + report.smoothings_left_out);
  }
  if (report.opset != report.opset_before)
    text += fmt::format("; opset {} instead of {}", report.opset, report.opset_before);
  text += "\n";
  for (const auto& [node, reason] : report.left_out) text += fmt::format("  in FP32: {}: {}\n", node, reason);
  return text;
}

Json QdqFlags::to_json(const QdqReport& report) const {
  Json json = Json::object(), left_out = Json::array();
  for (const auto& [node, reason] : report.left_out) {
    Json entry = Json::object();
    left_out.push(std::move(entry.set("node", node).set("reason", reason)));
  }
  json.set("output", path_).set("bytes", static_cast<int64_t>(report.bytes)).set("activations", activations_);
  json.set("quantized", report.quantized).set("inputs", report.inputs);
  json.set("corrected_biases", report.corrected_biases).set("smoothed", report.smoothed);
  json.set("smoothings_left_out", report.smoothings_left_out).set("opset", report.opset);
  return std::move(json.set("left_out", std::move(left_out)));
}

}  // namespace hussar::cli
