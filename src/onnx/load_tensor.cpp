// TensorProto -> Tensor: raw, typed and external data, sub-byte unpacking.
#include <algorithm>
#include <bit>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "onnx/import.h"

namespace hussar::onnx {
namespace {

int bits_of(DType dtype) {
  switch (dtype) {
    case DType::kInt4:
    case DType::kUInt4:
    case DType::kFloat4E2M1: return 4;
    case DType::kInt2:
    case DType::kUInt2: return 2;
    default: return static_cast<int>(dtype_size(dtype)) * 8;
  }
}

void unpack(const std::byte* packed, int bits, int64_t count, std::byte* out) {
  int per_byte = 8 / bits;
  auto mask = static_cast<std::byte>((1 << bits) - 1);
  for (int64_t i = 0; i < count; ++i) out[i] = (packed[i / per_byte] >> static_cast<int>(i % per_byte * bits)) & mask;
}

Result<int64_t> parse_integer(const TensorProto& proto, std::string_view key) {
  auto it = proto.external.find(key);
  if (it == proto.external.end()) return -1;
  int64_t value = 0;
  auto [end, error] = std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
  HUSSAR_CHECK(error == std::errc() && end == it->second.data() + it->second.size() && value >= 0,
               ErrorCode::kInvalidModel, "tensor '{}': external data has a bad {} '{}'", proto.name, key, it->second);
  return value;
}

struct ExternalBytes {
  Bytes bytes;
  std::shared_ptr<const void> owner;
};

Result<ExternalBytes> open_external(const TensorProto& proto, const std::string& folder) {
  namespace fs = std::filesystem;
  auto it = proto.external.find("location");
  HUSSAR_CHECK(it != proto.external.end(), ErrorCode::kInvalidModel, "tensor '{}': external data without a location",
               proto.name);
  HUSSAR_CHECK(!folder.empty(), ErrorCode::kInvalidModel,
               "tensor '{}' is stored in the file '{}'; build from the model's file, not from memory", proto.name,
               it->second);
  // Links are resolved before the comparison. A path that cannot be resolved is refused like one that leads outside.
  std::error_code base_error, file_error;
  fs::path base = fs::canonical(folder, base_error);
  fs::path relative(it->second);
  fs::path file = fs::weakly_canonical(base / relative, file_error);
  auto [base_end, unused] = std::mismatch(base.begin(), base.end(), file.begin(), file.end());
  bool has_nul = it->second.find('\0') != std::string_view::npos;  // the system would read a shorter name
  bool inside = !has_nul && !base_error && !file_error && !relative.is_absolute() && base_end == base.end();
  HUSSAR_CHECK(inside, ErrorCode::kInvalidModel,
               "tensor '{}': external data '{}' lies outside the model's folder; refused", proto.name, it->second);
  auto mapping = HUSSAR_TRY(MappedFile::open(file.string()));
  int64_t offset = std::max<int64_t>(HUSSAR_TRY(parse_integer(proto, "offset")), 0);
  int64_t length = HUSSAR_TRY(parse_integer(proto, "length"));
  auto size = static_cast<int64_t>(mapping->bytes().size());
  if (length < 0 && offset <= size) length = size - offset;
  HUSSAR_CHECK(offset <= size && length <= size - offset, ErrorCode::kInvalidModel,
               "tensor '{}': '{}' has {} bytes, {} at offset {} are wanted", proto.name, it->second, size, length,
               offset);
  Bytes bytes = mapping->bytes().subspan(static_cast<size_t>(offset), static_cast<size_t>(length));
  return ExternalBytes{bytes, mapping};
}

// Appends the numbers of one repeated field to `values`.
Status collect(const TensorProto& proto, const std::vector<Field>& fields, size_t fixed_size,
               std::vector<uint64_t>& values) {
  for (const Field& field : fields) {
    if (!field.is_bytes()) {
      values.push_back(field.number);
      continue;
    }
    WireReader reader(field.bytes);
    while (!reader.empty()) {
      uint64_t number = 0;
      bool ok = fixed_size == 0 ? reader.read_varint(number) : reader.read_fixed(fixed_size, number);
      HUSSAR_CHECK(ok, ErrorCode::kInvalidModel, "tensor '{}': its data is damaged", proto.name);
      values.push_back(number);
    }
  }
  return {};
}

Result<Tensor> from_numbers(const TensorProto& proto, DType dtype, const Shape& shape) {
  std::vector<uint64_t> values;
  if (dtype == DType::kFloat32)
    HUSSAR_TRY(collect(proto, proto.floats, 4, values));
  else if (dtype == DType::kFloat64)
    HUSSAR_TRY(collect(proto, proto.doubles, 8, values));
  else if (dtype == DType::kInt64)
    HUSSAR_TRY(collect(proto, proto.ints64, 0, values));
  else if (dtype == DType::kUInt32 || dtype == DType::kUInt64)
    HUSSAR_TRY(collect(proto, proto.uints64, 0, values));
  else
    HUSSAR_TRY(collect(proto, proto.ints32, 0, values));
  int64_t count = shape.elements();
  int bits = bits_of(dtype);
  // Sub-byte types are packed into the int32 fields, one byte of them in each.
  int64_t wanted = bits < 8 ? (count * bits + 7) / 8 : count;
  HUSSAR_CHECK(static_cast<int64_t>(values.size()) == wanted, ErrorCode::kInvalidModel,
               "tensor '{}' of shape {} holds {} values instead of {}", proto.name, shape.to_string(), values.size(),
               wanted);
  Tensor tensor(dtype, shape);
  if (bits < 8) {
    std::vector<std::byte> packed;
    for (uint64_t value : values) packed.push_back(static_cast<std::byte>(value));
    unpack(packed.data(), bits, count, tensor.raw());
    return tensor;
  }
  size_t size = dtype_size(dtype);
  for (int64_t i = 0; i < count; ++i) std::memcpy(tensor.raw() + static_cast<size_t>(i) * size, &values[i], size);
  return tensor;
}

}  // namespace

Result<Tensor> load_tensor(const TensorProto& proto, std::shared_ptr<const void> owner, const std::string& folder) {
  auto dtype = static_cast<DType>(proto.data_type);
  HUSSAR_CHECK(proto.data_type > 0 && proto.data_type < 256 && dtype_size(dtype) > 0, ErrorCode::kInvalidModel,
               "tensor '{}' has the unsupported dtype {} ({})", proto.name, proto.data_type, dtype_name(dtype));
  HUSSAR_CHECK(proto.dims.size() <= kMaxRank, ErrorCode::kInvalidModel, "tensor '{}' has rank {}, the limit is {}",
               proto.name, proto.dims.size(), kMaxRank);
  Shape shape((std::span<const int64_t>(proto.dims)));
  HUSSAR_CHECK(bytes_needed(dtype, shape), ErrorCode::kInvalidModel, "tensor '{}' has the impossible shape {}",
               proto.name, shape.to_string());
  int64_t count = shape.elements();
  Bytes raw = proto.raw;
  bool has_raw = proto.has_raw;
  if (proto.data_location == 1) {
    ExternalBytes external = HUSSAR_TRY(open_external(proto, folder));
    raw = external.bytes;
    owner = external.owner;
    has_raw = true;
  }
  if (!has_raw) return from_numbers(proto, dtype, shape);
  int bits = bits_of(dtype);
  int64_t wanted = (count * bits + 7) / 8;
  HUSSAR_CHECK(static_cast<int64_t>(raw.size()) == wanted, ErrorCode::kInvalidModel,
               "tensor '{}' of shape {} has {} bytes of data instead of {}", proto.name, shape.to_string(), raw.size(),
               wanted);
  bool aligned = reinterpret_cast<uintptr_t>(raw.data()) % std::max<size_t>(dtype_size(dtype), 1) == 0;
  if (bits >= 8 && aligned && owner != nullptr && count > 0) {
    return Tensor::view(dtype, shape, const_cast<std::byte*>(raw.data()), owner);
  }
  Tensor tensor(dtype, shape);
  if (bits < 8)
    unpack(raw.data(), bits, count, tensor.raw());
  else if (count > 0)
    std::memcpy(tensor.raw(), raw.data(), raw.size());
  return tensor;
}

}  // namespace hussar::onnx
