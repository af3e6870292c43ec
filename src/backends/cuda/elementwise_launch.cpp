// Loops as parameters of device/elementwise.cuh.
#include "backends/cuda/elementwise_launch.h"

#include "backends/cuda/program_source.h"

namespace hussar::cuda {

std::string memory_type(DType dtype) {
  switch (dtype) {
    case DType::kInt8: return "signed char";
    case DType::kUInt8: return "unsigned char";
    case DType::kBool: return "bool";
    case DType::kInt16: return "short";
    case DType::kUInt16: return "unsigned short";
    case DType::kInt32: return "int";
    case DType::kUInt32: return "unsigned int";
    case DType::kInt64: return "long long";
    default: return type_name(dtype);
  }
}

const char* register_type(DType dtype) { return is_float(dtype) ? "float" : "long long"; }

void define_loops(const LoopNest& nest, int vector, std::string_view attribute, Node& node, Defines& defines) {
  node.attributes.set(attribute, Ints{nest.rank, vector});
  defines.set("RANK", nest.rank).set("VECTOR", vector).set("INPUTS", nest.tensors - 1);
}

Status prepare_elementwise(const Prepare& prepare, const LoopNest& nest, std::string_view attribute,
                           ElementwiseLaunch& launch) {
  const Ints loops = prepare.step.attributes.get_ints(attribute);
  const bool fits = loops.size() == 2 && loops[0] >= nest.rank && loops[0] <= kMaxRank && loops[1] >= 1 &&
                    nest.vector() % loops[1] == 0;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  launch = ElementwiseLaunch{};
  launch.vector = static_cast<int>(loops[1]);
  // Loops of one turn in front of the others, so that there are as many as in the code.
  const int missing = static_cast<int>(loops[0]) - nest.rank;
  launch.nest.rank = static_cast<int>(loops[0]);
  launch.nest.tensors = nest.tensors;
  for (int axis = 0; axis < launch.nest.rank; ++axis) {
    launch.nest.dims[axis] = axis < missing ? 1 : nest.dims[axis - missing];
    for (int t = 0; t < nest.tensors; ++t) {
      launch.nest.strides[t][axis] = axis < missing ? 0 : nest.strides[t][axis - missing];
    }
  }
  launch.meaning = byte_meaning(prepare.step.attributes);
  launch.is_dense = true;
  for (int64_t axis = launch.nest.rank - 1, stride = 1; axis >= 0; --axis) {
    launch.is_dense = launch.is_dense && (launch.nest.dims[axis] == 1 || launch.nest.strides[0][axis] == stride);
    stride *= launch.nest.dims[axis];
  }
  launch.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "elementwise"));
  launch.launch.threads = 256;
  launch.launch.grid[0] = blocks_for(nest.elements() / launch.vector, 256);
  return {};
}

Status launch_elementwise(const Run& run, const ElementwiseLaunch& launch, std::span<const std::byte* const> inputs,
                          std::byte* output) {
  const LoopNest& nest = launch.nest;
  const int inner = nest.rank - 1;
  Words words;
  words.put(nest.elements() / launch.vector);
  for (int axis = 0; axis < nest.rank; ++axis) {
    words.put(axis == inner ? nest.dims[axis] / launch.vector : nest.dims[axis]);
  }
  auto put_strides = [&](int t) {
    for (int axis = 0; axis < nest.rank; ++axis) words.put(nest.strides[t][axis] * (axis == inner ? launch.vector : 1));
  };
  for (int t = 1; t < nest.tensors; ++t) put_strides(t);
  put_strides(0);
  for (const std::byte* input : inputs) words.put(input);
  words.put(output);
  // Where the units follow each other in memory, those of a row do too.
  const bool counts = run.row_count.rows > 0 && launch.is_dense;
  words.put(counts ? run.row_count.count : nullptr);
  words.put(counts ? nest.elements() / run.row_count.rows : 0);
  launch.meaning.put(words);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(launch.launch, arguments);
}

}  // namespace hussar::cuda
