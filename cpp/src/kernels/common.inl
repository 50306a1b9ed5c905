// What the algorithms share: counts of 16 or fewer lanes, and the two ways to reduce a chunk.
// Included by kernels/<isa>.cpp inside the namespace of its vector vocabulary.

using bn::clamp0;
using bn::fma;
using bn::fnma;

template <class S>
BN_INLINE Vec<Element<S>> load(const S* p, All, Vec<Element<S>>) {
  return load(p);
}
template <class S>
BN_INLINE void store(S* p, All, Vec<Element<S>> x) {
  store(p, x);
}
template <class S>
BN_INLINE Element<S> value_at(const S* p) {
  Element<S> v[16];
  store(v, load(p, 1, splat(Element<S>(0))));
  return v[0];
}

BN_INLINE int64_t lanes_of(All) { return 16; }
BN_INLINE int64_t lanes_of(int64_t n) { return n; }

// Calls f(i, All) for whole groups of 16 below n, and f(i, rest) for what is left.
template <class F>
BN_INLINE void for_lanes(int64_t n, F f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, All{});
  if (i < n) f(i, n - i);
}

// lane(0) ... lane(15), added in the order of fold().
template <int l, int step, class F>
BN_INLINE auto fold_lanes(F lane) {
  if constexpr (step == 16) {
    return lane(l);
  } else {
    auto a = fold_lanes<l, 2 * step>(lane);
    auto b = fold_lanes<l + step, 2 * step>(lane);
    return a + b;
  }
}

// Two running sums, of each lane or of each channel.
template <class E>
struct Sums {
  Vec<E> a, b;
};
template <class E>
BN_INLINE Sums<E> operator+(Sums<E> x, Sums<E> y) {
  return {x.a + y.a, x.b + y.b};
}

// Channels first: the n values of a chunk are contiguous. add(i, count, sums) adds the terms of
// values i, i + 1, ... to lanes 0, 1, ...
template <class E, class Add>
BN_INLINE Sums<E> reduce_run(int64_t n, Add add) {
  Sums<E> sums = {splat(E(0)), splat(E(0))};
  for_lanes(n, [&](int64_t i, auto count) { add(i, count, sums); });
  return sums;
}

// Channels last: the n values of a chunk are rows of width channels. add(row, c, count, sums) adds
// the terms of a row's channels c, c + 1, ...; sink(c, count, sums) takes the chunk's sums of these
// channels. Lanes are summed over whole rows, not channel by channel, so that memory is read in
// streams; the sums of 16 lanes wait in `lanes`, which stays in cache.
template <class E, class Add, class Sink>
BN_INLINE void reduce_rows(int64_t n, int64_t width, E* lanes, Add add, Sink sink) {
  constexpr int64_t kLane = 2 * kStrip;
  if (n <= 64) {
    // So few rows are in cache anyway, and their lanes stay in registers.
    for_lanes(width, [&](int64_t c, auto count) {
      sink(c, count, fold_lanes<0, 1>([&](int64_t l) {
             Sums<E> sums = {splat(E(0)), splat(E(0))};
             for (int64_t row = l; row < n; row += 16) add(row, c, count, sums);
             return sums;
           }));
    });
    return;
  }
  for (int64_t l = 0; l < 16; l++) {
    for_lanes(width, [&](int64_t c, auto count) {
      Sums<E> sums = {splat(E(0)), splat(E(0))};
      for (int64_t row = l; row < n; row += 16) add(row, c, count, sums);
      store(lanes + l * kLane + c, sums.a);
      store(lanes + l * kLane + kStrip + c, sums.b);
    });
  }
  for_lanes(width, [&](int64_t c, auto count) {
    sink(c, count, fold_lanes<0, 1>([&](int64_t l) {
           return Sums<E>{load(lanes + l * kLane + c), load(lanes + l * kLane + kStrip + c)};
         }));
  });
}

// Values [r0, r0 + n) of a channel, contiguous: where they lie if that is so, else copied to
// buffer.
template <class S>
BN_INLINE const S* run_at(const S* channel, int64_t pitch, int64_t s, int64_t r0, int64_t n,
                          S* buffer) {
  int64_t sample = r0 / s, i = r0 - sample * s;
  const S* p = channel + sample * pitch + i;
  if (i + n <= s || pitch == s) return p;
  for (int64_t done = 0; done < n;) {
    int64_t take = min(s - i, n - done);
    Vec<Element<S>> zero = splat(Element<S>(0));
    if (take >= 16) {
      for (int64_t j = 0; j + 16 <= take; j += 16) store(buffer + done + j, load(p + j));
      // The rest in one vector, over what is there already.
      store(buffer + done + take - 16, load(p + take - 16));
    } else {
      store(buffer + done, take, load(p, take, zero));
    }
    done += take;
    sample++;
    i = 0;
    p = channel + sample * pitch;
  }
  return buffer;
}
