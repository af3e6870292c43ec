#include "tools/cli/precision_flags.h"

#include "backends/cpu/isa.h"
#include "backends/cuda/libraries.h"
#include "base/error.h"
#include "base/file.h"
#include "tools/cli/console.h"

namespace hussar::cli {

void PrecisionFlags::declare(Command& command, bool forces) {
  command.toggle(
      "--fp16", fp16_,
      "allows steps to multiply in FP16 where that is faster (GPUs, CPUs with AVX512-FP16); norms and sums stay FP32, "
      "on CPUs activations too");
  command.toggle(
      "--bf16", bf16_,
      "the same in BF16 (GPUs, CPUs with AVX512-BF16 or AMX): FP32's range, 8 bits of mantissa; not with --fp16");
  command.toggle(
      "--tf32", tf32_,
      "allows products, convolutions and attention on a GPU to round their floats to TF32: FP16's ten bits of "
      "mantissa in FP32's range");
  command.option(
      "--precision", "NODE=fp32", nodes_,
      "with --fp16, --bf16, --tf32, --int8 or --fp8: this ONNX node stays in FP32; repeatable; @FILE has one a "
      "line, as `hussar calibrate --advice` writes them");
  std::vector<std::string> choices = {"auto", "off"};
  std::string help = "whether weights that are 2:4 make use of it where that is measured to be faster (auto)";
  if (forces) {
    choices.emplace_back("force");
    help += "; force overwrites the weights by 2:4x64 ones, to see what could be gained: the results mean nothing";
  }
  command.option("--sparsity", sparsity_, choices, help);
  command.option("--libraries", libraries_, {"off", "on", "only"},
                 "on a GPU: whether NVIDIA's cuBLASLt, cuDNN and, for 2:4 weights, cuSPARSELt are rivals of the "
                 "kernels where they are found; a plan that makes use of one needs it to run; only: they do whatever "
                 "they can, to see what they are worth");
}

// The name in NODE=fp32. Names of nodes may contain anything.
static Result<std::string> node_of(std::string_view text, std::string_view where) {
  const size_t equals = text.rfind('=');
  const bool ok = equals != std::string::npos && equals > 0 && text.substr(equals + 1) == "fp32";
  HUSSAR_CHECK(ok, ErrorCode::kUsage, "{} '{}' is not of the form NODE=fp32", where, text);
  return std::string(text.substr(0, equals));
}

static std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin, end - begin + 1);
}

// A line without the comment behind NODE=fp32. Names may contain '#' too.
static std::string_view without_comment(std::string_view line) {
  constexpr std::string_view kEnd = "=fp32";
  for (size_t at = line.find(kEnd); at != std::string_view::npos; at = line.find(kEnd, at + 1)) {
    const std::string_view rest = line.substr(at + kEnd.size());
    const std::string_view comment = trimmed(rest);
    if (comment.empty() || (comment[0] == '#' && rest[0] != '#')) return line.substr(0, at + kEnd.size());
  }
  return line;
}

// One NODE=fp32 a line; empty lines and those that begin with '#' say nothing.
static Status read_nodes(const std::string& path, std::vector<std::string>& nodes) {
  const auto file = MappedFile::open(path);
  HUSSAR_CHECK(file, file.error().code, "--precision @{}: {}", path, file.error().message);
  const auto bytes = (*file)->bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  HUSSAR_CHECK(text.find('\0') == std::string_view::npos, ErrorCode::kUsage,
               "--precision @{}: this is no text; it takes lines of the form NODE=fp32", path);
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line[0] == '#') continue;
    const std::string where = fmt::format("--precision: '{}', line {}:", path, number);
    nodes.push_back(HUSSAR_TRY(node_of(without_comment(line), where)));
  }
  return {};
}

Result<std::vector<std::string>> parse_fp32_nodes(const std::vector<std::string>& texts) {
  std::vector<std::string> nodes;
  for (const std::string& text : texts) {
    if (text.starts_with('@'))
      HUSSAR_TRY(read_nodes(text.substr(1), nodes));
    else
      nodes.push_back(HUSSAR_TRY(node_of(text, "--precision")));
  }
  return nodes;
}

static void warn_about_libraries(const CompileOptions& options) {
  if (options.libraries == Libraries::kOff) return;
  if (options.place == Place::kHost) warn("--libraries: only GPUs make use of them; --target cuda builds for one");
  // Few models have 2:4 weights: whoever misses cuSPARSELt finds the reason in `hussar inspect`.
  for (const char* name : {"cuBLASLt", "cuDNN"}) {
    const auto library = cuda::open_library(cuda::library_named(name));
    if (options.place == Place::kDevice && !library) warn(fmt::format("--libraries: {}", library.error().message));
  }
}

Status PrecisionFlags::apply(CompileOptions& options, bool int8) const {
  HUSSAR_CHECK(fp16_ || bf16_ || tf32_ || int8 || nodes_.empty(), ErrorCode::kUsage,
               "--precision goes with --fp16, --bf16, --tf32, --int8 or --fp8: everything is FP32 without them");
  options.fp16 = fp16_;
  options.bf16 = bf16_;
  options.tf32 = tf32_;
  HUSSAR_TRY(check_half(options));
  options.sparsity = sparsity_ != "off";
  options.libraries = HUSSAR_TRY(parse_libraries(libraries_));
  warn_about_libraries(options);
  const std::vector<std::string> nodes = HUSSAR_TRY(parse_fp32_nodes(nodes_));
  options.fp32_nodes.insert(options.fp32_nodes.end(), nodes.begin(), nodes.end());
  const int isa = options.isa >= 0 ? options.isa : static_cast<int>(cpu::active_isa());
  if (fp16_ && options.place == Place::kHost && isa < static_cast<int>(cpu::Isa::kAvx512Fp16)) {
    warn(fmt::format(
        "--fp16: no kernel for cpu:{} multiplies in FP16, everything stays FP32; --target cpu:{} builds for "
        "CPUs that can",
        cpu::isa_name(static_cast<cpu::Isa>(isa)), cpu::isa_name(cpu::Isa::kAvx512Fp16)));
  }
  const bool multiplies_pairs = isa > static_cast<int>(cpu::Isa::kAvx512) ||
                                (isa == static_cast<int>(cpu::Isa::kAvx512) && cpu::has_avx512_bf16());
  if (bf16_ && options.place == Place::kHost && !multiplies_pairs) {
    warn(
        fmt::format("--bf16: no kernel for cpu:{} multiplies in BF16 (it takes AVX512-BF16), everything stays FP32; "
                    "--target cuda builds for a GPU",
                    cpu::isa_name(static_cast<cpu::Isa>(isa))));
  }
  if (tf32_ && options.place == Place::kHost)
    warn("--tf32: only GPUs multiply in TF32, everything stays FP32; --target cuda builds for one");
  return {};
}

}  // namespace hussar::cli
