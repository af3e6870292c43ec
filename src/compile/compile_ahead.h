// CompileAhead: does the jobs of packings in threads of its own, in the order in which they are asked for.
#pragma once
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tactics/tactic.h"

namespace hussar {

class CompileAhead {
 public:
  explicit CompileAhead(int threads);
  // Jobs that have not begun are dropped.
  ~CompileAhead();
  CompileAhead(const CompileAhead&) = delete;
  CompileAhead& operator=(const CompileAhead&) = delete;

  // These come before all that has been asked for and has not begun. What is done or under way stays so.
  void ask_for(std::vector<Packing::Job> jobs);
  // The bytes of a job that was asked for, when they are there. The same address every time.
  Result<Tensor> result(const std::string& key);

 private:
  void work();

  std::mutex mutex_;  // guards what follows
  std::condition_variable has_work_, is_done_;
  bool stops_ = false;
  std::deque<Packing::Job> queue_;
  std::map<std::string, std::optional<Result<Tensor>>> jobs_;  // by key: all that have begun; empty: under way
  std::vector<std::thread> threads_;
};

}  // namespace hussar
