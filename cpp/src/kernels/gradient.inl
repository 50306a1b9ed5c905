// The sums and the gradients of backward. docs/numerics.md, "Gradients".

// What masks dy: the output of the activation, or where there is none to read, and no residual was
// added, the same value computed again from x, which is read anyway.
enum { kReluOfX = 3, kLeakyOfX = 4 };
constexpr bool of_x(int act) { return act >= kReluOfX; }
constexpr bool of_y(int act) { return act == kRelu || act == kLeaky; }

// The largest value that is stored as 0: half of the least positive one, a tie. Inline, because
// Clang 14 else has a symbol of it in every object.
template <class S>
inline constexpr Element<S> kStoredAsZero = 0;
template <>
inline constexpr float kStoredAsZero<bn::Bf16> = 0x1p-134f;
template <>
inline constexpr float kStoredAsZero<bn::F16> = 0x1p-25f;

// g: dy where the activation passed it on, by the sign of y, or of what y was computed from.
template <class S, int act>
BN_INLINE Vec<Element<S>> masked(Vec<Element<S>> dy, Vec<Element<S>> y, Vec<Element<S>> slope,
                                 Vec<Element<S>> centered, Vec<Element<S>> scale,
                                 Vec<Element<S>> bias) {
  Vec<Element<S>> zero = splat(Element<S>(0)), g = dy, sign = y;
  if constexpr (of_x(act)) sign = fma(centered, scale, bias);
  if constexpr (of_x(act) && kStoredAsZero<S> != 0) sign = sign - splat(kStoredAsZero<S>);
  if constexpr (act == kRelu || act == kReluOfX) g = if_not_positive(sign, zero, g);
  if constexpr (act == kLeaky || act == kLeakyOfX) g = if_not_positive(sign, slope * g, g);
  return g;
}

// Adds the sums of a block's chunks to those of their segments.
template <class E>
static void add_to_segments(const Block<E>& block, Vec<double> sums, double* of_segments) {
  if (block.is_of_neighbours()) {
    const int64_t i = block.at[0];
    for_lanes(block.count, [&](int64_t, auto count) BN_ALWAYS {
      if (block.before[0] > 0) sums = load(of_segments + i, count, splat(0.0)) + sums;
      store(of_segments + i, count, sums);
    });
    return;
  }
  double of_chunk[16];
  store(of_chunk, sums);
  for (int64_t l = 0; l < block.count; l++) {
    double& to = of_segments[block.at[l]];
    to = block.before[l] == 0 ? of_chunk[l] : to + of_chunk[l];
  }
}

template <class S, int act>
void sums_ncs(const Gradient& a, const Chunks& chunks, double* g, double* dot) {
  using E = Element<S>;
  constexpr int inputs = of_y(act) ? 3 : 2;
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  auto sum = [&](int64_t, int64_t c, auto, Vec<E>, auto reduce) BN_ALWAYS {
    Vec<E> mean = splat(((const E*)a.mean)[c]), low = splat(((const E*)a.mean_low)[c]);
    Vec<E> scale = of_x(act) ? splat(((const E*)a.scale)[c]) : zero;
    Vec<E> bias = of_x(act) ? splat(((const E*)a.bias)[c]) : zero;
    return reduce([&](auto at, auto count, Sums<E>& s) BN_ALWAYS {
      // Lanes without a value add 0, though a mean be infinite.
      Vec<E> centered = only(count, center(at(1, count, mean), mean, low));
      Vec<E> y = of_y(act) ? at(inputs - 1, count, zero) : zero;
      Vec<E> gi = masked<S, act>(at(0, count, zero), y, slope, centered, scale, bias);
      s.a = s.a + gi;
      s.b = fma(gi, centered, s.b);
    });
  };
  auto done = [&](Block<E>& block) {
    Sums<E> sums = block.sums();
    add_to_segments(block, widen(sums.a), g);
    add_to_segments(block, widen(sums.b), dot);
  };
  Data arrays[inputs] = {a.dy, a.x};
  if constexpr (of_y(act)) arrays[inputs - 1] = a.y;
  for_chunks<S>(a.extent, arrays, chunks, sum, done);
}

