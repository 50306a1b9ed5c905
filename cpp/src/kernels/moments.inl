// Mean and squared deviations: chunks in the element type, their merge in double.
// docs/numerics.md, "Statistics".

// The range of a chunk's sum of squares outside which float may have overflowed or lost bits.
constexpr float kSmallest = 0x1p-80f, kLargest = 0x1p100f;

BN_INLINE Vec<double> operator*(Vec<double> x, double y) { return x * splat(y); }
BN_INLINE double multiply_add(double x, double y, double z) { return fma(x, y, z); }
BN_INLINE Vec<double> multiply_add(Vec<double> x, double y, Vec<double> z) {
  return fma(x, splat(y), z);
}

// Sums of a chunk about a shift k, made into its moments about the channel's first value; per_value
// is 1 / n.
template <class V, class N>
BN_INLINE void chunk_moments(V k, V first, V s1, V s2, N per_value, V* mean, V* m2) {
  V dm = s1 * per_value;
  *m2 = clamp0(fnma(s1, dm, s2));
  *mean = (k - first) + dm;
}

// Chan, Golub and LeVeque (1979): merges moments b of nb values into moments a of na values.
template <class V>
BN_INLINE void merge(double na, V* mean_a, V* m2_a, double nb, V mean_b, V m2_b) {
  double w = nb / (na + nb);
  V delta = mean_b - *mean_a;
  *mean_a = multiply_add(delta, w, *mean_a);
  *m2_a = multiply_add(delta * delta, na * w, *m2_a + m2_b);
}

// The sums of a chunk that float cannot hold, in double about its own first value.
template <class E>
static void wide_moments(const E* v, int64_t n, double first, double* mean, double* m2) {
  double k = v[0];
  Vec<double> kv = splat(k);
  Sums<double> sums = reduce_run<double>(n, [&](int64_t i, auto count, Sums<double>& s) {
    Vec<double> d = widen(load(v + i, count, splat(E(v[0])))) - kv;
    s.a = s.a + d;
    s.b = fma(d, d, s.b);
  });
  chunk_moments(k, first, fold(sums.a), fold(sums.b), 1 / (double)n, mean, m2);
}

BN_INLINE bool in_range(double, double) { return true; }
BN_INLINE bool in_range(float s1, float s2) {
  return (s1 == 0 && s2 == 0) || (s2 >= kSmallest && s2 <= kLargest);
}
// Of the first n lanes.
BN_INLINE bool all_in_range(int64_t, Vec<double>) { return true; }
BN_INLINE bool all_in_range(int64_t n, Vec<float> s2) {
  return all_within(n == 16 ? s2 : head(n, s2, splat(1.0f)), kSmallest, kLargest);
}

// The number of leading values whose mean is the shift: a power of two, so that the mean of equal
// values is exact.
BN_INLINE int64_t head_of(int64_t n) {
  int64_t h = 16;
  while (h > n) h /= 2;
  return h;
}

// Replaces the moments of those of `count` chunks whose sums float cannot hold. Chunk l is of a
// channel that begins with first(l) and has the n(l) values value(l, 0), value(l, 1), ...
template <class E, class N, class First, class Value>
static void mend(int64_t count, Sums<E> sums, N n, First first, Value value, double* mean,
                 double* m2) {
  E s1[16], s2[16], values[kChunk];
  store(s1, sums.a);
  store(s2, sums.b);
  for (int64_t l = 0; l < count; l++) {
    if (in_range(s1[l], s2[l])) continue;
    for (int64_t r = 0; r < n(l); r++) values[r] = value(l, r);
    wide_moments(values, n(l), first(l), mean + l, m2 + l);
  }
}

