// The harness of the kernel tests.
#include "tests/kernels/kernel_case.h"

#include <cmath>
#include <cstring>

#include "backends/cpu/work_cuts.h"
#include "graph/graph.h"
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"
#include "tensor/convert.h"
#include "tests/support/allocations.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr int64_t kGuard = 256;  // bytes before and after every operand
constexpr auto kPattern = static_cast<std::byte>(0xC5);

// The memory of one operand with guards around it and the pattern everywhere that is not an element.
struct Block {
  std::vector<std::byte> bytes;
  Operand operand;
  int64_t size = 0;

  Block() = default;
  Block(DType dtype, const Shape& shape, Layout layout, int64_t gap) {
    operand.dtype = dtype;
    operand.shape = shape;
    operand.layout = layout;
    operand.pitch = (shape.rank() > 1 ? shape[1] : 1) + (layout == Layout::kChannelsLast ? gap : 0);
    int64_t elements = shape.elements();
    if (layout == Layout::kChannelsLast) elements = shape[0] * shape.elements(2, shape.rank()) * operand.pitch;
    size = elements * static_cast<int64_t>(dtype_size(dtype));
    bytes.assign(static_cast<size_t>(size + 2 * kGuard + 64), kPattern);
    auto address = reinterpret_cast<uintptr_t>(bytes.data());
    operand.data = bytes.data() + kGuard + (64 - (address + kGuard) % 64) % 64;
  }
  // Calls visit(offset in memory, index in row-major order), both in elements.
  template <class Visit>
  void for_each_element(Visit&& visit) const {
    const Shape& shape = operand.shape;
    if (operand.layout == Layout::kPlain) {
      for (int64_t i = 0; i < shape.elements(); ++i) visit(i, i);
      return;
    }
    int64_t pixels = shape.elements(2, shape.rank());
    for (int64_t n = 0; n < shape[0]; ++n) {
      for (int64_t c = 0; c < shape[1]; ++c) {
        for (int64_t p = 0; p < pixels; ++p) {
          visit((n * pixels + p) * operand.pitch + c, (n * shape[1] + c) * pixels + p);
        }
      }
    }
  }
  void fill(const Tensor& tensor) {
    size_t step = dtype_size(operand.dtype);
    for_each_element([&](int64_t offset, int64_t index) {
      std::memcpy(operand.data + offset * static_cast<int64_t>(step), tensor.raw() + index * static_cast<int64_t>(step),
                  step);
    });
  }
  Tensor contents() const {
    Tensor tensor(operand.dtype, operand.shape);
    size_t step = dtype_size(operand.dtype);
    for_each_element([&](int64_t offset, int64_t index) {
      std::memcpy(tensor.raw() + index * static_cast<int64_t>(step), operand.data + offset * static_cast<int64_t>(step),
                  step);
    });
    return tensor;
  }
  // True when the elements from this one on, of plain data, still hold the pattern.
  bool untouched_from(int64_t element) const {
    const auto first = static_cast<int64_t>(dtype_size(operand.dtype)) * element;
    return std::all_of(operand.data + first, operand.data + size, [](std::byte b) { return b == kPattern; });
  }
  // True when every byte that is not part of an element still holds the pattern.
  bool untouched_outside() const {
    std::vector<bool> inside(bytes.size(), false);
    size_t step = dtype_size(operand.dtype);
    auto first = static_cast<size_t>(operand.data - bytes.data());
    for_each_element([&](int64_t offset, int64_t) {
      for (size_t k = 0; k < step; ++k) inside[first + static_cast<size_t>(offset) * step + k] = true;
    });
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (!inside[i] && bytes[i] != kPattern) return false;
    }
    return true;
  }
};

// On a device the compiled code depends on it that a value is a slice of one with more channels.
void put_into_holder(const KernelCase& test, Graph& graph, Value* value, int64_t gap) {
  const Kernel* kernel = find_kernel(test.kernel);
  if (gap == 0 || kernel == nullptr || kernel->place == Place::kHost) return;
  Dims dims = *value->dims;
  dims[1] = dims[1] + Dim(gap);
  value->slice_of = graph.add_value(value->name + "_holder", value->dtype, std::move(dims));
  value->slice_of->layout = value->layout;
}

