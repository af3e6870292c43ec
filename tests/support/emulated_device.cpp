// Compiling, loading and launching kernels on the CPU.
#include "tests/support/emulated_device.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <regex>

#include "backends/cuda/emulation.h"
#include "backends/cuda/queue.h"
#include "base/error.h"
#include "tests/support/emulated_machine.h"
#include "tests/support/emulated_stream.h"
#include "tests/support/folder.h"

namespace hussar::tests {
namespace {

using hussar_emulation::Entry;
using hussar_emulation::Machine;

// ---- the threads of a block that wait for each other
//
// ucontext begins a thread on a stack of its own; setjmp switches between those that have begun, as swapcontext would
// ask the kernel for the mask of signals every time: that was most of the time of tests of reductions.

constexpr size_t kStackBytes = size_t{1} << 17, kMostThreads = hussar_emulation::kMostThreads, kWarp = 32;

class Fibers {
 public:
  // Runs `body` once per thread of `blocks` blocks, of which the first is machine.block; false: the threads wait for
  // each other for ever.
  bool run(Machine& machine, unsigned blocks, unsigned threads, const std::function<void()>& body) {
    if (stacks_ == nullptr) {
      void* memory = ::mmap(nullptr, kStackBytes * kMostThreads, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      stacks_ = static_cast<char*>(memory);
      fibers_.resize(kMostThreads);
    }
    body_ = &body;
    threads_ = threads;
    const unsigned all = blocks * threads, first_block = machine.block.x;
    std::fill_n(&machine.meetings[0][0], std::size(machine.meetings) * std::size(machine.meetings[0]),
                hussar_emulation::NumberedBarrier{});
    cluster_ = {all, 0, 0};
    for (unsigned block = 0; block < blocks; ++block) blocks_[block] = {threads, 0, 0};
    for (size_t warp = 0; warp * kWarp < all; ++warp) {
      warps_[warp] = {static_cast<unsigned>(std::min<size_t>(kWarp, all - warp * kWarp)), 0, 0};
    }
    for (unsigned i = 0; i < all; ++i) start(fibers_[i], i);
    size_t left = all;
    while (left > 0) {
      bool progressed = false;
      for (current_ = 0; current_ < all; ++current_) {
        Fiber& fiber = fibers_[current_];
        if (fiber.is_done || (fiber.waits_at != nullptr && fiber.waits_at->round == fiber.round)) continue;
        if (fiber.ready != nullptr && !fiber.ready(fiber.what)) continue;
        machine.number = static_cast<unsigned>(current_);
        machine.thread.x = machine.number % threads;
        machine.rank = machine.number / threads;
        machine.block.x = first_block + machine.rank;
        progressed = true;
        go_on(fiber);
        if (fiber.is_done) --left;
      }
      if (!progressed) return false;
    }
    return true;
  }
  void wait(int meeting) {
    Barrier& barrier = meeting == hussar_emulation::kWarp    ? warps_[current_ / kWarp]
                       : meeting == hussar_emulation::kBlock ? blocks_[current_ / threads_]
                                                             : cluster_;
    ++barrier.arrived;
    if (release(barrier)) return;
    Fiber& fiber = fibers_[current_];
    fiber.waits_at = &barrier;
    fiber.round = barrier.round;
    pause(fiber);
    fiber.waits_at = nullptr;
  }
  void wait_until(bool (*ready)(const void*), const void* what) {
    if (ready(what)) return;
    Fiber& fiber = fibers_[current_];
    fiber.ready = ready;
    fiber.what = what;
    pause(fiber);
    fiber.ready = nullptr;
  }

 private:
  struct Barrier {
    unsigned alive, arrived;
    unsigned long round;
  };
  struct Fiber {
    ucontext_t begin;
    jmp_buf place;
    bool has_begun = false;
    bool is_idle = false;  // waits for the next body
    Barrier* waits_at = nullptr;
    unsigned long round = 0;
    bool (*ready)(const void*) = nullptr;  // and what it asks
    const void* what = nullptr;
    bool is_done = false;
  };

  static bool release(Barrier& barrier) {
    if (barrier.alive == 0 || barrier.arrived < barrier.alive) return false;
    barrier.arrived = 0;
    ++barrier.round;
    return true;
  }
  void start(Fiber& fiber, size_t index) {
    fiber.waits_at = nullptr;
    fiber.ready = nullptr;
    fiber.is_done = false;
    if (fiber.is_idle) return;
    fiber.has_begun = false;
    ::getcontext(&fiber.begin);
    fiber.begin.uc_stack.ss_sp = stacks_ + index * kStackBytes;
    fiber.begin.uc_stack.ss_size = kStackBytes;
    fiber.begin.uc_link = nullptr;
    ::makecontext(&fiber.begin, &Fibers::enter, 0);
  }
  // Returns when the fiber pauses.
  void go_on(Fiber& fiber) {
    if (_setjmp(scheduler_) != 0) return;
    fiber.is_idle = false;
    if (fiber.has_begun) ::_longjmp(fiber.place, 1);
    fiber.has_begun = true;
    ::setcontext(&fiber.begin);
  }
  void pause(Fiber& fiber) {
    if (_setjmp(fiber.place) == 0) ::_longjmp(scheduler_, 1);
  }
  static void enter();

  const std::function<void()>* body_ = nullptr;
  std::vector<Fiber> fibers_;
  Barrier cluster_{}, blocks_[hussar_emulation::kMostBlocks]{}, warps_[kMostThreads / kWarp]{};
  jmp_buf scheduler_{};
  char* stacks_ = nullptr;
  size_t current_ = 0, threads_ = 0;
};

thread_local Fibers fibers;

void Fibers::enter() {
  while (true) {
    (*fibers.body_)();
    Fiber& fiber = fibers.fibers_[fibers.current_];
    fiber.is_done = fiber.is_idle = true;
    for (Barrier* barrier : {&fibers.warps_[fibers.current_ / kWarp],
                             &fibers.blocks_[fibers.current_ / fibers.threads_], &fibers.cluster_}) {
      --barrier->alive;
      release(*barrier);
    }
    fibers.pause(fiber);
  }
}

// ---- compiling

// What a launch needs beside the entry; lies behind the code.
struct Function {
  Entry* entry;
  bool waits;        // threads of a block wait for each other
  unsigned cluster;  // blocks that do
  unsigned shared_bytes;
};

std::string host_source(std::string source) {
  // Dynamic shared memory: as much as a block can have.
  static const std::regex dynamic(R"(extern __shared__ ((?:alignas|__align__)\(\d+\) )?([\w ]+?) (\w+)\[\];)");
  source = std::regex_replace(source, dynamic, "$2* const $3 = reinterpret_cast<$2*>(hussar_own_shared());");
  static const std::regex kernel(
      R"(__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(?:PRODUCT_CLUSTER\s+)?(\w+)\()");
  std::string entries;
  for (std::sregex_iterator it(source.begin(), source.end(), kernel), end; it != end; ++it) {
    entries += "HUSSAR_ENTRY(" + (*it)[1].str() + ")\n";
  }
  const bool of_warps = source.find("hussar_load_matrices") != std::string::npos;
  const bool of_hopper = source.find("hussar_wgmma") != std::string::npos;
  const std::string header = of_hopper ? "emulated_hopper.h" : of_warps ? "emulated_warp.h" : "emulated_cuda.h";
  const bool waits = std::regex_search(source, std::regex("__sync|_sync\\("));
  if (of_hopper)
    entries +=
        "HUSSAR_VISIBLE const unsigned hussar_cluster;\nconst unsigned hussar_cluster = PRODUCT_SHARERS * "
        "PRODUCT_SPLIT;\n";
  return "#include \"" HUSSAR_TESTS "/support/" + header + "\"\n#line 1 \"hussar.cu\"\n" + source + entries +
         "HUSSAR_VISIBLE const bool hussar_waits;\nconst bool hussar_waits = " + (waits ? "true" : "false") + ";\n";
}

std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A vector access that is not aligned is a fault on a GPU: here, too.
constexpr const char* kCommand = HUSSAR_TEST_COMPILER
    " -std=c++17 -O1 -w -shared -fPIC -fvisibility=hidden -fno-strict-aliasing -fwrapv -ffp-contract=off "
    "-fsanitize=alignment -fsanitize-undefined-trap-on-error ";

// Tests are processes of their own, and many compile the same text: each is compiled once, and lies in the build folder
// under the hash of all that goes into it, which is compared.
std::string everything_of(const std::string& source) {
  static const std::string headers = [] {
    std::string text;
    for (const char* name : {"machine", "cuda", "warp", "hopper"})
      text += contents_of(std::string(HUSSAR_TESTS "/support/emulated_") + name + ".h");
    return text;
  }();
  return kCommand + headers + source;
}

Result<std::string> compile_text(const std::string& source) {
  const std::string everything = everything_of(source);
  const std::string place = HUSSAR_TEST_CODE "/" + std::to_string(std::hash<std::string>()(everything));
  if (contents_of(place + ".txt") == everything) {
    if (std::string code = contents_of(place + ".so"); !code.empty()) return code;
  }
  const Folder folder;
  std::ofstream(folder.file("kernel.cpp")) << source;
  const std::string command =
      kCommand + ("-o " + folder.file("kernel.so") + " " + folder.file("kernel.cpp") + " 2>" + folder.file("log"));
  const bool ok = std::system(command.c_str()) == 0;
  HUSSAR_CHECK(ok, ErrorCode::kRunFailed, "the emulated device cannot compile a kernel: {}\n{}",
               contents_of(folder.file("log")), source);
  std::string code = contents_of(folder.file("kernel.so"));
  std::error_code ignored;
  std::filesystem::create_directories(HUSSAR_TEST_CODE, ignored);
  const std::string mine = place + "." + std::to_string(::getpid()) + "." + std::to_string(::gettid());
  for (const auto& [ending, text] : {std::pair{".txt", &everything}, {".so", &code}}) {
    const bool written = static_cast<bool>(std::ofstream(mine, std::ios::binary) << *text);
    if (written) std::filesystem::rename(mine, place + ending, ignored);
  }
  return code;
}

Result<Tensor> compile(const std::string& source, int) {
  static std::mutex mutex;  // the threads that compile are several
  static std::map<std::string, Tensor> compiled;
  {
    std::lock_guard lock(mutex);
    if (auto it = compiled.find(source); it != compiled.end()) return it->second;
  }
  const std::string bytes = HUSSAR_TRY(compile_text(host_source(source)));
  Tensor code(DType::kUInt8, Shape{static_cast<int64_t>(bytes.size())});
  std::memcpy(code.raw(), bytes.data(), bytes.size());
  std::lock_guard lock(mutex);
  return compiled[source] = std::move(code);
}

// ---- the device

struct {
  std::atomic<int64_t> allocations, recordings, bytes_in, bytes_out;
} counts;

class EmulatedQueue final : public cuda::Queue {
 public:
  EmulatedQueue(int sm, int index) {
    index_ = index;
    facts_.name = "emulated GPU";
    facts_.sm = sm;
    facts_.multiprocessors = 4;
    facts_.memory_bytes = size_t{1} << 30;
    facts_.l2_bytes = size_t{1} << 20;
    facts_.shared_bytes = 232448;
  }
  ~EmulatedQueue() override {
    static_cast<void>(stream_->wait());
    drop_kept();
    for (auto& [code, library] : libraries_) ::dlclose(library);
    for (int file : files_) ::close(file);
  }