// Merges the moments of a block's chunks into those of their segments.
template <class E>
static void merge_into_segments(const Block<E>& block, Vec<double> mean_v, Vec<double> m2_v,
                                double* mean, double* m2) {
  if (block.is_of_neighbours()) {
    const int64_t i = block.at[0];
    for_lanes(block.count, [&](int64_t, auto count) BN_ALWAYS {
      if (block.before[0] > 0) {
        Vec<double> mean_i = load(mean + i, count, splat(0.0));
        Vec<double> m2_i = load(m2 + i, count, splat(0.0));
        merge(block.before[0], &mean_i, &m2_i, block.n[0], mean_v, m2_v);
        mean_v = mean_i;
        m2_v = m2_i;
      }
      store(mean + i, count, mean_v);
      store(m2 + i, count, m2_v);
    });
    return;
  }
  double mean_q[16], m2_q[16];
  store(mean_q, mean_v);
  store(m2_q, m2_v);
  // Those of a segment in registers, so that nothing waits for what it has just stored.
  double mean_i = 0, m2_i = 0;
  for (int64_t l = 0, last = -1; l < block.count; l++) {
    const int64_t i = block.at[l];
    if (block.before[l] == 0) {
      mean_i = mean_q[l];
      m2_i = m2_q[l];
    } else {
      if (i != last) {
        mean_i = mean[i];
        m2_i = m2[i];
      }
      merge(block.before[l], &mean_i, &m2_i, block.n[l], mean_q[l], m2_q[l]);
    }
    mean[i] = mean_i;
    m2[i] = m2_i;
    last = i;
  }
}

template <class S>
void moments_ncs(const Extent& e, Data x, const Chunks& chunks, double* mean, double* m2) {
  using E = Element<S>;
  Vec<E> zero = splat(E(0));
  E shift[16] = {}, first[16] = {};
  auto sum = [&](int64_t l, int64_t c, auto n, Vec<E> first_16, auto reduce) BN_ALWAYS {
    int64_t h = head_of(n);
    shift[l] = fold(h == 16 ? first_16 : head(h, first_16, zero)) * (E(1) / (E)h);
    first[l] = value_at((const S*)x.p + c * e.s);
    // Added, not subtracted: only then can the load be part of the instruction.
    Vec<E> k = splat(shift[l]), minus_k = splat(-shift[l]);
    return reduce([&](auto at, auto count, Sums<E>& s) BN_ALWAYS {
      Vec<E> d = at(0, count, k) + minus_k;
      s.a = s.a + d;
      s.b = fma(d, d, s.b);
    });
  };
  auto done = [&](Block<E>& block) {
    Sums<E> sums = block.sums();
    Vec<double> mean_v, m2_v;
    chunk_moments(widen(load(shift)), widen(load(first)), widen(sums.a), widen(sums.b),
                  splat(1.0) / load(block.n, block.count, splat(1.0)), &mean_v, &m2_v);
    if (!all_in_range(block.count, sums.b)) {
      double mean_q[16], m2_q[16];
      store(mean_q, mean_v);
      store(m2_q, m2_v);
      auto value = [&](int64_t l, int64_t r) {
        int64_t at = block.q[l] * kChunk + r, sample = at / e.s, i = at % e.s;
        return value_at((const S*)x.p + sample * x.pitch + block.c[l] * e.s + i);
      };
      mend(
          block.count, sums, [&](int64_t l) { return (int64_t)block.n[l]; },
          [&](int64_t l) { return first[l]; }, value, mean_q, m2_q);
      mean_v = load(mean_q);
      m2_v = load(m2_q);
    }
    merge_into_segments(block, mean_v, m2_v, mean, m2);
  };
  for_chunks<S, 1>(e, {x}, chunks, sum, done);
}

// The shift of 16 channels: the mean of the first h rows.
template <class S, class Count>
BN_INLINE Vec<Element<S>> head_mean(const S* p, int64_t pitch, int64_t n, Count count) {
  using E = Element<S>;
  Vec<E> zero = splat(E(0));
  int64_t h = head_of(n);
  Vec<E> sum =
      fold_lanes<0, 1>([&](int64_t l) { return l < h ? load(p + l * pitch, count, zero) : zero; });
  return sum * splat(E(1) / (E)h);
}

