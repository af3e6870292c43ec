// Tensors that lie on the device: in and out, beside tensors of the host, on streams of the caller.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cuda/queue.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// A program that has data on the device: memory, and a stream of its own.
class Caller {
 public:
  explicit Caller(int index = 0) {
    auto device = open_device(use_test_device(), index);
    EXPECT_TRUE(device) << device.error().message;
    device_ = std::move(*device);
  }
  ~Caller() { EXPECT_TRUE(device_->wait()); }
  // Not an aligned address: what is within other memory has none.
  void* allocate(size_t bytes) {
    auto memory = device_->allocate(bytes + 4);
    EXPECT_TRUE(memory) << memory.error().message;
    memory_.emplace_back(*device_, *memory);
    return *memory + 4;
  }
  // Enqueued on the caller's stream.
  Tensor send(const Tensor& tensor) {
    void* there = allocate(tensor.bytes());
    EXPECT_TRUE(device_->copy_in(static_cast<std::byte*>(there), tensor.raw(), tensor.bytes()));
    return Tensor::view(tensor.dtype(), tensor.shape(), there);
  }
  void fetch(const void* from, Tensor& to) {
    EXPECT_TRUE(device_->copy_out(to.raw(), static_cast<const std::byte*>(from), to.bytes()));
  }
  void wait() { EXPECT_TRUE(device_->wait()); }
  void* stream() { return cuda::queue_of(device_.get()).stream(); }

 private:
  std::unique_ptr<Device> device_;
  std::vector<DeviceMemory> memory_;
};

struct Case {
  std::shared_ptr<const Plan> plan;
  std::unique_ptr<Session> session, other;  // the other one has tensors of the host only
  std::vector<Tensor> inputs;

  explicit Case(const Message& model, uint32_t seed = 1) {
    auto built = build(model.bytes(), for_device());
    EXPECT_TRUE(built) << built.error().message;
    plan = *built;
    session = *Session::create(plan);
    other = *Session::create(plan);
    inputs = *make_inputs(*plan, seed, 3, 100000);
  }
  const std::string& input(size_t index) const { return plan->graph.values[plan->graph.inputs[index]].name; }
  const std::string& output(size_t index) const { return plan->graph.values[plan->graph.outputs[index]].name; }
  std::vector<Tensor> expected() const {
    std::vector<Tensor> copies;
    auto outputs = other->run_in_order(inputs);
    EXPECT_TRUE(outputs) << outputs.error().message;
    for (const Tensor& output : *outputs) copies.push_back(output.clone());
    return copies;
  }
};

void expect_same(const Tensor& actual, const Tensor& expected) {
  ASSERT_EQ(actual.shape(), expected.shape());
  EXPECT_EQ(std::memcmp(actual.raw(), expected.raw(), expected.bytes()), 0);
}

// From the first run, which records nothing, to the third, which replays.
TEST(CudaTensors, LieOnTheDevice) {
  for (const Message& model : {conv_model(), dense_model(), host_between_model(), settled_model(), identity_model()}) {
    Case c(model);
    const Tensor expected = c.expected()[0];
    Caller caller;
    const Tensor x = caller.send(c.inputs[0]);
    void* y = caller.allocate(expected.bytes());
    caller.wait();
    for (int run = 0; run < 3; ++run) {
      const std::vector<NamedTensor> inputs = {{c.input(0), x, Place::kDevice}};
      // Into the caller's memory, into the session's, and to the host.
      const std::vector<OutputPlace> into = {{c.output(0), Place::kDevice, y, expected.bytes()}};
      auto outputs = c.session->run(inputs, into);
      ASSERT_TRUE(outputs) << outputs.error().message;
      EXPECT_EQ((*outputs)[0].raw(), y);
      Tensor here(expected.dtype(), expected.shape());
      caller.fetch(y, here);
      caller.wait();
      expect_same(here, expected);
      const std::vector<OutputPlace> borrowed = {{c.output(0), Place::kDevice}};
      outputs = c.session->run(inputs, borrowed);
      ASSERT_TRUE(outputs) << outputs.error().message;
      EXPECT_EQ((*outputs)[0].shape(), expected.shape());
      std::memset(here.raw(), 0, here.bytes());
      caller.fetch((*outputs)[0].raw(), here);
      caller.wait();
      expect_same(here, expected);
      outputs = c.session->run(inputs);
      ASSERT_TRUE(outputs) << outputs.error().message;
      expect_same((*outputs)[0], expected);
    }
  }
}

