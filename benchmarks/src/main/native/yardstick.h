// What memory allows: copy (1 read, 1 write), triad (2 reads, 1 write) and read (1 read), by as many
// threads as the contenders have. Vectors are as wide as the CPU's; "past" means non-temporal stores.
#pragma once
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>
#if defined(__linux__)
#include <dirent.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace yardstick {

#if defined(__x86_64__)
#define YARDSTICK_512 __attribute__((target("avx512f")))
#define YARDSTICK_256 __attribute__((target("avx2,fma")))

template <bool past>
YARDSTICK_512 void copy512(float* to, const float* a, int64_t i, int64_t end) {
  for (; i + 16 <= end; i += 16) {
    __m512 v = _mm512_loadu_ps(a + i);
    past ? _mm512_stream_ps(to + i, v) : _mm512_storeu_ps(to + i, v);
  }
  for (; i < end; i++) to[i] = a[i];
}

template <bool past>
YARDSTICK_512 void triad512(float* to, const float* a, const float* b, int64_t i, int64_t end) {
  for (; i + 16 <= end; i += 16) {
    __m512 v =
        _mm512_fmadd_ps(_mm512_set1_ps(3), _mm512_loadu_ps(b + i), _mm512_loadu_ps(a + i));
    past ? _mm512_stream_ps(to + i, v) : _mm512_storeu_ps(to + i, v);
  }
  for (; i < end; i++) to[i] = a[i] + 3 * b[i];
}

YARDSTICK_512 inline float read512(const float* a, int64_t i, int64_t end) {
  __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                 _mm512_setzero_ps()};
  for (; i + 64 <= end; i += 64) {
    for (int k = 0; k < 4; k++) s[k] = _mm512_max_ps(s[k], _mm512_loadu_ps(a + i + 16 * k));
  }
  return _mm512_cvtss_f32(_mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3])));
}

template <bool past>
YARDSTICK_256 void copy256(float* to, const float* a, int64_t i, int64_t end) {
  for (; i + 8 <= end; i += 8) {
    __m256 v = _mm256_loadu_ps(a + i);
    past ? _mm256_stream_ps(to + i, v) : _mm256_storeu_ps(to + i, v);
  }
  for (; i < end; i++) to[i] = a[i];
}

template <bool past>
YARDSTICK_256 void triad256(float* to, const float* a, const float* b, int64_t i, int64_t end) {
  for (; i + 8 <= end; i += 8) {
    __m256 v = _mm256_fmadd_ps(_mm256_set1_ps(3), _mm256_loadu_ps(b + i), _mm256_loadu_ps(a + i));
    past ? _mm256_stream_ps(to + i, v) : _mm256_storeu_ps(to + i, v);
  }
  for (; i < end; i++) to[i] = a[i] + 3 * b[i];
}

YARDSTICK_256 inline float read256(const float* a, int64_t i, int64_t end) {
  __m256 s[4] = {};
  for (; i + 32 <= end; i += 32) {
    for (int k = 0; k < 4; k++) s[k] = _mm256_max_ps(s[k], _mm256_loadu_ps(a + i + 8 * k));
  }
  return _mm256_cvtss_f32(_mm256_max_ps(_mm256_max_ps(s[0], s[1]), _mm256_max_ps(s[2], s[3])));
}

inline bool wide() {
  static const bool yes = __builtin_cpu_supports("avx512f");
  return yes;
}
#endif

inline void copy(bool past, float* to, const float* a, int64_t i, int64_t end) {
#if defined(__x86_64__)
  if (wide()) {
    past ? copy512<true>(to, a, i, end) : copy512<false>(to, a, i, end);
  } else {
    past ? copy256<true>(to, a, i, end) : copy256<false>(to, a, i, end);
  }
  if (past) _mm_sfence();
#else
  for (; i < end; i++) to[i] = a[i];
#endif
}

inline void triad(bool past, float* to, const float* a, const float* b, int64_t i, int64_t end) {
#if defined(__x86_64__)
  if (wide()) {
    past ? triad512<true>(to, a, b, i, end) : triad512<false>(to, a, b, i, end);
  } else {
    past ? triad256<true>(to, a, b, i, end) : triad256<false>(to, a, b, i, end);
  }
  if (past) _mm_sfence();
#else
  for (; i < end; i++) to[i] = a[i] + 3 * b[i];
#endif
}

inline float read(const float* a, int64_t i, int64_t end) {
#if defined(__x86_64__)
  return wide() ? read512(a, i, end) : read256(a, i, end);
#else
  float m = 0;
  for (; i < end; i++) m = std::max(m, a[i]);
  return m;
#endif
}

// Tiles of 64 KiB for whoever is free; one thread where starting more would cost more.
template <class F>
void each(int threads, int64_t count, F f) {
  if (threads == 1 || count * 8 < (128 << 10)) {
    f(0, count);
    return;
  }
  const int64_t tile = 16384;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < count; i += tile) f(i, std::min(i + tile, count));
}

}  // namespace yardstick

inline void yardstick_copy(int threads, int past, float* to, const float* a, int64_t count) {
  yardstick::each(threads, count,
                  [=](int64_t i, int64_t end) { yardstick::copy(past != 0, to, a, i, end); });
}

inline void yardstick_triad(int threads, int past, float* to, const float* a, const float* b,
                            int64_t count) {
  yardstick::each(threads, count,
                  [=](int64_t i, int64_t end) { yardstick::triad(past != 0, to, a, b, i, end); });
}

inline void yardstick_read(int threads, const float* a, int64_t count) {
  yardstick::each(threads, count, [=](int64_t i, int64_t end) {
    volatile float sink = yardstick::read(a, i, end);
    (void)sink;
  });
}

inline double yardstick_seconds(clockid_t clock) {
  timespec t;
  return clock_gettime(clock, &t) ? 0 : (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// CPU time of the thread that calls.
inline double yardstick_own_seconds() { return yardstick_seconds(CLOCK_THREAD_CPUTIME_ID); }

// CPU time of all other threads of the process, those that have ended too, but without the JVM's own
// work for whoever ran before: compilers and garbage collectors. For one thread to call.
inline double yardstick_others_seconds() {
  double jvm = 0;
#if defined(__linux__)
  static std::unordered_map<int, bool> of_jvm;
  if (DIR* tasks = opendir("/proc/self/task")) {
    while (const dirent* entry = readdir(tasks)) {
      int id = atoi(entry->d_name);
      if (id == 0) continue;
      // To ask for a thread brings its time up to date. Otherwise one that is running counts only
      // from one tick of the kernel to the next, and a slice is shorter than that.
      double seconds = yardstick_seconds((clockid_t)(~(unsigned)id << 3 | 6));
      auto known = of_jvm.find(id);
      if (known == of_jvm.end()) {
        char name[16] = "";
        std::string path = "/proc/self/task/" + std::to_string(id) + "/comm";
        if (FILE* file = fopen(path.c_str(), "r")) {
          if (!fgets(name, sizeof name, file)) name[0] = 0;
          fclose(file);
        }
        bool is = false;
        for (const char* prefix : {"C1 Compiler", "C2 Compiler", "GC Thread", "G1 ", "VM ", "Sweeper"}) {
          is |= strncmp(name, prefix, strlen(prefix)) == 0;
        }
        known = of_jvm.emplace(id, is).first;
      }
      if (known->second) jvm += seconds;
    }
    closedir(tasks);
  }
#endif
  double own = yardstick_own_seconds();
  return yardstick_seconds(CLOCK_PROCESS_CPUTIME_ID) - own - jvm;
}