template <class S>
void moments_nsc(const Extent& e, Data x, int64_t c0, int64_t c1, int64_t q0, int64_t q1,
                 void* lanes, int64_t lane_rows, double* mean, double* m2) {
  using E = Element<S>;
  Vec<E> zero = splat(E(0));
  E shift[kStrip];
  const int power = x.pitch == c1 - c0 ? rows_as_one(x.pitch, e.values()) : 0;
  for (int64_t q = q0; q < q1; q++) {
    int64_t r0 = q * kChunk, n = min(kChunk, e.values() - r0);
    for (int64_t strip = c0; strip < c1; strip += kStrip) {
      int64_t width = min(kStrip, c1 - strip), pitch = x.pitch;
      const S *first = (const S*)x.p + strip, *rows = first + r0 * pitch;
      double *mean_s = mean + (strip - c0), *m2_s = m2 + (strip - c0);
      for_lanes(width, [&](int64_t c, auto count) {
        store(shift + c, head_mean(rows + c, pitch, n, count));
      });
      repeat(shift, width, power, shift);
      auto add = [&](int64_t row, auto exponent, int64_t c, auto count, Sums<E>& s) {
        Vec<E> k = load(shift + c);
        Vec<E> d = load(rows + row * (pitch << exponent) + c, count, k) - k;
        s.a = s.a + d;
        s.b = fma(d, d, s.b);
      };
      auto sink = [&](int64_t c, auto count, Sums<E> s) {
        Vec<double> k = widen(load(shift + c));
        Vec<double> first_c = widen(load(first + c, count, zero)), mean_q, m2_q;
        chunk_moments(k, first_c, widen(s.a), widen(s.b), 1 / (double)n, &mean_q, &m2_q);
        if (!all_in_range(lanes_of(count), s.b)) {
          double mean_l[16], m2_l[16];
          store(mean_l, mean_q);
          store(m2_l, m2_q);
          mend(
              lanes_of(count), s, [&](int64_t) { return n; },
              [&](int64_t l) { return value_at(first + c + l); },
              [&](int64_t l, int64_t r) { return value_at(rows + r * pitch + c + l); }, mean_l,
              m2_l);
          mean_q = load(mean_l);
          m2_q = load(m2_l);
        }
        if (q != q0) {
          Vec<double> mean_c = load(mean_s + c, count, splat(0.0));
          Vec<double> m2_c = load(m2_s + c, count, splat(0.0));
          merge((double)((q - q0) * kChunk), &mean_c, &m2_c, (double)n, mean_q, m2_q);
          mean_q = mean_c;
          m2_q = m2_c;
        }
        store(mean_s + c, count, mean_q);
        store(m2_s + c, count, m2_q);
      };
      auto fetch = [&](int64_t row) BN_ALWAYS { prefetch(rows + row * (pitch << power)); };
      reduce_rows<E>(n, width, power, (E*)lanes, lane_rows, add, sink, fetch);
    }
  }
}

template <class E>
void merge_moments(int64_t width, int64_t channels, int64_t p, int64_t segment, int64_t values,
                   double* mean, double* m2) {
  Vec<double> zero = splat(0.0);
  for (int64_t i = 1; i < p; i++) {
    double na = (double)(i * segment), nb = (double)min(segment, values - i * segment);
    for_lanes(channels, [&](int64_t c, auto count) {
      Vec<double> mean_a = load(mean + c, count, zero), m2_a = load(m2 + c, count, zero);
      merge(na, &mean_a, &m2_a, nb, load(mean + i * width + c, count, zero),
            load(m2 + i * width + c, count, zero));
      store(mean + c, count, mean_a);
      store(m2 + c, count, m2_a);
    });
  }
}

// running = momentum * now + (1 - momentum) * running, in double.
template <class E, class Count>
BN_INLINE void move_running(E* running, Count count, double momentum, Vec<double> now) {
  Vec<double> old = widen(load(running, count, splat(E(0))));
  Vec<E> moved;
  narrow(fma(splat(momentum), now, splat(1 - momentum) * old), &moved);
  store(running, count, moved);
}

// The first values of n neighbouring channels.
template <class S>
static Vec<double> first_values(const S* first, int64_t step, int64_t n) {
  Element<S> values[16] = {};
  for (int64_t l = 0; l < n; l++) values[l] = value_at(first + l * step);
  return widen(load(values));
}

