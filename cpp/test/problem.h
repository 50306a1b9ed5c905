// A batch-norm problem with random data, run through the C ABI: what the tests compare.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "batchnorm4j.h"

struct Case {
  int64_t n, c, s;
  int dtype = bn_f32;
  int activation = bn_identity;
  bool residual = false, affine = true;
};

// How it is run: none of this may change a bit of the result.
struct How {
  int isa = bn_scalar;
  int threads = 1;
  int layout = bn_ncs;
  bool in_place = false;
  int64_t misalign = 0;    // elements that every data array is moved by
  int64_t gap = 0;         // elements between samples (ncs) or rows (nsc)
  bool mask_of_x = false;  // whether backward computes the mask again where it can
  int64_t byte = 0;        // bytes that it is moved by besides
};

inline int64_t size_of(int dtype) { return dtype == bn_f64 ? 8 : dtype == bn_f32 ? 4 : 2; }

// Elements in some layout, with room for the pitch; the bytes around them must not change.
class Array {
 public:
  Array(const Case& p, const How& how) : case_(p), how_(how), size_(size_of(p.dtype)) {
    pitch_ = (how.layout == bn_ncs ? p.c * p.s : p.c) + how.gap;
    int64_t rows = how.layout == bn_ncs ? p.n : p.n * p.s;
    bytes_.assign((size_t)((rows * pitch_ + how.misalign + 16) * size_ + how.byte), kGuard);
  }

  void* data() { return bytes_.data() + how_.misalign * size_ + how_.byte; }
  int64_t pitch() const { return pitch_; }

  // Element (n, c, i).
  char* at(int64_t n, int64_t c, int64_t i) {
    int64_t k =
        how_.layout == bn_ncs ? n * pitch_ + c * case_.s + i : (n * case_.s + i) * pitch_ + c;
    return bytes_.data() + (k + how_.misalign) * size_ + how_.byte;
  }

  void set(const std::vector<double>& values) {
    size_t k = 0;
    for (int64_t n = 0; n < case_.n; n++)
      for (int64_t c = 0; c < case_.c; c++)
        for (int64_t i = 0; i < case_.s; i++) put(at(n, c, i), values[k++]);
  }

  // The elements' bytes in channels-first order.
  std::string get() {
    std::string out;
    for (int64_t n = 0; n < case_.n; n++)
      for (int64_t c = 0; c < case_.c; c++)
        for (int64_t i = 0; i < case_.s; i++) out.append(at(n, c, i), (size_t)size_);
    return out;
  }

  // Whether the bytes that belong to no element are as they were.
  bool guards_intact() {
    std::vector<char> copy = bytes_;
    copy.swap(bytes_);
    for (int64_t n = 0; n < case_.n; n++)
      for (int64_t c = 0; c < case_.c; c++)
        for (int64_t i = 0; i < case_.s; i++) std::memset(at(n, c, i), kGuard, (size_t)size_);
    bool intact = true;
    for (char b : bytes_) intact &= b == kGuard;
    copy.swap(bytes_);
    return intact;
  }

 private:
  static constexpr char kGuard = 0x55;

  void put(char* p, double v) {
    if (case_.dtype == bn_f64) {
      std::memcpy(p, &v, 8);
      return;
    }
    float f = (float)v;
    uint32_t word;
    std::memcpy(&word, &f, 4);
    uint16_t half;
    if (case_.dtype == bn_f32) {
      std::memcpy(p, &f, 4);
    } else if (case_.dtype == bn_bf16) {
      half = (uint16_t)(word >> 16);
      std::memcpy(p, &half, 2);
    } else {
      // Truncated to 10 bits of fraction; the tests keep to normal numbers of this type.
      half = (uint16_t)((word >> 16 & 0x8000) | (((word & 0x7fffffff) - 0x38000000) >> 13));
      std::memcpy(p, &half, 2);
    }
  }

  Case case_;
  How how_;
  int64_t size_, pitch_;
  std::vector<char> bytes_;
};

// All outputs of forward and backward in both modes, as bytes.
struct Results {
  std::string bytes;
  bool guards_intact = true;
};

