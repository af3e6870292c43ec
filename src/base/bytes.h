// Little-endian encoding of structures, and a reader that never reads past its end.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace hussar {

class ByteWriter {
 public:
  template <class T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto* begin = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), begin, begin + sizeof(T));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    put<uint64_t>(bytes.size());
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void put_string(std::string_view text) { put_bytes(std::as_bytes(std::span(text.data(), text.size()))); }
  template <class T>
  void put_list(const std::vector<T>& list) {
    put_bytes(std::as_bytes(std::span(list.data(), list.size())));
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// After the first failure every get returns zeros or emptiness and failed() stays true.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }
  void fail() {
    failed_ = true;
    rest_ = {};
  }

  template <class T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (rest_.size() < sizeof(T)) {
      fail();
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::span<const std::byte> get_bytes() {
    auto size = get<uint64_t>();
    if (size > rest_.size()) {
      fail();
      return {};
    }
    auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }
  std::string get_string() {
    auto bytes = get_bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  template <class T>
  std::vector<T> get_list() {
    auto bytes = get_bytes();
    if (bytes.size() % sizeof(T) != 0) fail();
    std::vector<T> list(bytes.size() / sizeof(T));
    if (!list.empty()) std::memcpy(list.data(), bytes.data(), list.size() * sizeof(T));
    return list;
  }
  // The number of entries that follow, each of at least `entry_bytes` bytes: bounds what a caller may reserve.
  size_t get_count(size_t entry_bytes) {
    auto count = get<uint64_t>();
    if (count > rest_.size() / entry_bytes) {
      fail();
      return 0;
    }
    return count;
  }

 private:
  std::span<const std::byte> rest_;
  bool failed_ = false;
};

}  // namespace hussar
