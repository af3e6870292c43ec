// NumPy's .npy and .npz files (numpy.lib.format, versions 1 to 3).
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar::cli {

// Little-endian arrays of bool, integers and floats in C or Fortran order.
Result<Tensor> read_npy(std::span<const std::byte> bytes, const std::string& name);
Result<Tensor> read_npy_file(const std::string& path);
// The same without copying (but for arrays in Fortran order): the tensor views the mapped file, at any alignment.
Result<Tensor> view_npy_file(const std::string& path);

// For reading from a pipe: how many bytes say how long the header is; with it; and what the header says.
inline constexpr size_t kNpyPrefix = 12;
struct NpyHeader {
  DType dtype = DType::kUndefined;
  Shape shape;
  bool is_fortran = false;
};
Result<size_t> npy_header_bytes(std::span<const std::byte> bytes, const std::string& name);
Result<NpyHeader> parse_npy_header(std::span<const std::byte> bytes, const std::string& name);

// bfloat16 has no NumPy type and is written as uint16, types of 8 bits and less as uint8 or int8: their bits.
std::vector<std::byte> encode_npy(const Tensor& tensor);
// The arrays of an .npz as numpy.savez writes it; compressed ones are refused.
Result<std::map<std::string, Tensor>> read_npz_file(const std::string& path);
// The same without copying, as view_npy_file.
Result<std::map<std::string, Tensor>> view_npz_file(const std::string& path);

}  // namespace hussar::cli
