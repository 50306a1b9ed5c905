// What the algorithms share: counts of 16 or fewer lanes, and the two ways to reduce a chunk.
// Included by kernels/<isa>.cpp inside the namespace of its vector vocabulary.

using bn::clamp0;
using bn::fma;
using bn::fnma;
using bn::unaligned;

template <class S>
BN_INLINE Vec<Element<S>> load(const S* p, All, Vec<Element<S>>) {
  return load(p);
}
template <class S>
BN_INLINE void store(S* p, All, Vec<Element<S>> x) {
  store(p, x);
}
// x in so many lanes, 0 in the others.
template <class E>
BN_INLINE Vec<E> only(All, Vec<E> x) {
  return x;
}
template <class E>
BN_INLINE Vec<E> only(int64_t n, Vec<E> x) {
  return head(n, x, splat(E(0)));
}
// x - mean, to the bits that the mean's type cannot hold.
template <class V>
BN_INLINE V center(V x, V mean, V mean_low) {
  return (x - mean) - mean_low;
}
BN_INLINE float value_at(const float* p) { return unaligned(p); }
BN_INLINE double value_at(const double* p) { return unaligned(p); }
template <class S>
BN_INLINE Element<S> value_at(const S* p) {
  Element<S> v[16];
  store(v, load(p, 1, splat(Element<S>(0))));
  return v[0];
}

// A number that the compiler knows.
template <int64_t n>
struct Known {
  constexpr operator int64_t() const { return n; }
};

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

// fold() of 16 rows of 16 values.
template <class E>
BN_INLINE Vec<E> fold_rows(const E* rows) {
  E sums[16];
  for (int l = 0; l < 16; l++) sums[l] = fold(load(rows + 16 * l));
  return load(sums);
}

// Channels first: the n values of a chunk are contiguous. add(i, count, sums) adds the terms of
// values i, i + 1, ... to lanes 0, 1, ...
template <class E, class N, class Add>
BN_INLINE Sums<E> reduce_run(N n, Add add) {
  Sums<E> sums = {splat(E(0)), splat(E(0))};
  for_lanes(n, [&](int64_t i, auto count) { add(i, count, sums); });
  return sums;
}

// Channels last, `values` rows of c channels without gaps: 2 to this power are summed as one, of so
// many times the channels, so that they fill vectors.
BN_INLINE int rows_as_one(int64_t c, int64_t values) {
  if (kSmall || c % 16 == 0 || values <= 64) return 0;
  int power = 4 - __builtin_ctzll((uint64_t)c);
  return c << power <= kStrip ? power : 0;
}

// What is per channel, for so many rows as one: itself, or repeated in room, where it may be
// already.
template <class E>
BN_INLINE const E* repeat(const E* values, int64_t c, int power, E* room) {
  if (power == 0) return values;
  for (int64_t i = 0; i < c << power; i += c) {
    __builtin_memmove(room + i, values, (uintptr_t)c * sizeof(E));
  }
  return room;
}