template <class S>
void finish_statistics(const void* first, int64_t step, int64_t c0, int64_t c1, const double* mean,
                       const double* m2, double* mean_out, double* m2_out) {
  for_lanes(c1 - c0, [&](int64_t i, auto count) {
    int64_t c = c0 + i;
    Vec<double> k = first_values((const S*)first + c * step, step, lanes_of(count));
    store(mean_out + c, count, k + load(mean + i, count, splat(0.0)));
    store(m2_out + c, count, load(m2 + i, count, splat(0.0)));
  });
}

template <class S>
void finish_training(const FinishTraining& f, const void* first, int64_t step, int64_t c0,
                     int64_t c1, const double* mean, const double* m2) {
  using E = Element<S>;
  Vec<E> zero = splat(E(0)), one = splat(E(1));
  const E *weight = (const E*)f.weight, *bias = (const E*)f.bias;
  for_lanes(c1 - c0, [&](int64_t i, auto count) {
    int64_t c = c0 + i;
    Vec<double> k = first_values((const S*)first + c * step, step, lanes_of(count));
    Vec<double> mean_c = load(mean + i, count, splat(0.0));
    Vec<double> m2_c = load(m2 + i, count, splat(0.0));
    Vec<double> var = m2_c / splat(f.count), whole = k + mean_c;
    Vec<E> high, low, inv_std;
    narrow(whole, &high);
    narrow((k - widen(high)) + mean_c, &low);
    narrow(splat(1.0) / root(var + splat(f.eps)), &inv_std);
    store((E*)f.mean + c, count, high);
    store((E*)f.mean_low + c, count, low);
    store((E*)f.inv_std + c, count, inv_std);
    store((E*)f.scale + c, count, weight ? inv_std * load(weight + c, count, one) : inv_std);
    store((E*)f.bias_copy + c, count, bias ? load(bias + c, count, zero) : zero);
    if (f.running_mean) {
      Vec<double> unbiased = m2_c / splat(f.count - 1);
      move_running((E*)f.running_mean + c, count, f.momentum, whole);
      move_running((E*)f.running_var + c, count, f.momentum, unbiased);
    }
  });
}

// 1 / root(x), both rounded, of so many vectors at once. AVX-512 has its own for float.
template <class E>
static constexpr int roots_at_once(E) {
  return 1;
}
template <class E, int n>
BN_INLINE void inv_roots(Vec<E> (&x)[n]) {
  for (int i = 0; i < n; i++) x[i] = splat(E(1)) / root(x[i]);
}

template <class E>
void prepare_inference(const PrepareInference& f, int64_t c0, int64_t c1) {
  Vec<E> zero = splat(E(0)), one = splat(E(1));
  const E *var = (const E*)f.running_var, *given = (const E*)f.given_inv_std;
  const E *weight = (const E*)f.weight, *bias = (const E*)f.bias;
  // As many vectors of channels from c on as inv_std has.
  auto prepare = [&](int64_t c, auto count, auto& inv_std) BN_ALWAYS {
    int64_t at = c;
    for (Vec<E>& x : inv_std) {
      if (var) {
        narrow(widen(load(var + at, count, one)) + splat(f.eps), &x);
      } else {
        x = load(given + at, count, one);
      }
      at += 16;
    }
    if (var) inv_roots(inv_std);
    for (Vec<E> x : inv_std) {
      if (f.inv_std) store((E*)f.inv_std + c, count, x);
      store((E*)f.scale + c, count, weight ? x * load(weight + c, count, one) : x);
      store((E*)f.bias_copy + c, count, bias ? load(bias + c, count, zero) : zero);
      c += 16;
    }
  };
  constexpr int64_t kAtOnce = roots_at_once(E());
  if constexpr (kAtOnce > 1) {
    for (; c0 + 16 * kAtOnce <= c1; c0 += 16 * kAtOnce) {
      Vec<E> inv_std[kAtOnce];
      prepare(c0, All{}, inv_std);
    }
  }
  for_lanes(c1 - c0, [&](int64_t i, auto count) {
    Vec<E> inv_std[1];
    prepare(c0 + i, count, inv_std);
  });
}