// What is on the device stays there.
TEST(CudaTensors, AreNotCopiedOverTheBus) {
  if (!is_emulated(use_test_device())) GTEST_SKIP() << "only the emulated device counts";
  for (const Message& model : {conv_model(), settled_model()}) {
    Case c(model);
    const Tensor expected = c.expected()[0];
    Caller caller;
    const Tensor x = caller.send(c.inputs[0]);
    caller.wait();
    const std::vector<NamedTensor> inputs = {{c.input(0), x, Place::kDevice}};
    const std::vector<OutputPlace> outputs = {{c.output(0), Place::kDevice}};
    for (int run = 0; run < 3; ++run) {
      const DeviceCounts before = device_counts();
      ASSERT_TRUE(c.session->run(inputs, outputs));
      if (run == 0) continue;  // steps that depend on shapes alone
      EXPECT_EQ(device_counts().bytes_in, before.bytes_in);
      EXPECT_EQ(device_counts().bytes_out, before.bytes_out);
    }
  }
}

// Neither side waits: the caller fills the input, runs, changes the input, and runs again before anything is done.
TEST(CudaTensors, RunBetweenWorkOfAStream) {
  for (const Message& model : {conv_model(), host_between_model()}) {
    Case c(model);
    std::vector<Tensor> samples, expected;
    for (uint32_t seed = 1; seed <= 4; ++seed) {
      c.inputs = *make_inputs(*c.plan, seed, 3, 100000);
      samples.push_back(c.inputs[0].clone());
      expected.push_back(c.expected()[0]);
    }
    Caller caller;
    void* y = caller.allocate(expected[0].bytes());
    std::vector<Tensor> results;
    for (size_t i = 0; i < samples.size(); ++i) {
      results.emplace_back(expected[i].dtype(), expected[i].shape());
      auto pinned = c.session->allocate_pinned(samples[i].dtype(), samples[i].shape());
      ASSERT_TRUE(pinned) << pinned.error().message;
      std::memcpy(pinned->raw(), samples[i].raw(), samples[i].bytes());
      samples[i] = *pinned;
    }
    for (size_t i = 0; i < samples.size(); ++i) {
      caller.fetch(y, results[i > 0 ? i - 1 : 0]);  // before the run overwrites it
      const std::vector<NamedTensor> inputs = {{c.input(0), samples[i]}};
      const std::vector<OutputPlace> outputs = {{c.output(0), Place::kDevice, y, expected[i].bytes()}};
      auto enqueued = c.session->enqueue(inputs, outputs, caller.stream());
      ASSERT_TRUE(enqueued) << enqueued.error().message;
    }
    caller.fetch(y, results.back());
    caller.wait();
    for (size_t i = 0; i < samples.size(); ++i) expect_same(results[i], expected[i]);
  }
}

// An input in the memory of the device that is written right before, by the same stream.
TEST(CudaTensors, FollowTheirWriter) {
  Case c(dense_model());
  const std::vector<Tensor> expected = c.expected();
  for (int run = 0; run < 3; ++run) {
    Caller caller;
    const Tensor x = caller.send(c.inputs[0]);
    void* y = caller.allocate(expected[0].bytes());
    const std::vector<NamedTensor> inputs = {{c.input(0), x, Place::kDevice}};
    const std::vector<OutputPlace> outputs = {{c.output(0), Place::kDevice, y, expected[0].bytes()}};
    ASSERT_TRUE(c.session->enqueue(inputs, outputs, caller.stream()));
    Tensor here(expected[0].dtype(), expected[0].shape());
    caller.fetch(y, here);
    caller.wait();
    expect_same(here, expected[0]);
  }
}

TEST(CudaTensors, GoToMemoryOfTheHost) {
  Case c(conv_model());
  const Tensor expected = c.expected()[0];
  auto x = c.session->allocate_pinned(c.inputs[0].dtype(), c.inputs[0].shape());
  auto y = c.session->allocate_pinned(expected.dtype(), expected.shape());
  ASSERT_TRUE(x && y);
  for (int64_t i = 0; i < y->elements(); ++i) ASSERT_EQ(y->data<float>()[i], 0);
  std::memcpy(x->raw(), c.inputs[0].raw(), x->bytes());
  const std::vector<NamedTensor> inputs = {{c.input(0), *x}};
  const std::vector<OutputPlace> outputs = {{c.output(0), Place::kHost, y->raw(), y->bytes()}};
  auto results = c.session->run(inputs, outputs);
  ASSERT_TRUE(results) << results.error().message;
  EXPECT_EQ((*results)[0].raw(), y->raw());
  expect_same(*y, expected);
  auto device = open_device(use_test_device(), 0);
  ASSERT_TRUE(device);
  EXPECT_TRUE((*device)->residence(x->raw()).is_pinned);
  EXPECT_FALSE((*device)->residence(expected.raw()).is_pinned);
  // The session's own outputs are pinned, too, and tensors outlive it.
  results = c.session->run(inputs);
  ASSERT_TRUE(results);
  EXPECT_TRUE((*device)->residence((*results)[0].raw()).is_pinned);
  c.session.reset();
  expect_same(*y, expected);
}

