// Public Plan over the inner one.
#include "api/core.h"

#include <cstring>

namespace hussar {
inline namespace api {

static TensorInfo describe(const core::PlanValue& value) {
  TensorInfo info{value.name, value.dtype, value.dims.has_value(), {}};
  if (!value.dims) return info;
  for (const Dim& dim : *value.dims) {
    info.dims.push_back(dim.is_constant() ? Dimension{dim.value(), ""} : Dimension{-1, dim.to_string()});
  }
  return info;
}

Plan make_plan(std::shared_ptr<const core::Plan> plan) {
  auto state = std::make_shared<Plan::State>();
  for (int32_t index : plan->graph.inputs) state->inputs.push_back(describe(plan->graph.values[index]));
  for (int32_t index : plan->graph.outputs) state->outputs.push_back(describe(plan->graph.values[index]));
  state->plan = std::move(plan);
  return Plan(std::move(state));
}

Result<Plan> Plan::load(const std::string& path) {
  return core::guarded([&]() -> Result<Plan> { return make_plan(HUSSAR_TRY(read_plan(path))); });
}

Result<Plan> Plan::from_bytes(std::span<const std::byte> bytes) {
  return core::guarded([&]() -> Result<Plan> {
    // A tensor's memory has the alignment that decoding asks for.
    auto copy = std::make_shared<Tensor>(DType::kUInt8, Shape{static_cast<int64_t>(bytes.size())});
    if (!bytes.empty()) std::memcpy(copy->raw(), bytes.data(), bytes.size());
    return make_plan(HUSSAR_TRY(decode_plan({copy->raw(), copy->bytes()}, copy)));
  });
}

Status Plan::save(const std::string& path) const {
  return core::guarded([&]() -> Status { return write_plan(*state_->plan, path); });
}

const std::vector<TensorInfo>& Plan::inputs() const { return state_->inputs; }
const std::vector<TensorInfo>& Plan::outputs() const { return state_->outputs; }
const std::map<std::string, std::string>& Plan::facts() const { return state_->plan->meta; }

}  // namespace api
}  // namespace hussar
