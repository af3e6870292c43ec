// GEMM and convolution tiles against a naive sum in double precision, on every level, with pitches, tails, epilogues;
// and the promise that the number of shares does not change a bit.
#include "backends/cpu/kernels/tile/tile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "backends/cpu/work_cuts.h"
#include "tests/kernels/levels.h"

namespace hussar::cpu {
namespace {

constexpr float kUntouched = 12345.0f;

struct Scratch {
  explicit Scratch(int64_t k) {
    const int64_t bytes = tile_scratch_bytes(k);
    memory = static_cast<float*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
    guard = memory + bytes / 4;
    for (int i = 0; i < 16; ++i) guard[i] = kUntouched;
    // What earlier calls left behind must not matter.
    for (int64_t i = 0; i < bytes / 4; ++i) memory[i] = NAN;
  }
  ~Scratch() {
    for (int i = 0; i < 16; ++i) EXPECT_EQ(guard[i], kUntouched) << "wrote beyond the scratch memory";
    std::free(memory);
  }
  Scratch(const Scratch&) = delete;
  float* memory;
  float* guard;
};

// y = clamp(sum + bias + residual), optionally followed by hard_swish(y) * 1.5 - 0.25 and by the program
// y * scale[column] + residual2[row][column].
struct TestEpilogue {
  bool bias, residual, clamp, program, hard_swish = false;
};
constexpr TestEpilogue kEpilogues[] = {{false, false, false, false},    {true, false, true, false},
                                       {true, true, true, false},       {false, true, false, false},
                                       {true, false, false, true},      {true, true, true, true},
                                       {true, true, false, false, true}};
constexpr int kEpilogueCount = 7;

struct EpilogueData {
  EpilogueData(TestEpilogue kind, int64_t rows, int64_t columns)
      : kind(kind),
        pitch(columns + 3),
        bias(random_floats(columns)),
        residual(random_floats(rows * pitch)),
        scale(random_floats(columns)) {
    program.step_count = 2;
    program.operand_count = 2;
    program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
    program.steps[1] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
    operands[0] = {scale.data(), 0, 1};
    operands[1] = {residual.data(), pitch, 1};
  }
  Epilogue epilogue() const {
    Epilogue e;
    if (kind.bias) e.bias = bias.data();
    if (kind.residual) e.residual = residual.data(), e.residual_pitch = pitch;
    if (kind.clamp) e.low = -0.5f, e.high = 1.5f;
    if (kind.hard_swish) e.hard_swish = true, e.scale = 1.5f, e.shift = -0.25f;
    if (kind.program) e.program = &program, e.operands = operands;
    return e;
  }
  double apply(double sum, int64_t row, int64_t column) const {
    if (kind.bias) sum += bias[column];
    if (kind.residual) sum += residual[row * pitch + column];
    if (kind.clamp) sum = std::fmin(std::fmax(sum, -0.5), 1.5);
    if (kind.hard_swish) sum = 1.5 * sum * std::fmin(std::fmax(sum / 6 + 0.5, 0.0), 1.0) - 0.25;
    if (kind.program) sum = sum * scale[column] + residual[row * pitch + column];
    return sum;
  }
  TestEpilogue kind;
  int64_t pitch;
  std::vector<float> bias, residual, scale;
  Program program{};
  ProgramOperand operands[2];
};

// The rounding of k products of magnitude at most 1, and of the epilogue.
double tolerance(int64_t k) { return 1e-6 + 2e-7 * static_cast<double>(k); }

// All ways to cut the work: the usual one in one to four shares, then every row of the table, in three.
struct CutCase {
  int shares;
  NamedCut row;
};
std::vector<CutCase> all_cuts() {
  std::vector<CutCase> cases;
  for (int shares = 1; shares <= 4; ++shares) cases.push_back({shares, {"the usual cut", {}}});
  for (const NamedCut& row : work_cuts()) cases.push_back({cut_shares(3, row.cut), row});
  return cases;
}

// The shares run last to first: their order must not matter.
template <class Run>
void run_shares(int count, Run run) {
  for (int index = count - 1; index >= 0; --index) run(Share{index, count});
}

void check_gemm(GemmArgs args, TestEpilogue kind, bool transposed_a, int batch_rows_of_b) {
  const int64_t a_pitch = (transposed_a ? args.m : args.k) + 5, c_pitch = args.n + 7;
  const int64_t a_rows = transposed_a ? args.k : args.m;
  const std::vector<float> a = random_floats(args.batch * a_rows * a_pitch);
  const std::vector<float> b = random_floats(batch_rows_of_b * args.k * args.n);
  const EpilogueData data(kind, args.batch * args.m, args.n);
  std::vector<float> panels(batch_rows_of_b * panel_floats(args.k, args.n));
  for (int i = 0; i < batch_rows_of_b; ++i) {
    pack_panels(b.data() + i * args.k * args.n, args.k, args.n, args.n, 1,
                panels.data() + i * panel_floats(args.k, args.n));
  }
  args.a = a.data();
  args.a_batch_stride = a_rows * a_pitch;
  args.a_row_stride = transposed_a ? 1 : a_pitch;
  args.a_column_stride = transposed_a ? a_pitch : 1;
  args.b = panels.data();
  args.b_batch_stride = batch_rows_of_b > 1 ? panel_floats(args.k, args.n) : 0;
  args.c_batch_stride = args.m * c_pitch;
  args.c_row_stride = c_pitch;
  args.epilogue = data.epilogue();
  for (Isa isa : available_levels()) {
    std::vector<float> first;
    for (const auto& [shares, row] : all_cuts()) {
      std::vector<float> c(args.batch * args.m * c_pitch, kUntouched);
      Scratch scratch(args.k);
      args.c = c.data();
      args.cut = row.cut;
      run_shares(shares, [&](Share share) { select_tile_table(isa).gemm(args, share, scratch.memory); });
      if (!first.empty()) {
        ASSERT_EQ(std::memcmp(c.data(), first.data(), c.size() * 4), 0)
            << isa_name(isa) << ' ' << row.name << ", shares " << shares;
        continue;
      }
      first = c;
      for (int64_t row = 0; row < args.batch * args.m; ++row) {
        const int64_t item = row / args.m;
        const float* a_row = a.data() + item * args.a_batch_stride + row % args.m * args.a_row_stride;
        const float* b_item = b.data() + (batch_rows_of_b > 1 ? item : 0) * args.k * args.n;
        for (int64_t column = 0; column < c_pitch; ++column) {
          if (column >= args.n) {
            ASSERT_EQ(c[row * c_pitch + column], kUntouched) << "wrote beyond the row";
            continue;
          }
          double sum = 0;
          for (int64_t i = 0; i < args.k; ++i) {
            sum += double(a_row[i * args.a_column_stride]) * b_item[i * args.n + column];
          }
          ASSERT_NEAR(c[row * c_pitch + column], data.apply(sum, row, column), tolerance(args.k))
              << isa_name(isa) << " m " << args.m << " n " << args.n << " k " << args.k << " at " << row << ','
              << column;
        }
      }
    }
  }
}

TEST(Gemm, GridOfShapes) {
  int turn = 0;
  for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 50}) {
    for (int64_t n : {1, 8, 15, 16, 17, 33, 48, 70, 130, 200}) {
      for (int64_t k : {1, 3, 16, 17, 40, 64}) {
        GemmArgs args;
        args.m = m, args.n = n, args.k = k;
        check_gemm(args, kEpilogues[turn % kEpilogueCount], turn % 5 == 4, 1);
        if (HasFatalFailure()) return;
        ++turn;
      }
    }
  }
}

