// What the tactics for products of few rows with 2:4 weights share (column_packing.h).
#pragma once
#include "backends/cpu/column_packing.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// Why the product does not take the form. The problem is one that the dense kernels take.
Refusal check_sparse_columns(const Problem& problem);

// Rows of the product, which has a constant matrix on the right; symbolic dimensions count as 64.
double product_rows(const Problem& problem);

Status pack_sparse_columns(Packing& packing);
Status unpack_sparse_columns(Packing& packing);

}  // namespace hussar::cpu
