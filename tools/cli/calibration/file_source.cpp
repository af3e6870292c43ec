// Files and folders of samples.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "tools/cli/calibration/source.h"
#include "tools/cli/npy.h"

namespace hussar::cli {
namespace {

namespace fs = std::filesystem;

enum class Kind { kNone, kNpz, kNpy, kRaw, kImage };

Kind kind_of(const fs::path& path) {
  const std::string end = path.extension().string();
  if (end == ".npz") return Kind::kNpz;
  if (end == ".npy") return Kind::kNpy;
  if (end == ".raw" || end == ".bin") return Kind::kRaw;
  return is_image_name(path.string()) ? Kind::kImage : Kind::kNone;
}

// One batch: a file that holds all inputs (.npz), or one file per input.
struct Item {
  std::vector<std::pair<std::string, fs::path>> files;  // by the input's name
};

class FileSource : public DataSource {
 public:
  FileSource(std::vector<InputFacts> inputs, SourceOptions options, std::vector<Item> items)
      : inputs_(std::move(inputs)), options_(std::move(options)), items_(std::move(items)) {}

  double fraction() const override { return static_cast<double>(next_) / static_cast<double>(items_.size()); }

  Result<bool> next(DataBatch& batch) override {
    if (next_ == items_.size()) return false;
    const Item& item = items_[next_++];
    batch.tensors.clear();
    batch.where = "'" + item.files[0].second.string() + "'";
    batch.is_mapped = kind_of(item.files[0].second) != Kind::kImage;
    for (const auto& [name, path] : item.files) {
      if (kind_of(path) == Kind::kNpz) {
        for (auto& [array, tensor] : HUSSAR_TRY(view_npz_file(path))) batch.tensors.emplace_back(array, tensor);
      } else {
        batch.tensors.emplace_back(name, HUSSAR_TRY(load(name, path)));
      }
    }
    return true;
  }

 private:
  Result<Tensor> load(const std::string& name, const fs::path& path) const {
    const InputFacts* input = nullptr;
    for (const InputFacts& candidate : inputs_) {
      if (candidate.name == name) input = &candidate;
    }
    HUSSAR_CHECK(input != nullptr, ErrorCode::kUsage, "'{}': there is no input '{}'; the model takes {}", path.string(),
                 name, describe(inputs_));
    if (kind_of(path) == Kind::kNpy) return view_npy_file(path);
    if (kind_of(path) == Kind::kImage) return load_image(path, *options_.preprocess, input->dtype);
    return load_raw(*input, path);
  }

  // The elements alone: all dimensions but the first must be known.
  Result<Tensor> load_raw(const InputFacts& input, const fs::path& path) const {
    auto file = HUSSAR_TRY(MappedFile::open(path));
    auto given = options_.shapes.find(input.name);
    const std::optional<Dims> dims = given != options_.shapes.end() ? given->second : input.dims;
    int64_t row = dims && !dims->empty() ? 1 : 0;
    Shape shape({1});
    for (size_t axis = 1; row > 0 && axis < dims->size(); ++axis) {
      int64_t size = (*dims)[axis].is_constant() ? (*dims)[axis].value() : 0;
      shape.push_back(size);
      row = size > 0 && size < (int64_t(1) << 40) / row ? row * size : 0;
    }
    HUSSAR_CHECK(row > 0, ErrorCode::kUsage,
                 "'{}': the shape of its samples is not known; give it with --shapes {}:...", path.string(),
                 input.name);
    auto row_bytes = static_cast<size_t>(row) * dtype_size(input.dtype);
    auto bytes = file->bytes();
    HUSSAR_CHECK(!bytes.empty() && bytes.size() % row_bytes == 0, ErrorCode::kUsage,
                 "'{}' has {} bytes, no multiple of the {} that a sample of input '{}' takes ({})", path.string(),
                 bytes.size(), row_bytes, input.name, describe({input}));
    shape[0] = static_cast<int64_t>(bytes.size() / row_bytes);
    return Tensor::view(input.dtype, shape, const_cast<std::byte*>(bytes.data()), file);
  }

