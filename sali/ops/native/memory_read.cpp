// Exact top-k read of a memory: similarity, selection, softmax, weighted sum and usage in one pass
// over the memory, without the queries x elements matrix.
//
// Elements lie in groups of blocks (key_blocks.h). The best similarity that any key of a box could
// have is cheap to compute. Groups are visited from the most promising one on, until none of the
// rest can hold one of the top k: few elements are looked at, and the result is exact.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "best.h"
#include "key_blocks.h"

namespace {

using namespace sali;

constexpr int64_t kGrain = 32;  // queries per task, at least

// Where the machine has it, the multiply-add that matrix products use: the same rounding.
template <typename T>
inline T multiply_add(T a, T b, T c) {
#if defined(__FMA__) || defined(__aarch64__)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Reads one sample's memory for one query after another. `C` is the number of key channels, or 0
// for "as many as there are".
template <typename T, int C>
class Reader {
 public:
  Reader(const Memory<T>& memory, const at::Tensor& memory_key, int64_t k)
      : memory_(memory),
        k_(k),
        key_(memory_key.const_data_ptr<T>()),
        key_c_(memory_key.stride(0)),
        key_n_(memory_key.stride(1)),
        best_(k),
        query_(memory.channels),
        group_bound_(memory.num_groups),
        scale_(1 / std::sqrt(T(memory.channels))) {}

  // The top k elements of a query [channels] whose norm is finite.
  const Best<T>& select(const T* query, int64_t stride) {
    T query_norm = 0;
    for (int64_t c = 0; c < channels(); ++c) {
      query_[c] = query[c * stride];
      query_norm += query_[c] * query_[c];
    }
    // More than rounding can do to a similarity and to a bound, (C + 2) epsilon times the squared
    // norms each: what is passed over is truly out.
    const T slack = 3 * (channels() + 2) * std::numeric_limits<T>::epsilon() * scale_ *
                    (query_norm + memory_.largest_norm);
    best_.restart(started_ ? worst_of_previous() - slack : -std::numeric_limits<T>::infinity());
    started_ = true;
    auto& groups = group_bound_;
    memory_.groups.best_similarity(query_.data(), scale_, 0, memory_.num_groups, groups.data());
    while (true) {
      const int64_t next = take_highest(groups.data(), memory_.num_groups, best_.threshold - slack);
      if (next < 0) break;
      visit(next, slack);
    }
    best_.settle();
    return best_;
  }

 private:
  static constexpr T kVisited = -std::numeric_limits<T>::infinity();

  int64_t channels() const { return C ? C : memory_.channels; }

  // The elements that the last query read are a first guess: the k-th best is at least as good as
  // the worst of them.
  T worst_of_previous() const {
    T worst = std::numeric_limits<T>::infinity();
    for (int64_t i = 0; i < k_; ++i) {
      T dot = 0, norm = 0;
      for (int64_t c = 0; c < channels(); ++c) {
        const T value = key_[c * key_c_ + best_.index(i) * key_n_];
        dot += query_[c] * value;
        norm += value * value;
      }
      const T similarity = (2 * dot - norm) * scale_;
      worst = similarity < worst ? similarity : worst;
    }
    return worst;
  }

  void visit(int64_t group, T slack) {
    T bound[kGroup];
    memory_.blocks.best_similarity(query_.data(), scale_, group * kGroup, kGroup, bound);
    while (true) {
      const int64_t next = take_highest(bound, kGroup, best_.threshold - slack);
      if (next < 0) return;
      scan(group * kGroup + next);
    }
  }

  // Where the highest of the bounds is, which is then marked as visited; -1 if none is left that
  // reaches `at_least`.
  static int64_t take_highest(T* bound, int64_t size, T at_least) {
    T highest = kVisited;
#pragma omp simd reduction(max : highest)
    for (int64_t i = 0; i < size; ++i) highest = bound[i] > highest ? bound[i] : highest;
    if (highest == kVisited || highest < at_least) return -1;
    int32_t place = int32_t(size);
#pragma omp simd reduction(min : place)
    for (int32_t i = 0; i < int32_t(size); ++i) {
      const int32_t here = bound[i] == highest ? i : int32_t(size);
      place = here < place ? here : place;
    }
    bound[place] = kVisited;
    return place;
  }

  void scan(int64_t block) {
    const T* key = &memory_.key[block * channels() * kBlock];
    const T* norm = &memory_.norm[block * kBlock];
    T similarity[kBlock] = {};
    for (int64_t c = 0; c < channels(); ++c) {
      const T q = query_[c];
      for (int64_t j = 0; j < kBlock; ++j) {
        similarity[j] = multiply_add(q, key[c * kBlock + j], similarity[j]);
      }
    }
    const T threshold = best_.threshold;
    for (int64_t j = 0; j < kBlock; ++j) {
      similarity[j] = (2 * similarity[j] - norm[j]) * scale_ + 0;  // + 0: there is no -0
    }
    uint32_t taken = 0;  // one bit per element: few are, and guessing which would often go wrong
    for (uint32_t j = 0; j < kBlock; ++j) taken |= uint32_t(similarity[j] >= threshold) << j;
    for (; taken; taken &= taken - 1) {
      const int j = std::countr_zero(taken);
      const int64_t n = memory_.element[block * kBlock + j];
      if (n >= 0) best_.offer(similarity[j], n);
    }
  }

  const Memory<T>& memory_;
  int64_t k_;
  const T* key_;
  int64_t key_c_, key_n_;
  bool started_ = false;
  Best<T> best_;
  std::vector<T> query_, group_bound_;
  T scale_;
};

struct Outputs {
  at::Tensor readout;  // [Q, Cv]
  at::Tensor weight;   // [Q, k]
  at::Tensor index;    // [Q, k]
};

template <typename T, int C>
void read_sample(const at::Tensor& query_key, const at::Tensor& memory_key,
                 const at::Tensor& memory_value, const Outputs& out) {
  const Memory<T> memory(memory_key);
  // Queries that follow each other visit the same blocks, which are then still in the cache.
  const std::vector<int64_t> order = order_along_curve<T>(query_key);
  const int64_t num_queries = query_key.size(1), k = out.index.size(1);
  const int64_t num_values = memory_value.size(0);
  const T* query = query_key.const_data_ptr<T>();
  const int64_t query_c = query_key.stride(0), query_n = query_key.stride(1);
  const T* value = memory_value.const_data_ptr<T>();
  const int64_t value_c = memory_value.stride(0), value_n = memory_value.stride(1);
  T* readout = out.readout.data_ptr<T>();
  T* weight = out.weight.data_ptr<T>();
  int64_t* index = out.index.data_ptr<int64_t>();
  const T nan = std::numeric_limits<T>::quiet_NaN();

  at::parallel_for(0, num_queries, kGrain, [&](int64_t begin, int64_t end) {
    Reader<T, C> reader(memory, memory_key, k);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t q = order[i];
      T* own_readout = readout + q * num_values;
      T* own_weight = weight + q * k;
      int64_t* own_index = index + q * k;
      T norm = 0;
      for (int64_t c = 0; c < memory.channels; ++c) {
        const T component = query[c * query_c + q * query_n];
        norm += component * component;
      }
      // Nothing is nearest to nowhere: the result says so.
      if (!memory.finite || !std::isfinite(norm)) {
        std::fill_n(own_readout, num_values, nan);
        std::fill_n(own_weight, k, nan);
        for (int64_t i = 0; i < k; ++i) own_index[i] = i;
        continue;
      }
      const auto& best = reader.select(query + q * query_n, query_c);
      T largest = best.similarity(0), sum = 0;
      for (int64_t i = 1; i < k; ++i) largest = std::max(largest, best.similarity(i));
      for (int64_t i = 0; i < k; ++i) {
        own_index[i] = best.index(i);
        own_weight[i] = std::exp(best.similarity(i) - largest);
        sum += own_weight[i];
      }
      std::fill_n(own_readout, num_values, T(0));
      for (int64_t i = 0; i < k; ++i) {
        own_weight[i] /= sum;
        const T* element = value + own_index[i] * value_n;
        const T share = own_weight[i];
        if (value_c == 1) {  // as the memory bank stores them: one run of vector loads
          for (int64_t c = 0; c < num_values; ++c) own_readout[c] += share * element[c];
        } else {
          for (int64_t c = 0; c < num_values; ++c) own_readout[c] += share * element[c * value_c];
        }
      }
    }
  });
}

// See sali/ops/read.py for shapes. Finite keys are assumed nowhere.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> memory_read(
    const at::Tensor& query_key, const at::Tensor& memory_key, const at::Tensor& memory_value,
    int64_t top_k) {
  TORCH_CHECK(query_key.dim() == 3 && memory_key.dim() == 3 && memory_value.dim() == 3,
              "memory_read takes tensors [B, C, N]");
  TORCH_CHECK(query_key.size(1) == memory_key.size(1), "query keys have ", query_key.size(1),
              " channels, memory keys ", memory_key.size(1));
  TORCH_CHECK(memory_key.size(2) == memory_value.size(2), "the memory has ", memory_key.size(2),
              " keys and ", memory_value.size(2), " values");
  TORCH_CHECK(query_key.size(0) == memory_key.size(0) && memory_key.size(0) == memory_value.size(0),
              "query, keys and values differ in batch size");
  TORCH_CHECK(query_key.scalar_type() == memory_key.scalar_type() &&
                  memory_key.scalar_type() == memory_value.scalar_type(),
              "query, keys and values differ in type");
  TORCH_CHECK(memory_key.size(1) >= 1, "keys have no channels");
  TORCH_CHECK(memory_key.size(2) >= 1, "the memory is empty");
  TORCH_CHECK(top_k >= 1, "top_k is ", top_k, "; at least one element is read");

  const int64_t batch = query_key.size(0), num_queries = query_key.size(2);
  const int64_t num_elements = memory_key.size(2), k = std::min(top_k, num_elements);
  const auto options = query_key.options();
  at::Tensor readout = at::empty({batch, num_queries, memory_value.size(1)}, options);
  at::Tensor weight = at::empty({batch, num_queries, k}, options);
  at::Tensor index = at::empty({batch, num_queries, k}, options.dtype(at::kLong));
  at::Tensor usage = at::zeros({batch, num_elements}, options);

  AT_DISPATCH_FLOATING_TYPES(query_key.scalar_type(), "memory_read", [&] {
    for (int64_t b = 0; b < batch; ++b) {
      const Outputs out{readout[b], weight[b], index[b]};
      const bool usual = memory_key.size(1) == 4;
      const auto read = usual ? read_sample<scalar_t, 4> : read_sample<scalar_t, 0>;
      read(query_key[b], memory_key[b], memory_value[b], out);
      // One after another, so that the sums do not depend on the number of threads.
      scalar_t* own_usage = usage[b].data_ptr<scalar_t>();
      const scalar_t* own_weight = out.weight.const_data_ptr<scalar_t>();
      const int64_t* own_index = out.index.const_data_ptr<int64_t>();
      for (int64_t i = 0; i < num_queries * k; ++i) own_usage[own_index[i]] += own_weight[i];
    }
  });
  return {readout.transpose(1, 2), usage, weight, index};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sali, m) {
  m.def(
      "memory_read(Tensor query_key, Tensor memory_key, Tensor memory_value, int top_k)"
      " -> (Tensor readout, Tensor usage, Tensor weight, Tensor index)");
}

TORCH_LIBRARY_IMPL(sali, CPU, m) { m.impl("memory_read", &memory_read); }
