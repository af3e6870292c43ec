// The one translation unit that compiles stb_image: PNG, JPEG and BMP only, from memory only.
#include "tools/cli/calibration/decode_image.h"

#include "base/error.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_MAX_DIMENSIONS 32768
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace hussar::cli {

Result<Picture> decode_image(std::span<const std::byte> bytes, const std::string& path, int channels) {
  constexpr size_t kMostBytes = size_t(1) << 30;
  HUSSAR_CHECK(bytes.size() < kMostBytes, ErrorCode::kUsage, "'{}' is larger than a picture can be", path);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<int>(bytes.size());
  Picture picture;
  int stored = 0;
  bool is_known = stbi_info_from_memory(data, size, &picture.width, &picture.height, &stored) != 0;
  HUSSAR_CHECK(is_known, ErrorCode::kUsage, "'{}' is no PNG, JPEG or BMP picture, or a damaged one", path);
  const auto pixels = static_cast<int64_t>(picture.width) * picture.height;
  HUSSAR_CHECK(pixels > 0 && pixels <= int64_t(1) << 28, ErrorCode::kUsage, "'{}' has {} x {} pixels, too many", path,
               picture.width, picture.height);
  unsigned char* decoded = stbi_load_from_memory(data, size, &picture.width, &picture.height, &stored, channels);
  HUSSAR_CHECK(decoded != nullptr, ErrorCode::kUsage, "cannot read the picture '{}': {}", path, stbi_failure_reason());
  picture.channels = channels;
  picture.bytes.assign(decoded, decoded + static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height) *
                                              static_cast<size_t>(channels));
  stbi_image_free(decoded);
  return picture;
}

}  // namespace hussar::cli