TEST(Gemm, RandomShapes) {
  for (int turn = 0; turn < 60; ++turn) {
    GemmArgs args;
    args.batch = 1 + random_engine()() % 3;
    args.m = 1 + random_engine()() % 70;
    args.n = 1 + random_engine()() % 150;
    args.k = 1 + random_engine()() % 300;
    check_gemm(args, kEpilogues[random_engine()() % kEpilogueCount], turn % 4 == 3,
               turn % 2 == 0 ? 1 : int(args.batch));
    if (HasFatalFailure()) return;
  }
}

TEST(Gemm, LongSumsRunInSeveralBlocks) {
  for (TestEpilogue kind : {kEpilogues[1], kEpilogues[5]}) {
    GemmArgs args;
    args.m = 61, args.n = 50, args.k = 3 * kPanelColumns * 100 + 5;
    check_gemm(args, kind, false, 1);
    args.m = 3000, args.n = 17, args.k = 50;
    check_gemm(args, kind, false, 1);
  }
}

TEST(Gemm, NanAndInfinityReachOnlyTheirRow) {
  const int64_t m = 20, n = 37, k = 33;
  std::vector<float> a = random_floats(m * k), b = random_floats(k * n), c(m * n), panels(panel_floats(k, n));
  a[3 * k + 7] = NAN;
  a[5 * k + 32] = INFINITY;
  pack_panels(b.data(), k, n, n, 1, panels.data());
  for (Isa isa : available_levels()) {
    GemmArgs args;
    args.m = m, args.n = n, args.k = k, args.a = a.data(), args.a_row_stride = k, args.b = panels.data();
    args.c = c.data(), args.c_row_stride = n, args.epilogue.low = 0, args.epilogue.high = 6;
    Scratch scratch(k);
    select_tile_table(isa).gemm(args, {0, 1}, scratch.memory);
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t column = 0; column < n; ++column) {
        const float value = c[row * n + column];
        ASSERT_EQ(std::isnan(value), row == 3) << isa_name(isa) << ' ' << row << ' ' << column;
        if (row == 5) {
          ASSERT_EQ(value, b[32 * n + column] > 0 ? 6 : 0);
        }
      }
    }
  }
}

