// Bytes -> Plan. Every offset, size, count and index is checked before it is used.
#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "plan/format.h"
#include "plan/plan.h"

namespace hussar {

uint64_t hash_bytes(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

namespace {

constexpr int kMaxBodyDepth = 64;

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(ErrorCode::kPlanIncompatible, "the plan is damaged ({}); build it again with `hussar build`", what);
}

Tensor decode_tensor(ByteReader& in) {
  auto dtype = static_cast<DType>(in.get<uint8_t>());
  Ints dims = in.get_list<int64_t>();
  auto bytes = in.get_bytes();
  uint64_t wanted = dtype_size(dtype);
  bool ok = wanted > 0 && dims.size() <= kMaxRank;
  for (int64_t dim : dims) {
    ok = ok && dim >= 0 && !__builtin_mul_overflow(wanted, static_cast<uint64_t>(dim), &wanted);
  }
  if (!ok || wanted != bytes.size()) {
    in.fail();
    return {};
  }
  Tensor tensor(dtype, Shape(std::span<const int64_t>(dims)));
  if (!bytes.empty()) std::memcpy(tensor.raw(), bytes.data(), bytes.size());
  return tensor;
}

Attribute decode_attribute(ByteReader& in) {
  switch (in.get<uint8_t>()) {
    case 0: return in.get<int64_t>();
    case 1: return in.get<float>();
    case 2: return in.get_string();
    case 3: return decode_tensor(in);
    case 4: return in.get_list<int64_t>();
    case 5: return in.get_list<float>();
    case 6: {
      Strings list(in.get_count(8));
      for (std::string& text : list) text = in.get_string();
      return list;
    }
    default: in.fail(); return int64_t{0};
  }
}

PlanValue decode_value(ByteReader& in) {
  PlanValue value;
  value.name = in.get_string();
  value.dtype = static_cast<DType>(in.get<uint8_t>());
  value.layout = static_cast<Layout>(in.get<uint8_t>());
  value.storage = static_cast<Storage>(in.get<uint8_t>());
  bool has_dims = in.get<uint8_t>() != 0;
  value.constant_offset = in.get<uint64_t>();
  value.alias_of = in.get<int32_t>();
  value.channel_offset = in.get<int64_t>();
  if (!has_dims) return value;
  Dims dims(in.get_count(8));
  if (dims.size() > kMaxRank) in.fail();
  for (Dim& dim : dims) {
    auto number = in.get<int64_t>();
    if (number >= 0) {
      dim = Dim(number);
      continue;
    }
    auto parsed = Dim::parse(in.get_string());
    if (parsed)
      dim = *parsed;
    else
      in.fail();
    if (in.failed()) break;
  }
  value.dims = std::move(dims);
  return value;
}

PlanGraph decode_graph(ByteReader& in, int depth);

PlanStep decode_step(ByteReader& in, int depth) {
  PlanStep step;
  step.kernel = in.get_string();
  step.op = in.get_string();
  step.name = in.get_string();
  step.report = in.get_string();
  step.flops_per_output = in.get<double>();
  step.inputs = in.get_list<int32_t>();
  step.outputs = in.get_list<int32_t>();
  size_t attributes = in.get_count(9);
  for (size_t i = 0; i < attributes && !in.failed(); ++i) {
    std::string name = in.get_string();
    step.attributes.set(name, decode_attribute(in));
  }
  step.program_inputs = in.get<int32_t>();
  if (in.get<uint8_t>() != 0) step.program = in.get<Program>();
  size_t bodies = in.get_count(8);
  for (size_t i = 0; i < bodies && !in.failed(); ++i) {
    std::string name = in.get_string();
    step.bodies.emplace_back(std::move(name), std::make_unique<PlanGraph>(decode_graph(in, depth + 1)));
  }
  return step;
}

PlanGraph decode_graph(ByteReader& in, int depth) {
  PlanGraph graph;
  if (depth > kMaxBodyDepth) {
    in.fail();
    return graph;
  }
  size_t values = in.get_count(24);
  for (size_t i = 0; i < values && !in.failed(); ++i) graph.values.push_back(decode_value(in));
  size_t steps = in.get_count(32);
  for (size_t i = 0; i < steps && !in.failed(); ++i) graph.steps.push_back(decode_step(in, depth));
  graph.inputs = in.get_list<int32_t>();
  graph.outputs = in.get_list<int32_t>();
  return graph;
}

bool constant_fits(const PlanValue& value, uint64_t section_bytes) {
  if (!value.dims || value.constant_offset % 64 != 0) return false;
  uint64_t bytes = dtype_size(value.dtype);
  for (const Dim& dim : *value.dims) {
    if (!dim.is_constant() || dim.value() < 0) return false;
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim.value()), &bytes)) return false;
  }
  return value.constant_offset <= section_bytes && bytes <= section_bytes - value.constant_offset;
}