  Result<std::byte*> allocate(size_t bytes) override {
    ++counts.allocations;
    HUSSAR_CHECK(bytes <= facts_.memory_bytes, ErrorCode::kRunFailed, "the GPU has no room for {} bytes", bytes);
    return emulated_memory().allocate(bytes, {.device = index_});
  }
  void release(std::byte* memory) override { emulated_memory().release(memory); }
  Result<std::shared_ptr<std::byte>> allocate_pinned(size_t bytes) override {
    ++counts.allocations;
    HUSSAR_CHECK(bytes <= facts_.memory_bytes, ErrorCode::kRunFailed, "the machine cannot pin {} bytes", bytes);
    return std::shared_ptr<std::byte>(emulated_memory().allocate(bytes, {.is_pinned = true}),
                                      [](std::byte* memory) { emulated_memory().release(memory); });
  }
  Residence residence(const std::byte* memory) override { return emulated_memory().residence(memory); }
  Status copy_in(std::byte* to, const std::byte* from, size_t bytes) override {
    counts.bytes_in += static_cast<int64_t>(bytes);
    HUSSAR_TRY(check_copy(to, from, bytes));
    // A driver reads at once what is not pinned.
    if (bytes == 0 || residence(from).is_pinned) return copy_later(to, from, bytes);
    Tensor read(DType::kUInt8, Shape{static_cast<int64_t>(bytes)});
    std::memcpy(read.raw(), from, bytes);
    stream_->push([to, read]() -> Status {
      std::memcpy(to, read.raw(), read.bytes());
      return {};
    });
    return {};
  }
  Status copy_out(std::byte* to, const std::byte* from, size_t bytes) override {
    counts.bytes_out += static_cast<int64_t>(bytes);
    HUSSAR_TRY(check_copy(from, to, bytes));
    return copy_later(to, from, bytes);
  }
  Status copy_within(std::byte* to, const std::byte* from, size_t bytes) override {
    HUSSAR_CHECK(bytes == 0 || (residence(to).device == index_ && residence(from).device == index_),
                 ErrorCode::kRunFailed, "a copy within the device of what is elsewhere");
    return enqueue([=]() -> Status {
      if (bytes > 0) std::memmove(to, from, bytes);
      return {};
    });
  }
  Status wait() override {
    HUSSAR_CHECK(!stream_->is_recording(), ErrorCode::kRunFailed, "waiting in a recording");
    return stream_->wait();
  }
  Status follow(void* stream) override {
    stream_->follow(*static_cast<EmulatedStream*>(stream));
    return {};
  }
  Status lead(void* stream) override {
    static_cast<EmulatedStream*>(stream)->follow(*stream_);
    return {};
  }
  void* stream() override { return stream_.get(); }
  Status make_current() override { return {}; }

