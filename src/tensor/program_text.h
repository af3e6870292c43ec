// Programs as text: "relu;clip(0,6);add(x3);r1=sigmoid;mul(r1)". See tactics/problem_text.h for the grammar.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "tensor/program.h"

namespace hussar {

// Operand i is spelled x(first_operand + i).
std::string spell_program(const Program& program, int first_operand);
// nullopt: not a program.
std::optional<Program> parse_program(std::string_view text, int first_operand);

}  // namespace hussar
