// A known problem with known bits: whether the kernels of an instruction set work on this machine.
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "batchnorm4j.h"

namespace {

// FNV-1a over the bytes of the results.
uint64_t hash(const void* data, size_t bytes, uint64_t h) {
  const unsigned char* p = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

constexpr int64_t kN = 3, kC = 19, kS = 7;
constexpr uint64_t kExpected = 0xcc0e772aecc8f271u;

}  // namespace

int bn_self_test(int isa) {
  constexpr int64_t kCount = kN * kC * kS;
  float x[kCount], dy[kCount], y[kCount], dx[kCount], weight[kC], bias[kC];
  float mean[kC], mean_low[kC], inv_std[kC], running_mean[kC], running_var[kC];
  uint32_t seed = 1;
  auto next = [&seed] {
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed * 0x1p-31f;
  };
  for (float& v : x) v = next() + 3;
  for (float& v : dy) v = next();
  for (int64_t c = 0; c < kC; c++) {
    weight[c] = next();
    bias[c] = next();
    running_mean[c] = 0;
    running_var[c] = 1;
  }
  uint64_t h = 0xcbf29ce484222325u;
  for (int layout : {bn_ncs, bn_nsc}) {
    int64_t pitch = layout == bn_ncs ? kC * kS : kC;
    int status =
        bn_training(isa, 1, bn_f32, layout, kN, kC, kS, bn_relu, 0, x, pitch, nullptr, 0, y, pitch,
                    weight, bias, 1e-5, mean, mean_low, inv_std, running_mean, running_var, 0.1);
    if (status != bn_ok) return status;
    // One mask is read from y, the other computed again.
    const float* mask = layout == bn_ncs ? y : nullptr;
    status = bn_backward_training(isa, 1, bn_f32, layout, kN, kC, kS, bn_relu, 0, dy, pitch, x,
                                  pitch, mask, pitch, weight, bias, mean, mean_low, inv_std, dx,
                                  pitch, nullptr, 0, weight, bias);
    if (status != bn_ok) return status;
    h = hash(y, sizeof y, h);
    h = hash(dx, sizeof dx, h);
    h = hash(weight, sizeof weight, h);
    h = hash(bias, sizeof bias, h);
    h = hash(running_var, sizeof running_var, h);
    status = bn_inference(isa, 1, bn_f32, layout, kN, kC, kS, bn_identity, 0, x, pitch, nullptr, 0,
                          y, pitch, running_mean, running_var, weight, bias, 1e-5);
    if (status != bn_ok) return status;
    h = hash(y, sizeof y, h);
  }
  return h == kExpected ? bn_ok : bn_wrong_bits;
}