  Status begin_recording() override {
    HUSSAR_CHECK(!stream_->is_recording(), ErrorCode::kRunFailed, "two recordings at once");
    recordings_.push_back(std::make_shared<EmulatedStream::Recording>());
    stream_->record_to(recordings_.back());
    return {};
  }
  Result<int> end_recording() override {
    ++counts.recordings;
    stream_->record_to(nullptr);
    return static_cast<int>(recordings_.size()) - 1;
  }
  Status replay(int recording) override {
    stream_->push([work = recordings_[static_cast<size_t>(recording)]]() -> Status {
      for (const auto& item : *work) HUSSAR_TRY(item());
      return {};
    });
    return {};
  }
  void drop_recording(int recording) override { recordings_[static_cast<size_t>(recording)].reset(); }
  void drop_recordings() override { recordings_.clear(); }
  std::string describe() const override { return facts_.name; }
  std::string identity() const override { return facts_.name; }

  Result<cuda::FunctionHandle*> load(std::span<const std::byte> code, const std::string& name,
                                     unsigned shared_bytes) override {
    void*& library = libraries_[code.data()];
    if (library == nullptr) {
      const int file = ::memfd_create("kernel", 0);
      const bool written = ::write(file, code.data(), code.size()) == static_cast<ssize_t>(code.size());
      if (written) library = ::dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
      files_.push_back(file);  // open, so that no other library gets the same name
      HUSSAR_CHECK(library != nullptr, ErrorCode::kPlanIncompatible, "the plan's code does not load: {}", ::dlerror());
    }
    auto* entry = static_cast<Entry*>(::dlsym(library, ("hussar_entry_" + name).c_str()));
    HUSSAR_CHECK(entry != nullptr, ErrorCode::kPlanIncompatible, "the plan's code lacks the kernel {}", name);
    HUSSAR_CHECK(shared_bytes <= facts_.shared_bytes, ErrorCode::kRunFailed, "no kernel can have {} bytes of memory",
                 shared_bytes);
    entry->machine->wait = [](int meeting) { fibers.wait(meeting); };
    entry->machine->wait_until = [](bool (*ready)(const void*), const void* what) { fibers.wait_until(ready, what); };
    const bool waits = *static_cast<const bool*>(::dlsym(library, "hussar_waits"));
    const auto* cluster = static_cast<const unsigned*>(::dlsym(library, "hussar_cluster"));
    Function& function = functions_[entry];
    function = {entry, waits, cluster != nullptr ? *cluster : 1, std::max(shared_bytes, 48U * 1024)};
    return reinterpret_cast<cuda::FunctionHandle*>(&function);
  }

