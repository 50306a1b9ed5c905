// How a pass that writes walks through memory: several streams side by side, because a core reads
// streams some pages apart faster than one (its prefetchers stop at the end of a page; measured 1.3
// to 1.4 times as fast, docs/performance.md).

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

// Channels last: rows [r0, r1), several at a time, for which what is per channel is loaded once:
// neighbours, or one of each stream. Calls f(r, rows, apart) for rows r, r + apart, ...
template <class F>
BN_INLINE void for_rows(int64_t streams, int64_t r0, int64_t r1, F f) {
  // No more neighbours: rows whose distance is a power of two share few sets of the L1.
  constexpr int64_t kNeighbours = 4;
  bool near = streams == 1;
  int64_t apart = near ? 1 : (r1 - r0 + streams - 1) / streams;
  int64_t step = near ? kNeighbours : 1, end = near ? r1 : r0 + apart;
  int64_t most = near ? kNeighbours : streams;
  for (int64_t r = r0; r < end; r += step) {
    // No division for the few rows of a small call.
    int64_t left = near ? r1 - r : (r1 - r + apart - 1) / apart;
    f(r, min(most, left), apart);
  }
}

// Per-channel values, for 16 lanes that may belong to several channels.
template <class E, int k>
struct Channel {
  Vec<E> v[k];
};
template <class E, int k>
BN_INLINE Channel<E, k> head(int64_t n, Channel<E, k> x, Channel<E, k> rest) {
  for (int i = 0; i < k; i++) rest.v[i] = head(n, x.v[i], rest.v[i]);
  return rest;
}

// Channels first: values [f, end) of sample n, counted through the channels. f is of channel c,
// whose per-channel values are `channel`; lanes are those of the next `ready` values.
template <class Values>
struct Run {
  int64_t n, c, f, end, ready;
  Values channel, lanes;
};

// Makes the next values of a run ready: the groups of 16 that belong to its channel, or else a
// group, whatever channels it belongs to, so that rows too short for vectors of their own cost no
// more than long ones; fewer than 16 at the end, or if so many are wanted.
template <class Values, class At>
BN_INLINE void prepare(Run<Values>& run, int64_t s, int64_t wanted, At channel) {
  int64_t edge = (run.c + 1) * s, inside = min(edge, run.end) - run.f;
  run.lanes = run.channel;
  if (inside >= 16 && wanted == 16) {
    run.ready = inside / 16 * 16;
    return;
  }
  run.ready = min(wanted, run.end - run.f);
  for (; edge < run.f + run.ready; edge += s) {
    run.channel = channel(++run.c);
    run.lanes = head(edge - run.f, run.lanes, run.channel);
  }
}

template <class Values, class At, class Row>
BN_INLINE void alone(Run<Values> run, int64_t s, At channel, Row row) {
  for (;;) {
    if (run.ready < 16) {
      row(run.n, run.f, run.ready, run.lanes);
      run.f += run.ready;
    } else {
      for (int64_t stop = run.f + run.ready; run.f < stop; run.f += 16) {
        row(run.n, run.f, All{}, run.lanes);
      }
    }
    if (run.f == run.end) return;
    prepare(run, s, 16, channel);
  }
}

// The next values of runs that take turns; returns how many runs are left.
template <class Values, class At, class Row>
BN_INLINE int64_t together(Run<Values>* runs, int64_t count, int64_t s, At channel, Row row) {
  int64_t all = runs[0].ready;
  for (int64_t i = 1; i < count; i++) all = min(all, runs[i].ready);
  constexpr int64_t kTurn = 32;  // no less than a line, or its halves may be written one by one
  for (int64_t j = 0; j + 16 <= all; j += kTurn) {
    for (int64_t i = 0; i < count; i++) {
      for (int64_t f = j; f < min(j + kTurn, all); f += 16) {
        row(runs[i].n, runs[i].f + f, All{}, runs[i].lanes);
      }
    }
  }
  for (int64_t i = 0; i < count; i++) {
    Run<Values>& run = runs[i];
    int64_t done = all;
    if (all < 16) {
      if (run.ready >= 16) continue;
      row(run.n, run.f, run.ready, run.lanes);
      done = run.ready;
    }
    run.f += done;
    run.ready -= done;
    if (run.ready > 0) continue;
    if (run.f < run.end) {
      prepare(run, s, 16, channel);
    } else {
      run = runs[--count];
      i--;
    }
  }
  return count;
}

// Calls row(n, f, count, channel values) for the values [f0, f1) of samples [n0, n1): 16 at a time,
// fewer at the end and, where y is to be streamed, before its first aligned element. Several
// samples, or parts of one, are taken side by side.
template <class S, class At, class Row>
BN_INLINE void for_runs(int64_t streams, int64_t s, Out y, bool past, int64_t n0, int64_t n1,
                        int64_t f0, int64_t f1, At channel, Row row) {
  constexpr int64_t kLeast = 256;  // values that are worth a run
  int64_t samples = n1 - n0, length = f1 - f0;
  int64_t parts = max(min(streams / samples, length / kLeast), 1);
  int64_t part = (length / parts + 15) / 16 * 16;
  Run<decltype(channel(0))> runs[kStreams];
  int64_t count = 0;
  for (int64_t next = 0; next < samples * parts || count > 0;) {
    while (count < streams && next < samples * parts) {
      int64_t n = n0 + next / parts, i = next % parts;
      next++;
      // Parts end where 16 values can be streamed at once.
      int64_t peel = past ? until_aligned((S*)y.p + n * y.pitch + f0, length) : 0;
      int64_t f = i == 0 ? f0 : min(f0 + peel + i * part, f1);
      int64_t end = i == parts - 1 ? f1 : min(f0 + peel + (i + 1) * part, f1);
      if (f == end) continue;
      auto& run = runs[count];
      run = {n, f / s, f, end, 0, channel(f / s), {}};
      prepare(run, s, i == 0 && peel > 0 ? peel : 16, channel);
      if (streams == 1) {
        alone(run, s, channel, row);
      } else {
        count++;
      }
    }
    if (count > 0) count = together(runs, count, s, channel, row);
  }
}

// Copies or prefetches 16 values, or count of them, that a later pass will read.
template <class S>
BN_INLINE void read_ahead(const Walk& walk, int i, int64_t n, int64_t f, int64_t count) {
  const S* from = (const S*)walk.from[i].p;
  S* to = (S*)walk.to[i].p;
  if (from == nullptr) return;
  from += n * walk.from[i].pitch + f;
  if (to == nullptr) return prefetch(from);
  to += n * walk.to[i].pitch + f;
  if (count == 16) {
    __builtin_memcpy(to, from, 16 * sizeof(S));
  } else {
    __builtin_memcpy(to, from, (uintptr_t)count * sizeof(S));
  }
}