TEST(Gemm, ResidualMayBeTheOutput) {
  const int64_t m = 31, n = 45, k = 20;
  const std::vector<float> a = random_floats(m * k), b = random_floats(k * n), start = random_floats(m * n);
  std::vector<float> panels(panel_floats(k, n)), apart(m * n);
  pack_panels(b.data(), k, n, n, 1, panels.data());
  for (Isa isa : available_levels()) {
    GemmArgs args;
    args.m = m, args.n = n, args.k = k, args.a = a.data(), args.a_row_stride = k, args.b = panels.data();
    args.c = apart.data(), args.c_row_stride = n, args.epilogue.residual = start.data(),
    args.epilogue.residual_pitch = n;
    Scratch scratch(k);
    select_tile_table(isa).gemm(args, {0, 1}, scratch.memory);
    std::vector<float> inplace = start;
    args.c = inplace.data(), args.epilogue.residual = inplace.data();
    select_tile_table(isa).gemm(args, {0, 1}, scratch.memory);
    EXPECT_EQ(inplace, apart) << isa_name(isa);
  }
}

TEST(Gemm, GapsBehindLines) {
  const int64_t m = 49, n = 40, k = 20, gap = 11;
  const std::vector<float> a = random_floats(m * k), b = random_floats(k * n), residual = random_floats(m * n);
  std::vector<float> panels(panel_floats(k, n)), dense(m * n);
  pack_panels(b.data(), k, n, n, 1, panels.data());
  for (Isa isa : available_levels()) {
    for (int64_t line : {1, 7, 14, 49, 60}) {
      GemmArgs args;
      args.m = m, args.n = n, args.k = k, args.a = a.data(), args.a_row_stride = k, args.b = panels.data();
      args.c = dense.data(), args.c_row_stride = n;
      args.epilogue.residual = residual.data(), args.epilogue.residual_pitch = n, args.epilogue.hard_swish = true;
      Scratch scratch(k);
      select_tile_table(isa).gemm(args, {0, 1}, scratch.memory);
      std::vector<float> lines(m * n + (m / line + 1) * gap, kUntouched);
      args.c = lines.data(), args.c_line_rows = line, args.c_line_gap = gap;
      run_shares(3, [&](Share share) { select_tile_table(isa).gemm(args, share, scratch.memory); });
      for (size_t i = 0, at = 0; i < dense.size(); ++i, ++at) {
        if (i > 0 && i % (line * n) == 0) {
          for (int64_t j = 0; j < gap; ++j) ASSERT_EQ(lines[at++], kUntouched) << isa_name(isa) << " line " << line;
        }
        ASSERT_EQ(lines[at], dense[i]) << isa_name(isa) << " line " << line << " at " << i;
      }
    }
  }
}

