// Reading and writing .npy and .npz. Sources: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
// and PKWARE's APPNOTE.TXT for the zip container.
#include "tools/cli/npy.h"

#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/file.h"

namespace hussar::cli {
namespace {

constexpr unsigned char kNpyMagic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

struct Spelling {
  const char* descr;
  DType dtype;
};
constexpr Spelling kSpellings[] = {
    {"|b1", DType::kBool},  {"|u1", DType::kUInt8},   {"|i1", DType::kInt8},    {"<u2", DType::kUInt16},
    {"<i2", DType::kInt16}, {"<u4", DType::kUInt32},  {"<i4", DType::kInt32},   {"<u8", DType::kUInt64},
    {"<i8", DType::kInt64}, {"<f2", DType::kFloat16}, {"<f4", DType::kFloat32}, {"<f8", DType::kFloat64},
};

template <class T>
T read_number(std::span<const std::byte> bytes, size_t at) {
  T value{};
  if (at + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// The text after 'key': in the header's dictionary.
std::string_view header_field(std::string_view header, std::string_view key) {
  size_t at = header.find("'" + std::string(key) + "'");
  if (at == std::string_view::npos) return {};
  at = header.find(':', at);
  if (at == std::string_view::npos) return {};
  at = header.find_first_not_of(' ', at + 1);
  return at == std::string_view::npos ? std::string_view() : header.substr(at);
}

std::optional<Shape> parse_shape(std::string_view text) {
  Shape shape;
  if (text.empty() || text[0] != '(') return std::nullopt;
  int64_t bytes = 8;
  size_t at = 1;
  while (at < text.size() && text[at] != ')') {
    if (text[at] == ',' || text[at] == ' ') {
      ++at;
      continue;
    }
    int64_t dim = 0;
    size_t begin = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      if (__builtin_mul_overflow(dim, 10, &dim) || __builtin_add_overflow(dim, text[at] - '0', &dim))
        return std::nullopt;
    }
    bool ok = at > begin && shape.rank() < kMaxRank && !__builtin_mul_overflow(bytes, dim, &bytes);
    if (!ok) return std::nullopt;
    shape.push_back(dim);
  }
  return at < text.size() ? std::optional<Shape>(shape) : std::nullopt;
}

Tensor from_fortran_order(const Tensor& stored) {
  Tensor tensor(stored.dtype(), stored.shape());
  const Shape& shape = stored.shape();
  size_t size = dtype_size(stored.dtype());
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    int64_t rest = i, source = 0;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      source += rest % shape[axis] * shape.elements(0, axis);
      rest /= shape[axis];
    }
    std::memcpy(tensor.raw() + static_cast<size_t>(i) * size, stored.raw() + static_cast<size_t>(source) * size, size);
  }
  return tensor;
}

DType stored_dtype(DType dtype) {
  if (dtype == DType::kBFloat16) return DType::kUInt16;
  if (dtype == DType::kInt4 || dtype == DType::kInt2) return DType::kInt8;
  for (const Spelling& spelling : kSpellings) {
    if (spelling.dtype == dtype) return dtype;
  }
  return DType::kUInt8;
}

}  // namespace

Result<size_t> npy_header_bytes(std::span<const std::byte> bytes, const std::string& name) {
  bool is_npy = bytes.size() >= kNpyPrefix && std::memcmp(bytes.data(), kNpyMagic, sizeof(kNpyMagic)) == 0;
  HUSSAR_CHECK(is_npy, ErrorCode::kUsage, "'{}' is not an .npy file", name);
  bool is_first_version = bytes[6] == std::byte{1};
  size_t length = is_first_version ? read_number<uint16_t>(bytes, 8) : read_number<uint32_t>(bytes, 8);
  // NumPy itself refuses headers of more than 10,000 bytes.
  HUSSAR_CHECK(length >= 2 && length <= 1'000'000, ErrorCode::kUsage, "'{}' has a malformed header", name);
  return (is_first_version ? 10 : 12) + length;
}

Result<NpyHeader> parse_npy_header(std::span<const std::byte> bytes, const std::string& name) {
  size_t end = HUSSAR_TRY(npy_header_bytes(bytes, name)), begin = bytes[6] == std::byte{1} ? 10 : 12;
  HUSSAR_CHECK(end <= bytes.size(), ErrorCode::kUsage, "'{}' is cut off", name);
  std::string_view header(reinterpret_cast<const char*>(bytes.data()) + begin, end - begin);
  std::string_view descr = header_field(header, "descr");
  NpyHeader facts;
  for (const Spelling& spelling : kSpellings) {
    // Single bytes have no order; some writers say "<u1".
    bool same = descr.size() >= 4 && (descr.substr(1, 3) == spelling.descr ||
                                      (descr.substr(2, 2) == spelling.descr + 1 && dtype_size(spelling.dtype) == 1));
    if (same) facts.dtype = spelling.dtype;
  }
  HUSSAR_CHECK(facts.dtype != DType::kUndefined, ErrorCode::kUsage,
               "'{}' has dtype {}; little-endian numbers are needed", name, descr.substr(0, 12));
  auto shape = parse_shape(header_field(header, "shape"));
  HUSSAR_CHECK(shape.has_value(), ErrorCode::kUsage, "'{}' has a malformed shape", name);
  facts.shape = *shape;
  facts.is_fortran = header_field(header, "fortran_order").substr(0, 4) == "True" && shape->rank() > 1;
  return facts;
}