  Result<cuda::TensorMap> encode(const cuda::TileMap& map, const std::byte* data) override {
    HUSSAR_TRY(check_map(map, data));
    hussar_emulation::TileMap own{};
    own.data = reinterpret_cast<const unsigned char*>(data);
    own.element_bytes = static_cast<int>(dtype_size(map.dtype));
    own.rank = map.rank;
    own.swizzle_bytes = map.swizzle_bytes;
    own.rounds = map.dtype == DType::kFloat32;
    std::copy_n(map.sizes, 5, own.sizes);
    std::copy_n(map.strides, 4, own.strides);
    std::copy_n(map.box, 5, own.box);
    cuda::TensorMap encoded{};
    std::memcpy(&encoded, &own, sizeof(own));
    return encoded;
  }

  Result<cuda::TensorMap> encode(const cuda::WindowMap& map, const std::byte* data) override {
    hussar_emulation::WindowMap own{};
    own.data = reinterpret_cast<const unsigned char*>(data);
    own.element_bytes = static_cast<int>(dtype_size(map.dtype));
    own.swizzle_bytes = map.swizzle_bytes;
    own.rounds = map.dtype == DType::kFloat32;
    own.channels = map.channels;
    own.pixels = map.pixels;
    std::copy_n(map.sizes, 4, own.sizes);
    std::copy_n(map.strides, 3, own.strides);
    std::copy_n(map.lower, 2, own.lower);
    std::copy_n(map.upper, 2, own.upper);
    std::copy_n(map.step + 1, 2, own.step);
    bool fits = reinterpret_cast<uintptr_t>(data) % 16 == 0 && map.pixels >= 1 && map.pixels <= 1024 &&
                map.channels * dtype_size(map.dtype) <= static_cast<size_t>(map.swizzle_bytes);
    for (int i = 0; i < 2; ++i)
      fits = fits && map.lower[i] >= -128 && map.lower[i] <= 127 && map.upper[i] >= -128 && map.upper[i] <= 127 &&
             map.step[i + 1] >= 1 && map.step[i + 1] <= 8;
    for (uint64_t stride : map.strides) fits = fits && stride % 16 == 0;
    HUSSAR_CHECK(fits, ErrorCode::kRunFailed, "cannot describe windows to the copy engine");
    cuda::TensorMap encoded{};
    std::memcpy(&encoded, &own, sizeof(own));
    return encoded;
  }

