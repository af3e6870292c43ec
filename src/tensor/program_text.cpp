// Writing and reading programs.
#include "tensor/program_text.h"

#include <fmt/format.h>

#include <charconv>
#include <vector>

namespace hussar {
namespace {

// How many of p0 and p1 the op reads.
int parameter_count(ProgramOp op) {
  switch (op) {
    case ProgramOp::kClip:
    case ProgramOp::kSelu:
    case ProgramOp::kHardSigmoid: return 2;
    case ProgramOp::kLeakyRelu:
    case ProgramOp::kElu:
    case ProgramOp::kCelu:
    case ProgramOp::kQuickGelu:
    case ProgramOp::kThresholdedRelu: return 1;
    default: return 0;
  }
}

std::optional<ProgramOp> op_from_name(std::string_view name) {
  for (int i = 0; i < kProgramOpCount; ++i) {
    if (name == program_op_name(static_cast<ProgramOp>(i))) return static_cast<ProgramOp>(i);
  }
  return std::nullopt;
}

// The text up to `end`, which is dropped together with it.
std::string_view take_until(std::string_view& text, char end) {
  size_t at = std::min(text.find(end), text.size());
  std::string_view head = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return head;
}

template <class Number>
std::optional<Number> to_number(std::string_view text) {
  Number number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// 'r3' or 'x3'
std::optional<int> index_after(char letter, std::string_view text) {
  if (text.size() < 2 || text[0] != letter) return std::nullopt;
  auto index = to_number<int>(text.substr(1));
  return index && *index >= 0 && *index < 256 ? index : std::nullopt;
}

bool set_b(ProgramStep& step, std::string_view word, int first_operand) {
  if (auto index = index_after('r', word)) {
    step.source = ProgramSource::kRegister;
    step.b = static_cast<uint8_t>(*index);
  } else if (auto input = index_after('x', word); input && *input >= first_operand) {
    step.source = ProgramSource::kOperand;
    step.b = static_cast<uint8_t>(*input - first_operand);
  } else if (auto number = to_number<float>(word)) {
    step.source = ProgramSource::kConstant;
    step.p0 = *number;
  } else {
    return false;
  }
  return true;
}

std::optional<ProgramStep> parse_step(std::string_view text, int first_operand) {
  ProgramStep step{};
  if (size_t equals = text.find('='); equals != std::string_view::npos) {
    auto dst = index_after('r', text.substr(0, equals));
    if (!dst) return std::nullopt;
    step.dst = static_cast<uint8_t>(*dst);
    text.remove_prefix(equals + 1);
  }
  auto op = op_from_name(take_until(text, '('));
  if (!op) return std::nullopt;
  step.op = *op;
  std::vector<std::string_view> words;
  if (!text.empty()) {
    if (text.back() != ')') return std::nullopt;
    text.remove_suffix(1);
    while (!text.empty()) words.push_back(take_until(text, ','));
  }
  const size_t other = static_cast<size_t>(parameter_count(*op)) + (reads_b(*op) ? 1 : 0);
  size_t next = 0;
  if (reads_a(*op) && words.size() == other + 1) {
    auto a = index_after('r', words[next++]);
    if (!a) return std::nullopt;
    step.a = static_cast<uint8_t>(*a);
  }
  if (words.size() != other + next) return std::nullopt;
  if (reads_b(*op) && !set_b(step, words[next++], first_operand)) return std::nullopt;
  for (float* parameter : {&step.p0, &step.p1}) {
    if (next == words.size()) break;
    auto number = to_number<float>(words[next++]);
    if (!number) return std::nullopt;
    *parameter = *number;
  }
  return step;
}

}  // namespace

std::string spell_program(const Program& program, int first_operand) {
  std::string text;
  for (int i = 0; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    std::vector<std::string> words;
    if (reads_a(step.op) && step.a != 0) words.push_back(fmt::format("r{}", step.a));
    if (reads_b(step.op)) {
      switch (step.source) {
        case ProgramSource::kRegister: words.push_back(fmt::format("r{}", step.b)); break;
        case ProgramSource::kOperand: words.push_back(fmt::format("x{}", first_operand + step.b)); break;
        case ProgramSource::kConstant: words.push_back(fmt::format("{}", step.p0)); break;
      }
    }
    const float parameters[] = {step.p0, step.p1};
    for (int p = 0; p < parameter_count(step.op); ++p) words.push_back(fmt::format("{}", parameters[p]));
    text += i == 0 ? "" : ";";
    if (step.dst != 0) text += fmt::format("r{}=", step.dst);
    text += program_op_name(step.op);
    if (!words.empty()) text += fmt::format("({})", fmt::join(words, ","));
  }
  return text;
}

std::optional<Program> parse_program(std::string_view text, int first_operand) {
  Program program{};
  while (!text.empty()) {
    if (program.step_count == kProgramSteps) return std::nullopt;
    auto step = parse_step(take_until(text, ';'), first_operand);
    if (!step) return std::nullopt;
    program.steps[program.step_count++] = *step;
    if (reads_b(step->op) && step->source == ProgramSource::kOperand && step->b >= program.operand_count) {
      program.operand_count = static_cast<uint8_t>(step->b + 1);
    }
  }
  if (!is_valid(program)) return std::nullopt;
  return program;
}

}  // namespace hussar
