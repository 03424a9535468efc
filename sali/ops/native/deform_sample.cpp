// The sampling half of a modulated deformable convolution: every tap's bilinear sample, times its
// modulation, in rows that a plain matrix product turns into the convolution. Channels lie
// innermost, so that one sample is a few vector loads.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>

namespace {

struct Shape {
  int64_t batch, channels, height, width, groups, taps, side;

  int64_t pixels() const { return height * width; }
  int64_t group_channels() const { return channels / groups; }
};

// Four corners of a sample: where they lie in a [H, W, C] image and how much they count. A corner
// outside the image counts nothing and points at the first pixel.
template <typename T>
struct Corners {
  int64_t pixel[4];
  T weight[4];
  T fraction_y, fraction_x;

  Corners(T y, T x, const Shape& s) {
    // Also false for NaN: an offset that is no number samples nothing but stays visible below.
    const bool near = y > -1 && x > -1 && y < T(s.height) && x < T(s.width);
    const T floor_y = near ? std::floor(y) : T(-2), floor_x = near ? std::floor(x) : T(-2);
    const int64_t top = int64_t(floor_y), left = int64_t(floor_x);
    fraction_y = near ? y - floor_y : (std::isnan(y) ? y : T(0));
    fraction_x = near ? x - floor_x : (std::isnan(x) ? x : T(0));
    const T part_y[2] = {1 - fraction_y, fraction_y}, part_x[2] = {1 - fraction_x, fraction_x};
    for (int i = 0; i < 4; ++i) {
      const int64_t row = top + i / 2, column = left + i % 2;
      inside_[i] = row >= 0 && row < s.height && column >= 0 && column < s.width;
      pixel[i] = inside_[i] ? row * s.width + column : 0;
      const T part = part_y[i / 2] * part_x[i % 2];
      weight[i] = inside_[i] ? part : part * 0;  // 0, or NaN
    }
  }

  // Derivatives of the weights.
  T by_y(int i) const {
    const T along_x = i % 2 ? fraction_x : 1 - fraction_x;
    return inside_[i] ? (i / 2 ? along_x : -along_x) : 0;
  }
  T by_x(int i) const {
    const T along_y = i / 2 ? fraction_y : 1 - fraction_y;
    return inside_[i] ? (i % 2 ? along_y : -along_y) : 0;
  }

