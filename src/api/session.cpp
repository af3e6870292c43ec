// Public Session over the inner one.
#include "api/core.h"

namespace hussar {
inline namespace api {

struct Session::State {
  std::unique_ptr<core::Session> session;
  std::vector<core::NamedTensor> inputs;  // kept between runs so that a run need not allocate
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
    state->session = HUSSAR_TRY(core::Session::create(plan.state().plan, inner));
    return Session(std::move(state));
  });
}

Result<std::span<const Tensor>> Session::run(std::span<const NamedTensor> inputs) {
  return core::guarded([&]() -> Result<std::span<const Tensor>> {
    state_->inputs.clear();
    for (const NamedTensor& input : inputs) state_->inputs.push_back({input.name, input.tensor});
    return state_->session->run(state_->inputs);
  });
}

int Session::threads() const { return state_->session->threads(); }
std::size_t Session::arena_bytes() const { return state_->session->arena_bytes(); }

}  // namespace api
}  // namespace hussar
