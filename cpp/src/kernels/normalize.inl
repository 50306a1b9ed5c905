// y = act((x - mean - mean_low) * scale + bias + residual). docs/numerics.md, "Normalization".

enum { kIdentity = 0, kRelu = 1, kLeaky = 2 };  // bn_activation

template <int act, class E>
BN_INLINE Vec<E> activate(Vec<E> t, Vec<E> slope) {
  if constexpr (act == kRelu) return clamp0(t);
  if constexpr (act == kLeaky) return if_negative(t, slope * t, t);
  return t;
}

// What y is made of, per channel: mean, mean_low, scale and bias.
template <class E>
using OfNormalize = Channel<E, 4>;

// y before a residual is added.
template <class E>
BN_INLINE Vec<E> normalized(Vec<E> x, const OfNormalize<E>& c) {
  return fma(center(x, c.v[0], c.v[1]), c.v[2], c.v[3]);
}

template <class S, int act, bool add>
void normalize_ncs(const Normalize& args, const Walk& given, int64_t n0, int64_t n1, int64_t f0,
                   int64_t f1) {
  // Their own, which no store can change: so they stay in registers.
  const Normalize a = args;
  const Walk walk = given;
  using E = Element<S>;
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  auto channel = [&](int64_t c) BN_ALWAYS {
    return OfNormalize<E>{{splat(((const E*)a.mean)[c]), splat(((const E*)a.mean_low)[c]),
                           splat(((const E*)a.scale)[c]), splat(((const E*)a.bias)[c])}};
  };
  auto row = [&](int64_t n, int64_t f, auto count, const OfNormalize<E>& c) BN_ALWAYS {
    Vec<E> x = load((const S*)a.x.p + n * a.x.pitch + f, count, zero);
    read_ahead<S>(walk, 0, n, f, lanes_of(count));
    Vec<E> t = normalized(x, c);
    if constexpr (add) {
      t = t + load((const S*)a.residual.p + n * a.residual.pitch + f, count, zero);
    }
    put(a.around, (S*)a.y.p + n * a.y.pitch + f, count, activate<act>(t, slope));
  };
  for_runs<S>(walk, a.extent.s, a.y, a.around, n0, n1, f0, f1, channel, row);
  if (a.around) fence();
}

template <class S, int act, bool add>
void normalize_nsc(const Normalize& args, int64_t streams, int64_t r0, int64_t r1) {
  const Normalize a = args;
  using E = Element<S>;
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  const E *means = (const E*)a.mean, *lows = (const E*)a.mean_low;
  const E *scales = (const E*)a.scale, *biases = (const E*)a.bias;
  // All rows are aligned alike, or nothing is streamed.
  bool around = a.around && a.y.pitch % kLine<S> == 0;
  for_rows(streams, r0, r1, [&](int64_t r, int64_t rows, int64_t apart) BN_ALWAYS {
    const S* x = (const S*)a.x.p + r * a.x.pitch;
    const S* res = add ? (const S*)a.residual.p + r * a.residual.pitch : nullptr;
    S* y = (S*)a.y.p + r * a.y.pitch;
    auto channel = [&](int64_t c, auto count) BN_ALWAYS {
      return OfNormalize<E>{{load(means + c, count, zero), load(lows + c, count, zero),
                             load(scales + c, count, zero), load(biases + c, count, zero)}};
    };
    auto row = [&](int64_t k, int64_t c, auto count, const OfNormalize<E>& of_c) BN_ALWAYS {
      Vec<E> t = normalized(load(x + k * a.x.pitch + c, count, zero), of_c);
      if constexpr (add) t = t + load(res + k * a.residual.pitch + c, count, zero);
      put(around, y + k * a.y.pitch + c, count, activate<act>(t, slope));
    };
    for_row(a.extent.c, rows * apart, apart, y, around, channel, row);
  });
  if (a.around) fence();
}
