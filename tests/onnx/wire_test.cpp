// The wire reader on good, cut and hostile bytes.
#include "onnx/wire.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "onnx/proto.h"
#include "tests/support/onnx_writer.h"

namespace hussar::onnx {
namespace {

Bytes as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(WireReader, ReadsEveryWireType) {
  std::string text = tests::Message().varint(1, 300).real(2, 1.5F).text(3, "abc").varint(4, ~0ULL).str();
  text += std::string("\x29\1\2\3\4\5\6\7\x08", 9);  // field 5, fixed64
  WireReader reader(as_bytes(text));
  Field field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.id, 1U);
  EXPECT_EQ(field.number, 300U);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.real(), 1.5F);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(as_text(field.bytes), "abc");
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.integer(), -1);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number, 0x0807060504030201U);
  EXPECT_FALSE(reader.next(field));
  EXPECT_FALSE(reader.failed());
}

TEST(WireReader, RefusesWhatIsCut) {
  std::string text = tests::Message().varint(1, 300).real(2, 1.5F).text(3, "abcdefgh").str();
  for (size_t length = 1; length < text.size(); ++length) {
    std::string cut = text.substr(0, length);
    WireReader reader(as_bytes(cut));
    Field field;
    int fields = 0;
    while (reader.next(field)) ++fields;
    // Cut between two fields it is a shorter message; anywhere else it is damaged.
    bool between = length == 3 || length == 8;
    EXPECT_EQ(reader.failed(), !between) << length;
    EXPECT_LT(fields, 3);
  }
}

TEST(WireReader, RefusesNonsense) {
  const std::string cases[] = {
      std::string("\x00\x01", 2),                                           // field 0
      std::string("\x0b", 1),                                               // a group
      std::string("\x0e\x01", 2),                                           // wire type 6
      std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12),  // a varint of eleven bytes
      std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 12),  // a length of 2^64 - 1
      std::string("\x0a\x05\x61", 3),                                       // a length beyond the end
      std::string("\xf8\xff\xff\xff\xff\x01\x00", 7),                       // a field number that is too large
  };
  for (const std::string& text : cases) {
    WireReader reader(as_bytes(text));
    Field field;
    while (reader.next(field)) {
    }
    EXPECT_TRUE(reader.failed()) << ::testing::PrintToString(text);
    EXPECT_FALSE(reader.next(field));
  }
}

TEST(WireReader, RandomBytesEndInAnAnswer) {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random() % 4 == 0 ? random() : random() % 32);
    // A copy of the exact size, so that a read past the end is seen.
    std::vector<std::byte> bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    (void)parse_model(bytes);
    (void)parse_graph(bytes);
    (void)parse_tensor(bytes);
    (void)parse_value(bytes);
  }
}

}  // namespace
}  // namespace hussar::onnx
