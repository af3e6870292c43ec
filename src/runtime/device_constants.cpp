// Uploading constants, once per device.
#include "runtime/device_constants.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "base/error.h"
#include "base/thread_pool.h"

namespace hussar {
namespace {

size_t bytes_of(const PlanValue& value) {
  size_t bytes = dtype_size(value.dtype);
  for (const Dim& dim : *value.dims) bytes *= static_cast<size_t>(dim.value());
  return bytes;
}

struct Piece {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  size_t bytes = 0;
};
// What goes through pinned memory of that size at once.
constexpr size_t kPinnedBytes = size_t{4} << 20;
// Worth a lane, with a stream and pinned memory of its own.
constexpr size_t kBytesOfLane = size_t{32} << 20;
constexpr int kMostLanes = 4;

std::vector<std::vector<Piece>> batches_of(const std::vector<Piece>& whole) {
  std::vector<std::vector<Piece>> batches(1);
  size_t room = kPinnedBytes;
  for (Piece rest : whole) {
    while (rest.bytes > 0) {
      if (room == 0) {
        batches.emplace_back();
        room = kPinnedBytes;
      }
      const size_t bytes = std::min(rest.bytes, room);
      batches.back().push_back({rest.to, rest.from, bytes});
      rest = {rest.to + bytes, rest.from + bytes, rest.bytes - bytes};
      room -= bytes;
    }
  }
  return batches;
}

Status copy_batch(const std::vector<Piece>& batch, std::byte* pinned, Device& device) {
  for (const Piece& piece : batch) {
    std::memcpy(pinned, piece.from, piece.bytes);
    HUSSAR_TRY(device.copy_in(piece.to, pinned, piece.bytes));
    pinned += piece.bytes;
  }
  return device.wait();
}

// A file's pages come into the driver's own pinned memory by one thread, at a quarter of what the bus takes: several
// bring them into pinned memory of theirs. Each has a device of its own, as one serves one thread.
Status copy_all(const std::vector<Piece>& pieces, size_t total, const std::string& target, Device& device) {
  const auto wanted = static_cast<int>(std::min<size_t>(total / kBytesOfLane, kMostLanes));
  ThreadPool::Lease pool(ThreadPool::shared(), std::max(wanted, 1));
  const int lanes = std::min(wanted, ThreadPool::shared().cores());
  if (lanes < 2) {
    for (const Piece& piece : pieces) HUSSAR_TRY(device.copy_in(piece.to, piece.from, piece.bytes));
    return device.wait();
  }
  const auto batches = batches_of(pieces);
  std::vector<Status> ends(static_cast<size_t>(lanes));
  std::atomic<size_t> next = 0;
  pool.run(lanes, [&](int lane) {
    ends[static_cast<size_t>(lane)] = [&]() -> Status {
      auto own = HUSSAR_TRY(open_device(target, device.index()));
      const auto pinned = HUSSAR_TRY(own->allocate_pinned(kPinnedBytes));
      for (size_t i = next++; i < batches.size(); i = next++) HUSSAR_TRY(copy_batch(batches[i], pinned.get(), *own));
      return {};
    }();
  });
  for (Status& end : ends) HUSSAR_TRY(std::move(end));
  return {};
}

}  // namespace

Status DeviceConstants::Section::upload(const Plan& plan, const std::map<uint64_t, size_t>& wanted) {
  size_t total = 0;
  for (const auto& [offset, bytes] : wanted) {
    places_[offset] = {bytes, total};
    total += (bytes + 255) / 256 * 256;
  }
  memory_ = DeviceMemory(*device_, HUSSAR_TRY(device_->allocate(total)));
  std::vector<Piece> pieces;
  for (const auto& [offset, place] : places_)
    pieces.push_back({memory_.data() + place.second, plan.constants.data() + offset, place.first});
  return copy_all(pieces, total, plan.meta.at("target"), *device_);
}

std::byte* DeviceConstants::Section::find(uint64_t offset, size_t bytes) const {
  const auto it = places_.find(offset);
  return it == places_.end() || it->second.first < bytes ? nullptr : memory_.data() + it->second.second;
}

Result<std::shared_ptr<const DeviceConstants>> DeviceConstants::share(const Plan& plan, int device_index,
                                                                      const std::vector<bool>& wanted) {
  // By where the constants lie on the host: plans that share them there share them here.
  static std::mutex mutex;
  static std::map<std::pair<const std::byte*, int>, std::vector<std::weak_ptr<const Section>>> uploaded;
  const std::vector<PlanValue>& values = plan.graph.values;
  auto is_wanted = [&](size_t i) { return wanted[i] && values[i].storage == Storage::kConstant; };
  // Values with the same bytes have one offset.
  std::map<uint64_t, size_t> bytes;
  for (size_t i = 0; i < values.size(); ++i) {
    if (is_wanted(i))
      bytes[values[i].constant_offset] = std::max(bytes[values[i].constant_offset], bytes_of(values[i]));
  }
  auto constants = std::make_shared<DeviceConstants>();
  std::map<uint64_t, std::byte*> places;
  std::lock_guard lock(mutex);
  for (const auto& weak : uploaded[{plan.constants.data(), device_index}]) {
    const auto section = weak.lock();
    bool is_used = false;
    for (auto it = bytes.begin(); section != nullptr && it != bytes.end();) {
      std::byte* found = section->find(it->first, it->second);
      if (found != nullptr) places[it->first] = found;
      is_used = is_used || found != nullptr;
      it = found != nullptr ? bytes.erase(it) : std::next(it);
    }
    if (is_used) constants->sections_.push_back(section);
  }
  if (!bytes.empty()) {
    auto section = std::make_shared<Section>(HUSSAR_TRY(open_device(plan.meta.at("target"), device_index)));
    HUSSAR_TRY(section->upload(plan, bytes));
    for (const auto& [offset, size] : bytes) places[offset] = section->find(offset, size);
    uploaded[{plan.constants.data(), device_index}].push_back(section);
    constants->sections_.push_back(std::move(section));
  }
  constants->pointers_.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (is_wanted(i)) constants->pointers_[i] = places.at(values[i].constant_offset);
  }
  for (auto& [key, sections] : uploaded) std::erase_if(sections, [](const auto& weak) { return weak.expired(); });
  std::erase_if(uploaded, [](const auto& item) { return item.second.empty(); });
  return std::shared_ptr<const DeviceConstants>(std::move(constants));
}

}  // namespace hussar
