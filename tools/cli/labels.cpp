#include "tools/cli/labels.h"

#include "base/error.h"
#include "tensor/convert.h"
#include "tools/cli/npy.h"

namespace hussar::cli {

Result<std::vector<int64_t>> read_labels(const std::string& path) {
  const Tensor tensor = HUSSAR_TRY(read_npy_file(path));
  HUSSAR_CHECK(is_signed_integer(tensor.dtype()) || is_unsigned_integer(tensor.dtype()), ErrorCode::kUsage,
               "--labels: '{}' holds {}; labels are integers, one per sample", path, dtype_name(tensor.dtype()));
  const Shape& shape = tensor.shape();
  HUSSAR_CHECK(shape.rank() > 0 && tensor.elements() == shape[0], ErrorCode::kUsage,
               "--labels: '{}' has shape {}; there is one label per sample", path, shape.to_string());
  std::vector<int64_t> labels(static_cast<size_t>(tensor.elements()));
  if (!labels.empty()) load_elements<int64_t>(tensor, 0, tensor.elements(), labels.data());
  return labels;
}

}  // namespace hussar::cli