  std::vector<InputFacts> inputs_;
  SourceOptions options_;
  std::vector<Item> items_;
  size_t next_ = 0;
};

// The files that can be data, in the order of their names.
Result<std::vector<fs::path>> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    bool hidden = it->path().filename().string()[0] == '.';
    if (!hidden && it->is_regular_file() && kind_of(it->path()) != Kind::kNone) files.push_back(it->path());
  }
  HUSSAR_CHECK(!error, ErrorCode::kRunFailed, "cannot read the folder '{}': {}", folder.string(), error.message());
  std::sort(files.begin(), files.end());
  return files;
}

// One folder per input, with files of the same names but for the extension.
Result<std::vector<Item>> items_of_folders(const std::vector<InputFacts>& inputs, const fs::path& folder) {
  std::map<std::string, Item> items;
  for (const InputFacts& input : inputs) {
    auto files = HUSSAR_TRY(files_of(folder / input.name));
    for (const fs::path& file : files) items[file.stem()].files.emplace_back(input.name, file);
  }
  std::vector<Item> list;
  for (auto& [stem, item] : items) {
    HUSSAR_CHECK(item.files.size() == inputs.size(), ErrorCode::kUsage,
                 "'{}': '{}' is there for {} of the {} inputs ({})", folder.string(), stem, item.files.size(),
                 inputs.size(), describe(inputs));
    list.push_back(std::move(item));
  }
  return list;
}

Result<std::vector<Item>> items_of(const std::vector<InputFacts>& inputs, const fs::path& path) {
  std::error_code ignored;
  HUSSAR_CHECK(fs::exists(path, ignored), ErrorCode::kRunFailed, "there are no calibration data at '{}'",
               path.string());
  std::vector<fs::path> files = {path};
  if (fs::is_directory(path, ignored)) {
    bool by_input = std::all_of(inputs.begin(), inputs.end(), [&](const InputFacts& input) {
      return !input.name.empty() && fs::is_directory(path / input.name, ignored);
    });
    if (by_input) return items_of_folders(inputs, path);
    files = HUSSAR_TRY(files_of(path));
  }
  std::vector<Item> items;
  for (const fs::path& file : files) items.push_back({{{inputs[0].name, file}}});
  return items;
}

}  // namespace

Result<std::unique_ptr<DataSource>> open_files(const std::vector<InputFacts>& inputs, const SourceOptions& options) {
  HUSSAR_CHECK(!inputs.empty(), ErrorCode::kUsage, "the model has no inputs: there is nothing to calibrate with");
  std::vector<Item> items = HUSSAR_TRY(items_of(inputs, options.data));
  HUSSAR_CHECK(!items.empty(), ErrorCode::kUsage,
               "the folder '{}' holds no calibration data: no .npz, .npy, .raw, .bin, .png, .jpg or .bmp files",
               options.data);
  std::set<Kind> kinds;
  for (const Item& item : items) {
    for (const auto& [name, file] : item.files) kinds.insert(kind_of(file));
  }
  HUSSAR_CHECK(kinds.count(Kind::kNone) == 0, ErrorCode::kUsage,
               "'{}' is neither a folder nor an .npz, .npy, .raw, .bin, .png, .jpg or .bmp file", options.data);
  HUSSAR_CHECK(kinds.size() == 1 || inputs.size() > 1, ErrorCode::kUsage,
               "the folder '{}' mixes kinds of files; which of them are the data?", options.data);
  bool by_name = items[0].files.size() == inputs.size() || kinds.count(Kind::kNpz) > 0;
  HUSSAR_CHECK(by_name, ErrorCode::kUsage,
               "the model takes {}: '{}' needs .npz files with all of them, or one folder per input", describe(inputs),
               options.data);
  HUSSAR_CHECK(kinds.count(Kind::kImage) == 0 || options.preprocess, ErrorCode::kUsage,
               "pictures need --preprocess, which says how they become input '{}': 'resize=256 crop=224 "
               "mean=0.485,0.456,0.406 std=0.229,0.224,0.225', for example",
               inputs[0].name);
  return std::make_unique<FileSource>(inputs, options, std::move(items));
}

}  // namespace hussar::cli
