// Public Session over the inner one.
#include "api/core.h"

namespace hussar {
inline namespace api {

struct Session::State {
  std::unique_ptr<core::Session> session;
  // Kept between runs so that a run need not allocate.
  std::vector<core::NamedTensor> inputs;
  std::vector<core::OutputPlace> outputs;

  void take(std::span<const NamedTensor> given, std::span<const OutputPlace> wanted) {
    inputs.clear();
    outputs.clear();
    for (const NamedTensor& input : given) inputs.push_back({input.name, input.tensor, input.place});
    for (const OutputPlace& output : wanted) outputs.push_back({output.name, output.place, output.data, output.bytes});
  }
};

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;
Session::Session(Session&& other) noexcept = default;
Session& Session::operator=(Session&& other) noexcept = default;

Result<Session> Session::create(const Plan& plan, const SessionOptions& options) {
  return core::guarded([&]() -> Result<Session> {
    auto state = std::make_unique<State>();
    core::SessionOptions inner;
    inner.threads = options.threads;
    inner.device = options.device;
    state->session = HUSSAR_TRY(core::Session::create(plan.state().plan, inner));
    return Session(std::move(state));
  });
}

Result<std::span<const Tensor>> Session::run(std::span<const NamedTensor> inputs,
                                             std::span<const OutputPlace> outputs) {
  return core::guarded([&]() -> Result<std::span<const Tensor>> {
    state_->take(inputs, outputs);
    return state_->session->run(state_->inputs, state_->outputs);
  });
}

Result<std::span<const Tensor>> Session::enqueue(std::span<const NamedTensor> inputs,
                                                 std::span<const OutputPlace> outputs, void* stream) {
  return core::guarded([&]() -> Result<std::span<const Tensor>> {
    state_->take(inputs, outputs);
    return state_->session->enqueue(state_->inputs, state_->outputs, stream);
  });
}

Result<Tensor> Session::allocate_pinned(DType dtype, const Shape& shape) {
  return core::guarded([&] { return state_->session->allocate_pinned(dtype, shape); });
}

int Session::threads() const { return state_->session->threads(); }
std::size_t Session::arena_bytes() const { return state_->session->arena_bytes(); }

}  // namespace api
}  // namespace hussar