TEST(Pack, RunTimePackingEqualsPackPanels) {
  for (int64_t k : {1, 3, 4, 7, 16, 65}) {
    for (int64_t n : {1, 4, 15, 16, 18, 31, 64}) {
      for (int form = 0; form < 3; ++form) {  // row-major, transposed, neither
        const int64_t batch = 2, row_stride = form == 0 ? n + 2 : form == 1 ? 1 : 2;
        const int64_t column_stride = form == 0 ? 1 : form == 1 ? k + 3 : 2 * k + 1;
        const int64_t batch_stride = (n + 2) * (2 * k + 3);
        const std::vector<float> b = random_floats(batch * batch_stride);
        std::vector<float> expected(batch * panel_floats(k, n));
        for (int64_t i = 0; i < batch; ++i) {
          pack_panels(b.data() + i * batch_stride, k, n, row_stride, column_stride,
                      expected.data() + i * panel_floats(k, n));
        }
        for (Isa isa : available_levels()) {
          for (int shares = 1; shares <= 4; ++shares) {
            std::vector<float> out(expected.size(), kUntouched);
            const PackArgs args = {batch, k, n, b.data(), batch_stride, row_stride, column_stride, out.data()};
            run_shares(shares, [&](Share share) { select_tile_table(isa).pack(args, share); });
            ASSERT_EQ(out, expected) << isa_name(isa) << " k " << k << " n " << n << " form " << form;
          }
        }
      }
    }
  }
}

// ---- convolution ----

int64_t output_size(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  return (in + pads - dilation * (kernel - 1) - 1) / stride + 1;
}

double naive_conv(const ConvArgs& c, const std::vector<float>& weights, int64_t pixel, int64_t out_channel) {
  const int64_t x = pixel % c.out[2], y = pixel / c.out[2] % c.out[1];
  const int64_t z = pixel / (c.out[2] * c.out[1]) % c.out[0], n = pixel / (c.out[2] * c.out[1] * c.out[0]);
  const int64_t group = out_channel / c.filters, taps = c.kernel[0] * c.kernel[1] * c.kernel[2];
  double sum = 0;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t in_x = x * c.stride[2] - c.pad[2] + tap % c.kernel[2] * c.dilation[2];
    const int64_t in_y = y * c.stride[1] - c.pad[1] + tap / c.kernel[2] % c.kernel[1] * c.dilation[1];
    const int64_t in_z = z * c.stride[0] - c.pad[0] + tap / (c.kernel[2] * c.kernel[1]) * c.dilation[0];
    if (in_x < 0 || in_x >= c.in[2] || in_y < 0 || in_y >= c.in[1] || in_z < 0 || in_z >= c.in[0]) continue;
    const int64_t in_pixel = ((n * c.in[0] + in_z) * c.in[1] + in_y) * c.in[2] + in_x;
    for (int64_t channel = 0; channel < c.channels; ++channel) {
      sum += double(c.input[in_pixel * c.input_pitch + group * c.channels + channel]) *
             weights[(out_channel * c.channels + channel) * taps + tap];
    }
  }
  return sum;
}

std::string describe(const ConvArgs& c) {
  std::string text = "batch " + std::to_string(c.batch) + " groups " + std::to_string(c.groups) + " channels " +
                     std::to_string(c.channels) + " filters " + std::to_string(c.filters);
  for (int axis = 0; axis < 3; ++axis) {
    text += " [in " + std::to_string(c.in[axis]) + " kernel " + std::to_string(c.kernel[axis]) + " stride " +
            std::to_string(c.stride[axis]) + " dilation " + std::to_string(c.dilation[axis]) + " pad " +
            std::to_string(c.pad[axis]) + " out " + std::to_string(c.out[axis]) + "]";
  }
  return text;
}

