#include "base/base64.h"

#include <gtest/gtest.h>

namespace hussar {
namespace {

std::string encoded(std::string_view bytes) {
  return encode_base64(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

TEST(Base64, IsThatOfTheStandard) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (auto [bytes, text] : cases) EXPECT_EQ(encoded(bytes), text);
}

TEST(Base64, ComesBackAsItWas) {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(decode_base64(encode_base64(bytes)), bytes) << i;
    bytes.push_back(static_cast<uint8_t>(i * 37));
  }
}

TEST(Base64, WhatIsNoneIsRefused) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "Zm9-"})
    EXPECT_FALSE(decode_base64(text)) << text;
}

}  // namespace
}  // namespace hussar
