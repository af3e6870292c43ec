// Under which names the timing cache keeps what was measured.
#pragma once
#include <string>

#include "compile/spelling.h"
#include "tactics/choose.h"

namespace hussar {

// The machine: the processor, its level and the threads; or the GPU with its driver and compiler, empty where it is not
// here.
std::string machine_of(const Target& target);

// The rival and the version of its kernel.
std::string rival_key(const Rival& rival, const Target& target);

// The problem, and the sizes where it has symbols.
std::string problem_key(const Problem& problem, const NamedShapes& shapes);

// Of a problem's key, what the rival is kept under. A dense kernel of a device takes as long with 2:4 weights as with
// any: a model that was pruned finds the times of the one that it was made from.
std::string timing_key(const std::string& problem, const Rival& rival);

}  // namespace hussar
