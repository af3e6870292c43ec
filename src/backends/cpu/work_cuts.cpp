// The table, and its costs by counting.
#include "backends/cpu/work_cuts.h"

#include <algorithm>

#include "backends/cpu/isa.h"
#include "base/error.h"

namespace hussar::cpu {
namespace {

constexpr NamedCut kCuts[] = {
    {"by_rows", {.along = CutAlong::kRows}},  {"by_panels", {.along = CutAlong::kPanels}},
    {"two_shares", {.shares_per_thread = 2}}, {"six_rows", {.most_rows = 6}},
    {"half_blocks", {.block_divisor = 2}},
};

// What a cut comes to for one product: two cuts that agree in all of it do the same work.
struct Outcome {
  CutParts parts;
  int64_t tile_rows = 1;  // the most that a tile has
  int64_t blocks = 1;     // of a part

  bool operator==(const Outcome& other) const {
    return parts.items == other.parts.items && parts.rows == other.parts.rows && parts.panels == other.parts.panels &&
           tile_rows == other.tile_rows && blocks == other.blocks;
  }
};

Outcome outcome_of(const ProductSize& size, int shares, const WorkCut& cut) {
  Outcome outcome;
  outcome.parts = cut_parts(size.items, size.rows, size.panels, cut_shares(shares, cut), cut.along);
  const int64_t rows = cut_ceil(size.rows, outcome.parts.rows);
  const int64_t tiles = cut_ceil(rows, std::min<int64_t>(size.tile_rows, cut.most_rows));
  outcome.tile_rows = cut_ceil(rows, tiles);
  const int64_t fit = size.block_floats / cut.block_divisor / (outcome.tile_rows * size.k);
  outcome.blocks = cut_ceil(tiles, std::max<int64_t>(fit, 1));
  return outcome;
}

// In units of one row times one panel, as in cut_parts: a part packs its rows and streams its panels once for every
// block; a register tile loads its panels from a near cache in the time of half a row. Parts take turns on the threads.
double cost_of(const ProductSize& size, int shares, const Outcome& outcome) {
  const auto rows = static_cast<double>(cut_ceil(size.rows, outcome.parts.rows));
  const auto panels = static_cast<double>(cut_ceil(size.panels, outcome.parts.panels));
  const auto items = static_cast<double>(cut_ceil(size.items, outcome.parts.items));
  const double multiplied = rows * panels * (1 + 0.5 / static_cast<double>(outcome.tile_rows));
  const double part = items * (multiplied + 1.5 * rows + 4 * panels * static_cast<double>(outcome.blocks));
  return part * static_cast<double>(cut_ceil(outcome.parts.count(), shares));
}

}  // namespace

std::span<const NamedCut> work_cuts() { return kCuts; }

Status read_cut(const Prepare& prepare, WorkCut& cut) {
  cut = {};
  if (!prepare.step.attributes.has(kConfigurationAttribute)) return {};
  const auto* wanted = prepare.step.attributes.find<std::string>(kConfigurationAttribute);
  for (const NamedCut& row : kCuts) {
    if (wanted == nullptr || row.name != *wanted) continue;
    cut = row.cut;
    return {};
  }
  return fail(ErrorCode::kPlanIncompatible,
              "step '{}': the kernel {} has no configuration '{}'; build the plan again with this program",
              prepare.step.name, prepare.step.kernel, wanted != nullptr ? *wanted : "");
}

int64_t float_tile_rows(int isa) {
  if (isa >= static_cast<int>(Isa::kAvx512)) return kTileRowsLimit;
  return isa >= static_cast<int>(Isa::kAvx2) ? 6 : 3;
}

std::vector<Configuration> cut_configurations(const ProductSize& product, int shares, double usual) {
  ProductSize size = product;
  for (int64_t* number : {&size.items, &size.rows, &size.panels, &size.k}) *number = std::max<int64_t>(*number, 1);
  std::vector<Configuration> configurations;
  std::vector<Outcome> seen = {outcome_of(size, shares, {})};
  const double usual_cost = cost_of(size, shares, seen[0]);
  for (const NamedCut& row : kCuts) {
    const Outcome outcome = outcome_of(size, shares, row.cut);
    if (std::find(seen.begin(), seen.end(), outcome) != seen.end()) continue;
    seen.push_back(outcome);
    configurations.push_back({row.name, usual * cost_of(size, shares, outcome) / usual_cost});
  }
  return configurations;
}

std::vector<Configuration> named_configurations(std::initializer_list<std::string_view> names, int shares,
                                                double usual) {
  std::vector<Configuration> configurations;
  for (const NamedCut& row : kCuts) {
    if (std::find(names.begin(), names.end(), row.name) == names.end()) continue;
    const bool cuts_shares = row.cut.along != CutAlong::kAny || row.cut.shares_per_thread > 1;
    if (shares > 1 || !cuts_shares) configurations.push_back({row.name, usual});
  }
  return configurations;
}

}  // namespace hussar::cpu