template <class S, int act>
void sums_nsc(const Gradient& a, int64_t c0, int64_t c1, int64_t q0, int64_t q1, void* lanes,
              int64_t lane_rows, double* g, double* dot) {
  using E = Element<S>;
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  const bool dense =
      a.dy.pitch == c1 - c0 && a.x.pitch == c1 - c0 && (!of_y(act) || a.y.pitch == c1 - c0);
  const int power = dense ? rows_as_one(c1 - c0, a.extent.values()) : 0;
  E room[of_x(act) ? 4 : 2][kStrip];
  auto from_c0 = [&](const void* values, int k)
                     BN_ALWAYS { return repeat((const E*)values + c0, c1 - c0, power, room[k]); };
  const E *all_means = from_c0(a.mean, 0), *all_lows = from_c0(a.mean_low, 1);
  const E *all_scales = nullptr, *all_biases = nullptr;
  if constexpr (of_x(act)) {
    all_scales = from_c0(a.scale, 2);
    all_biases = from_c0(a.bias, 3);
  }
  // Computed anew for each row: of what is computed once GCC 12 makes more than a hundred addresses
  // at the begin of the call (docs/performance.md, lesson 38).
  auto at = [](const Data& array, const S* first, int64_t row, auto exponent)
                BN_ALWAYS { return first + row * (array.pitch << exponent); };
  for (int64_t q = q0; q < q1; q++) {
    int64_t r0 = q * kChunk, n = min(kChunk, a.extent.values() - r0);
    for (int64_t strip = c0; strip < c1; strip += kStrip) {
      int64_t width = min(kStrip, c1 - strip), from = strip - c0;
      const S* dy = (const S*)a.dy.p + r0 * a.dy.pitch + strip;
      const S* x = (const S*)a.x.p + r0 * a.x.pitch + strip;
      const S* y = of_y(act) ? (const S*)a.y.p + r0 * a.y.pitch + strip : dy;
      const E *means = all_means + from, *lows = all_lows + from;
      auto channel = [&](const E* all, int64_t c, auto count)
                         BN_ALWAYS { return of_x(act) ? load(all + from + c, count, zero) : zero; };
      auto add = [&](int64_t row, auto exponent, int64_t c, auto count, Sums<E>& s) {
        Vec<E> mean = load(means + c, count, zero), low = load(lows + c, count, zero);
        Vec<E> centered = center(load(at(a.x, x, row, exponent) + c, count, zero), mean, low);
        Vec<E> scale = channel(all_scales, c, count), bias = channel(all_biases, c, count);
        Vec<E> dy_c = load(at(a.dy, dy, row, exponent) + c, count, zero);
        Vec<E> y_c = of_y(act) ? load(at(a.y, y, row, exponent) + c, count, zero) : zero;
        Vec<E> gi = masked<S, act>(dy_c, y_c, slope, centered, scale, bias);
        s.a = s.a + gi;
        s.b = fma(gi, centered, s.b);
      };
      auto sink = [&](int64_t c, auto count, Sums<E> s) {
        double *g_c = g + from + c, *dot_c = dot + from + c;
        Vec<double> g_q = widen(s.a), dot_q = widen(s.b);
        if (q != q0) {
          g_q = load(g_c, count, splat(0.0)) + g_q;
          dot_q = load(dot_c, count, splat(0.0)) + dot_q;
        }
        store(g_c, count, g_q);
        store(dot_c, count, dot_q);
      };
      auto fetch = [&](int64_t row) BN_ALWAYS {
        prefetch(at(a.dy, dy, row, power));
        prefetch(at(a.x, x, row, power));
        if constexpr (of_y(act)) prefetch(at(a.y, y, row, power));
      };
      reduce_rows<E>(n, width, power, (E*)lanes, lane_rows, add, sink, fetch);
    }
  }
}

template <class E>
void merge_sums(int64_t width, int64_t channels, int64_t p, double* g, double* dot) {
  Vec<double> zero = splat(0.0);
  for (int64_t i = 1; i < p; i++) {
    for_lanes(channels, [&](int64_t c, auto count) {
      store(g + c, count, load(g + c, count, zero) + load(g + i * width + c, count, zero));
      store(dot + c, count, load(dot + c, count, zero) + load(dot + i * width + c, count, zero));
    });
  }
}

template <class E>
void finish_gradient(const FinishGradient& f, int64_t c0, int64_t c1, const double* g,
                     const double* dot) {
  Vec<E> one = splat(E(1));
  const E *weight = (const E*)f.weight, *inv_std = (const E*)f.inv_std;
  for_lanes(c1 - c0, [&](int64_t i, auto count) {
    int64_t c = c0 + i;
    Vec<double> g_c = load(g + i, count, splat(0.0)), dot_c = load(dot + i, count, splat(0.0));
    Vec<E> s = load(inv_std + c, count, one), out;
    store((E*)f.scale + c, count, weight ? s * load(weight + c, count, one) : s);
    Vec<double> dw = dot_c * widen(s);
    if (f.c1) {
      narrow(g_c / splat(f.count), &out);
      store((E*)f.c1 + c, count, out);
      narrow((dw * widen(s)) / splat(f.count), &out);
      store((E*)f.c2 + c, count, out);
    }
    if (f.dweight) {
      narrow(dw, &out);
      store((E*)f.dweight + c, count, out);
    }
    if (f.dbias) {
      narrow(g_c, &out);
      store((E*)f.dbias + c, count, out);
    }
  });
}

// What gradients are made of, per channel: scale, mean, mean_low, c1, c2 and, for a mask computed
// from x, bias.
template <class E, int act>
using OfGradient = Channel<E, of_x(act) ? 6 : 5>;

