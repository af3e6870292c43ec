// Steps that multiply, and the notes of those that do so in floats although INT8, or FP8, is allowed.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "hussar/tensor.h"

namespace hussar {

// How the note begins of a step that stays in floats; the reason follows, to the end of the line.
inline constexpr std::string_view kNoInt8 = "no INT8: ", kNoFp8 = "no FP8: ";

std::string no_int8(std::string_view reason, bool fp8 = false);
// The reason in the notes; nullopt: they have none.
std::optional<std::string> reason_in(std::string_view notes);

// Convolutions, products, attention and recurrent steps, whose first input has this dtype: what could be INT8 by its
// kind, whether or not there is such a form of it.
bool multiplies_floats(std::string_view op, DType dtype);

}  // namespace hussar
