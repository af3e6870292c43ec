// Session: runs a Plan.
//
//   auto plan = hussar::Plan::load("model.plan");
//   auto session = hussar::Session::create(*plan);
//   auto outputs = session->run({{"x", input}});   // Result<std::span<const Tensor>>, in the order of plan.outputs()
//
// A Session serves one thread at a time; sessions in different threads may share a Plan and run concurrently. run()
// allocates nothing once it has seen the shapes of its inputs, except in steps by reference code (`hussar inspect`
// counts them), in control flow, and for outputs whose shape only the data decides. It keeps what it prepared for the
// last eight combinations of input shapes; on a GPU, memory moves less when the largest come first.
//
// Tensors on a GPU. A session of a plan for GPUs takes inputs and leaves outputs in the memory of its GPU as well as on
// the host, without a copy over the bus:
//
//   hussar::Tensor x = hussar::Tensor::view(hussar::DType::kFloat32, {8, 3, 224, 224}, device_pointer);
//   auto outputs = session->run({{"x", x, hussar::Place::kDevice}}, {{"y", hussar::Place::kDevice, result, bytes}});
//
// - A device pointer is one of the session's GPU (SessionOptions::device) in its primary context, as the CUDA runtime,
//   PyTorch and CuPy have them. What it points to is dense and row-major, of any alignment. Managed memory may be
//   given as either place.
// - Inputs are copied within the GPU before the first kernel, outputs behind the last one, since a recorded graph knows
//   no other addresses than its own: that takes as long as to read and write the bytes once. An output in memory of the
//   session (OutputPlace::data is null) costs no copy.
// - Memory of the caller must stay, and inputs must not change, until the run is done. One buffer may be input and
//   output of the same run.
// - run() returns when all is done. It does not know who writes the inputs: that work must be done when it is called.
//   enqueue() orders itself behind and before the work of a stream instead.
// - The calling thread is left with the GPU's primary context as its current one.
#pragma once
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

#include "hussar/plan.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {
inline namespace api {

struct SessionOptions {
  int threads = 0;  // 0: as the plan was compiled for
  int device = 0;   // of plans for GPUs: which, as the driver counts them
};

// A tensor under the name that the model gives it. The name is read during the call only.
struct NamedTensor {
  std::string_view name;
  Tensor tensor;
  Place place = Place::kHost;  // kDevice: the tensor views memory of the session's GPU
};

// Where a run shall leave an output. Outputs that nobody asks for come in memory of the session on the host.
struct OutputPlace {
  std::string_view name;
  Place place = Place::kHost;
  void* data = nullptr;   // memory of the caller there; null: the session's
  std::size_t bytes = 0;  // that the caller has there: as many as the output takes, or more
};

class Session {
 public:
  static Result<Session> create(const Plan& plan, const SessionOptions& options = {});
  ~Session();
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;

  // inputs: every input of the plan exactly once, in any order. The outputs, in the order of Plan::outputs(), view
  // memory of the session that stays valid until its next run; Tensor::clone() keeps one longer.
  // kUsage: wrong names, dtypes or shapes; the message says what the plan takes. Also when a tensor is not where it is
  // said to be, a place is the GPU's and the plan the CPU's, or the caller's memory is too small for an output.
  Result<std::span<const Tensor>> run(std::span<const NamedTensor> inputs, std::span<const OutputPlace> outputs = {});
  Result<std::span<const Tensor>> run(std::initializer_list<NamedTensor> inputs,
                                      std::initializer_list<OutputPlace> outputs = {}) {
    return run(std::span<const NamedTensor>(inputs.begin(), inputs.size()),
               std::span<const OutputPlace>(outputs.begin(), outputs.size()));
  }

  // The same as a piece of work of `stream`, a CUstream (or cudaStream_t) of the session's GPU; null: the default one.
  // What the stream was given before is done before, what it is given later is done after, and enqueue() itself waits
  // for neither, except with shapes that are new to the session, where the host has steps of its own to do, and for
  // outputs in memory of the host that is not pinned. The outputs are there when the stream has got there; those in
  // memory of the session must be used by work of the same stream, or before the session's next run. The stream must
  // not be capturing. Plans for the CPU have no stream: kUsage.
  Result<std::span<const Tensor>> enqueue(std::span<const NamedTensor> inputs, std::span<const OutputPlace> outputs,
                                          void* stream);

  // A tensor of zeros in pinned memory of the host, which a GPU copies at the speed of the bus and while the host does
  // something else; on plans for the CPU, any tensor. It may outlive the session. Outputs on the host, where they are
  // memory of the session, are pinned as well.
  Result<Tensor> allocate_pinned(DType dtype, const Shape& shape);

  int threads() const;
  // Bytes of working memory for the shapes of the latest run.
  std::size_t arena_bytes() const;

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace api
}  // namespace hussar
