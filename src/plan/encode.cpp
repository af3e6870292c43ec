// Plan -> bytes. The layout is described in docs/plan_format.md.
#include <cstring>

#include "base/bytes.h"
#include "base/file.h"
#include "hussar/version.h"
#include "plan/format.h"
#include "plan/plan.h"

namespace hussar {
namespace {

void encode(ByteWriter& out, const Tensor& tensor) {
  out.put(static_cast<uint8_t>(tensor.dtype()));
  out.put_list(Ints(tensor.shape().begin(), tensor.shape().end()));
  out.put_bytes({tensor.raw(), tensor.bytes()});
}

void encode(ByteWriter& out, const Attribute& attribute) {
  out.put(static_cast<uint8_t>(attribute.index()));
  if (const auto* value = std::get_if<int64_t>(&attribute)) out.put(*value);
  if (const auto* value = std::get_if<float>(&attribute)) out.put(*value);
  if (const auto* value = std::get_if<std::string>(&attribute)) out.put_string(*value);
  if (const auto* value = std::get_if<Tensor>(&attribute)) encode(out, *value);
  if (const auto* value = std::get_if<Ints>(&attribute)) out.put_list(*value);
  if (const auto* value = std::get_if<Floats>(&attribute)) out.put_list(*value);
  if (const auto* value = std::get_if<Strings>(&attribute)) {
    out.put<uint64_t>(value->size());
    for (const std::string& text : *value) out.put_string(text);
  }
}

void encode(ByteWriter& out, const PlanValue& value) {
  out.put_string(value.name);
  out.put(static_cast<uint8_t>(value.dtype));
  out.put(static_cast<uint8_t>(value.layout));
  out.put(static_cast<uint8_t>(value.storage));
  out.put<uint8_t>(value.dims ? 1 : 0);
  out.put(value.constant_offset);
  out.put(value.alias_of);
  out.put(value.channel_offset);
  if (!value.dims) return;
  out.put<uint64_t>(value.dims->size());
  for (const Dim& dim : *value.dims) {
    bool is_number = dim.is_constant() && dim.value() >= 0;
    out.put<int64_t>(is_number ? dim.value() : -1);
    if (!is_number) out.put_string(dim.to_string());
  }
}

void encode(ByteWriter& out, const PlanGraph& graph);

void encode(ByteWriter& out, const PlanStep& step) {
  out.put_string(step.kernel);
  out.put_string(step.op);
  out.put_string(step.name);
  out.put_string(step.report);
  out.put(step.flops_per_output);
  out.put_list(step.inputs);
  out.put_list(step.outputs);
  out.put<uint64_t>(step.attributes.all().size());
  for (const auto& [name, attribute] : step.attributes.all()) {
    out.put_string(name);
    encode(out, attribute);
  }
  out.put(step.program_inputs);
  out.put<uint8_t>(step.program ? 1 : 0);
  if (step.program) out.put(*step.program);
  out.put<uint64_t>(step.bodies.size());
  for (const auto& [name, body] : step.bodies) {
    out.put_string(name);
    encode(out, *body);
  }
}

void encode(ByteWriter& out, const PlanGraph& graph) {
  out.put<uint64_t>(graph.values.size());
  for (const PlanValue& value : graph.values) encode(out, value);
  out.put<uint64_t>(graph.steps.size());
  for (const PlanStep& step : graph.steps) encode(out, step);
  out.put_list(graph.inputs);
  out.put_list(graph.outputs);
}

void copy_text(char* out, size_t size, std::string_view text) {
  std::memset(out, 0, size);
  std::memcpy(out, text.data(), std::min(text.size(), size - 1));
}

struct Encoded {
  FileHeader header{};
  std::vector<std::byte> meta, graph;
  std::vector<std::byte> padding_graph, padding_constants;
};

Encoded encode_sections(const Plan& plan) {
  Encoded encoded;
  ByteWriter meta;
  meta.put<uint64_t>(plan.meta.size());
  for (const auto& [key, value] : plan.meta) {
    meta.put_string(key);
    meta.put_string(value);
  }
  encoded.meta = meta.take();
  ByteWriter graph;
  encode(graph, plan.graph);
  encoded.graph = graph.take();

  FileHeader& header = encoded.header;
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kPlanVersion;
  header.header_bytes = sizeof(FileHeader);
  header.section_count = kSectionCount;
  copy_text(header.written_by, sizeof(header.written_by), "hussar " HUSSAR_VERSION);
  auto target = plan.meta.find("target");
  copy_text(header.target, sizeof(header.target), target == plan.meta.end() ? "cpu" : target->second);
  uint64_t offset = sizeof(FileHeader);
  auto place = [&](int index, std::span<const std::byte> bytes, uint64_t alignment) {
    uint64_t aligned = (offset + alignment - 1) / alignment * alignment;
    std::vector<std::byte> padding(aligned - offset);
    header.sections[index] = {static_cast<uint32_t>(index + 1), 0, aligned, bytes.size(), hash_bytes(bytes)};
    offset = aligned + bytes.size();
    return padding;
  };
  place(0, encoded.meta, 64);
  encoded.padding_graph = place(1, encoded.graph, 64);
  encoded.padding_constants = place(2, plan.constants, kConstantAlignment);
  header.file_bytes = offset;
  header.header_hash = hash_bytes(std::as_bytes(std::span(&header, 1)).first(sizeof(FileHeader) - sizeof(uint64_t)));
  return encoded;
}

}  // namespace

std::vector<std::byte> encode_plan(const Plan& plan) {
  Encoded encoded = encode_sections(plan);
  std::vector<std::byte> bytes;
  auto append = [&](std::span<const std::byte> part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  append(std::as_bytes(std::span(&encoded.header, 1)));
  append(encoded.meta);
  append(encoded.padding_graph);
  append(encoded.graph);
  append(encoded.padding_constants);
  append(plan.constants);
  return bytes;
}

Status write_plan(const Plan& plan, const std::string& path) {
  Encoded encoded = encode_sections(plan);
  return write_file_atomically(path, {std::as_bytes(std::span(&encoded.header, 1)), encoded.meta, encoded.padding_graph,
                                      encoded.graph, encoded.padding_constants, plan.constants});
}

}  // namespace hussar
