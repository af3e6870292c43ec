// How the work of a matrix product is cut: into shares for the threads, blocks of A for the cache and register tiles.
// No way to cut changes a bit of the result. Which ways there are to choose from is a table, work_cuts.h.
//
// For files compiled per level too, so every function here is local to the file that includes it.
#pragma once
#include <math.h>
#include <stdint.h>

#include "backends/cpu/kernels/tile/tile_limits.h"

namespace hussar::cpu {

enum class CutAlong : uint8_t { kAny, kRows, kPanels };  // kAny: whichever way costs least

struct WorkCut {
  CutAlong along = CutAlong::kAny;
  int shares_per_thread = 1;
  // A register tile has no more rows, and with fewer rows as many more panels as fit the registers.
  int most_rows = kTileRowsLimit;
  // A block of A has this part of the size that is usual for its kind of element, but for one register tile at least.
  int block_divisor = 1;
};

// Into how many parts items (of a batch, or groups), rows and panels are cut.
struct CutParts {
  int64_t items = 1, rows = 1, panels = 1;
  int64_t count() const { return items * rows * panels; }
};

// Parts of a size, rounded up.
static inline int64_t cut_ceil(int64_t size, int64_t parts) { return (size + parts - 1) / parts; }

// The cut into at most `shares` parts whose largest costs least, in units of one row times one panel: its rows pack A
// (worth about 1.5 panels) and its panels of B are streamed from outer memory (worth about 4 rows).
static inline CutParts cut_parts(int64_t items, int64_t rows, int64_t panels, int64_t shares, CutAlong along) {
  CutParts best_parts;
  double best = INFINITY;
  for (int64_t i = 1; i <= shares && i <= items; ++i) {
    for (int64_t r = 1; i * r <= shares && r <= rows; ++r) {
      if (along == CutAlong::kPanels && r > 1) break;
      const int64_t room = along == CutAlong::kRows ? 1 : shares / (i * r);
      const int64_t p = room < panels ? room : panels;
      const double most_rows = static_cast<double>(cut_ceil(rows, r));
      const double most_panels = static_cast<double>(cut_ceil(panels, p));
      const double cost = static_cast<double>(cut_ceil(items, i)) * (most_rows * (most_panels + 1.5) + 4 * most_panels);
      if (cost >= best) continue;
      best = cost;
      best_parts = {i, r, p};
    }
  }
  return best_parts;
}

}  // namespace hussar::cpu
