// A bounded, zero-copy reader of the protobuf wire format, and a writer.
//
// Source: https://protobuf.dev/programming-guides/encoding/. Every length is checked against the bytes that are there,
// so truncated or hostile input ends in an error, never in a read past the end.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace hussar::onnx {

using Bytes = std::span<const std::byte>;

inline std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// One field of a message. `number` holds varint and fixed values; `bytes` holds length-delimited ones.
struct Field {
  uint32_t id = 0;
  uint32_t wire_type = 0;  // 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32
  uint64_t number = 0;
  Bytes bytes;

  bool is_bytes() const { return wire_type == 2; }
  int64_t integer() const { return static_cast<int64_t>(number); }
  float real() const {
    auto bits = static_cast<uint32_t>(number);
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

// Iterates over the fields of one message: `while (reader.next(field)) ...; if (reader.failed()) ...`.
class WireReader {
 public:
  explicit WireReader(Bytes bytes) : rest_(bytes) {}
  bool failed() const { return failed_; }

  bool next(Field& field) {
    if (rest_.empty() || failed_) return false;
    uint64_t tag = 0;
    if (!read_varint(tag) || (tag >> 3) == 0 || (tag >> 3) > 0x1FFFFFFF) return stop();
    field.id = static_cast<uint32_t>(tag >> 3);
    field.wire_type = static_cast<uint32_t>(tag & 7);
    field.bytes = {};
    field.number = 0;
    switch (field.wire_type) {
      case 0: return read_varint(field.number) || stop();
      case 1: return read_fixed(8, field.number) || stop();
      case 5: return read_fixed(4, field.number) || stop();
      case 2: {
        uint64_t length = 0;
        if (!read_varint(length) || length > rest_.size()) return stop();
        field.bytes = rest_.first(length);
        rest_ = rest_.subspan(length);
        return true;
      }
      default: return stop();
    }
  }

  bool read_varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return false;
      auto byte = static_cast<uint8_t>(rest_[0]);
      rest_ = rest_.subspan(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }

  bool read_fixed(size_t size, uint64_t& value) {
    if (rest_.size() < size) return false;
    value = 0;
    std::memcpy(&value, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return true;
  }

  bool empty() const { return rest_.empty(); }
  // What next() has not read yet: what it took from there are the bytes of a field, its tag included.
  Bytes rest() const { return rest_; }

 private:
  bool stop() {
    failed_ = true;
    return false;
  }
  Bytes rest_;
  bool failed_ = false;
};

// Appends the fields of one message.
class WireWriter {
 public:
  WireWriter& integer(uint32_t id, int64_t value) {
    tag(id, 0);
    put(static_cast<uint64_t>(value));
    return *this;
  }
  WireWriter& text(uint32_t id, std::string_view value) {
    begin(id, value.size());
    text_ += value;
    return *this;
  }
  // The tag and the length of a length-delimited field, whose bytes come next.
  WireWriter& begin(uint32_t id, uint64_t length) {
    tag(id, 2);
    put(length);
    return *this;
  }
  // Fields as they stand elsewhere.
  WireWriter& fields(Bytes bytes) {
    text_ += as_text(bytes);
    return *this;
  }
  const std::string& message() const { return text_; }

 private:
  void tag(uint32_t id, uint32_t wire_type) { put(uint64_t{id} << 3 | wire_type); }
  void put(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>((value & 0x7F) | 0x80);
    text_ += static_cast<char>(value);
  }
  std::string text_;
};

}  // namespace hussar::onnx
