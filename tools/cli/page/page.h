// The page of --html: what calibration saw, what INT8 does to each layer, and what it gains. One file, no script.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "compile/compile.h"
#include "compile/layer_errors.h"
#include "compile/sensitivity.h"
#include "plan/plan.h"
#include "quantize/calibration.h"

namespace hussar::cli {

// What is null has no section.
struct PageContent {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;
  const Calibration* calibration = nullptr;
  const SensitivityReport* sensitivity = nullptr;
  const LayerReport* layers = nullptr;
  std::string layers_note;  // on which inputs
  const Int8Report* int8 = nullptr;
  const Plan* plan = nullptr;  // whose steps say why they stayed in FP32
};
std::string render(const PageContent& content);
Status write_page(const PageContent& content, const std::string& path);

// The sections, each with its heading.
std::string histogram_section(const Calibration& calibration);
std::string sensitivity_section(const SensitivityReport& report);
std::string layer_section(const LayerReport& report, const std::string& note);
std::string latency_section(const Int8Report& report);
std::string kept_section(const Plan& plan);

}  // namespace hussar::cli
