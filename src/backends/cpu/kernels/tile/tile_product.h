// run_product: one matrix product in vector registers or, where there is one and it pays, on the matrix unit.
// Internal to kernels/tile, for *.simd.cpp files only.
#pragma once
#include "backends/cpu/kernels/tile/tile_core.h"
#if defined(__AMX_BF16__)
#include "backends/cpu/kernels/tile/tile_matrix.h"
#endif

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Computes rows x panels of one product. pack(row, rows, dst) writes rows of A as [ceil(k / 16)][rows][16]. The choice
// depends on the whole product, so that every share makes the same one.
template <class Pack>
void run_product(const Product& product, Range rows, Range panels, Pack pack, float* scratch) {
#if defined(__AMX_BF16__)
  if (product.m >= 16 && product.k >= 16) return run_matrix_product(product, rows, panels, pack, scratch);
#endif
  run_vector_product(product, rows, panels, pack, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