// The node of the case in a graph of its own.
struct Scene {
  Graph graph;
  Node* node = nullptr;
  std::vector<Tensor> expected;
  std::string error;
};

std::vector<Tensor> tensors_of(const KernelCase& test) {
  std::vector<Tensor> tensors;
  for (const Argument& argument : test.inputs) tensors.push_back(argument.tensor);
  return tensors;
}

void build(const KernelCase& test, Scene& scene) {
  std::vector<Value*> inputs, outputs;
  for (size_t i = 0; i < test.inputs.size(); ++i) {
    const Argument& argument = test.inputs[i];
    if (!argument.tensor.valid()) {
      inputs.push_back(nullptr);
      continue;
    }
    std::string name = "x" + std::to_string(i);
    const Shape& shape = argument.tensor.shape();
    Value* value = argument.constant
                       ? scene.graph.add_constant(name, argument.tensor)
                       : scene.graph.add_value(name, argument.tensor.dtype(), Dims(shape.begin(), shape.end()));
    value->layout = argument.layout;
    put_into_holder(test, scene.graph, value, argument.gap);
    if (!argument.constant) scene.graph.inputs.push_back(value);
    inputs.push_back(value);
  }
  for (size_t i = 0; i < test.outputs; ++i) {
    outputs.push_back(scene.graph.add_value("y" + std::to_string(i)));
    outputs.back()->layout = test.output_layout;
  }
  scene.node = scene.graph.add_node(test.op, "node", inputs, outputs, test.attributes);
  scene.node->program = test.program;
  scene.node->program_inputs = test.program_inputs;
  auto expected = evaluate_node(*scene.node, tensors_of(test));
  if (!expected) {
    scene.error = expected.error().message;
    // The shapes of the outputs are known all the same.
    std::vector<ValueInfo> infos;
    std::vector<Tensor> tensors = tensors_of(test);
    for (const Tensor& tensor : tensors) {
      ValueInfo info;
      if (tensor.valid()) {
        info = {tensor.dtype(), Dims(tensor.shape().begin(), tensor.shape().end()), &tensor, std::nullopt};
      }
      infos.push_back(std::move(info));
    }
    auto inferred = infer_node(
        *scene.node, infos, [] { return Dim::symbol("u"); }, nullptr);
    ASSERT_TRUE(inferred.has_value()) << scene.error;
    for (size_t i = 0; i < test.outputs; ++i) {
      Shape shape;
      for (const Dim& dim : *(*inferred)[i].dims) shape.push_back(dim.value());
      scene.expected.push_back(Tensor((*inferred)[i].dtype, shape));
    }
  } else {
    scene.expected = std::move(*expected);
  }
  for (size_t i = 0; i < test.outputs; ++i) {
    const Tensor& tensor = scene.expected[i];
    outputs[i]->dtype = tensor.dtype();
    outputs[i]->dims = Dims(tensor.shape().begin(), tensor.shape().end());
    put_into_holder(test, scene.graph, outputs[i], test.output_gap);
  }
}

const Tactic* tactic_named(const std::string& kernel) {
  for (const Tactic* tactic : all_tactics()) {
    if (tactic->kernel == kernel) return tactic;
  }
  return nullptr;
}

// Whether nothing of this type lies between two numbers.
bool are_neighbours_in_fp8(std::byte a, std::byte b) {
  auto place = [](std::byte bits) {
    const int magnitude = std::to_integer<int>(bits) & 0x7f;
    return std::to_integer<int>(bits) > 0x7f ? -magnitude : magnitude;
  };
  return std::abs(place(a) - place(b)) <= 1;
}

