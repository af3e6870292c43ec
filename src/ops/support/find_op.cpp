// Lookup of operators by name and alias.
#include <string>
#include <unordered_map>

#include "ops/op_def.h"

namespace hussar {

const OpDef* find_op(std::string_view name) {
  static const auto* const kTable = [] {
    auto* table = new std::unordered_map<std::string_view, const OpDef*>;
    for (const OpDef* op : all_ops()) {
      table->emplace(op->name, op);
      for (size_t begin = 0; begin < op->aliases.size();) {
        size_t end = std::min(op->aliases.find(' ', begin), op->aliases.size());
        table->emplace(op->aliases.substr(begin, end - begin), op);
        begin = end + 1;
      }
    }
    return table;
  }();
  auto it = kTable->find(name);
  return it == kTable->end() ? nullptr : it->second;
}

}  // namespace hussar