// Channels last: the n values of a chunk are rows of width channels, 2 to the power of `power` of
// which are taken as one. add(row, power, c, count, sums) adds the terms of channels c, c + 1, ...
// of such a row; sink(c, count, sums) takes the chunk's sums of width channels. Lanes are summed
// over whole rows, not channel by channel, so that memory is read in streams, lane_rows rows of
// each lane at a time; the sums of 16 lanes wait in `lanes`, which stays in cache. Before the last
// lanes are summed, fetch(row) is called for each row that is next: it is the first of a stream,
// which the prefetchers would only begin to follow. Callers tell the first chunk from the rest by
// !=: for < GCC 12 splits their loops (-fsplit-loops), which has all of this twice.
template <class E, class Add, class Sink, class Fetch>
BN_INLINE void reduce_rows(int64_t n, int64_t width, int power, E* lanes, int64_t lane_rows,
                           Add add, Sink sink, Fetch fetch) {
  const Sums<E> none = {splat(E(0)), splat(E(0))};
  // A row that is so many has a lane of each.
  const int64_t rows = n >> power, apart = 16 >> power, all = width << power;
  int64_t c0 = 0;
  // So few rows are in cache anyway, and their lanes stay in registers, where those have room (with
  // doubles in AVX2 1.1 to 1.4 times as long); but not long rows, where the cache has few ways.
  constexpr bool fits = kRegisters >= 4 * (int64_t)sizeof(Sums<E>);
  if (fits && n <= 64 && power == 0 && (width < kStrip || lane_rows == kChunk / 16)) {
    for (; c0 + 16 <= width; c0 += 16) {
      sink(c0, All{}, fold_lanes<0, 1>([&](int64_t l) {
             Sums<E> sums = none;
             for (int64_t row = l; row < n; row += 16) add(row, Known<0>{}, c0, All{}, sums);
             return sums;
           }));
    }
    if (c0 == width) return;
  }
  auto kept = [&](const E* at, auto count) BN_ALWAYS {
    return Sums<E>{load(at, count, none.a), load(at + kStrip, count, none.b)};
  };
  auto keep = [&](E* at, auto count, Sums<E> sums) BN_ALWAYS {
    store(at, count, sums.a);
    store(at + kStrip, count, sums.b);
  };
  // Once for no rows too: lanes of nothing are 0.
  int64_t r = 0, end;
  do {
    end = min(r + apart * lane_rows, rows);
    for (int64_t l = 0; l < apart; l++) {
      E* lane = lanes + l * kLane;
      if (l == apart - apart / 4 && lane_rows < kChunk / 16) {
        for (int64_t row = end; row < end + apart * lane_rows; row += apart) fetch(row);
      }
      auto begun = [&](int64_t i) BN_ALWAYS { return r == 0 ? none : kept(lane + i, All{}); };
      // 32 channels at a time: what is not spent on addresses is spent on lines of memory
      // (docs/performance.md, lesson 21).
      int64_t pairs = (all - c0) / 32 * 32;
      for (int64_t i = 0; i < pairs; i += 32) {
        Sums<E> sums = begun(i), more = begun(i + 16);
        for (int64_t row = r + l; row < end; row += apart) {
          add(row, power, c0 + i, All{}, sums);
          add(row, power, c0 + i + 16, All{}, more);
        }
        keep(lane + i, All{}, sums);
        keep(lane + i + 16, All{}, more);
      }
      for_lanes(all - c0 - pairs, [&](int64_t i, auto count) {
        Sums<E> sums = begun(pairs + i);
        for (int64_t row = r + l; row < end; row += apart) {
          add(row, power, c0 + pairs + i, count, sums);
        }
        keep(lane + pairs + i, count, sums);
      });
    }
    r = end;
  } while (r < rows);
  // What is left is the begin of one more row; beside it are sums of others.
  if (int64_t left = n - (rows << power); left > 0) {
    E* lane = lanes + rows % apart * kLane;
    for_lanes(left * width, [&](int64_t i, auto count) {
      Sums<E> sums = kept(lane + i, All{});
      add(rows, power, i, count, sums);
      keep(lane + i, count, sums);
    });
  }
  const E* lane[16];
  const int64_t inside = (1 << power) - 1;
  // Not unrolled, or GCC does all of it at the begin of even the smallest call.
#pragma GCC unroll 1
  for (int64_t l = 0; l < 16; l++) {
    lane[l] = lanes + (l >> power) * kLane + (l & inside) * width;
  }
  for_lanes(width - c0, [&](int64_t i, auto count) {
    sink(c0 + i, count, fold_lanes<0, 1>([&](int64_t l) { return kept(lane[l] + i, count); }));
  });
}

// Where a chunk's values i, i + 1, ... are, in each of its arrays: at p[k] + i.
template <class S>
struct At {
  const S* const* p;
  int64_t i;

  template <class Count>
  BN_ALWAYS Vec<Element<S>> operator()(int k, Count count, Vec<Element<S>> rest) const {
    return load(p[k] + i, count, rest);
  }
};

