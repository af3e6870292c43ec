// Threads that compile while the caller measures.
#include "compile/compile_ahead.h"

#include <algorithm>

namespace hussar {

CompileAhead::CompileAhead(int threads) {
  for (int i = 0; i < std::max(threads, 1); ++i) threads_.emplace_back([this] { work(); });
}

CompileAhead::~CompileAhead() {
  {
    std::lock_guard lock(mutex_);
    stops_ = true;
  }
  has_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void CompileAhead::ask_for(std::vector<Packing::Job> jobs) {
  {
    std::lock_guard lock(mutex_);
    auto is_asked_for = [&](const Packing::Job& waiting) {
      return std::any_of(jobs.begin(), jobs.end(), [&](const Packing::Job& job) { return job.key == waiting.key; });
    };
    queue_.erase(std::remove_if(queue_.begin(), queue_.end(), is_asked_for), queue_.end());
    auto has_begun = [&](const Packing::Job& job) { return jobs_.contains(job.key); };
    jobs.erase(std::remove_if(jobs.begin(), jobs.end(), has_begun), jobs.end());
    queue_.insert(queue_.begin(), std::make_move_iterator(jobs.begin()), std::make_move_iterator(jobs.end()));
  }
  has_work_.notify_all();
}

Result<Tensor> CompileAhead::result(const std::string& key) {
  std::unique_lock lock(mutex_);
  is_done_.wait(lock, [&] {
    const auto it = jobs_.find(key);
    return it != jobs_.end() && it->second.has_value();
  });
  return *jobs_.at(key);
}

void CompileAhead::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    has_work_.wait(lock, [&] { return stops_ || !queue_.empty(); });
    if (stops_) return;
    const Packing::Job job = std::move(queue_.front());
    queue_.pop_front();
    // Twice in one list.
    if (!jobs_.emplace(job.key, std::nullopt).second) continue;
    lock.unlock();
    Result<Tensor> made = job.make();
    lock.lock();
    jobs_.at(job.key) = std::move(made);
    is_done_.notify_all();
  }
}

}  // namespace hussar
