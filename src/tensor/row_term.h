// A term of rank one at the front of a program: before anything else, y gains rows[row] * columns[column]. INT8
// products have it whose weights have zero points: rows are sums of what a product reads.
#pragma once
#include <optional>

#include "tensor/program.h"

namespace hussar {

// Operands of the program: one number per row, and one per column.
struct RowTerm {
  int rows, columns;
};

inline constexpr int kRowTermSteps = 3;

// Whether the program has room for `steps` more steps, and `operands` more operands.
bool has_room(const Program& program, int steps, int operands);
// Puts `count` steps, for which there is room, before the others.
void put_in_front(Program& program, const ProgramStep* steps, int count);

// The program needs room for it.
void put_row_term(Program& program, const RowTerm& term);
// nullopt: the program does not begin with one, or needs a part of it later.
std::optional<RowTerm> row_term_of(const Program& program);
// Takes the term that row_term_of has found out.
void erase_row_term(Program& program);

}  // namespace hussar
