// The interpreter of vector programs. Each step is one call of a loop that is compiled for its op; the registers are
// small blocks in L1, so that a step costs a load or two and a store per vector.
#include "backends/cpu/kernels/pointwise/byte_program.h"
#include "backends/cpu/simd/bytes.h"
#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Floats of one register: 8 registers are 16 KB, half of the smallest L1 cache. A GEMM tile fits in one piece.
constexpr int kPieceFloats = 512;

// One step on one piece. b is read at b[row * b_row_stride], with or without the column.
struct StepPiece {
  const float* a;
  const float* b;
  float* dst;
  int64_t a_pitch;
  int64_t b_row_stride;
  int64_t dst_pitch;
  int rows;
  int columns;
  float p0;
  float p1;
};

Vec power(Vec a, Vec b) {
  float x[kLanes], y[kLanes];
  store(x, a);
  store(y, b);
  for (int lane = 0; lane < kLanes; ++lane) x[lane] = powf(x[lane], y[lane]);
  return load(x);
}

HUSSAR_INLINE Vec scaled_expm1(Vec a, float scale) { return set(scale) * expm1_nonpositive(a); }

HUSSAR_INLINE Vec sign(Vec a) {
  const Vec one = copy_sign(set(1.0f), a);
  return select(is_nan(a) | (a == set(0.0f)), a, one);
}

// Called with a constant op, so that one case remains.
HUSSAR_INLINE Vec apply(ProgramOp op, Vec a, Vec b, float p0, float p1) {
  const Vec zero = set(0.0f), one = set(1.0f);
  switch (op) {
    case ProgramOp::kCopy: return b;
    case ProgramOp::kAdd: return a + b;
    case ProgramOp::kSub: return a - b;
    case ProgramOp::kMul: return a * b;
    case ProgramOp::kDiv: return a / b;
    case ProgramOp::kMin: return min(a, b);
    case ProgramOp::kMax: return max(a, b);
    case ProgramOp::kPow: return power(a, b);
    case ProgramOp::kPrelu: return select(a < zero, a * b, a);
    case ProgramOp::kRelu: return max_second(zero, a);
    case ProgramOp::kClip: return clamp(a, set(p0), set(p1));
    case ProgramOp::kLeakyRelu: return select(a < zero, a * set(p0), a);
    case ProgramOp::kElu: return select(zero < a, a, scaled_expm1(a, p0));
    case ProgramOp::kSelu: return set(p1) * select(zero < a, a, scaled_expm1(a, p0));
    case ProgramOp::kCelu: return select(zero < a, a, scaled_expm1(a / set(p0), p0));
    case ProgramOp::kSigmoid: return sigmoid(a);
    case ProgramOp::kHardSigmoid: return clamp(fma(a, set(p0), set(p1)), zero, one);
    case ProgramOp::kHardSwish: return hard_swish(a);
    case ProgramOp::kSilu: return silu(a);
    case ProgramOp::kTanh: return tanh(a);
    case ProgramOp::kGeluErf: return gelu_erf(a);
    case ProgramOp::kGeluTanh: return gelu_tanh(a);
    case ProgramOp::kQuickGelu: return sigmoid_weighted(a, a * set(p0));
    case ProgramOp::kErf: return erf(a);
    case ProgramOp::kExp: return exp(a);
    case ProgramOp::kLog: return log(a);
    case ProgramOp::kSqrt: return sqrt(a);
    case ProgramOp::kRsqrt: return one / sqrt(a);
    case ProgramOp::kReciprocal: return one / a;
    case ProgramOp::kNeg: return neg(a);
    case ProgramOp::kAbs: return abs(a);
    case ProgramOp::kSquare: return a * a;
    case ProgramOp::kFloor: return floor(a);
    case ProgramOp::kCeil: return ceil(a);
    case ProgramOp::kRound: return round(a);
    case ProgramOp::kSign: return sign(a);
    case ProgramOp::kSoftplus: return softplus(a);
    case ProgramOp::kSoftsign: return a / (one + abs(a));
    case ProgramOp::kMish: return mish(a);
    case ProgramOp::kThresholdedRelu: return select(a <= set(p0), zero, a);
  }
  return a;
}