void expect_refused(const Result<std::span<const Tensor>>& result, std::string_view text) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUsage);
  EXPECT_NE(result.error().message.find(text), std::string::npos) << result.error().message;
}

TEST(CudaTensors, AreRefusedWhereTheyAreNot) {
  Case c(conv_model());
  const size_t bytes = c.expected()[0].bytes();
  const std::string input = c.input(0), output = c.output(0);
  Caller caller;
  const Tensor x = caller.send(c.inputs[0]);
  void* y = caller.allocate(bytes);
  caller.wait();
  using Inputs = std::vector<NamedTensor>;
  using Outputs = std::vector<OutputPlace>;
  expect_refused(c.session->run(Inputs{{input, c.inputs[0], Place::kDevice}}), "none of a GPU's memory");
  expect_refused(c.session->run(Inputs{{input, x}}), "given as a tensor of the host");
  const Inputs good = {{input, x, Place::kDevice}};
  expect_refused(c.session->run(good, Outputs{{output, Place::kHost, y, bytes}}), "given as a tensor of the host");
  Tensor here(DType::kUInt8, {static_cast<int64_t>(bytes)});
  expect_refused(c.session->run(good, Outputs{{output, Place::kDevice, here.raw(), bytes}}), "none of a GPU's memory");
  expect_refused(c.session->run(good, Outputs{{output, Place::kDevice, y, bytes - 1}}), "there is room for");
  expect_refused(c.session->run(good, Outputs{{"nobody", Place::kDevice}}), "there is no output 'nobody'");
  EXPECT_TRUE(c.session->run(good, Outputs{{output, Place::kDevice, y, bytes}}));
  if (!open_device(use_test_device(), 1)) return;
  Caller elsewhere(1);
  const Tensor far = elsewhere.send(c.inputs[0]);
  elsewhere.wait();
  expect_refused(c.session->run(Inputs{{input, far, Place::kDevice}}), "in the memory of GPU 1, the session runs on");
}

TEST(CudaTensors, AreRefusedByPlansForTheCpu) {
  auto plan = build(conv_model().bytes());
  ASSERT_TRUE(plan);
  auto session = Session::create(*plan);
  ASSERT_TRUE(session);
  const std::vector<Tensor> x = *make_inputs(**plan, 1, 3, 100000);
  const PlanGraph& graph = (*plan)->graph;
  const std::string input = graph.values[graph.inputs[0]].name, output = graph.values[graph.outputs[0]].name;
  using Inputs = std::vector<NamedTensor>;
  using Outputs = std::vector<OutputPlace>;
  expect_refused((*session)->run(Inputs{{input, x[0], Place::kDevice}}), "the plan was built for the CPU");
  expect_refused((*session)->run(Inputs{{input, x[0]}}, Outputs{{output, Place::kDevice}}), "was built for the CPU");
  expect_refused((*session)->enqueue(Inputs{{input, x[0]}}, {}, nullptr), "has no stream");
  // Outputs may go to memory of the caller there, too.
  auto usual = (*session)->run(Inputs{{input, x[0]}});
  ASSERT_TRUE(usual);
  const Tensor expected = (*usual)[0].clone();
  auto y = (*session)->allocate_pinned(expected.dtype(), expected.shape());
  ASSERT_TRUE(y);
  auto results = (*session)->run(Inputs{{input, x[0]}}, Outputs{{output, Place::kHost, y->raw(), y->bytes()}});
  ASSERT_TRUE(results) << results.error().message;
  expect_same(*y, expected);
  expect_refused((*session)->run(Inputs{{input, x[0]}}, Outputs{{output, Place::kHost, y->raw(), 3}}), "room for 3");
}

}  // namespace
}  // namespace hussar::tests