bool same(const Tensor& actual, const Tensor& expected, double tolerance, std::string& where, bool rounds = false,
          int64_t meant = -1) {
  if (actual.dtype() != expected.dtype() || !(actual.shape() == expected.shape())) {
    where = "dtype or shape";
    return false;
  }
  std::vector<double> a(static_cast<size_t>(actual.elements())), b(a.size());
  load_elements<double>(actual, 0, actual.elements(), a.data());
  load_elements<double>(expected, 0, expected.elements(), b.data());
  size_t step = dtype_size(actual.dtype());
  const bool are_bytes = actual.dtype() == DType::kUInt8 || actual.dtype() == DType::kInt8;
  const double least = rounds && tolerance > 0 && are_bytes ? 1 : tolerance;
  const size_t count = meant < 0 ? a.size() : static_cast<size_t>(meant);
  for (size_t i = 0; i < std::min(count, a.size()); ++i) {
    bool equal = std::memcmp(actual.raw() + i * step, expected.raw() + i * step, step) == 0 || a[i] == b[i] ||
                 (std::isnan(a[i]) && std::isnan(b[i])) ||
                 (rounds && tolerance > 0 && actual.dtype() == DType::kFloat8E4M3FN && !std::isnan(a[i] + b[i]) &&
                  are_neighbours_in_fp8(actual.raw()[i], expected.raw()[i])) ||
                 std::fabs(a[i] - b[i]) <= std::fmax(least, tolerance * std::fabs(b[i]));
    if (equal) continue;
    where = "element " + std::to_string(i) + ": " + std::to_string(a[i]) + " instead of " + std::to_string(b[i]);
    return false;
  }
  return true;
}

// Elements of an output that are compared; -1: all.
int64_t compared_elements(const KernelCase& test, const Tensor& output) {
  return test.needed_rows >= 0 ? output.elements() / test.all_rows * test.needed_rows : test.meant;
}

struct Executed {
  std::string error;
  std::vector<Block> outputs;
  int64_t allocations = 0;
};

// The device that runs a kernel, and the blocks of its operands there, with all that surrounds them.
class DeviceSide {
 public:
  explicit DeviceSide(const Kernel& kernel) {
    if (kernel.place == Place::kHost) return;
    auto device = open_device(tests::use_test_device(), 0);
    if (device) device_ = std::move(*device);
    EXPECT_TRUE(device) << device.error().message;
  }
  Device* device() const { return device_.get(); }
  // A copy with the element 0 at an address as sessions have it.
  Operand put(Block& block) {
    const auto before = static_cast<size_t>(block.operand.data - block.bytes.data());
    std::byte* memory = allocate(block.bytes.size() + 256) + (256 - before % 256) % 256;
    EXPECT_TRUE(device_->copy_in(memory, block.bytes.data(), block.bytes.size()));
    copies_.push_back({&block, memory});
    Operand operand = block.operand;
    operand.data = memory + before;
    return operand;
  }
  std::byte* allocate(size_t bytes) {
    auto memory = device_->allocate(bytes);
    EXPECT_TRUE(memory);
    memory_.emplace_back(*device_, *memory);
    return *memory;
  }
  // What the kernel is told about the rows that are needed.
  RowCount row_count_of(const KernelCase& test) {
    if (test.needed_rows < 0) return {};
    needed_rows_ = Block(DType::kInt32, {1}, Layout::kPlain, 0);
    const auto needed = static_cast<int32_t>(test.needed_rows);
    std::memcpy(needed_rows_.operand.data, &needed, sizeof(needed));
    return {put(needed_rows_).as<const int32_t>(), test.all_rows};
  }
  void fetch() {
    for (auto [block, memory] : copies_)
      EXPECT_TRUE(device_->copy_out(block->bytes.data(), memory, block->bytes.size()));
    EXPECT_TRUE(device_->wait());
  }

 private:
  std::unique_ptr<Device> device_;
  std::vector<DeviceMemory> memory_;
  std::vector<std::pair<Block*, std::byte*>> copies_;
  Block needed_rows_;
};

// Everything that a tactic needs permission for is allowed.
Target target_for(const KernelCase& test, int threads) {
  Target target{static_cast<int>(cpu::active_isa()), threads};
  target.no_fp16 = target.no_bf16 = target.no_libraries = {};
  const Kernel* kernel = find_kernel(test.kernel);
  if (kernel == nullptr || kernel->place == Place::kHost) return target;
  target.place = Place::kDevice;
  if (test.tf32) target.no_tf32 = {};
  const std::string& device = tests::use_test_device();
  target.sm = tests::is_emulated(device) ? test.emulated_sm : std::atoi(device.c_str() + std::strlen("cuda:sm_"));
  return target;
}