enum class BForm { kNone, kPerRow, kFull };

template <ProgramOp kOp, BForm kForm>
void run_step(const StepPiece& s) {
  for (int row = 0; row < s.rows; ++row) {
    const float* a = s.a + row * s.a_pitch;
    const float* b = s.b + row * s.b_row_stride;
    float* dst = s.dst + row * s.dst_pitch;
    const Vec per_row = kForm == BForm::kPerRow ? set(*b) : set(0.0f);
    for (int column = 0; column < s.columns; column += kLanes) {
      const int left = s.columns - column;
      const Vec x = reads_a(kOp) ? load_up_to(a + column, left) : set(0.0f);
      const Vec y = kForm == BForm::kFull ? load_up_to(b + column, left) : per_row;
      store_up_to(dst + column, apply(kOp, x, y, s.p0, s.p1), left);
    }
  }
}

using StepFunction = void (*)(const StepPiece&);
struct StepFunctions {
  StepFunction per_row;
  StepFunction full;
};

template <ProgramOp kOp>
constexpr StepFunctions functions_of() {
  if constexpr (reads_b(kOp)) {
    return {run_step<kOp, BForm::kPerRow>, run_step<kOp, BForm::kFull>};
  } else {
    return {run_step<kOp, BForm::kNone>, run_step<kOp, BForm::kNone>};
  }
}

struct StepTable {
  StepFunctions of_op[kProgramOpCount];
};

template <int kOp>
constexpr void fill(StepTable& table) {
  if constexpr (kOp < kProgramOpCount) {
    table.of_op[kOp] = functions_of<static_cast<ProgramOp>(kOp)>();
    fill<kOp + 1>(table);
  }
}

constexpr StepTable make_table() {
  StepTable table{};
  fill<0>(table);
  return table;
}
constexpr StepTable kSteps = make_table();

// Models that arrive quantized round nearly everywhere: the four steps of a fake-quantization are one here, with the
// results of the four. In a tile of a product, steps cost more than their arithmetic.
constexpr int kRoundingSteps = 4;

bool rounds_at(const Program& program, int first) {
  if (first + kRoundingSteps > program.step_count) return false;
  const ProgramStep* const steps = program.steps + first;
  constexpr ProgramOp kOps[kRoundingSteps] = {ProgramOp::kDiv, ProgramOp::kRound, ProgramOp::kClip, ProgramOp::kMul};
  for (int i = 0; i < kRoundingSteps; ++i) {
    const bool is_constant = !reads_b(kOps[i]) || steps[i].source == ProgramSource::kConstant;
    if (steps[i].op != kOps[i] || !is_constant || steps[i].dst != steps[0].dst) return false;
    if (i > 0 && steps[i].a != steps[0].dst) return false;
  }
  return true;
}

void run_rounding(const StepPiece& s, const ProgramStep* steps) {
  const Vec divisor = set(steps[0].p0), low = set(steps[2].p0), high = set(steps[2].p1), factor = set(steps[3].p0);
  for (int row = 0; row < s.rows; ++row) {
    const float* a = s.a + row * s.a_pitch;
    float* dst = s.dst + row * s.dst_pitch;
    for (int column = 0; column < s.columns; column += kLanes) {
      const int left = s.columns - column;
      const Vec x = load_up_to(a + column, left);
      store_up_to(dst + column, clamp(round(x / divisor), low, high) * factor, left);
    }
  }
}

struct Register {
  const float* data;
  int64_t pitch;
};

// What of a piece is bytes. Without forms: nothing.
struct PieceBytes {
  const ByteForms* forms = nullptr;
  const uint8_t* input = nullptr;
  uint8_t* output = nullptr;

  PieceBytes shifted(int64_t in, int64_t out) const {
    return {forms, input == nullptr ? nullptr : input + in, output == nullptr ? nullptr : output + out};
  }
};

void to_floats(const ProgramBytes& bytes, const uint8_t* from, float* to, int64_t count) {
  const Vec scale = set(bytes.scale);
  const IVec zero_point = iset(bytes.zero_point);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = count - i < kLanes ? static_cast<int>(count - i) : kLanes;
    store_up_to(to + i, to_float(load_bytes_up_to(from + i, left) - zero_point) * scale, left);
  }
}

