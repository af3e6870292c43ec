// Picture: the decoded bytes of an image file.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hussar/status.h"

namespace hussar::cli {

struct Picture {
  int width = 0, height = 0, channels = 0;
  std::vector<uint8_t> bytes;  // height x width x channels
};

// PNG, JPEG or BMP. channels: 1 (gray) or 3 (RGB), whatever the file has.
Result<Picture> decode_image(std::span<const std::byte> bytes, const std::string& path, int channels);

}  // namespace hussar::cli
