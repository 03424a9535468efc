// The k best of many candidates, collected and sorted out in vector code.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace sali {

// Floating point numbers as unsigned integers in the same order, and back. Not for NaN.
template <typename T>
struct Rank {
  using Type = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static constexpr Type kSign = Type(1) << (8 * sizeof(T) - 1);

  static Type of(T value) {
    const Type bits = std::bit_cast<Type>(value);
    return bits & kSign ? ~bits : bits | kSign;
  }
  static T value(Type rank) { return std::bit_cast<T>(rank & kSign ? rank ^ kSign : ~rank); }
};

// The best k of what was offered. Of equals those of lowest index are better.
template <typename T>
class Best {
 public:
  using R = Rank<T>;

  explicit Best(int64_t k) : k_(k), rank_(k + kRoom), index_(k + kRoom) {}

  T threshold = 0;  // anything below it is not among the best

  void restart(T at_least) {
    size_ = 0;
    threshold = at_least;
  }

  void offer(T similarity, int64_t n) {
    rank_[size_] = R::of(similarity);
    index_[size_] = n;
    if (++size_ == k_ + kRoom) settle();
  }

  // Drops all but the best k, of which there must be as many.
  void settle() {
    // The k-th highest rank, bit by bit: the largest number that k ranks reach.
    typename R::Type cut = 0;
    for (typename R::Type bit = R::kSign; bit; bit >>= 1) {
      typename R::Type reach = 0;  // as wide as the ranks: the loop is then plain vector code
      for (int64_t i = 0; i < size_; ++i) reach += rank_[i] >= (cut | bit);
      if (int64_t(reach) >= k_) cut |= bit;
    }
    int64_t kept = 0;
    equals_.clear();
    for (int64_t i = 0; i < size_; ++i) {
      if (rank_[i] == cut) equals_.push_back(index_[i]);
      rank_[kept] = rank_[i];
      index_[kept] = index_[i];
      kept += rank_[i] > cut;
    }
    const int64_t wanted = k_ - kept;
    if (wanted < int64_t(equals_.size())) {
      std::nth_element(equals_.begin(), equals_.begin() + wanted, equals_.end());
    }
    for (int64_t i = 0; i < wanted; ++i) {
      rank_[kept + i] = cut;
      index_[kept + i] = equals_[i];
    }
    size_ = k_;
    threshold = R::value(cut);
  }

  T similarity(int64_t i) const { return R::value(rank_[i]); }
  int64_t index(int64_t i) const { return index_[i]; }

 private:
  static constexpr int64_t kRoom = 108;  // offered before they are sorted out

  int64_t k_, size_ = 0;
  std::vector<typename R::Type> rank_;
  std::vector<int64_t> index_, equals_;
};

}  // namespace sali
