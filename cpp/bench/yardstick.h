// copy, triad and read by the same threads as the kernels: what memory allows.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "../src/parallel.h"

namespace bn {

class Yardstick {
 public:
  Yardstick(int threads, int64_t count) : threads_(threads), count_(count) {}

  void copy(float* to, const float* a, bool past) {
    each([=](int64_t i, int64_t end) {
      for (; i + 8 <= end; i += 8) put(to + i, _mm256_loadu_ps(a + i), past);
      for (; i < end; i++) to[i] = a[i];
    });
  }

  void triad(float* to, const float* a, const float* b, bool past) {
    each([=](int64_t i, int64_t end) {
      __m256 k = _mm256_set1_ps(3);
      for (; i + 8 <= end; i += 8) {
        put(to + i, _mm256_fmadd_ps(k, _mm256_loadu_ps(b + i), _mm256_loadu_ps(a + i)), past);
      }
      for (; i < end; i++) to[i] = a[i] + 3 * b[i];
    });
  }

  void read(const float* a) {
    each([=](int64_t i, int64_t end) {
      __m256 s[4] = {};
      for (; i + 32 <= end; i += 32) {
        for (int k = 0; k < 4; k++) s[k] = _mm256_max_ps(s[k], _mm256_loadu_ps(a + i + 8 * k));
      }
      volatile float sink =
          _mm256_cvtss_f32(_mm256_max_ps(_mm256_max_ps(s[0], s[1]), _mm256_max_ps(s[2], s[3])));
      (void)sink;
    });
  }

 private:
  static void put(float* p, __m256 v, bool past) {
    if (past) {
      _mm256_stream_ps(p, v);
    } else {
      _mm256_storeu_ps(p, v);
    }
  }

  template <class F>
  void each(F f) {
    int64_t threads = count_ * 8 < (128 << 10) ? 1 : threads_, tile = 16384;
    int64_t tiles = (count_ + tile - 1) / tile;
    parallel_for((int)threads, tiles,
                 [&](int64_t task, int) { f(task * tile, std::min((task + 1) * tile, count_)); });
  }

  int threads_;
  int64_t count_;
};

}  // namespace bn