double naive_conv_transpose(const ConvArgs& c, const std::vector<float>& weights, int64_t pixel, int64_t out_channel) {
  const int64_t position[3] = {pixel / (c.out[2] * c.out[1]) % c.out[0], pixel / c.out[2] % c.out[1], pixel % c.out[2]};
  const int64_t n = pixel / (c.out[2] * c.out[1] * c.out[0]), in_pixels = c.in[0] * c.in[1] * c.in[2];
  const int64_t group = out_channel / c.filters, taps = c.kernel[0] * c.kernel[1] * c.kernel[2];
  double sum = 0;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t taps_of_axis[3] = {tap / (c.kernel[2] * c.kernel[1]), tap / c.kernel[2] % c.kernel[1],
                                     tap % c.kernel[2]};
    int64_t in = 0;
    bool reaches = true;
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t distance = position[axis] + c.pad[axis] - taps_of_axis[axis] * c.dilation[axis];
      reaches = reaches && distance >= 0 && distance % c.stride[axis] == 0 && distance / c.stride[axis] < c.in[axis];
      in = in * c.in[axis] + distance / c.stride[axis];
    }
    if (!reaches) continue;
    for (int64_t channel = 0; channel < c.channels; ++channel) {
      const int64_t in_channel = group * c.channels + channel;
      sum += double(c.input[(n * in_pixels + in) * c.input_pitch + in_channel]) *
             weights[(in_channel * c.filters + out_channel % c.filters) * taps + tap];
    }
  }
  return sum;
}

void check_conv(ConvArgs args, TestEpilogue kind, int64_t extra_pitch, bool transposed = false) {
  const int64_t taps = args.kernel[0] * args.kernel[1] * args.kernel[2], k = taps * args.channels;
  const int64_t in_pixels = args.batch * args.in[0] * args.in[1] * args.in[2];
  const int64_t out_pixels = args.batch * args.out[0] * args.out[1] * args.out[2];
  const int64_t out_channels = args.groups * args.filters;
  args.input_pitch = args.groups * args.channels + extra_pitch;
  args.output_pitch = out_channels + extra_pitch;
  // Exactly as long as the last pixel, so that an address sanitizer sees a read beyond it.
  const std::vector<float> input = random_floats(in_pixels * args.input_pitch - extra_pitch);
  const std::vector<float> weights = random_floats(out_channels * k);
  const EpilogueData data(kind, out_pixels, out_channels);
  std::vector<float> panels(args.groups * panel_floats(k, args.filters));
  if (transposed) {
    pack_conv_transpose_filter(weights.data(), args.groups, args.filters, args.channels, args.kernel, args.stride,
                               args.dilation, panels.data());
  } else {
    pack_conv_filter(weights.data(), args.groups, args.filters, args.channels, taps, panels.data());
  }
  const auto naive = transposed ? naive_conv_transpose : naive_conv;
  args.input = input.data();
  args.filter = panels.data();
  args.epilogue = data.epilogue();
  for (Isa isa : available_levels()) {
    std::vector<float> first;
    for (const auto& [shares, row] : all_cuts()) {
      std::vector<float> output(out_pixels * args.output_pitch, kUntouched);
      Scratch scratch(k);
      args.output = output.data();
      args.cut = row.cut;
      const TileTable& table = select_tile_table(isa);
      run_shares(shares,
                 [&](Share share) { (transposed ? table.conv_transpose : table.conv)(args, share, scratch.memory); });
      if (!first.empty()) {
        ASSERT_EQ(std::memcmp(output.data(), first.data(), output.size() * 4), 0)
            << isa_name(isa) << ' ' << row.name << ", shares " << shares << ' ' << describe(args);
        continue;
      }
      first = output;
      for (int64_t pixel = 0; pixel < out_pixels; ++pixel) {
        for (int64_t channel = 0; channel < args.output_pitch; ++channel) {
          const float actual = output[pixel * args.output_pitch + channel];
          if (channel >= out_channels) {
            ASSERT_EQ(actual, kUntouched) << "wrote beyond the pixel";
            continue;
          }
          ASSERT_NEAR(actual, data.apply(naive(args, weights, pixel, channel), pixel, channel), tolerance(k))
              << isa_name(isa) << ' ' << describe(args) << " at " << pixel << ',' << channel;
        }
      }
    }
  }
}