// The same of values of which the first `part` are at p[k] + i, the end of a sample's, and the
// others, from next[k] + i + part on, the begin of the next sample's. What is before them is read
// too: there is at least one sample before.
template <class S>
struct AtEnd {
  const S *const *p, *const *next;
  int64_t i, part;

  template <class Count>
  BN_ALWAYS Vec<Element<S>> operator()(int k, Count count, Vec<Element<S>> rest) const {
    return load(p[k] + i, part, load(next[k] + i, count, rest));
  }
};

// The first 16 values of array 0, or, if n is less, n and zeros.
template <template <class> class Where, class S>
BN_INLINE Vec<Element<S>> first_16(Where<S> at, int64_t n) {
  Vec<Element<S>> zero = splat(Element<S>(0));
  return n >= 16 ? at(0, All{}, zero) : at(0, n, zero);
}

// Channels first: the sums of a chunk's n values at p[k].
template <class S, class N, class Add>
BN_INLINE Sums<Element<S>> reduce_at(N n, const S* const* p, Add add) {
  return reduce_run<Element<S>>(n, [&](int64_t i, auto count, Sums<Element<S>>& sums) BN_ALWAYS {
    add(At<S>{p, i}, count, sums);
  });
}

// The same where the values, from value i of a sample on, go on in the next samples, those of array
// k a jump[k] further. Samples have 16 values at least.
template <class S, int arrays, class Add>
BN_INLINE Sums<Element<S>> reduce_at_several(int64_t n, const S* const (&at)[arrays],
                                             const int64_t (&jump)[arrays], int64_t s, int64_t i,
                                             Add add) {
  Sums<Element<S>> sums = {splat(Element<S>(0)), splat(Element<S>(0))};
  const S *p[arrays], *next[arrays];
  for (int k = 0; k < arrays; k++) p[k] = at[k];
  for (int64_t j = 0, end = s - i;; end += s) {
#pragma GCC unroll 1
    for (int64_t stop = min(end, n); j + 16 <= stop; j += 16) add(At<S>{p, j}, All{}, sums);
    if (end >= n) {
      if (j < n) add(At<S>{p, j}, n - j, sums);
      return sums;
    }
    for (int k = 0; k < arrays; k++) next[k] = p[k] + jump[k];
    if (j < end) {
      AtEnd<S> both = {p, next, j, end - j};
      if (n - j < 16) {
        add(both, n - j, sums);
        return sums;
      }
      add(both, All{}, sums);
      j += 16;
    }
    for (int k = 0; k < arrays; k++) p[k] = next[k];
  }
}

// Channels first: n values of a channel, from value i of a sample on, at p, that are not
// contiguous: copied to buffer.
template <class S>
BN_INLINE const S* gather(const S* p, int64_t pitch, int64_t s, int64_t i, int64_t n, S* buffer) {
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
    p += pitch - i;
    i = 0;
  }
  return buffer;
}

// The sums of up to 16 chunks, of one channel or of several, lane by lane: what is done once a
// chunk is done for all of them in vectors. Chunk l is number q[l] of channel c[l] and has n[l]
// values; its segment, whose result goes to at[l], has before[l] values before it.
template <class E>
struct Block {
  int64_t count = 0, c[16], q[16], at[16];
  double n[16], before[16];
  alignas(64) E a[16 * 16], b[16 * 16];

  // Whether all are the same chunk of channels that follow each other, and so are their results.
  bool is_of_neighbours() const { return q[count - 1] == q[0] && c[count - 1] - c[0] == count - 1; }

  // Those of chunks [count, 16) are 0.
  Sums<E> sums() {
    for (int64_t l = count; l < 16; l++) {
      store(a + 16 * l, splat(E(0)));
      store(b + 16 * l, splat(E(0)));
    }
    return {fold_rows(a), fold_rows(b)};
  }
};