// g and dx of 16 values.
template <class E>
struct Gradients {
  Vec<E> g, dx;
};
template <class S, int act, bool training>
BN_INLINE Gradients<Element<S>> gradients(Vec<Element<S>> x, Vec<Element<S>> dy, Vec<Element<S>> y,
                                          Vec<Element<S>> slope,
                                          const OfGradient<Element<S>, act>& of_c) {
  const auto& v = of_c.v;
  Vec<Element<S>> centered = x;
  if constexpr (training || of_x(act)) centered = center(x, v[1], v[2]);
  Vec<Element<S>> g = masked<S, act>(dy, y, slope, centered, v[0], v[of_x(act) ? 5 : 0]);
  if constexpr (training) return {g, fnma(centered, v[4], g - v[3]) * v[0]};
  return {g, g * v[0]};
}

template <class S, int act, bool training, bool residual>
void gradient_ncs(const Gradient& args, const Walk& given, int64_t n0, int64_t n1, int64_t f0,
                  int64_t f1) {
  // Their own, which no store can change: so they stay in registers.
  const Gradient a = args;
  const Walk walk = given;
  using E = Element<S>;
  constexpr bool reads_x = training || of_x(act);
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  using Values = OfGradient<E, act>;
  auto channel = [&](int64_t c) BN_ALWAYS {
    auto value = [&](bool used, const void* values)
                     BN_ALWAYS { return used ? splat(((const E*)values)[c]) : zero; };
    Values of_c = {{splat(((const E*)a.scale)[c]), value(reads_x, a.mean),
                    value(reads_x, a.mean_low), value(training, a.c1), value(training, a.c2)}};
    if constexpr (of_x(act)) of_c.v[5] = splat(((const E*)a.bias)[c]);
    return of_c;
  };
  auto row = [&](int64_t n, int64_t f, auto count, const Values& c) BN_ALWAYS {
    Vec<E> x = reads_x ? load((const S*)a.x.p + n * a.x.pitch + f, count, zero) : zero;
    Vec<E> dy = load((const S*)a.dy.p + n * a.dy.pitch + f, count, zero);
    Vec<E> y = of_y(act) ? load((const S*)a.y.p + n * a.y.pitch + f, count, zero) : zero;
    auto [g, dx] = gradients<S, act, training>(x, dy, y, slope, c);
    read_ahead<S>(walk, 0, n, f, lanes_of(count));
    read_ahead<S>(walk, 1, n, f, lanes_of(count));
    if constexpr (of_y(act)) read_ahead<S>(walk, 2, n, f, lanes_of(count));
    if constexpr (residual) store((S*)a.dresidual.p + n * a.dresidual.pitch + f, count, g);
    put(a.around, (S*)a.dx.p + n * a.dx.pitch + f, count, dx);
  };
  for_runs<S>(walk, a.extent.s, a.dx, a.around, n0, n1, f0, f1, channel, row);
  if (a.around) fence();
}

template <class S, int act, bool training, bool residual>
void gradient_nsc(const Gradient& args, int64_t streams, int64_t r0, int64_t r1) {
  const Gradient a = args;
  using E = Element<S>;
  constexpr bool reads_x = training || of_x(act);
  using Values = OfGradient<E, act>;
  Vec<E> zero = splat(E(0)), slope = splat((E)a.slope);
  bool around = a.around && a.dx.pitch % kLine<S> == 0;
  for_rows(streams, r0, r1, [&](int64_t r, int64_t rows, int64_t apart) BN_ALWAYS {
    const S* dy = (const S*)a.dy.p + r * a.dy.pitch;
    const S* x = (const S*)a.x.p + r * a.x.pitch;
    const S* y = of_y(act) ? (const S*)a.y.p + r * a.y.pitch : dy;
    S* dx = (S*)a.dx.p + r * a.dx.pitch;
    S* dr = residual ? (S*)a.dresidual.p + r * a.dresidual.pitch : nullptr;
    auto channel = [&](int64_t c, auto count) BN_ALWAYS {
      auto value = [&](bool used, const void* values)
                       BN_ALWAYS { return used ? load((const E*)values + c, count, zero) : zero; };
      Values of_c = {{load((const E*)a.scale + c, count, zero), value(reads_x, a.mean),
                      value(reads_x, a.mean_low), value(training, a.c1), value(training, a.c2)}};
      if constexpr (of_x(act)) of_c.v[5] = load((const E*)a.bias + c, count, zero);
      return of_c;
    };
    auto row = [&](int64_t k, int64_t c, auto count, const Values& of_c) BN_ALWAYS {
      Vec<E> x_c = reads_x ? load(x + k * a.x.pitch + c, count, zero) : zero;
      Vec<E> dy_c = load(dy + k * a.dy.pitch + c, count, zero);
      Vec<E> y_c = of_y(act) ? load(y + k * a.y.pitch + c, count, zero) : zero;
      auto [g, dx_c] = gradients<S, act, training>(x_c, dy_c, y_c, slope, of_c);
      if constexpr (residual) store(dr + k * a.dresidual.pitch + c, count, g);
      put(around, dx + k * a.dx.pitch + c, count, dx_c);
    };
    for_row(a.extent.c, rows * apart, apart, dx, around, channel, row);
  });
  if (a.around) fence();
}
