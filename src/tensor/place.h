// Place, for files that need nothing else of tensors.
#pragma once
#include "hussar/tensor.h"
