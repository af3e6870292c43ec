#include "compile/write_edited.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace hussar {
namespace {

constexpr uint64_t kMostBytes = (uint64_t{1} << 31) - 1;  // of a message of protobuf

// References to other files are relative to the model's folder.
Status check_external(const onnx::ModelProto& proto, const onnx::ModelEdit& edit, const std::string& model_path,
                      const std::string& output_path) {
  namespace fs = std::filesystem;
  auto folder = [](const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? fs::path(".") : parent;
  };
  std::error_code error;
  if (fs::equivalent(folder(model_path), folder(output_path), error)) return {};
  for (const onnx::TensorProto& initializer : proto.graph.initializers) {
    const bool is_gone =
        edit.dropped_values.count(initializer.name) > 0 || edit.replaced_initializers.count(initializer.name) > 0;
    HUSSAR_CHECK(is_gone || initializer.data_location != 1, ErrorCode::kUsage,
                 "'{}' would not find tensor '{}', which lies in a file beside the model: write it into the folder of "
                 "'{}'",
                 output_path, initializer.name, model_path);
  }
  return {};
}

}  // namespace

Status check_output_path(const std::string& model_path, const std::string& output_path) {
  std::error_code error;
  HUSSAR_CHECK(!std::filesystem::equivalent(model_path, output_path, error), ErrorCode::kUsage,
               "'{}' is the model itself; give the new one another name", output_path);
  return check_can_write(output_path);
}

Result<uint64_t> write_edited(const onnx::ModelProto& proto, onnx::Bytes model, const onnx::ModelEdit& edit,
                              const std::string& model_path, const std::string& output_path) {
  HUSSAR_TRY(check_external(proto, edit, model_path, output_path));
  const onnx::EditedModel edited = HUSSAR_TRY(onnx::edit_model(model, edit));
  const uint64_t bytes = edited.size();
  HUSSAR_CHECK(bytes <= kMostBytes, ErrorCode::kUsage,
               "{}: {} bytes are more than an ONNX file can have; store the weights of the model as external data",
               output_path, bytes);
  HUSSAR_TRY(write_file_atomically(output_path, edited.pieces));
  return bytes;
}

}  // namespace hussar