Status validate_value(const PlanGraph& graph, const PlanValue& value, uint64_t section_bytes) {
  bool ok = dtype_size(value.dtype) > 0 && value.layout <= Layout::kChannelsLast && value.storage <= Storage::kHeap;
  if (ok && value.storage == Storage::kConstant) ok = constant_fits(value, section_bytes);
  if (ok && value.storage == Storage::kArena) ok = value.dims.has_value();
  // The caller's memory is plain.
  if (ok && value.storage == Storage::kInput) ok = value.layout == Layout::kPlain;
  if (ok && value.storage == Storage::kAlias) {
    // An alias points at a value that holds memory itself, so that chains and cycles cannot be.
    ok = value.alias_of >= 0 && static_cast<size_t>(value.alias_of) < graph.values.size() && value.dims &&
         graph.values[value.alias_of].storage != Storage::kAlias &&
         graph.values[value.alias_of].storage != Storage::kHeap && value.channel_offset >= 0;
  }
  if (ok && value.layout == Layout::kChannelsLast) ok = value.dims && value.dims->size() >= 3;
  if (ok && value.channel_offset != 0) ok = value.layout == Layout::kChannelsLast && value.storage == Storage::kAlias;
  if (!ok) return damaged("value '" + value.name + "'");
  return {};
}

// Nothing but a view, which writes nothing, may have its output in memory that is not the arena's; and what a view
// gives must be there already, in the memory of one of its inputs.
bool is_good_output(const PlanGraph& graph, const PlanStep& step, int32_t output) {
  const PlanValue& value = graph.values[output];
  if (value.storage == Storage::kInput || value.storage == Storage::kConstant) return false;
  if (step.kernel == "view") {
    auto root_of = [&](int32_t index) {
      return graph.values[index].storage == Storage::kAlias ? graph.values[index].alias_of : index;
    };
    return std::any_of(step.inputs.begin(), step.inputs.end(),
                       [&](int32_t input) { return input >= 0 && root_of(input) == root_of(output); });
  }
  return value.storage != Storage::kAlias || graph.values[value.alias_of].storage == Storage::kArena;
}

Status validate_step(const PlanGraph& graph, const PlanStep& step, std::vector<char>& defined) {
  auto count = static_cast<int32_t>(graph.values.size());
  for (int32_t input : step.inputs) {
    if (input < -1 || input >= count || (input >= 0 && defined[input] == 0)) return damaged("step " + step.name);
  }
  for (int32_t output : step.outputs) {
    bool ok =
        output >= -1 && output < count && (output < 0 || (defined[output] == 0 && is_good_output(graph, step, output)));
    if (!ok) return damaged("step " + step.name);
    if (output >= 0) defined[output] = 1;
  }
  if (!step.program) return {};
  int64_t operands = static_cast<int64_t>(step.inputs.size()) - step.program_inputs;
  bool ok = is_valid(*step.program) && step.program_inputs >= 0 && operands == step.program->operand_count;
  if (!ok) return damaged("the fused program of step " + step.name);
  return {};
}

Status validate_graph(const PlanGraph& graph, uint64_t section_bytes) {
  auto count = static_cast<int32_t>(graph.values.size());
  for (const PlanValue& value : graph.values) HUSSAR_TRY(validate_value(graph, value, section_bytes));
  std::vector<char> defined(graph.values.size(), 0);
  for (size_t i = 0; i < graph.values.size(); ++i) defined[i] = graph.values[i].storage == Storage::kConstant ? 1 : 0;
  for (int32_t input : graph.inputs) {
    if (input < 0 || input >= count || graph.values[input].storage != Storage::kInput) return damaged("an input");
    defined[input] = 1;
  }
  for (const PlanStep& step : graph.steps) {
    HUSSAR_TRY(validate_step(graph, step, defined));
    for (const auto& [name, body] : step.bodies) HUSSAR_TRY(validate_graph(*body, section_bytes));
  }
  for (int32_t output : graph.outputs) {
    bool ok = output >= 0 && output < count && defined[output] != 0 && graph.values[output].layout == Layout::kPlain;
    if (!ok) return damaged("an output");
  }
  return {};
}

