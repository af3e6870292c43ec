// The vector program; see tensor/program.h.
#pragma once
#include "tensor/program.h"