  Status launch(const cuda::Launch& launch, std::span<void* const> arguments) override {
    const auto& function = *reinterpret_cast<const Function*>(launch.function);
    const bool fits = launch.threads >= 1 && launch.threads <= 1024 && launch.grid[0] % function.cluster == 0 &&
                      function.cluster <= hussar_emulation::kMostBlocks && launch.grid[1] <= 65535 &&
                      launch.grid[2] <= 65535 && launch.shared_bytes <= function.shared_bytes &&
                      arguments.size() == function.entry->argument_count;
    HUSSAR_CHECK(fits, ErrorCode::kRunFailed, "a GPU would refuse this launch: {} arguments, {} threads, {} bytes",
                 arguments.size(), launch.threads, launch.shared_bytes);
    // What the arguments are now counts, whenever it runs.
    std::vector<Tensor> copies;
    for (size_t i = 0; i < arguments.size(); ++i) {
      copies.emplace_back(DType::kUInt8, Shape{function.entry->argument_bytes[i]});
      std::memcpy(copies.back().raw(), arguments[i], copies.back().bytes());
    }
    return enqueue([&function, launch, copies] { return execute(function, launch, copies); });
  }

 private:
  // What cuTensorMapEncodeTiled asks for.
  static Status check_map(const cuda::TileMap& map, const std::byte* data) {
    bool fits = reinterpret_cast<uintptr_t>(data) % 16 == 0 && map.rank >= 1 && map.rank <= 5;
    for (int i = 0; fits && i < map.rank; ++i) {
      fits = map.sizes[i] >= 1 && map.sizes[i] <= uint64_t{1} << 32 && map.box[i] >= 1 && map.box[i] <= 256 &&
             (i == 0 || (map.strides[i - 1] % 16 == 0 && map.strides[i - 1] < uint64_t{1} << 40));
    }
    fits = fits && map.box[0] * dtype_size(map.dtype) <= static_cast<size_t>(map.swizzle_bytes) &&
           map.box[0] * dtype_size(map.dtype) % 16 == 0;
    HUSSAR_CHECK(fits, ErrorCode::kRunFailed, "cannot describe a tensor to the copy engine");
    return {};
  }
  Status check_copy(const std::byte* there, const std::byte* here, size_t bytes) {
    HUSSAR_CHECK(!stream_->is_recording(), ErrorCode::kRunFailed, "a copy between the sides in a recording");
    HUSSAR_CHECK(bytes == 0 || (residence(there).device == index_ && residence(here).device < 0), ErrorCode::kRunFailed,
                 "a copy between the sides of what is elsewhere");
    return {};
  }
  Status copy_later(std::byte* to, const std::byte* from, size_t bytes) {
    stream_->push([=]() -> Status {
      if (bytes > 0) std::memcpy(to, from, bytes);
      return {};
    });
    return {};
  }
  Status enqueue(std::function<Status()> work) {
    stream_->enqueue(std::move(work));
    return {};
  }
  static Status execute(const Function& function, const cuda::Launch& launch, const std::vector<Tensor>& copies) {
    Machine& machine = *function.entry->machine;
    machine.threads = {launch.threads, 1, 1};
    machine.blocks = {launch.grid[0], launch.grid[1], launch.grid[2]};
    std::vector<void*> arguments;
    for (const Tensor& copy : copies) arguments.push_back(const_cast<std::byte*>(copy.raw()));
    auto call = [&] { function.entry->call(arguments.data()); };
    const auto [columns, rows, layers] = launch.grid;
    for (uint64_t block = 0; block < uint64_t{columns} * rows * layers; block += function.cluster) {
      machine.block = {static_cast<unsigned>(block % columns), static_cast<unsigned>(block / columns % rows),
                       static_cast<unsigned>(block / columns / rows)};
      if (function.waits) {
        HUSSAR_CHECK(fibers.run(machine, function.cluster, launch.threads, call), ErrorCode::kRunFailed,
                     "the threads of a block wait for each other for ever");
        continue;
      }
      for (machine.thread.x = 0; machine.thread.x < launch.threads; ++machine.thread.x) call();
    }
    return {};
  }

