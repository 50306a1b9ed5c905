// How a pass that writes walks through memory: several streams side by side, because a core reads
// streams some pages apart faster than one: its prefetchers stop at the end of a page
// (docs/performance.md, lesson 4).

// Values that are written around the caches together: what fills a line of memory, in groups of 16.
// If something else is written between its halves, each is written by itself (measured: 6 x as
// slow).
template <class S>
constexpr int64_t kLine = line_of(sizeof(S));

// Elements before p reaches the next line. What is streamed is aligned to its elements (api.cpp).
template <class S>
BN_INLINE int64_t until_line(const S* p) {
  return (int64_t)(-(uintptr_t)p % (kLine<S> * sizeof(S)) / sizeof(S));
}

// Writes 16 values around the caches, or as many as count through them.
template <class S>
BN_INLINE void put(bool around, S* p, All, Vec<Element<S>> x) {
  if (around) {
    stream(p, x);
  } else {
    store(p, x);
  }
}
template <class S>
BN_INLINE void put(bool, S* p, int64_t n, Vec<Element<S>> x) {
  store(p, n, x);
}

// Channels last: calls row(r, i, count, values) for values i, i + 1, ... of rows 0, apart, ...
// below `rows`, values being those of channel(i, count); the first row is at p and has n values. 32
// at a time of all rows, with what fills a line together; fewer at the end and, where they are to
// be streamed, before the first line.
template <class S, class At, class Row>
BN_INLINE void for_row(int64_t n, int64_t rows, int64_t apart, const S* p, bool around, At channel,
                       Row row) {
  constexpr int64_t line = kLine<S>;
  int64_t i = 0, head = around ? until_line(p) : 0, part = min(head % 16, n);
  auto some = [&](auto count) BN_ALWAYS {
    const auto values = channel(i, count);
    for (int64_t r = 0; r < rows; r += apart) row(r, i, count, values);
    i += lanes_of(count);
  };
  for (;;) {
    if (part > 0) some(part);
    while (i + 16 <= n) {
      if (i + 32 <= n && (!around || (i - head) % line == 0)) {
        const auto values = channel(i, All{}), more = channel(i + 16, All{});
        for (int64_t r = 0; r < rows; r += apart) {
          row(r, i, All{}, values);
          row(r, i + 16, All{}, more);
        }
        i += 32;
      } else {
        some(All{});
      }
    }
    part = n - i;
    if (part == 0) break;
  }
}