// The order in which chunks are summed: number q of channel c, of segment [begin, ...), whose
// result goes to place `base` and the channel's.
struct ChunkOrder {
  const Chunks& chunks;
  // Where samples are shorter than chunks the same chunk of the next channel is nearer than the
  // next chunk of this one.
  bool across;
  int64_t c = chunks.c0, q = chunks.q0, begin = chunks.q0, base = 0;

  bool ended() const { return c == chunks.c1 || q == chunks.q1; }

  // Chunk l of the block, which has n values.
  template <class E>
  BN_ALWAYS void label(Block<E>& block, int64_t l, int64_t n) const {
    block.c[l] = c;
    block.q[l] = q;
    block.at[l] = base + (c - chunks.c0);
    block.n[l] = (double)n;
    block.before[l] = (double)((q - begin) * kChunk);
  }

  BN_ALWAYS void next() {
    if (across) {
      if (++c < chunks.c1) return;
      c = chunks.c0;
      next_of_channel();
    } else {
      next_of_channel();
      if (q < chunks.q1) return;
      q = begin = chunks.q0;
      base = 0;
      c++;
    }
  }

 private:
  BN_ALWAYS void next_of_channel() {
    q++;
    if (q < begin + chunks.segment) return;
    begin = q;
    base += chunks.c1 - chunks.c0;
  }
};

// A chunk of n values of a channel, from value i of a sample of s on: those of array k are at p[k],
// and go on in the next sample a jump[k] after this one's.
template <class S, int arrays>
struct ChunkAt {
  const S* p[arrays];
  int64_t jump[arrays];
  int64_t s, i, n;

  BN_ALWAYS bool in_one_sample() const { return i + n <= s; }

  // All of it, and at least as much as a chunk has, is on its way to the L2; it has values of two
  // samples at most.
  BN_ALWAYS void fetch() const {
    constexpr int64_t line = 64 / (int64_t)sizeof(S);
    const int64_t part = min(s - i, kChunk);
#pragma GCC unroll 3
    for (int k = 0; k < arrays; k++) {
      for (int64_t j = 0; j < part; j += line) prefetch(p[k] + j);
      if (part == kChunk) continue;
      for (int64_t j = part; j < kChunk; j += line) prefetch(p[k] + jump[k] + j);
    }
  }

  // Calls sum(n, first, reduce) of values that lie side by side, copied to such a place if need be.
  template <class Sum>
  BN_ALWAYS Sums<Element<S>> in_one_piece(S (&copies)[arrays][kChunk], Sum sum) const {
    const S* piece[arrays];
#pragma GCC unroll 3
    for (int k = 0; k < arrays; k++) {
      piece[k] = in_one_sample() ? p[k] : gather(p[k], jump[k] + s, s, i, n, copies[k]);
    }
    auto reduced = [&](auto count) BN_ALWAYS {
      return sum(count, first_16(At<S>{piece, 0}, count),
                 [&](auto add) BN_ALWAYS { return reduce_at<S>(count, piece, add); });
    };
    return n == kChunk ? reduced(Known<kChunk>{}) : reduced(n);
  }

  // The same of values that are left where they are, in several samples.
  template <class Sum>
  BN_ALWAYS Sums<Element<S>> in_place(Sum sum) const {
    const S* next[arrays];
    for (int k = 0; k < arrays; k++) next[k] = p[k] + jump[k];
    auto first = s - i >= 16 ? first_16(At<S>{p, 0}, n) : first_16(AtEnd<S>{p, next, 0, s - i}, n);
    return sum(n, first,
               [&](auto add) BN_ALWAYS { return reduce_at_several<S>(n, p, jump, s, i, add); });
  }
};

// Goes through what is fetched besides, of so many inputs.
template <int arrays>
class Besides {
 public:
  // In so many calls of some_lines.
  Besides(const Fetch& fetch, int64_t calls) : left_(fetch) {
    if (left_.rows > 0) lines_ = (left_.rows * ((left_.bytes + 63) / 64) + calls - 1) / calls;
  }

