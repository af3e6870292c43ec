// How many threads and registers a row gets.
#include "backends/cuda/rows.h"

namespace hussar::cuda {

constexpr int kThreads = 256;
constexpr int64_t kMostHeld = 32;  // elements per thread
constexpr int64_t kFewRows = 1024;

int64_t known_elements(const Dims& dims, int first, int last) {
  int64_t total = 1;
  for (int axis = first; axis < last; ++axis) total *= known(dims[static_cast<size_t>(axis)]);
  return total;
}

int64_t known_pitch(const Value& value) {
  const Value* root = &value;
  while (root->slice_of != nullptr) root = root->slice_of;
  return std::max<int64_t>(known((*root->dims)[1]), 1);
}

RowForm row_form(int64_t length, std::initializer_list<RowOperand> operands, bool hold, int64_t rows, int group) {
  RowForm form;
  if (length <= 0) {
    form.group = kThreads;
    return form;
  }
  size_t narrowest = 8;
  for (const RowOperand& operand : operands) narrowest = std::min(narrowest, dtype_size(operand.value->dtype));
  form.vector = narrowest <= 2 ? 8 : 4;
  // Short rows are for all lanes of a warp.
  while (form.vector > 1 && length < 32 * form.vector) form.vector /= 2;
  auto fits = [&](int64_t places) { return places % form.vector == 0; };
  for (const RowOperand& operand : operands) {
    while (!fits(length) || !fits(operand.pitch) || !fits(offset_in_holder(*operand.value))) form.vector /= 2;
  }
  // A few rows, a warp each, would leave multiprocessors idle.
  const bool are_few = rows > 0 && rows < kFewRows && length >= kThreads;
  if (length > 32 * kMostHeld || are_few) form.group = kThreads;
  if (group > 0) form.group = group;
  while (form.vector > 1 && (are_few || group > 0) && length < form.group * form.vector) form.vector /= 2;
  const int64_t turn = int64_t{form.group} * form.vector;
  const int64_t accesses = (length + turn - 1) / turn;
  if (hold && accesses * form.vector <= kMostHeld) form.hold = static_cast<int>(accesses);
  return form;
}

void define_rows(const RowForm& form, Node& node, Defines& defines) {
  node.attributes.set(kRowsAttribute, Ints{form.vector, form.group, form.hold});
  defines.set("VECTOR", form.vector).set("GROUP", form.group).set("HOLD", form.hold);
}

Result<Launch> prepare_rows(const Prepare& prepare, const std::string& function, int64_t rows, int64_t length,
                            std::initializer_list<int64_t> pitches) {
  const Ints form = prepare.step.attributes.get_ints(kRowsAttribute);
  bool fits = form.size() == 3 && form[0] >= 1 && form[0] <= 8 &&
              (form[1] == 32 || form[1] == 128 || form[1] == kThreads) && form[2] >= 0 && form[2] <= kMostHeld;
  fits = fits && length % form[0] == 0 && (form[2] == 0 || length <= form[0] * form[1] * form[2]);
  for (int64_t pitch : pitches) fits = fits && pitch % form[0] == 0;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  Launch launch;
  launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, function));
  const int group = static_cast<int>(form[1]);
  launch.threads = group == 32 ? kThreads : group;
  launch.grid[0] = blocks_for(rows, static_cast<int>(launch.threads) / group);
  return launch;
}

}  // namespace hussar::cuda
