// A memory's keys, sorted along a curve through the space of keys and cut into blocks, and blocks
// into groups, each with the box that its keys lie in.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace sali {

constexpr int64_t kBlock = 32;  // elements per block; one bit each in a uint32_t
constexpr int64_t kGroup = 16;  // blocks per group
constexpr int64_t kCodeBits = 16;  // of the curve that elements are sorted along

// Elements [channels, num_elements] in the order of a Z-curve over their keys: places that are near
// on the curve are near in space. One counting sort over coarse codes, stable.
// Keys that are no numbers come somewhere.
template <typename T>
std::vector<int64_t> order_along_curve(const at::Tensor& key) {
  const int64_t channels = key.size(0), count = key.size(1);
  const int64_t stride_c = key.stride(0), stride_n = key.stride(1);
  const T* source = key.const_data_ptr<T>();
  const int64_t coded = std::min(channels, kCodeBits);  // channels that take part
  const int64_t bits = kCodeBits / coded;
  std::vector<int32_t> code(count, 0);
  if (count == 0) return {};
  for (int64_t c = 0; c < coded; ++c) {
    const T* value = source + c * stride_c;
    T low = value[0], high = value[0];
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int64_t n = 0; n < count; ++n) {
      low = value[n * stride_n] < low ? value[n * stride_n] : low;
      high = value[n * stride_n] > high ? value[n * stride_n] : high;
    }
    const T steps = T((1 << bits) - 1);
    const T per_unit = high > low ? steps / (high - low) : T(0);
    std::vector<int32_t> spread(1 << bits, 0);  // the bits of a step, where they go in the code
    for (int32_t step = 0; step < int32_t(spread.size()); ++step) {
      for (int64_t bit = 0; bit < bits; ++bit) {
        spread[step] |= ((step >> bit) & 1) << (bit * coded + c);
      }
    }
    for (int64_t n = 0; n < count; ++n) {
      const T step = (value[n * stride_n] - low) * per_unit;
      code[n] |= spread[step > 0 ? int32_t(std::min(step, steps)) : 0];
    }
  }
  std::vector<int64_t> next((1 << kCodeBits) + 1, 0), order(count);
  for (const int32_t own : code) ++next[own + 1];
  for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
  for (int64_t n = 0; n < count; ++n) order[next[code[n]]++] = n;
  return order;
}

// Boxes round keys, one plane of bounds per channel.
template <typename T>
struct Boxes {
  int64_t channels, count;
  std::vector<T> low, high;  // [channels, count]; at first empty boxes, infinitely far away

  Boxes(int64_t channels, int64_t count)
      : channels(channels),
        count(count),
        low(channels * count, std::numeric_limits<T>::infinity()),
        high(channels * count, -std::numeric_limits<T>::infinity()) {}

  // Similarity of the point of each box that is nearest to the query, boxes first .. first + size.
  void best_similarity(const T* query, T scale, int64_t first, int64_t size, T* bound) const {
    for (int64_t c = 0; c < channels; ++c) {
      const T q = query[c];
      const T* own_low = &low[c * count + first];
      const T* own_high = &high[c * count + first];
      for (int64_t i = 0; i < size; ++i) {
        T x = q < own_low[i] ? own_low[i] : q;
        x = x > own_high[i] ? own_high[i] : x;
        const T part = x * (2 * q - x) * scale;
        bound[i] = c == 0 ? part : bound[i] + part;
      }
    }
  }
};

// The memory of one sample. Keys that fill up the last group are infinitely far away.
template <typename T>
struct Memory {
  int64_t channels, num_elements, num_groups, num_blocks;
  bool finite = true;            // every key; if not, nothing else is filled in
  std::vector<int64_t> element;  // [num_blocks, kBlock]: which one lies there, or -1
  std::vector<T> key;            // [num_blocks, channels, kBlock]
  std::vector<T> norm;           // [num_blocks, kBlock], squared
  Boxes<T> blocks, groups;
  T largest_norm = 0;

  explicit Memory(const at::Tensor& memory_key)
      : channels(memory_key.size(0)),
        num_elements(memory_key.size(1)),
        num_groups((num_elements + kGroup * kBlock - 1) / (kGroup * kBlock)),
        num_blocks(num_groups * kGroup),
        blocks(channels, num_blocks),
        groups(channels, num_groups) {
    const int64_t stride_c = memory_key.stride(0), stride_n = memory_key.stride(1);
    const T* source = memory_key.const_data_ptr<T>();
    for (int64_t c = 0; c < channels; ++c) {
      T sum = 0;  // Zero times anything but a number is not zero.
#pragma omp simd reduction(+ : sum)
      for (int64_t n = 0; n < num_elements; ++n) sum += source[c * stride_c + n * stride_n] * 0;
      finite &= sum == 0;
    }
    if (!finite) return;
    element = order_along_curve<T>(memory_key);
    element.resize(num_blocks * kBlock, -1);
    key.assign(num_blocks * channels * kBlock, 0);
    norm.assign(num_blocks * kBlock, std::numeric_limits<T>::infinity());
    std::vector<T> largest(num_groups, 0);
    at::parallel_for(0, num_groups, 4, [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) {
        largest[group] = fill(group, source, stride_c, stride_n);
      }
    });
    largest_norm = *std::max_element(largest.begin(), largest.end());
    finite = std::isfinite(largest_norm);  // squares may overflow
  }

 private:
  // Copies a group's keys and finds its boxes; returns its largest norm.
  T fill(int64_t group, const T* source, int64_t stride_c, int64_t stride_n) {
    T largest = 0;
    for (int64_t block = group * kGroup; block < (group + 1) * kGroup; ++block) {
      const int64_t first = block * kBlock;
      const int64_t filled = std::min(kBlock, num_elements - first);
      if (filled <= 0) break;
      T* own_norm = &norm[first];
      std::fill_n(own_norm, filled, T(0));
      for (int64_t c = 0; c < channels; ++c) {
        T* own_key = &key[(block * channels + c) * kBlock];
        T low = std::numeric_limits<T>::infinity(), high = -low;
#pragma omp simd reduction(min : low) reduction(max : high)
        for (int64_t j = 0; j < filled; ++j) {
          const T value = source[c * stride_c + element[first + j] * stride_n];
          own_key[j] = value;
          own_norm[j] += value * value;
          low = value < low ? value : low;
          high = value > high ? value : high;
        }
        blocks.low[c * num_blocks + block] = low;
        blocks.high[c * num_blocks + block] = high;
        T& group_low = groups.low[c * num_groups + group];
        T& group_high = groups.high[c * num_groups + group];
        group_low = std::min(group_low, low);
        group_high = std::max(group_high, high);
      }
      largest = std::max(largest, *std::max_element(own_norm, own_norm + filled));
    }
    return largest;
  }
};

}  // namespace sali