struct ConvCase {
  int64_t batch, groups, channels, filters, height, width, kernel_h, kernel_w, stride, dilation, pad_before, pad_after;
};

TEST(Conv, GridOfShapes) {
  const ConvCase cases[] = {
      {1, 1, 3, 64, 20, 23, 7, 7, 2, 1, 3, 3}, {1, 1, 3, 20, 11, 13, 3, 3, 2, 1, 0, 1},
      {2, 1, 16, 32, 9, 7, 3, 3, 1, 1, 1, 1},  {1, 1, 32, 48, 8, 8, 1, 1, 1, 1, 0, 0},
      {1, 1, 24, 17, 9, 10, 1, 1, 2, 1, 0, 0}, {1, 1, 32, 16, 12, 12, 3, 3, 1, 2, 2, 2},
      {1, 1, 5, 7, 12, 14, 3, 3, 2, 3, 3, 2},  {1, 4, 16, 16, 6, 9, 3, 3, 1, 1, 1, 1},
      {2, 3, 4, 5, 7, 6, 3, 2, 1, 1, 1, 0},    {1, 2, 20, 33, 5, 5, 3, 3, 2, 1, 1, 1},
      {1, 1, 48, 40, 1, 31, 1, 5, 1, 1, 0, 0}, {1, 1, 16, 16, 3, 3, 5, 5, 1, 1, 2, 2},
      {1, 1, 17, 15, 2, 2, 3, 3, 1, 1, 4, 4},  {3, 1, 8, 8, 1, 1, 1, 1, 1, 1, 0, 0},
      {1, 1, 64, 64, 7, 7, 3, 3, 1, 1, 1, 1},  {1, 1, 16, 8, 4, 4, 3, 3, 1, 4, 5, 6},
      {1, 16, 1, 1, 6, 6, 3, 3, 1, 1, 1, 1},   {1, 1, 1, 9, 10, 10, 5, 5, 3, 1, 2, 2},
  };
  int turn = 0;
  for (const ConvCase& c : cases) {
    for (int64_t extra_pitch : {0, 16, 5}) {
      ConvArgs args;
      args.batch = c.batch, args.groups = c.groups, args.channels = c.channels, args.filters = c.filters;
      args.in[1] = c.height, args.in[2] = c.width, args.kernel[1] = c.kernel_h, args.kernel[2] = c.kernel_w;
      for (int axis : {1, 2}) {
        const bool pointwise = args.in[axis] == 1 && args.kernel[axis] == 1;
        args.stride[axis] = c.stride, args.dilation[axis] = c.dilation, args.pad[axis] = pointwise ? 0 : c.pad_before;
        args.out[axis] = output_size(args.in[axis], args.kernel[axis], c.stride, c.dilation,
                                     pointwise ? 0 : c.pad_before + c.pad_after);
        ASSERT_GT(args.out[axis], 0) << describe(args);
      }
      check_conv(args, kEpilogues[turn++ % kEpilogueCount], extra_pitch);
      if (HasFatalFailure()) return;
    }
  }
}

// Few channels are read straight from copied lines.
TEST(Conv, FewChannels) {
  int turn = 0;
  for (int64_t channels : {1, 2, 3, 4, 5}) {
    for (int64_t kernel : {1, 3, 5, 7}) {
      for (int64_t stride : {1, 2, 4}) {
        ConvArgs args;
        args.batch = 1 + turn % 2;
        args.channels = channels;
        args.filters = std::vector<int64_t>{8, 16, 24, 32, 70}[turn % 5];
        for (int axis : {1, 2}) {
          args.in[axis] = 31 + turn % 13 + axis * 20;
          args.kernel[axis] = kernel;
          args.stride[axis] = stride;
          args.dilation[axis] = axis == 1 ? 1 + turn % 2 : 1;
          args.pad[axis] = turn % 4 == 3 ? -1 : turn % (kernel + 1);
          args.out[axis] = output_size(args.in[axis], kernel, stride, args.dilation[axis], 2 * args.pad[axis] + 1);
        }
        check_conv(args, kEpilogues[turn % kEpilogueCount], turn % 3);
        if (HasFatalFailure()) return;
        ++turn;
      }
    }
  }
}