// Channels last: rows [r0, r1), several at a time, for which what is per channel is loaded once:
// neighbours, or one of each stream. Calls f(r, rows, apart) for rows r, r + apart, ...
template <class F>
BN_INLINE void for_rows(int64_t streams, int64_t r0, int64_t r1, F f) {
  bool near = streams == 1;
  int64_t apart = near ? 1 : (r1 - r0 + streams - 1) / streams;
  // Rows at a power of two from each other share few sets of the L1, so within the caches they are
  // few, and an odd number of rows apart. Of streams to memory the even distance was faster.
  if (streams < kStreams && apart >= 4) apart |= 1;
  int64_t step = near ? kRows : 1, end = near ? r1 : min(r0 + apart, r1);
  int64_t most = near ? kRows : streams;
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

// Channels first: values [f, end) of samples [n, n + rows), counted through the channels. f is of
// channel c, whose per-channel values are `channel`; lanes are those of the next `ready` values.
// Lines begin at value `line`, and one more at every kLine.
template <class Values>
struct Run {
  int64_t n, rows, c, f, end, line, ready;
  Values channel, lanes;
};

// The values of the next `ready` lanes from f on, of channel c and those that follow; c and of_c
// become the last one's.
template <class Values, class At>
BN_INLINE Values across(int64_t f, int64_t ready, int64_t s, At channel, int64_t& c, Values& of_c) {
  Values lanes = of_c;
  for (int64_t edge = (c + 1) * s; edge < f + ready; edge += s) {
    of_c = channel(++c);
    lanes = head(edge - f, lanes, of_c);
  }
  return lanes;
}

// Makes the next values of a run ready: the lines that belong to its channel, or else a group of
// 16, whatever channels it belongs to, so that rows too short for vectors of their own cost no more
// than long ones; fewer than 16 at the end, and before the first line.
template <int64_t line, class Values, class At>
BN_INLINE void prepare(Run<Values>& run, int64_t s, At channel) {
  int64_t inside = min((run.c + 1) * s, run.end) - run.f;
  int64_t into = (run.f - run.line) & (line - 1);
  if (inside >= line && into == 0) {
    run.lanes = run.channel;
    run.ready = inside / line * line;
    return;
  }
  run.ready = min(16 - into % 16, run.end - run.f);
  run.lanes = across(run.f, run.ready, s, channel, run.c, run.channel);
}

// The same walk for a run that takes no turns, and need not remember where it is: lines of one
// channel use its values as they are.
template <int64_t line, class Values, class At, class Row>
BN_INLINE void alone(const Run<Values>& run, int64_t s, At channel, Row row) {
  const int64_t n = run.n, end = run.end;
  int64_t f = run.f, c = run.c;
  Values of_c = run.channel;
  while (f < end) {
    int64_t into = (f - run.line) & (line - 1);
    if (into == 0) {
      int64_t stop = f + (min((c + 1) * s, end) - f) / line * line;
      for (; f < stop; f += 16) row(n, f, All{}, of_c);
      if (f == end) return;
    }
    int64_t ready = min(16 - into % 16, end - f);
    Values lanes = across(f, ready, s, channel, c, of_c);
    if (ready == 16) {
      row(n, f, All{}, lanes);
    } else {
      row(n, f, ready, lanes);
    }
    f += ready;
  }
}

// Runs that take turns, and the samples of all of them.
template <class Values>
struct Runs {
  int64_t count = 0, rows = 0;
  Run<Values> run[kStreams];
  const Run<Values>* of[kStreams];  // the run of each row
  int64_t n[kStreams];              // and its sample

  void list() {
    rows = 0;
    for (int64_t i = 0; i < count; i++) {
      for (int64_t k = 0; k < run[i].rows; k++, rows++) {
        of[rows] = run + i;
        n[rows] = run[i].n + k;
      }
    }
  }
};

// The next values of runs that take turns.
template <int64_t line, class Values, class At, class Row>
BN_INLINE void together(Runs<Values>& runs, int64_t s, At channel, Row row) {
  int64_t all = runs.run[0].ready;
  for (int64_t i = 1; i < runs.count; i++) all = min(all, runs.run[i].ready);
  constexpr int64_t kTurn = 4 * line;
  for (int64_t j = 0; j + line <= all; j += kTurn) {
    for (int64_t r = 0; r < runs.rows; r++) {
      // Copies, because the stores may change what is behind a reference.
      const Run<Values>& run = *runs.of[r];
      const Values lanes = run.lanes;
      const int64_t n = runs.n[r], first = run.f, end = first + min(j + kTurn, all);
      for (int64_t f = first + j; f < end; f += 16) row(n, f, All{}, lanes);
    }
  }
  if (all < line) {
    for (int64_t r = 0; r < runs.rows; r++) {
      const Run<Values>& run = *runs.of[r];
      if (run.ready >= line) continue;
      if (line > 16 && run.ready == 16) {
        row(runs.n[r], run.f, All{}, run.lanes);
      } else {
        row(runs.n[r], run.f, run.ready, run.lanes);
      }
    }
  }
  bool ended = false;
  for (int64_t i = 0; i < runs.count; i++) {
    Run<Values>& run = runs.run[i];
    if (all < line && run.ready >= line) continue;
    int64_t done = all < line ? run.ready : all;
    run.f += done;
    run.ready -= done;
    if (run.ready > 0) continue;
    if (run.f < run.end) {
      prepare<line>(run, s, channel);
    } else {
      run = runs.run[--runs.count];
      i--;
      ended = true;
    }
  }
  if (ended) runs.list();
}

// Calls row(n, f, count, channel values) for the values [f0, f1) of samples [n0, n1): 16 at a time,
// fewer at the end and, where y is to be streamed, before its first line. Several samples, or parts
// of one, are taken side by side; samples whose lines begin alike share what is made ready.
template <class S, class At, class Row>
BN_INLINE void for_runs(const Walk& walk, int64_t s, Out y, bool around, int64_t n0, int64_t n1,
                        int64_t f0, int64_t f1, At channel, Row row) {
  constexpr int64_t kLeast = 256;  // values that are worth a run
  constexpr int64_t line = kLine<S>;
  int64_t samples = n1 - n0, length = f1 - f0;
  bool alike = !around || y.pitch % line == 0;
  int64_t rows = alike && !kSmall ? min(samples, max(walk.streams, walk.shared)) : 1;
  int64_t wanted = kSmall ? 1 : max(walk.streams / rows, 1);
  int64_t groups = (samples + rows - 1) / rows;
  int64_t parts = max(min(wanted / groups, length / kLeast), 1);
  int64_t part = (length / parts + line - 1) / line * line;
  Runs<decltype(channel(0))> runs;
  for (int64_t next = 0; next < groups * parts || runs.count > 0;) {
    bool begun = false;
    while (runs.count < wanted && next < groups * parts) {
      int64_t n = n0 + next / parts * rows, i = next % parts;
      next++;
      // Parts end where a line does.
      int64_t first = f0 + (around ? until_line((S*)y.p + n * y.pitch + f0) : 0);
      int64_t f = i == 0 ? f0 : min(first + i * part, f1);
      int64_t end = i == parts - 1 ? f1 : min(first + (i + 1) * part, f1);
      if (f == end) continue;
      Run<decltype(channel(0))> run = {n, min(rows, n1 - n), f / s, f, end, first,
                                       0, channel(f / s),    {}};
      if (kSmall || (wanted == 1 && rows == 1)) {
        alone<line>(run, s, channel, row);
      } else {
        prepare<line>(run, s, channel);
        runs.run[runs.count++] = run;
        begun = true;
      }
    }
    if constexpr (!kSmall) {
      if (begun) runs.list();
      if (runs.count > 0) together<line>(runs, s, channel, row);
    }
  }
}

// Copies or prefetches 16 values, or count of them, that a later pass will read: after what is used
// now, whose place they may take.
template <class S>
BN_INLINE void read_ahead(const Walk& walk, int i, int64_t n, int64_t f, int64_t count) {
  const S* from = (const S*)walk.from[i].p;
  S* to = (S*)walk.to[i].p;
  if (from == nullptr) return;
  from += n * walk.from[i].pitch + f;
  if (to == nullptr) {
    if constexpr (sizeof(S) == 8) prefetch(from + 8);
    return prefetch(from);
  }
  to += n * walk.to[i].pitch + f;
  if (count == 16) {
    __builtin_memcpy(to, from, 16 * sizeof(S));
  } else {
    __builtin_memcpy(to, from, (uintptr_t)count * sizeof(S));
  }
}
