// Writes what an edit makes of a user's ONNX file.
#pragma once
#include <cstdint>
#include <string>

#include "hussar/status.h"
#include "onnx/edit.h"
#include "onnx/proto.h"

namespace hussar {

// Fails where write_edited would at once, whatever the edit. For work that it comes after.
Status check_output_path(const std::string& model_path, const std::string& output_path);

// The model as `proto`, and as bytes. Gives how many bytes were written.
Result<uint64_t> write_edited(const onnx::ModelProto& proto, onnx::Bytes model, const onnx::ModelEdit& edit,
                              const std::string& model_path, const std::string& output_path);

}  // namespace hussar
