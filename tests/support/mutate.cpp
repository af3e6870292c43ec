// A schema of ONNX as small as the mutations need it, and the mutations.
#include "tests/support/mutate.h"

#include <algorithm>
#include <utility>

#include "onnx/wire.h"

namespace hussar::tests {
namespace {

Kind kind_of(Kind parent, uint32_t id) {
  auto is = [&](Kind kind, uint32_t field) { return parent == kind && id == field; };
  if (is(Kind::kModel, 7) || is(Kind::kAttribute, 6) || is(Kind::kAttribute, 11)) return Kind::kGraph;
  if (is(Kind::kModel, 8) || is(Kind::kFunction, 9)) return Kind::kOpset;
  if (is(Kind::kModel, 25)) return Kind::kFunction;
  if (is(Kind::kGraph, 1) || is(Kind::kFunction, 7)) return Kind::kNode;
  if (is(Kind::kNode, 5) || is(Kind::kFunction, 11)) return Kind::kAttribute;
  if (is(Kind::kGraph, 5) || is(Kind::kAttribute, 5) || is(Kind::kSparse, 1) || is(Kind::kSparse, 2))
    return Kind::kTensor;
  if (is(Kind::kGraph, 15) || is(Kind::kAttribute, 22)) return Kind::kSparse;
  if (is(Kind::kGraph, 11) || is(Kind::kGraph, 12) || is(Kind::kGraph, 13)) return Kind::kValue;
  if (is(Kind::kValue, 2)) return Kind::kType;
  if (is(Kind::kType, 1)) return Kind::kTensorType;
  if (is(Kind::kTensorType, 2)) return Kind::kShape;
  if (is(Kind::kShape, 1)) return Kind::kDim;
  if (is(Kind::kTensor, 13) || is(Kind::kModel, 14)) return Kind::kEntry;
  return Kind::kNone;
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void collect(const std::vector<WireField>& fields, Kind parent, std::vector<std::string>& names,
             std::vector<std::string>& operators) {
  for (const WireField& field : fields) {
    bool is_name = (parent == Kind::kNode && field.id <= 2) || (parent == Kind::kValue && field.id == 1) ||
                   (parent == Kind::kTensor && field.id == 8);
    if (is_name) names.push_back(field.text);
    if (parent == Kind::kNode && field.id == 4) operators.push_back(field.text);
    collect(field.children, field.kind, names, operators);
  }
}

}  // namespace

std::vector<WireField> parse_tree(std::span<const std::byte> bytes, Kind kind) {
  std::vector<WireField> fields;
  onnx::WireReader reader(bytes);
  onnx::Field field;
  while (reader.next(field)) {
    WireField entry;
    entry.id = field.id;
    entry.wire_type = field.wire_type;
    entry.number = field.number;
    if (field.is_bytes()) {
      entry.kind = kind_of(kind, field.id);
      if (entry.kind == Kind::kNone)
        entry.text = onnx::as_text(field.bytes);
      else
        entry.children = parse_tree(field.bytes, entry.kind);
    }
    fields.push_back(std::move(entry));
  }
  return fields;
}

std::string print_tree(const std::vector<WireField>& fields) {
  std::string out;
  for (const WireField& field : fields) {
    put_varint(out, static_cast<uint64_t>(field.id) << 3 | field.wire_type);
    if (field.wire_type == 0) put_varint(out, field.number);
    for (uint32_t i = 0; i < (field.wire_type == 1 ? 8U : field.wire_type == 5 ? 4U : 0U); ++i) {
      out += static_cast<char>(field.number >> (8 * i));
    }
    if (field.wire_type == 2) {
      std::string text = field.kind == Kind::kNone ? field.text : print_tree(field.children);
      put_varint(out, text.size());
      out += text;
    }
  }
  return out;
}

Mutator::Mutator(std::span<const std::byte> model, uint32_t seed) : model_(parse_tree(model)), random_(seed) {
  collect(model_, Kind::kModel, names_, operators_);
  names_.emplace_back();
  operators_.insert(operators_.end(),
                    {"If", "Loop", "Reshape", "Transpose", "Concat", "Add", "MatMul", "Conv", "Cast"});
}

std::vector<WireField*> Mutator::all_fields(std::vector<WireField>& fields) {
  std::vector<WireField*> all;
  for (WireField& field : fields) {
    all.push_back(&field);
    auto inner = all_fields(field.children);
    all.insert(all.end(), inner.begin(), inner.end());
  }
  return all;
}

uint64_t Mutator::interesting_number(uint64_t old) {
  static constexpr int64_t kNumbers[] = {0,
                                         1,
                                         -1,
                                         2,
                                         3,
                                         4,
                                         5,
                                         7,
                                         8,
                                         16,
                                         17,
                                         21,
                                         64,
                                         255,
                                         256,
                                         1000,
                                         65536,
                                         1 << 20,
                                         -2,
                                         -3,
                                         -5,
                                         INT32_MAX,
                                         INT32_MIN,
                                         INT64_MAX,
                                         INT64_MIN,
                                         int64_t{1} << 31,
                                         int64_t{1} << 40,
                                         int64_t{1} << 62,
                                         int64_t{1} << 33};
  if (pick(3) == 0) return old + (pick(2) == 0 ? 1 : ~uint64_t{0});
  if (pick(8) == 0) return old ^ uint64_t { 1 } << pick(64);
  return static_cast<uint64_t>(kNumbers[pick(std::size(kNumbers))]);
}

void Mutator::mutate_text(WireField& field) {
  std::string& text = field.text;
  switch (pick(6)) {
    case 0: text = names_[pick(names_.size())]; break;
    case 1: text = operators_[pick(operators_.size())]; break;
    case 2: text.resize(pick(text.size() + 1)); break;
    case 3: text.insert(pick(text.size() + 1), 1 + pick(8), static_cast<char>(random_())); break;
    case 4: text += text.substr(0, pick(text.size() + 1)); break;
    default:
      if (!text.empty()) text[pick(text.size())] ^= static_cast<char>(1 << pick(8));
  }
}

void Mutator::mutate(std::vector<WireField>& fields) {
  std::vector<WireField*> all = all_fields(fields);
  if (all.empty()) return;
  WireField& field = *all[pick(all.size())];
  std::vector<WireField*> alike;
  for (WireField* other : all) {
    if (other != &field && other->kind == field.kind && other->wire_type == field.wire_type) alike.push_back(other);
  }
  switch (pick(10)) {
    case 0:  // delete one of the children
      if (!field.children.empty())
        field.children.erase(field.children.begin() + static_cast<long>(pick(field.children.size())));
      return;
    case 1:  // double one
      if (!field.children.empty()) {
        WireField copy = field.children[pick(field.children.size())];
        field.children.insert(field.children.begin() + static_cast<long>(pick(field.children.size() + 1)), copy);
      }
      return;
    case 2:  // swap two
      if (!field.children.empty()) {
        std::swap(field.children[pick(field.children.size())], field.children[pick(field.children.size())]);
      }
      return;
    case 3:  // the contents of another field of the same kind
      if (!alike.empty()) {
        WireField copy = *alike[pick(alike.size())];
        field.number = copy.number;
        field.text = copy.text;
        field.children = copy.children;
      }
      return;
    case 4:  // another field number
      field.id = static_cast<uint32_t>(1 + pick(25));
      return;
    case 5:  // a graph as a body of a node
      if (field.kind == Kind::kNode) {
        for (const WireField& part : fields) {
          if (part.kind != Kind::kGraph) continue;
          WireField name{1, 2, 0, pick(2) == 0 ? "then_branch" : "body", Kind::kNone, {}};
          WireField graph{6, 2, 0, "", Kind::kGraph, part.children};
          field.children.push_back({5, 2, 0, "", Kind::kAttribute, {name, graph}});
          return;
        }
      }
      [[fallthrough]];
    default:
      if (field.wire_type != 2)
        field.number = interesting_number(field.number);
      else if (field.kind == Kind::kNone)
        mutate_text(field);
      else if (pick(20) == 0)
        field = WireField{field.id, 2, 0, print_tree(field.children).substr(1), Kind::kNone, {}};
      else
        mutate(field.children);
  }
}

std::string Mutator::next() {
  std::vector<WireField> copy = model_;
  for (size_t i = 1 + pick(4); i > 0; --i) mutate(copy);
  return print_tree(copy);
}

}  // namespace hussar::tests