PlanStep step_of(const KernelCase& test, const Node& node, std::string_view configuration) {
  PlanStep step;
  step.kernel = test.kernel;
  step.op = test.op;
  step.name = "node";
  step.attributes = node.attributes;
  step.program = test.program;
  step.program_inputs = test.program_inputs;
  for (size_t i = 0; i < node.inputs.size(); ++i)
    step.inputs.push_back(node.inputs[i] != nullptr ? static_cast<int32_t>(i) : -1);
  if (!configuration.empty()) step.attributes.set(kConfigurationAttribute, std::string(configuration));
  return step;
}

void execute(const KernelCase& test, Scene& scene, int threads, Executed& done, std::string_view configuration = {}) {
  const Kernel* kernel = find_kernel(test.kernel);
  const Tactic* tactic = tactic_named(test.kernel);
  ASSERT_TRUE(kernel != nullptr && tactic != nullptr) << test.kernel;
  std::vector<Tensor> inputs = tensors_of(test);
  if (tactic->pack != nullptr) {
    Packing packing(scene.graph, *scene.node, target_for(test, threads));
    if (!configuration.empty()) scene.node->attributes.set(kConfigurationAttribute, std::string(configuration));
    Status packed = tactic->pack(packing);
    if (packed) packed = do_jobs(packing.jobs);
    ASSERT_TRUE(packed.has_value()) << packed.error().message;
    for (size_t i = 0; i < scene.node->inputs.size(); ++i) {
      if (i >= inputs.size()) inputs.emplace_back();
      const Value* value = scene.node->inputs[i];
      if (value != nullptr && value->is_constant()) inputs[i] = *value->constant;
    }
  }
  const PlanStep step = step_of(test, *scene.node, configuration);
  std::vector<Block> input_blocks;
  std::vector<Operand> input_operands, output_operands, prepared_inputs, prepared_outputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Block block;
    if (inputs[i].valid()) {
      bool given = i < test.inputs.size();
      block = Block(inputs[i].dtype(), inputs[i].shape(), given ? test.inputs[i].layout : Layout::kPlain,
                    given ? test.inputs[i].gap : 0);
      block.fill(inputs[i]);
    }
    input_blocks.push_back(std::move(block));
    input_operands.push_back(input_blocks.back().operand);
    prepared_inputs.push_back(input_operands.back());
    bool constant = scene.node->inputs[i] != nullptr && scene.node->inputs[i]->is_constant();
    if (!constant) prepared_inputs.back().data = nullptr;
  }
  for (const Tensor& tensor : scene.expected) {
    done.outputs.emplace_back(tensor.dtype(), tensor.shape(), test.output_layout, test.output_gap);
    output_operands.push_back(done.outputs.back().operand);
    prepared_outputs.push_back(output_operands.back());
    prepared_outputs.back().data = nullptr;
  }
  // Freshly allocated tensors are 64-byte aligned, as the memory of a session is.
  Tensor state(DType::kUInt8, {static_cast<int64_t>(kernel->state_bytes) + 1});
  Prepare prepare{step, prepared_inputs, prepared_outputs, threads, state.raw()};
  DeviceSide side(*kernel);
  prepare.device = side.device();
  if (const Value* code = scene.node->code) prepare.code = {code->constant->raw(), code->constant->bytes()};
  if (kernel->prepare != nullptr) {
    Status prepared = kernel->prepare(prepare);
    if (!prepared) {
      done.error = prepared.error().message;
      return;
    }
  }
  Tensor scratch(DType::kUInt8, {static_cast<int64_t>(prepare.scratch_bytes) + 64});
  std::memset(scratch.raw(), 0xC5, scratch.bytes());
  ThreadPool::Lease lease(ThreadPool::shared(), threads);
  Run run{step, input_operands, output_operands, state.raw(), scratch.raw(), lease};
  if (side.device() != nullptr) {
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].valid()) input_operands[i] = side.put(input_blocks[i]);
    for (size_t i = 0; i < done.outputs.size(); ++i) output_operands[i] = side.put(done.outputs[i]);
    run.device = side.device();
    run.scratch = side.allocate(prepare.scratch_bytes);
    run.row_count = side.row_count_of(test);
  }
  int64_t before = tests::allocation_count();
  Status status = kernel->run(run);
  // The emulated device allocates.
  if (side.device() == nullptr) done.allocations = tests::allocation_count() - before;
  if (!status) done.error = status.error().message;
  if (side.device() != nullptr) side.fetch();
  for (size_t i = 0; i < 64; ++i) {
    ASSERT_EQ(static_cast<int>(scratch.raw()[prepare.scratch_bytes + i]), 0xC5) << "wrote beyond the scratch";
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::string where;
    if (!inputs[i].valid()) continue;
    ASSERT_TRUE(same(input_blocks[i].contents(), inputs[i], 0, where)) << "changed input " << i;
  }
}

