// compile: ONNX model -> Plan.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/plan.h"
#include "hussar/status.h"

namespace hussar {
inline namespace api {

// Every compilation ends by running the plan beside a slower one, without optimizations, on made-up inputs.
enum class Check {
  kOff,
  kQuick,  // a few seconds at most; big models are held against a faster comparison, or not checked at all
  kFull,   // whatever it takes
};

// Convolutions, products with constant weights and the attention between them may compute in INT8: where that is
// measured to be faster, conversions included, or with the budget "0" wherever the range of the input is known.
struct Int8Options {
  // The ranges of activations, from real data: what calibrate() gave (hussar/calibrate.h), or a calibration cache of
  // TensorRT. Of this model, or compile() fails.
  std::string calibration;
  // The same in a file, as `hussar calibrate` writes it. One of both is needed, or `dynamic`.
  std::string calibration_file;
  // Without either: each product finds the range of what it reads when the model runs. That costs time in every run,
  // and makes what a sample gives depend on the others of its batch, but needs no data; attention and what lies between
  // products stays in floats. For transformers, whose activations change much from input to input.
  bool dynamic = false;
  // FP8 (float8e4m3fn) takes the place of INT8, on GPUs of compute capability 8.9 and newer: the ranges become
  // symmetric. Not with `dynamic`.
  bool fp8 = false;
  // Which ranges: "auto", or another method of CalibrateOptions::method.
  std::string method = "auto";
  // Fails with kAccuracy when a convolution, product, attention or recurrent step stays in floats, and names each with
  // the reason; those of CompileOptions::fp32_nodes may.
  bool strict = false;
};

struct CompileOptions {
  // ---- what the plan can do
  // "x:1x3x224x224,y:1x-1" fixes input dimensions; -1 or an identifier leaves one open. "": as the model says.
  std::string shapes;
  // For "cuda" and encoders: padding, as the attention mask tells it, is left out. In outputs that have a row for each
  // token rows of padding are zeros then, whatever ONNX says; masks must be zeros and ones. compile() fails where no
  // attention has such a mask.
  bool packed = false;
  // ---- how exact
  // nullopt: INT8 only where the model itself is quantized, and no FP8.
  std::optional<Int8Options> int8;
  // Steps may multiply in FP16 where the target has the instructions (cpu:avx512fp16 and beyond), but for those of the
  // ONNX nodes with these names.
  bool fp16 = false;
  // The same in BF16, which has FP32's range and 8 bits of mantissa: CPUs with AVX512-BF16 or AMX, GPUs of compute
  // capability 8.0 and newer. Not with fp16.
  bool bf16 = false;
  // Products, convolutions and attention on GPUs may round the floats that they multiply to TF32 (ten bits of mantissa,
  // FP32's range; sums stay FP32), but for those of the ONNX nodes with these names.
  bool tf32 = false;
  // The ONNX nodes that none of these may lower; INT8 may not either.
  std::vector<std::string> fp32_nodes;
  // ---- how fast
  int threads = 0;  // that a run uses; 0: one per core
  // "cpu" (the best of this machine), "cpu:scalar", "cpu:avx2", "cpu:avx512", "cpu:avx512fp16", "cpu:amx"
  std::string target = "cpu";
  // Rival kernels are measured inside the model for at most so long: "10s", "2m"; "0": the predicted times decide,
  // which makes the same plan every time. With another target than this machine's nothing is measured.
  std::string budget = "10s";
  // A file that remembers measurements; made if it is not there. With it the same model makes the same plan again.
  std::string timing_cache;
  // For GPUs: "on": NVIDIA's cuBLASLt, cuDNN and cuSPARSELt, where they are found, are rivals of the kernels in
  // measurements; a plan that makes use of one needs it to run. "only": they do whatever they can, to see what they are
  // worth. The target is a GPU of this machine then.
  std::string libraries = "off";
  // ---- trust
  Check check = Check::kQuick;
  // Of the check: the largest error relative to the output range; by default 1e-3, with fp16 or tf32 1e-2, with bf16
  // 8e-2; with int8 it is against the same integers in slower code.
  std::optional<double> tolerance;
  // ---- for debugging
  std::vector<std::string> disabled_passes;  // names, or "all"
  // Told the name of each stage as it begins, on the calling thread.
  std::function<void(std::string_view stage)> progress;
  // Told now and then, on the calling thread, how much of a long stage is done: 0 to 1.
  std::function<void(double fraction)> stage_progress;
};

// kInvalidModel: the message lists everything in the model that is malformed or unsupported. kAccuracy: the check
// failed; the message names the first step that went wrong. External data must lie in the model's folder or below.
Result<Plan> compile(const std::string& model_path, const CompileOptions& options = {});

}  // namespace api
}  // namespace hussar
