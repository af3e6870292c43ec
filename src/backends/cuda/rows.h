// What kernels do that run device/rows.cuh: a row of elements that lie side by side is the work of a warp, or of a
// block of 128 or 256 threads.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

struct RowForm {
  int vector = 1;  // elements of one access
  int group = 32;  // threads of a row
  int hold = 0;    // accesses per thread whose elements stay in registers; 0: rows of any length are read again
};

// A tensor of rows: where they begin, in elements.
struct RowOperand {
  const Value* value;
  int64_t pitch;
};
// For rows of `length` elements, 0 when that is not known, in all of these tensors. `hold`: whether the kernel reads a
// row more than once. `rows`: how many there are; 0: not known. `group`: threads of a row; 0: what is likely best.
RowForm row_form(int64_t length, std::initializer_list<RowOperand> operands, bool hold = true, int64_t rows = 0,
                 int group = 0);

inline constexpr std::string_view kRowsAttribute = "hussar_rows";
// Sets VECTOR, GROUP and HOLD, and the node's attribute that says what its code is for.
void define_rows(const RowForm& form, Node& node, Defines& defines);

// Loads the step's kernel for rows of `length` elements, at multiples of each of `pitches`.
Result<Launch> prepare_rows(const Prepare& prepare, const std::string& function, int64_t rows, int64_t length,
                            std::initializer_list<int64_t> pitches);

// The axis counted from the front.
inline int axis_from_front(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }
// A dimension that is known; 0: it is not.
inline int64_t known(const Dim& dim) { return dim.is_constant() ? dim.value() : 0; }
// The product of the dimensions [first, last); 0: it is not known (or 0).
int64_t known_elements(const Dims& dims, int first, int last);
// Elements from one pixel to the next of channels-last values; 1: not known.
int64_t known_pitch(const Value& value);

}  // namespace hussar::cuda
