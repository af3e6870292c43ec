// Base64 as in RFC 4648, with padding.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hussar {

std::string encode_base64(std::span<const uint8_t> bytes);
// nullopt: it is none. What stands behind the padding's bits must be zero, so that every text has one meaning.
std::optional<std::vector<uint8_t>> decode_base64(std::string_view text);

}  // namespace hussar
