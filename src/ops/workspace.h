// Workspace: memory and lists that evaluators borrow and give back. It only grows: an evaluation that is like an
// earlier one allocates nothing. For one thread at a time.
#pragma once
#include <memory>
#include <vector>

#include "base/memory.h"
#include "hussar/tensor.h"

namespace hussar {

template <class T>
class Shelf {
 public:
  // The first that is free, so that equal evaluations borrow the same ones.
  size_t take() {
    size_t index = 0;
    while (index < items_.size() && items_[index].is_lent) ++index;
    if (index == items_.size()) items_.push_back({std::make_unique<T>(), false});
    items_[index].is_lent = true;
    return index;
  }
  void give_back(size_t index) { items_[index].is_lent = false; }
  // Stays where it is.
  T& at(size_t index) { return *items_[index].item; }

 private:
  struct Place {
    std::unique_ptr<T> item;
    bool is_lent;
  };
  std::vector<Place> items_;
};

// One item of a shelf, for as long as the loan lives. Containers come empty.
template <class T>
class Loan {
 public:
  explicit Loan(Shelf<T>& shelf) : shelf_(shelf), index_(shelf.take()), item_(shelf.at(index_)) {}
  ~Loan() {
    if constexpr (requires(T & item) { item.clear(); }) item_.clear();
    shelf_.give_back(index_);
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  T& operator*() const { return item_; }
  T* operator->() const { return &item_; }

 private:
  Shelf<T>& shelf_;
  size_t index_;
  T& item_;
};

struct Workspace {
  Shelf<GrowingBuffer> buffers;
  Shelf<std::vector<Tensor>> lists;
};

// `count` elements to work with, not initialized.
template <class T>
class Scratch {
 public:
  Scratch(Workspace& workspace, int64_t count)
      : loan_(workspace.buffers), data_(reinterpret_cast<T*>(loan_->reserve(static_cast<size_t>(count) * sizeof(T)))) {}
  T* data() const { return data_; }
  T& operator[](int64_t index) const { return data_[index]; }

 private:
  Loan<GrowingBuffer> loan_;
  T* data_;
};

}  // namespace hussar