// `reals` are `pitch` apart from row to row.
void write_bytes(const ProgramBlock& block, const PieceBytes& bytes, const float* reals, int64_t pitch) {
  const int32_t zero_point = bytes.forms->output_zero_point;
  const Vec scale = set(bytes.forms->output_scale), low = set(static_cast<float>(-zero_point));
  const Vec high = set(static_cast<float>(255 - zero_point));
  const IVec zero = iset(zero_point);
  for (int64_t row = 0; row < block.rows; ++row) {
    for (int64_t column = 0; column < block.columns; column += kLanes) {
      const int left = block.columns - column < kLanes ? static_cast<int>(block.columns - column) : kLanes;
      const Vec q = min_second(high, max_second(load_up_to(reals + row * pitch + column, left) / scale, low));
      store_bytes_up_to(bytes.output + row * block.output_pitch + column, to_int(q) + zero, left);
    }
  }
}

// The piece's part of an operand of bytes, as real numbers in `scratch`; what does not change along the row does not
// there either.
void read_bytes(const ProgramBytes& bytes, const ProgramOperand& operand, const ProgramBlock& block, int64_t pitch,
                float* scratch, StepPiece& piece) {
  const uint8_t* from = bytes.data + block.row * operand.row_stride + block.column * operand.column_stride;
  const bool per_row = operand.column_stride == 0, one_row = operand.row_stride == 0;
  for (int64_t row = 0; row < (one_row ? 1 : block.rows); ++row) {
    to_floats(bytes, from + row * operand.row_stride, scratch + (per_row ? row : row * pitch),
              per_row ? 1 : block.columns);
  }
  piece.b = scratch;
  piece.b_row_stride = one_row ? 0 : per_row ? 1 : pitch;
}

void run_piece(const Program& program, const ProgramOperand* operands, const ProgramBlock& block,
               const PieceBytes& bytes, float* scratch) {
  const int rows = static_cast<int>(block.rows), columns = static_cast<int>(block.columns);
  const int64_t scratch_pitch = (columns + kLanes - 1) / kLanes * kLanes;
  Register registers[kProgramRegisters] = {};
  registers[0] = {block.input, block.input_pitch};
  if (bytes.input != nullptr) {
    for (int row = 0; row < rows; ++row) {
      to_floats(bytes.forms->input, bytes.input + row * block.input_pitch, scratch + row * scratch_pitch, columns);
    }
    registers[0] = {scratch, scratch_pitch};
  }
  for (int i = 0; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    const bool rounds = step.op == ProgramOp::kDiv && rounds_at(program, i);
    const bool last = i + (rounds ? kRoundingSteps : 1) == program.step_count && bytes.output == nullptr;
    StepPiece piece;
    piece.a = registers[step.a].data;
    piece.a_pitch = registers[step.a].pitch;
    piece.dst = last ? block.output : scratch + step.dst * kPieceFloats;
    piece.dst_pitch = last ? block.output_pitch : scratch_pitch;
    piece.rows = rows;
    piece.columns = columns;
    if (rounds) {
      run_rounding(piece, &step);
      registers[step.dst] = {piece.dst, piece.dst_pitch};
      i += kRoundingSteps - 1;
      continue;
    }
    piece.p0 = step.p0;
    piece.p1 = step.p1;
    piece.b = &step.p0;
    piece.b_row_stride = 0;
    bool per_row = true;
    if (step.source == ProgramSource::kRegister) {
      piece.b = registers[step.b].data;
      piece.b_row_stride = registers[step.b].pitch;
      per_row = false;
    } else if (step.source == ProgramSource::kOperand) {
      const ProgramOperand& operand = operands[step.b];
      per_row = operand.column_stride == 0;
      if (bytes.forms != nullptr && bytes.forms->operands[step.b].data != nullptr) {
        read_bytes(bytes.forms->operands[step.b], operand, block, scratch_pitch,
                   scratch + kProgramRegisters * kPieceFloats, piece);
      } else {
        piece.b = operand.data + block.row * operand.row_stride + block.column * operand.column_stride;
        piece.b_row_stride = operand.row_stride;
      }
    }
    const StepFunctions& functions = kSteps.of_op[static_cast<int>(step.op)];
    (per_row ? functions.per_row : functions.full)(piece);
    registers[step.dst] = {piece.dst, piece.dst_pitch};
  }
  if (bytes.output != nullptr) {
    write_bytes(block, bytes, scratch + program.steps[program.step_count - 1].dst * kPieceFloats, scratch_pitch);
  }
}

