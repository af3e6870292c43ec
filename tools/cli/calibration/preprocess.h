// Preprocess: how a picture becomes a tensor, as it is declared on the command line.
//
//   --preprocess 'resize=256 crop=224 scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 layout=nchw color=rgb'
//
// resize=256       the shorter side becomes 256, resize=320x240: width and height do
// crop=224         of the middle, 224x224; crop=WIDTHxHEIGHT
// scale=1/255      factor of the bytes; default 1/255
// mean=, std=      per channel, of the scaled values: (value - mean) / std; default 0 and 1
// layout=          nchw (default) or nhwc
// color=           rgb (default), bgr or gray
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar::cli {

struct Preprocess {
  int shorter_side = 0, width = 0, height = 0;  // of the resized picture; 0: as it is
  int crop_width = 0, crop_height = 0;          // 0: all of it
  double scale = 1.0 / 255;
  std::vector<double> mean, deviation;  // one number, or one per channel; empty: 0 and 1
  bool channels_last = false;
  enum class Color { kRgb, kBgr, kGray } color = Color::kRgb;

  int channels() const { return color == Color::kGray ? 1 : 3; }
};

Result<Preprocess> parse_preprocess(std::string_view text);

// Whether the name ends like that of a picture which can be read.
bool is_image_name(std::string_view path);

// One picture as a tensor of rank 4, float32 or (bytes as they are) uint8.
Result<Tensor> load_image(const std::string& path, const Preprocess& preprocess, DType dtype);

}  // namespace hussar::cli