 private:
  bool inside_[4];
};

// Positions and planes of one sample's offsets [G * taps * 2, HW] and modulation [G * taps, HW].
template <typename T>
Corners<T> corners_at(const T* offset, const Shape& s, int64_t group, int64_t tap, int64_t pixel) {
  const T* plane = offset + (group * s.taps + tap) * 2 * s.pixels() + pixel;
  const T y = T(pixel / s.width + tap / s.side - s.side / 2) + plane[0];
  const T x = T(pixel % s.width + tap % s.side - s.side / 2) + plane[s.pixels()];
  return Corners<T>(y, x, s);
}

// `N` channels per group, or 0 for as many as there are.
template <typename T, int N>
void sample_row(const T* image, const T* offset, const T* modulation, T* columns, const Shape& s,
                int64_t row) {
  const int64_t per_group = N ? N : s.group_channels();
  for (int64_t group = 0; group < s.groups; ++group) {
    const T* own = image + group * per_group;
    for (int64_t tap = 0; tap < s.taps; ++tap) {
      for (int64_t pixel = row * s.width; pixel < (row + 1) * s.width; ++pixel) {
        const Corners<T> at = corners_at(offset, s, group, tap, pixel);
        const T strength = modulation[(group * s.taps + tap) * s.pixels() + pixel];
        T* out = columns + (pixel * s.taps + tap) * s.channels + group * per_group;
        const T* corner[4];
        T weight[4];
        for (int i = 0; i < 4; ++i) {
          corner[i] = own + at.pixel[i] * s.channels;
          weight[i] = at.weight[i] * strength;
        }
        for (int64_t c = 0; c < per_group; ++c) {
          out[c] = weight[0] * corner[0][c] + weight[1] * corner[1][c] + weight[2] * corner[2][c] +
                   weight[3] * corner[3][c];
        }
      }
    }
  }
}

template <typename T, int N>
void backward_group(const T* gradient, const T* image, const T* offset, const T* modulation,
                    T* image_gradient, T* offset_gradient, T* modulation_gradient, const Shape& s,
                    int64_t group) {
  const int64_t per_group = N ? N : s.group_channels();
  for (int64_t tap = 0; tap < s.taps; ++tap) {
    for (int64_t pixel = 0; pixel < s.pixels(); ++pixel) {
      const Corners<T> at = corners_at(offset, s, group, tap, pixel);
      const int64_t plane = group * s.taps + tap;
      const T strength = modulation[plane * s.pixels() + pixel];
      const T* own = gradient + (pixel * s.taps + tap) * s.channels + group * per_group;
      T along_weight[4];  // how the loss grows with each corner's weight
      for (int i = 0; i < 4; ++i) {
        const T* corner = image + at.pixel[i] * s.channels + group * per_group;
        T* corner_gradient = image_gradient + at.pixel[i] * s.channels + group * per_group;
        const T weight = at.weight[i] * strength;
        T dot = 0;
        for (int64_t c = 0; c < per_group; ++c) {
          dot += own[c] * corner[c];
          corner_gradient[c] += weight * own[c];
        }
        along_weight[i] = dot;
      }
      T by_strength = 0, by_y = 0, by_x = 0;
      for (int i = 0; i < 4; ++i) {
        by_strength += along_weight[i] * at.weight[i];
        by_y += along_weight[i] * at.by_y(i);
        by_x += along_weight[i] * at.by_x(i);
      }
      modulation_gradient[plane * s.pixels() + pixel] = by_strength;
      offset_gradient[plane * 2 * s.pixels() + pixel] = by_y * strength;
      offset_gradient[(plane * 2 + 1) * s.pixels() + pixel] = by_x * strength;
    }
  }
}

Shape check(const at::Tensor& x, const at::Tensor& offset, const at::Tensor& modulation,
            int64_t side) {
  TORCH_CHECK(x.dim() == 4 && offset.dim() == 4 && modulation.dim() == 4,
              "deform_sample takes tensors [B, C, H, W]");
  TORCH_CHECK(side >= 1 && side % 2 == 1, "the filter's side is ", side, "; wanted an odd number");
  TORCH_CHECK(x.scalar_type() == offset.scalar_type() &&
                  x.scalar_type() == modulation.scalar_type(),
              "features, offsets and modulation differ in type");
  const int64_t taps = side * side, planes = modulation.size(1);
  TORCH_CHECK(planes >= taps && planes % taps == 0, "modulation has ", planes,
              " channels; wanted a multiple of ", taps);
  TORCH_CHECK(offset.size(1) == 2 * planes, "offset has ", offset.size(1), " channels; wanted ",
              2 * planes, ", two for each of modulation");
  const int64_t groups = planes / taps;
  TORCH_CHECK(x.size(1) >= groups && x.size(1) % groups == 0, x.size(1),
              " channels do not divide into ", groups, " offset groups");
  for (const auto& t : {offset, modulation}) {
    TORCH_CHECK(t.size(0) == x.size(0) && t.size(2) == x.size(2) && t.size(3) == x.size(3),
                "offset and modulation have another batch or grid than the features");
  }
  return {x.size(0), x.size(1), x.size(2), x.size(3), groups, taps, side};
}

at::Tensor deform_sample(const at::Tensor& x, const at::Tensor& offset,
                         const at::Tensor& modulation, int64_t side) {
  const Shape s = check(x, offset, modulation, side);
  const at::Tensor image = x.permute({0, 2, 3, 1}).contiguous();
  const at::Tensor shifts = offset.contiguous(), strengths = modulation.contiguous();
  at::Tensor columns = at::empty({s.batch, s.pixels(), s.taps * s.channels}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "deform_sample", [&] {
    const scalar_t* image_data = image.const_data_ptr<scalar_t>();
    const scalar_t* offset_data = shifts.const_data_ptr<scalar_t>();
    const scalar_t* modulation_data = strengths.const_data_ptr<scalar_t>();
    scalar_t* columns_data = columns.data_ptr<scalar_t>();
    const auto run = s.group_channels() == 4 ? sample_row<scalar_t, 4> : sample_row<scalar_t, 0>;
    at::parallel_for(0, s.batch * s.height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / s.height;
        run(image_data + b * s.pixels() * s.channels,
            offset_data + b * s.groups * s.taps * 2 * s.pixels(),
            modulation_data + b * s.groups * s.taps * s.pixels(),
            columns_data + b * s.pixels() * s.taps * s.channels, s, i % s.height);
      }
    });
  });
  return columns;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> deform_sample_backward(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& offset,
    const at::Tensor& modulation, int64_t side) {
  const Shape s = check(x, offset, modulation, side);
  TORCH_CHECK(gradient.dim() == 3 && gradient.size(0) == s.batch &&
                  gradient.size(1) == s.pixels() && gradient.size(2) == s.taps * s.channels &&
                  gradient.scalar_type() == x.scalar_type(),
              "the gradient does not fit the columns of these features");
  const at::Tensor image = x.permute({0, 2, 3, 1}).contiguous();
  const at::Tensor shifts = offset.contiguous(), strengths = modulation.contiguous();
  const at::Tensor incoming = gradient.contiguous();
  at::Tensor image_gradient = at::zeros_like(image);
  at::Tensor offset_gradient = at::empty_like(shifts);
  at::Tensor modulation_gradient = at::empty_like(strengths);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "deform_sample_backward", [&] {
    const scalar_t* gradient_data = incoming.const_data_ptr<scalar_t>();
    const scalar_t* image_data = image.const_data_ptr<scalar_t>();
    const scalar_t* offset_data = shifts.const_data_ptr<scalar_t>();
    const scalar_t* modulation_data = strengths.const_data_ptr<scalar_t>();
    scalar_t* to_image = image_gradient.data_ptr<scalar_t>();
    scalar_t* to_offset = offset_gradient.data_ptr<scalar_t>();
    scalar_t* to_modulation = modulation_gradient.data_ptr<scalar_t>();
    const auto run =
        s.group_channels() == 4 ? backward_group<scalar_t, 4> : backward_group<scalar_t, 0>;
    // Groups touch different channels: no two tasks add to the same number.
    at::parallel_for(0, s.batch * s.groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / s.groups, image_at = b * s.pixels() * s.channels;
        const int64_t plane_at = b * s.groups * s.taps * s.pixels();
        run(gradient_data + image_at * s.taps, image_data + image_at, offset_data + 2 * plane_at,
            modulation_data + plane_at, to_image + image_at, to_offset + 2 * plane_at,
            to_modulation + plane_at, s, i % s.groups);
      }
    });
  });
  return {image_gradient.permute({0, 3, 1, 2}), offset_gradient, modulation_gradient};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(sali, m) {
  m.def("deform_sample(Tensor x, Tensor offset, Tensor modulation, int side) -> Tensor");
  m.def(
      "deform_sample_backward(Tensor gradient, Tensor x, Tensor offset, Tensor modulation, int side)"
      " -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sali, CPU, m) {
  m.impl("deform_sample", &deform_sample);
  m.impl("deform_sample_backward", &deform_sample_backward);
}