Result<FileHeader> decode_header(std::span<const std::byte> bytes) {
  PlanHeader facts = HUSSAR_TRY(read_plan_header(bytes));
  HUSSAR_CHECK(facts.version == kPlanVersion, ErrorCode::kPlanIncompatible,
               "the plan has format version {} (written by {}), this program reads version {}: {}", facts.version,
               facts.written_by, kPlanVersion,
               facts.version > kPlanVersion ? "update hussar, or build the plan again with this version"
                                            : "build the plan again from its ONNX model");
  FileHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  uint64_t hash = hash_bytes(bytes.first(sizeof(FileHeader) - sizeof(uint64_t)));
  if (header.header_bytes != sizeof(FileHeader) || header.section_count != kSectionCount ||
      header.header_hash != hash) {
    return damaged("header");
  }
  HUSSAR_CHECK(header.file_bytes == bytes.size(), ErrorCode::kPlanIncompatible,
               "the plan has {} bytes instead of {}: it was cut off or extended; copy or build it again", bytes.size(),
               header.file_bytes);
  return header;
}

Result<std::span<const std::byte>> section(std::span<const std::byte> bytes, const FileHeader& header, uint32_t index,
                                           bool verify) {
  const SectionEntry& entry = header.sections[index];
  bool ok = entry.id == index + 1 && entry.flags == 0 && entry.offset % 64 == 0 && entry.offset <= bytes.size() &&
            entry.bytes <= bytes.size() - entry.offset;
  if (!ok) return damaged("section table");
  auto content = bytes.subspan(entry.offset, entry.bytes);
  if (verify && hash_bytes(content) != entry.hash) return damaged(fmt::format("checksum of section {}", index + 1));
  return content;
}

// The bytes between sections are zero, so that no byte of a plan goes unchecked.
Status check_padding(std::span<const std::byte> bytes, const FileHeader& header) {
  uint64_t end = sizeof(FileHeader);
  for (const SectionEntry& entry : header.sections) {
    if (entry.offset < end) return damaged("overlapping sections");
    for (uint64_t i = end; i < entry.offset; ++i) {
      if (bytes[i] != std::byte{0}) return damaged("padding");
    }
    end = entry.offset + entry.bytes;
  }
  if (end != bytes.size()) return damaged("bytes after the last section");
  return {};
}

}  // namespace

Result<PlanHeader> read_plan_header(std::span<const std::byte> bytes) {
  HUSSAR_CHECK(bytes.size() >= sizeof(FileHeader) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0,
               ErrorCode::kPlanIncompatible, "not a Hussar plan; `hussar build MODEL.onnx -o M.plan` makes one");
  FileHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  auto text = [](const char* field, size_t size) { return std::string(field, strnlen(field, size)); };
  return PlanHeader{header.version, text(header.written_by, sizeof(header.written_by)),
                    text(header.target, sizeof(header.target)), header.file_bytes};
}

static Result<std::shared_ptr<const Plan>> decode(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                  const ReadOptions& options) {
  FileHeader header = HUSSAR_TRY(decode_header(bytes));
  auto meta = HUSSAR_TRY(section(bytes, header, 0, true));
  auto graph = HUSSAR_TRY(section(bytes, header, 1, true));
  bool verify = options.verify_constants || header.sections[2].bytes <= kAlwaysVerifiedBytes;
  auto constants = HUSSAR_TRY(section(bytes, header, 2, verify));
  HUSSAR_TRY(check_padding(bytes, header));
  auto plan = std::make_shared<Plan>();
  ByteReader meta_reader(meta);
  size_t entries = meta_reader.get_count(16);
  for (size_t i = 0; i < entries; ++i) {
    std::string key = meta_reader.get_string();
    plan->meta[key] = meta_reader.get_string();
  }
  ByteReader graph_reader(graph);
  plan->graph = decode_graph(graph_reader, 0);
  bool complete = !meta_reader.failed() && meta_reader.at_end() && !graph_reader.failed() && graph_reader.at_end();
  if (!complete) return damaged("structure");
  HUSSAR_TRY(validate_graph(plan->graph, constants.size()));
  plan->constants = constants;
  plan->owner = std::move(owner);
  plan->file_bytes = bytes.size();
  return std::shared_ptr<const Plan>(std::move(plan));
}

Result<std::shared_ptr<const Plan>> decode_plan(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                const ReadOptions& options) {
  return catching("load the plan", [&] { return decode(bytes, std::move(owner), options); });
}

bool is_plan_file(const std::string& path) {
  if (path.size() >= 5 && path.compare(path.size() - 5, 5, ".plan") == 0) return true;
  char start[sizeof(kMagic)] = {};
  std::ifstream file(path, std::ios::binary);
  return file.read(start, sizeof(start)) && std::memcmp(start, kMagic, sizeof(kMagic)) == 0;
}

Result<std::shared_ptr<const Plan>> read_plan(const std::string& path, const ReadOptions& options) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  auto plan = decode_plan(file->bytes(), file, options);
  if (!plan) return fail(plan.error().code, "{}: {}", path, plan.error().message);
  return plan;
}

}  // namespace hussar
