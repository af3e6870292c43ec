// Mutations of ONNX bytes that respect their structure: most of what comes out still parses, so that it reaches deep.
#pragma once
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace hussar::tests {

// The kinds of ONNX messages, as far as mutations go into them.
enum class Kind : uint8_t {
  kNone,  // a string or numbers
  kModel,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kSparse,
  kValue,
  kType,
  kTensorType,
  kShape,
  kDim,
  kFunction,
  kOpset,
  kEntry,
};

struct WireField {
  uint32_t id = 0;
  uint32_t wire_type = 0;
  uint64_t number = 0;
  std::string text;                 // length-delimited, when it is not a message that was understood
  Kind kind = Kind::kNone;          // of the message in it
  std::vector<WireField> children;  // of that message
};

// A message as a tree. Bytes that are no message give an empty tree.
std::vector<WireField> parse_tree(std::span<const std::byte> bytes, Kind kind = Kind::kModel);
std::string print_tree(const std::vector<WireField>& fields);

class Mutator {
 public:
  Mutator(std::span<const std::byte> model, uint32_t seed);
  // A copy of the model with one to four changes: fields deleted, doubled, swapped, moved; numbers replaced by their
  // neighbours and by extremes; names replaced by other names of the model; operators by other operators; bodies put
  // into bodies; bits flipped; payloads cut.
  std::string next();

 private:
  std::vector<WireField*> all_fields(std::vector<WireField>& fields);
  void mutate(std::vector<WireField>& fields);
  void mutate_text(WireField& field);
  uint64_t interesting_number(uint64_t old);
  size_t pick(size_t count) { return static_cast<size_t>(random_() % count); }

  std::vector<WireField> model_;
  std::vector<std::string> names_, operators_;
  std::mt19937 random_;
};

}  // namespace hussar::tests