std::string describe(const KernelCase& test, const Scene& scene, int threads) {
  Problem problem{*scene.node, target_for(test, threads)};
  return test.kernel + " on " + problem.to_string() + ", " + cpu::isa_name(cpu::active_isa()) + ", " +
         std::to_string(threads) + " threads";
}

}  // namespace

// In every configuration that there is, offered for work of this size or not, the kernel gives the same bits.
static void expect_configurations_agree(const KernelCase& test, const std::vector<Tensor>& usual) {
  for (const cpu::NamedCut& row : cpu::work_cuts()) {
    Scene scene;
    build(test, scene);
    SCOPED_TRACE(describe(test, scene, 2) + ", " + std::string(row.name));
    Executed done;
    execute(test, scene, 2, done, row.name);
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_EQ(done.error, "");
    EXPECT_EQ(done.allocations, 0);
    for (size_t i = 0; i < test.outputs; ++i) {
      std::string where;
      ASSERT_TRUE(same(done.outputs[i].contents(), usual[i], 0, where)) << "output " << i << ", " << where;
      ASSERT_TRUE(done.outputs[i].untouched_outside()) << "wrote outside of output " << i;
    }
  }
}

// On a device a configuration is other code: it need not give the same bits.
static void expect_device_configurations_agree(const KernelCase& test) {
  Scene first;
  build(test, first);
  const Tactic& tactic = *tactic_named(test.kernel);
  for (const Configuration& configuration : tactic.configurations(Problem{*first.node, target_for(test, 1)})) {
    Scene scene;
    build(test, scene);
    SCOPED_TRACE(describe(test, scene, 1) + ", " + std::string(configuration.name));
    Executed done;
    execute(test, scene, 1, done, configuration.name);
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_EQ(done.error, "");
    for (size_t i = 0; i < test.outputs; ++i) {
      std::string where;
      ASSERT_TRUE(same(done.outputs[i].contents(), scene.expected[i], test.tolerance, where, true,
                       compared_elements(test, scene.expected[i])))
          << "output " << i << ", " << where;
      ASSERT_TRUE(done.outputs[i].untouched_outside()) << "wrote outside of output " << i;
    }
  }
}

