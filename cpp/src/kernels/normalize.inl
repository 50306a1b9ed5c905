// y = act((x - mean - mean_low) * scale + bias + residual). docs/numerics.md, "Normalization".

enum { kIdentity = 0, kRelu = 1, kLeaky = 2 };  // bn_activation

template <int act, class E>
BN_INLINE Vec<E> activate(Vec<E> t, Vec<E> slope) {
  if constexpr (act == kRelu) return clamp0(t);
  if constexpr (act == kLeaky) return if_negative(t, slope * t, t);
  return t;
}

// Elements, fewer than 16, before p reaches the alignment that stream needs; n if it has no more.
// What is streamed is aligned to its elements (api.cpp).
template <class S>
BN_INLINE int64_t until_aligned(const S* p, int64_t n) {
  constexpr uintptr_t kBytes = 16 * sizeof(S);
  return min((int64_t)(-(uintptr_t)p % kBytes / sizeof(S)), n);
}

// Writes 16 values around the caches, or as many as count through them.
template <class S>
BN_INLINE void put(bool past, S* p, All, Vec<Element<S>> x) {
  if (past) {
    stream(p, x);
  } else {
    store(p, x);
  }
}
template <class S>
BN_INLINE void put(bool, S* p, int64_t n, Vec<Element<S>> x) {
  store(p, n, x);
}

// Calls f(i, count) for the n values of a row: 16 at a time, fewer at the end and, where the row at
// p is to be streamed, before its first aligned element.
template <class S, class F>
BN_INLINE void for_row(int64_t n, const S* p, bool past, F f) {
  int64_t i = 0, part = past ? until_aligned(p, n) : 0;
  for (;;) {
    if (part > 0) f(i, part);
    i += part;
    for (; i + 16 <= n; i += 16) f(i, All{});
    part = n - i;
    if (part == 0) break;
  }
}

template <class S, int act, bool add>
void normalize_ncs(const Normalize& a, int64_t n0, int64_t n1, int64_t c0, int64_t c1) {
  using E = Element<S>;
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  for (int64_t n = n0; n < n1; n++) {
    for (int64_t c = c0; c < c1; c++) {
      int64_t at = c * a.extent.s;
      const S* x = (const S*)a.x.p + n * a.x.pitch + at;
      const S* r = add ? (const S*)a.residual.p + n * a.residual.pitch + at : nullptr;
      S* y = (S*)a.y.p + n * a.y.pitch + at;
      Vec<E> mean = splat(((const E*)a.mean)[c]), low = splat(((const E*)a.mean_low)[c]);
      Vec<E> scale = splat(((const E*)a.scale)[c]), bias = splat(((const E*)a.bias)[c]);
      for_row(a.extent.s, y, a.stream, [&](int64_t i, auto count) {
        prefetch(x + i + a.ahead);
        Vec<E> t = fma((load(x + i, count, zero) - mean) - low, scale, bias);
        if constexpr (add) t = t + load(r + i, count, zero);
        put(a.stream, y + i, count, activate<act>(t, slope));
      });
    }
  }
  if (a.stream) fence();
}

template <class S, int act, bool add>
void normalize_nsc(const Normalize& a, int64_t r0, int64_t r1) {
  using E = Element<S>;
  constexpr int64_t kRows = 8;  // rows that share one load of the per-channel values
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  const E *means = (const E*)a.mean, *lows = (const E*)a.mean_low;
  const E *scales = (const E*)a.scale, *biases = (const E*)a.bias;
  for (int64_t r = r0; r < r1; r += kRows) {
    const S* x = (const S*)a.x.p + r * a.x.pitch;
    const S* res = add ? (const S*)a.residual.p + r * a.residual.pitch : nullptr;
    S* y = (S*)a.y.p + r * a.y.pitch;
    int64_t rows = min(kRows, r1 - r);
    // All rows are aligned alike, or nothing is streamed.
    bool past = a.stream && a.y.pitch % 16 == 0;
    for_row(a.extent.c, y, past, [&](int64_t c, auto count) {
      Vec<E> mean = load(means + c, count, zero), low = load(lows + c, count, zero);
      Vec<E> scale = load(scales + c, count, zero), bias = load(biases + c, count, zero);
      for (int64_t k = 0; k < rows; k++) {
        Vec<E> t = fma((load(x + k * a.x.pitch + c, count, zero) - mean) - low, scale, bias);
        if constexpr (add) t = t + load(res + k * a.residual.pitch + c, count, zero);
        put(past, y + k * a.y.pitch + c, count, activate<act>(t, slope));
      }
    });
  }
  if (a.stream) fence();
}