// owner: what keeps the bytes alive, for a tensor that views them; null: it gets a copy.
static Result<Tensor> read_npy(std::span<const std::byte> bytes, const std::string& name,
                               std::shared_ptr<const void> owner) {
  NpyHeader header = HUSSAR_TRY(parse_npy_header(bytes, name));
  auto content = bytes.subspan(HUSSAR_TRY(npy_header_bytes(bytes, name)));
  size_t wanted = static_cast<size_t>(header.shape.elements()) * dtype_size(header.dtype);
  HUSSAR_CHECK(content.size() >= wanted, ErrorCode::kUsage, "'{}' is cut off: {} bytes of data instead of {}", name,
               content.size(), wanted);
  Tensor view = Tensor::view(header.dtype, header.shape, const_cast<std::byte*>(content.data()), owner);
  if (header.is_fortran) return from_fortran_order(view);
  return owner != nullptr ? view : view.clone();
}

Result<Tensor> read_npy(std::span<const std::byte> bytes, const std::string& name) {
  return read_npy(bytes, name, nullptr);
}

Result<Tensor> read_npy_file(const std::string& path) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  return read_npy(file->bytes(), path);
}

Result<Tensor> view_npy_file(const std::string& path) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  return read_npy(file->bytes(), path, file);
}

std::vector<std::byte> encode_npy(const Tensor& tensor) {
  std::string shape;
  for (int64_t dim : tensor.shape()) shape += std::to_string(dim) + ",";
  const char* descr = "|u1";
  for (const Spelling& spelling : kSpellings) {
    if (spelling.dtype == stored_dtype(tensor.dtype())) descr = spelling.descr;
  }
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  // Magic, version, length and header together are a multiple of 64 and end in a newline.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::vector<std::byte> bytes(10 + header.size() + tensor.bytes());
  std::memcpy(bytes.data(), kNpyMagic, sizeof(kNpyMagic));
  bytes[6] = std::byte{1};
  bytes[8] = static_cast<std::byte>(header.size() & 0xff);
  bytes[9] = static_cast<std::byte>(header.size() >> 8);
  std::memcpy(bytes.data() + 10, header.data(), header.size());
  if (tensor.bytes() > 0) std::memcpy(bytes.data() + 10 + header.size(), tensor.raw(), tensor.bytes());
  return bytes;
}

static Result<std::map<std::string, Tensor>> read_npz(const std::string& path, bool copies) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  auto bytes = file->bytes();
  // The end record is the last 22 bytes of an archive without a comment.
  size_t end = bytes.size() < 22 ? 0 : bytes.size() - 22;
  HUSSAR_CHECK(bytes.size() >= 22 && read_number<uint32_t>(bytes, end) == 0x06054b50, ErrorCode::kUsage,
               "'{}' is not an .npz file as numpy.savez writes it", path);
  size_t entries = read_number<uint16_t>(bytes, end + 10), at = read_number<uint32_t>(bytes, end + 16);
  std::map<std::string, Tensor> tensors;
  for (size_t i = 0; i < entries; ++i) {
    HUSSAR_CHECK(at + 46 <= bytes.size() && read_number<uint32_t>(bytes, at) == 0x02014b50, ErrorCode::kUsage,
                 "'{}' has a damaged directory", path);
    HUSSAR_CHECK(read_number<uint16_t>(bytes, at + 10) == 0, ErrorCode::kUsage,
                 "'{}' is compressed; write it with numpy.savez", path);
    size_t name_size = read_number<uint16_t>(bytes, at + 28), extra = read_number<uint16_t>(bytes, at + 30);
    size_t comment = read_number<uint16_t>(bytes, at + 32), local = read_number<uint32_t>(bytes, at + 42);
    HUSSAR_CHECK(at + 46 + name_size <= bytes.size() && local + 30 <= bytes.size(), ErrorCode::kUsage,
                 "'{}' has a damaged directory", path);
    std::string name(reinterpret_cast<const char*>(bytes.data()) + at + 46, name_size);
    if (name.size() > 4 && name.substr(name.size() - 4) == ".npy") name.resize(name.size() - 4);
    size_t begin = local + 30 + read_number<uint16_t>(bytes, local + 26) + read_number<uint16_t>(bytes, local + 28);
    HUSSAR_CHECK(begin <= bytes.size(), ErrorCode::kUsage, "'{}' has a damaged directory", path);
    tensors[name] = HUSSAR_TRY(read_npy(bytes.subspan(begin), path + ":" + name, copies ? nullptr : file));
    at += 46 + name_size + extra + comment;
  }
  return tensors;
}

Result<std::map<std::string, Tensor>> read_npz_file(const std::string& path) { return read_npz(path, true); }
Result<std::map<std::string, Tensor>> view_npz_file(const std::string& path) { return read_npz(path, false); }

}  // namespace hussar::cli
