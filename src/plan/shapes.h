// How the shapes of inputs are spelled: on the command line, in options, and in Plan::meta.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include "hussar/status.h"
#include "hussar/tensor.h"
#include "tensor/dim.h"

namespace hussar {

// Input name -> dimensions. Dim(-1) leaves a dimension as the model has it; a symbol names it.
using NamedShapes = std::map<std::string, Dims>;

// "x:1x3x224x224,y:1x-1": the last colon of an entry ends the name. A dimension is an integer >= 0, -1 (free), or an
// identifier without the letter x: dimensions that carry the same identifier are one dimension.
Result<NamedShapes> parse_shapes(std::string_view text);
// The inverse.
std::string spell_shapes(const NamedShapes& shapes);

}  // namespace hussar