ProgramBlock shifted(const ProgramBlock& block, int64_t in, int64_t out) {
  ProgramBlock piece = block;
  if (piece.input != nullptr) piece.input += in;
  if (piece.output != nullptr) piece.output += out;
  return piece;
}

// Whether the rows of the block and of every operand lie end to end, so that the block is one long row.
bool is_one_row(const Program& program, const ProgramOperand* operands, const ProgramBlock& block) {
  if (block.input_pitch != block.columns || block.output_pitch != block.columns || block.column != 0) return false;
  for (int i = 0; i < program.operand_count; ++i) {
    const ProgramOperand& operand = operands[i];
    const bool scalar = operand.row_stride == 0 && operand.column_stride == 0;
    if (!scalar && !(operand.row_stride == block.columns && operand.column_stride == 1)) return false;
  }
  return true;
}

void run_flat(const Program& program, const ProgramOperand* operands, const ProgramBlock& block,
              const PieceBytes& bytes, float* scratch) {
  const int64_t total = block.rows * block.columns;
  ProgramOperand own[kProgramOperands];
  ByteForms forms;
  if (bytes.forms != nullptr) forms = *bytes.forms;
  for (int i = 0; i < program.operand_count; ++i) {
    own[i] = operands[i];
    const int64_t start = block.row * operands[i].row_stride;
    if (own[i].data != nullptr) own[i].data += start;
    if (forms.operands[i].data != nullptr) forms.operands[i].data += start;
  }
  for (int64_t start = 0; start < total; start += kPieceFloats) {
    ProgramBlock piece = shifted(block, start, start);
    piece.row = 0;
    piece.rows = 1;
    piece.column = start;
    piece.columns = total - start < kPieceFloats ? total - start : kPieceFloats;
    PieceBytes piece_bytes = bytes.shifted(start, start);
    if (bytes.forms != nullptr) piece_bytes.forms = &forms;
    run_piece(program, own, piece, piece_bytes, scratch);
  }
}

void run_pieces(const Program& program, const ProgramOperand* operands, const ProgramBlock& block,
                const PieceBytes& bytes, float* scratch) {
  if (block.rows <= 0 || block.columns <= 0) return;
  if (is_one_row(program, operands, block)) return run_flat(program, operands, block, bytes, scratch);
  const int64_t columns = block.columns < kPieceFloats ? block.columns : kPieceFloats;
  const int64_t rows = kPieceFloats / ((columns + kLanes - 1) / kLanes * kLanes);
  for (int64_t row = 0; row < block.rows; row += rows) {
    for (int64_t column = 0; column < block.columns; column += columns) {
      const int64_t in = row * block.input_pitch + column, out = row * block.output_pitch + column;
      ProgramBlock piece = shifted(block, in, out);
      piece.row += row;
      piece.column += column;
      piece.rows = block.rows - row < rows ? block.rows - row : rows;
      piece.columns = block.columns - column < columns ? block.columns - column : columns;
      run_piece(program, operands, piece, bytes.shifted(in, out), scratch);
    }
  }
}

void run(const Program& program, const ProgramOperand* operands, const ProgramBlock& block) {
  alignas(64) float scratch[kProgramRegisters * kPieceFloats];
  run_pieces(program, operands, block, {}, scratch);
}

void run_with_bytes(const Program& program, const ProgramOperand* operands, const ProgramBlock& block,
                    const ByteForms& forms) {
  // The last part is for operands.
  alignas(64) float scratch[(kProgramRegisters + 1) * kPieceFloats];
  run_pieces(program, operands, block, {&forms, forms.input.data, forms.output}, scratch);
}

}  // namespace

extern const ProgramTable program_table = {run};
extern const ByteProgramTable byte_program_table = {run_with_bytes};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