void expect_kernel_agrees(const KernelCase& test) {
  std::vector<Tensor> alone;  // the outputs on one thread
  const bool on_device = target_for(test, 1).place == Place::kDevice;
  for (int threads : on_device ? std::vector<int>{1} : std::vector<int>{1, 2}) {
    Scene scene;
    build(test, scene);
    if (testing::Test::HasFatalFailure()) return;
    SCOPED_TRACE(describe(test, scene, threads));
    ASSERT_EQ(scene.error, "");
    const Tactic* tactic = tactic_named(test.kernel);
    ASSERT_NE(tactic, nullptr);
    Problem problem{*scene.node, target_for(test, threads)};
    Refusal refusal = tactic->supports(problem);
    ASSERT_FALSE(refusal.has_value()) << *refusal;
    EXPECT_GT(tactic->cost(problem), 0);
    Executed done;
    execute(test, scene, threads, done);
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_EQ(done.error, "");
    EXPECT_EQ(done.allocations, 0);
    // The matrix unit's products keep 16 bits (tile.h).
    const double tolerance = test.tolerance * (cpu::active_isa() == cpu::Isa::kAmx ? 20 : 1);
    for (size_t i = 0; i < test.outputs; ++i) {
      std::string where;
      const int64_t compared = compared_elements(test, scene.expected[i]);
      ASSERT_TRUE(same(done.outputs[i].contents(), scene.expected[i], tolerance, where, on_device, compared))
          << "output " << i << ", " << where;
      if (test.leaves_other_rows) ASSERT_TRUE(done.outputs[i].untouched_from(compared)) << "computed other rows";
      ASSERT_TRUE(done.outputs[i].untouched_outside()) << "wrote outside of output " << i;
      if (threads == 1) {
        alone.push_back(done.outputs[i].contents());
      } else {
        ASSERT_TRUE(same(done.outputs[i].contents(), alone[i], 0, where))
            << "another result than on one thread: output " << i << ", " << where;
      }
    }
  }
  if (tactic_named(test.kernel)->configurations == nullptr || test.only_usual) return;
  if (on_device)
    expect_device_configurations_agree(test);
  else
    expect_configurations_agree(test, alone);
}

std::optional<std::string> refusal_of(const KernelCase& test) {
  Scene scene;
  build(test, scene);
  const Tactic* tactic = tactic_named(test.kernel);
  if (tactic == nullptr) return "no such kernel";
  return tactic->supports(Problem{*scene.node, target_for(test, 1)});
}

void pick_layouts(KernelCase& test, bool keeps_rank) {
  if (test.inputs[0].tensor.shape().rank() < 3 || pick(0, 1) != 0) return;
  test.inputs[0].layout = Layout::kChannelsLast;
  test.inputs[0].gap = pick(0, 4);
  if (!keeps_rank || pick(0, 1) != 0) return;
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = pick(0, 4);
}

std::string source_of(const KernelCase& test, int sm) {
  Scene scene;
  build(test, scene);
  Target target = target_for(test, 1);
  target.sm = sm;
  Packing packing(scene.graph, *scene.node, target);
  const Tactic* tactic = tactic_named(test.kernel);
  EXPECT_TRUE(tactic != nullptr && !tactic->supports(Problem{*scene.node, target}) && tactic->pack(packing)) << test.op;
  EXPECT_EQ(packing.jobs.size(), 1U);
  return packing.jobs.empty() ? "" : packing.jobs[0].key;
}

std::string run_error_of(const KernelCase& test) {
  Scene scene;
  build(test, scene);
  Executed done;
  execute(test, scene, 2, done);
  return done.error;
}

Tensor random_tensor(DType dtype, const Shape& shape, double low, double high) {
  Tensor tensor(dtype, shape);
  auto count = static_cast<size_t>(shape.elements());
  std::vector<double> values(count);
  if (is_floating(dtype)) {
    std::uniform_real_distribution<double> real(low, high);
    for (double& value : values) value = real(cpu::random_engine());
  } else {
    std::uniform_int_distribution<int64_t> whole(static_cast<int64_t>(low), static_cast<int64_t>(high));
    for (double& value : values) value = static_cast<double>(whole(cpu::random_engine()));
  }
  store_elements<double>(tensor, 0, tensor.elements(), values.data());
  return tensor;
}

Tensor integers(const Ints& values, DType dtype) {
  Tensor tensor(dtype, {static_cast<int64_t>(values.size())});
  store_elements<int64_t>(tensor, 0, tensor.elements(), values.data());
  return tensor;
}

Tensor integers(std::initializer_list<int64_t> values, DType dtype) { return integers(Ints(values), dtype); }

Attributes attributes(std::initializer_list<std::pair<const char*, Attribute>> list) {
  Attributes result;
  for (const auto& [name, value] : list) result.set(name, value);
  return result;
}

}  // namespace hussar