  BN_ALWAYS void some_lines() {
    if (left_.rows == 0) return;
    for (int64_t i = 0; i < lines_; i++) {
#pragma GCC unroll 3
      for (int k = 0; k < arrays; k++) prefetch(left_.p[k] + at_);
      at_ += 64;
      if (at_ < left_.bytes) continue;
      at_ = 0;
      for (int k = 0; k < arrays; k++) left_.p[k] += left_.step[k];
      if (--left_.rows == 0) return;
    }
  }

 private:
  Fetch left_;
  int64_t at_ = 0, lines_ = 0;
};

// Channels first: calls sum(l, c, n, first, reduce) for each chunk, of n values, as chunk l of a
// block, for its sums by lanes; first are the first 16 values of array 0. They are reduce(add),
// where add(at, count, sums) adds the terms of the next values, at(k, count, rest) of array k.
// Calls done(block) for every 16 chunks and for the rest.
template <class S, int arrays, class Sum, class Done>
BN_INLINE void for_chunks(const Extent& e, const Data (&array)[arrays], const Chunks& chunks,
                          Sum sum, Done done) {
  S copies[arrays][kChunk];
  Block<Element<S>> block;
  // The samples of an only channel are one.
  bool one = true;
  for (const Data& a : array) one = one && a.pitch == e.s;
  const int64_t s = one ? e.values() : e.s;
  ChunkOrder order = {chunks, s < kChunk};
  const int64_t step = order.across ? e.s : kChunk;
  auto chunk_at = [&](int64_t c, int64_t q) BN_ALWAYS {
    const int64_t r0 = q * kChunk, sample = r0 / s;
    ChunkAt<S, arrays> at = {{}, {}, s, r0 - sample * s, min(kChunk, e.values() - r0)};
#pragma GCC unroll 3
    for (int k = 0; k < arrays; k++) {
      at.p[k] = (const S*)array[k].p + sample * array[k].pitch + c * e.s + at.i;
      at.jump[k] = array[k].pitch - s;
    }
    return at;
  };
  auto fetch_ahead = [&](int64_t c, int64_t q) BN_ALWAYS {
    if (q >= chunks.q1) {
      q = min(chunks.q0 + (q - chunks.q1), chunks.q1 - 1);
      c++;
    }
    chunk_at(c, q).fetch();
  };
  Besides<arrays> besides(chunks.besides, (chunks.c1 - chunks.c0) * (chunks.q1 - chunks.q0));
  while (!order.ended()) {
    ChunkAt<S, arrays> chunk = chunk_at(order.c, order.q);
    // Chunks that lie alike, a step apart.
    const bool whole = chunk.in_one_sample();
    int64_t alike = order.across                 ? chunks.c1 - order.c
                    : whole && chunk.n == kChunk ? min(chunks.q1 - order.q, (s - chunk.i) / kChunk)
                                                 : 1;
    alike = min(alike, 16 - block.count);
    for (int64_t end = block.count + alike; block.count < end; block.count++) {
      const int64_t l = block.count, c = order.c;
      order.label(block, l, chunk.n);
      if (chunks.ahead > 0) fetch_ahead(c, order.q + chunks.ahead);
      besides.some_lines();
      auto sum_chunk = [&](auto n, auto first, auto reduce)
                           BN_ALWAYS { return sum(l, c, n, first, reduce); };
      Sums<Element<S>> sums = !kSmall && !whole && s >= 16 ? chunk.in_place(sum_chunk)
                                                           : chunk.in_one_piece(copies, sum_chunk);
#pragma GCC unroll 3
      for (int k = 0; k < arrays; k++) chunk.p[k] += step;
      store(block.a + 16 * l, sums.a);
      store(block.b + 16 * l, sums.b);
      order.next();
    }
    if (block.count == 16 || order.ended()) {
      // What comes next is on its way while the block is made into moments or sums.
      for (const S* next : chunk.p) {
        for (int64_t j = 0; j < kChunk; j += 64 / (int64_t)sizeof(S)) prefetch(next + j);
      }
      done(block);
      block.count = 0;
    }
  }
}