  std::map<const std::byte*, void*> libraries_;
  std::vector<int> files_;
  std::map<const Entry*, Function> functions_;
  std::vector<std::shared_ptr<EmulatedStream::Recording>> recordings_;
  std::shared_ptr<EmulatedStream> stream_ = std::make_shared<EmulatedStream>();
};

Result<std::unique_ptr<Device>> open(std::string_view target, int index) {
  HUSSAR_CHECK(index >= 0 && index < 2, ErrorCode::kDeviceUnavailable, "there is no GPU {}", index);
  const size_t digits = target.rfind('_');
  const int sm = digits == std::string_view::npos ? 0 : std::atoi(target.data() + digits + 1);
  return std::unique_ptr<Device>(std::make_unique<EmulatedQueue>(sm, index));
}

}  // namespace

DeviceCounts device_counts() { return {counts.allocations, counts.recordings, counts.bytes_in, counts.bytes_out}; }

const std::string& use_test_device() {
  static const std::string target = [] {
    static const cuda::Emulation emulation = {open, compile};
    const char* wants_gpu = std::getenv("HUSSAR_TEST_GPU");
    if (wants_gpu != nullptr && std::string_view(wants_gpu) == "1") {
      const auto devices = cuda::find_devices();
      if (devices && !devices->empty()) return "cuda:sm_" + std::to_string(devices->front().sm);
    }
    cuda::set_emulation(&emulation);
    return std::string("cuda:sm_0");
  }();
  return target;
}

}  // namespace hussar::tests