inline Results run(const Case& p, const How& how) {
  std::mt19937 random(12345);
  std::normal_distribution<double> normal(0.4, 1);
  auto data = [&] {
    std::vector<double> v((size_t)(p.n * p.c * p.s));
    for (double& x : v) x = normal(random);
    return v;
  };
  auto channel = [&](double low, double high) {
    std::vector<double> v((size_t)p.c);
    for (double& x : v) x = std::uniform_real_distribution<double>(low, high)(random);
    std::string bytes((size_t)p.c * (p.dtype == bn_f64 ? 8 : 4), '\0');
    for (size_t i = 0; i < v.size(); i++) {
      float f = (float)v[i];
      if (p.dtype == bn_f64) {
        std::memcpy(&bytes[8 * i], &v[i], 8);
      } else {
        std::memcpy(&bytes[4 * i], &f, 4);
      }
    }
    return bytes;
  };
  std::vector<double> xs = data(), dys = data(), rs = data();
  std::string weight = channel(-1, 2), bias = channel(-1, 1);
  std::string running_mean = channel(-1, 1), running_var = channel(0.1, 4);
  std::string mean = channel(0, 0), low = mean, inv_std = mean, dweight = mean, dbias = mean;
  Results out;
  auto note = [&](Array& a) {
    out.bytes += a.get();
    out.guards_intact &= a.guards_intact();
  };
  auto ptr = [](std::string& s) { return static_cast<void*>(&s[0]); };
  void* w = p.affine ? ptr(weight) : nullptr;
  void* b = p.affine ? ptr(bias) : nullptr;
  double slope = p.activation == bn_leaky_relu ? 0.125 : 0;

  for (bool training : {true, false}) {
    Array x(p, how), y(p, how), dy(p, how), dx(p, how), r(p, how), dr(p, how);
    x.set(xs);
    r.set(rs);
    dy.set(dys);
    Array kept = x;
    Array& to = how.in_place ? x : y;
    void* res = p.residual ? r.data() : nullptr;
    int status;
    if (training) {
      status =
          bn_training(how.isa, how.threads, p.dtype, how.layout, p.n, p.c, p.s, p.activation, slope,
                      x.data(), x.pitch(), res, r.pitch(), to.data(), to.pitch(), w, b, 1e-5,
                      ptr(mean), ptr(low), ptr(inv_std), ptr(running_mean), ptr(running_var), 0.1);
    } else {
      status = bn_inference(how.isa, how.threads, p.dtype, how.layout, p.n, p.c, p.s, p.activation,
                            slope, x.data(), x.pitch(), res, r.pitch(), to.data(), to.pitch(),
                            ptr(running_mean), ptr(running_var), w, b, 1e-5);
    }
    out.bytes += (char)status;
    note(to);
    out.bytes += mean + low + inv_std + running_mean + running_var;
    Array& g = how.in_place ? dy : dx;
    void* mask = how.mask_of_x && !p.residual ? nullptr : to.data();
    void* gr = p.residual ? dr.data() : nullptr;
    if (training) {
      status = bn_backward_training(
          how.isa, how.threads, p.dtype, how.layout, p.n, p.c, p.s, p.activation, slope, dy.data(),
          dy.pitch(), kept.data(), kept.pitch(), mask, to.pitch(), w, b, ptr(mean), ptr(low),
          ptr(inv_std), g.data(), g.pitch(), gr, dr.pitch(), ptr(dweight), ptr(dbias));
    } else {
      status = bn_backward_inference(
          how.isa, how.threads, p.dtype, how.layout, p.n, p.c, p.s, p.activation, slope, dy.data(),
          dy.pitch(), kept.data(), kept.pitch(), mask, to.pitch(), w, b, ptr(running_mean),
          ptr(running_var), 1e-5, g.data(), g.pitch(), gr, dr.pitch(), ptr(dweight), ptr(dbias));
    }
    out.bytes += (char)status;
    note(g);
    if (p.residual) note(dr);
    out.bytes += dweight + dbias;
  }
  return out;
}

inline std::vector<int> isas() {
  switch (bn_detect_isa()) {
    case bn_avx512:
      return {bn_scalar, bn_avx2, bn_avx512};
    case bn_avx2:
      return {bn_scalar, bn_avx2};
    case bn_neon:
      return {bn_scalar, bn_neon};
    default:
      return {bn_scalar};
  }
}
