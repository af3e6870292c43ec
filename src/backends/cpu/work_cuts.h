// The ways to cut work that a plan can ask for by name, and what each is expected to cost.
#pragma once
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "backends/cpu/work_cut.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

struct NamedCut {
  std::string_view name;
  WorkCut cut;
};

// A plan holds the name only: rows may be added, and changed together with the versions of the kernels that use them.
std::span<const NamedCut> work_cuts();

// The cut that the step's plan names, or the usual one where it names none. Fails on a name that is not in the table.
Status read_cut(const Prepare& prepare, WorkCut& cut);

// The shares of work that is worth `shares` of them, under this cut.
constexpr int cut_shares(int shares, const WorkCut& cut) { return shares > 1 ? shares * cut.shares_per_thread : 1; }

// A product of items (of a batch, or groups): rows x k times k x panels of columns.
struct ProductSize {
  int64_t items = 1, rows = 1, panels = 1, k = 1;
  int64_t tile_rows = 1;     // of the largest register tile
  int64_t block_floats = 1;  // of A, for an undivided block
};
// The rows of the register tiles of FP32 on a level.
int64_t float_tile_rows(int isa);

// The cuts that differ from the usual one for this product in `shares` shares, whose predicted time is `usual`.
std::vector<Configuration> cut_configurations(const ProductSize& product, int shares, double usual);

// Those of `names` that can make a difference in `shares` shares, of work whose cuts nobody counts: each is predicted
// to cost as much as the usual one, so that measuring decides.
std::vector<Configuration> named_configurations(std::initializer_list<std::string_view> names, int shares,
                                                double usual);

}  // namespace hussar::cpu