TEST(Conv, RandomShapesOfThreeDimensions) {
  auto pick = [](int64_t low, int64_t high) { return low + int64_t(random_engine()() % (high - low + 1)); };
  for (int turn = 0; turn < 60; ++turn) {
    ConvArgs args;
    args.batch = pick(1, 2), args.groups = pick(1, 3);
    args.channels = turn % 2 == 0 ? pick(1, 20) : 16 * pick(1, 2);
    args.filters = pick(1, 40);
    for (int axis = 0; axis < 3; ++axis) {
      args.kernel[axis] = pick(1, 3), args.stride[axis] = pick(1, 3), args.dilation[axis] = pick(1, 2);
      args.pad[axis] = pick(0, 2);
      const int64_t reach = (args.kernel[axis] - 1) * args.dilation[axis] + 1;
      args.in[axis] = std::max<int64_t>(1, reach - args.pad[axis]) + pick(0, 5);
      args.out[axis] = output_size(args.in[axis], args.kernel[axis], args.stride[axis], args.dilation[axis],
                                   args.pad[axis] + pick(0, 2));
    }
    check_conv(args, kEpilogues[random_engine()() % kEpilogueCount], turn % 3);
    if (HasFatalFailure()) return;
  }
}

TEST(ConvTranspose, RandomShapes) {
  auto pick = [](int64_t low, int64_t high) { return low + int64_t(random_engine()() % (high - low + 1)); };
  for (int turn = 0; turn < 80; ++turn) {
    ConvArgs args;
    args.batch = pick(1, 2), args.groups = pick(1, 2);
    args.channels = turn % 2 == 0 ? pick(1, 20) : 16 * pick(1, 2);
    args.filters = pick(1, 40);
    const bool line = turn % 8 == 0;  // long enough for several stretches
    for (int axis = line ? 2 : turn % 4 == 0 ? 0 : 1; axis < 3; ++axis) {
      args.kernel[axis] = pick(1, 5), args.stride[axis] = pick(1, 4), args.dilation[axis] = pick(1, 3);
      args.in[axis] = pick(1, line ? 250 : 5);
      const int64_t full = (args.in[axis] - 1) * args.stride[axis] + (args.kernel[axis] - 1) * args.dilation[axis] + 1;
      args.pad[axis] = pick(0, std::min<int64_t>(3, full - 1));
      args.out[axis] = std::max<int64_t>(1, full - args.pad[axis] - pick(0, 2)) + pick(0, args.stride[axis] - 1);
    }
    check_conv(args, kEpilogues[random_engine()() % kEpilogueCount], turn % 3, true);
    if (HasFatalFailure()) return;
  }
}

TEST(Panels, ConvFilterOrderIsTapThenChannel) {
  // filter[f][c][tap] = 100 f + 10 c + tap
  const int64_t filters = 3, channels = 2, taps = 4;
  std::vector<float> filter(filters * channels * taps);
  for (int64_t i = 0; i < filters * channels * taps; ++i) {
    filter[i] = static_cast<float>(100 * (i / 8) + 10 * (i / 4 % 2) + i % 4);
  }
  std::vector<float> out(panel_floats(taps * channels, filters), -1);
  pack_conv_filter(filter.data(), 1, filters, channels, taps, out.data());
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 100);
  EXPECT_EQ(out[3], 0);         // padding
  EXPECT_EQ(out[16 + 2], 210);  // k = 1: tap 0, channel 1
  EXPECT_EQ(out[2 * 16 + 1], 101);
}

}  // namespace
}  // namespace hussar::cpu
