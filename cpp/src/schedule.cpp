#include "schedule.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "dispatch.h"
#include "parallel.h"
#include "tuning.h"

namespace bn {
namespace {

constexpr int64_t kWorthAThread = 128 << 10;  // bytes that one more thread should have to itself
constexpr int64_t kTile = 64 << 10;           // bytes of one array in a small task
constexpr int64_t kPage = 4 << 10;
constexpr int64_t kLanes = 16;
constexpr int64_t kLine = line_of(2);  // the longest one

// Streams in which a tile is written, while the next is read besides: other ones where rows are so
// short that it matters how what is made ready per channel is shared.
int64_t tile_streams(const Plan& plan) {
  const Tuning& t = tuning();
  if (!plan.beyond_l3()) return 1;
  if (plan.extent.s < t.short_row) return t.short_streams;
  return plan.element == 2 ? t.narrow_streams : t.long_streams;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Bytes of one array in a task of a pass over all of memory: enough tasks for threads that are not
// equally fast.
int64_t task_bytes(const Plan& plan) {
  return std::clamp(plan.bytes() / (32 * plan.workers()), kTile, tuning().task);
}

// What was summed last is in the L2 still. Beyond the last-level cache that is too little to win
// anything (docs/performance.md, lesson 46).
Order map_order(const Plan& plan) {
  const bool from_end = plan.sums && tuning().maps_from_end && !plan.beyond_shared_l3();
  return from_end ? Order::kFromEnd : Order::kFromBegin;
}

// Channels per task of a reduction, when there are too few segments to go round.
int64_t channels_per_task(const Plan& plan) {
  int64_t c = plan.extent.c, wanted = 2 * plan.workers();
  if (plan.segments() >= wanted || plan.workers() == 1) return c;
  int64_t groups = ceil_div(wanted, plan.segments());
  return std::max<int64_t>(64, ceil_div(ceil_div(c, groups), 16) * 16);
}

// Channels that one worker sums and then maps while they are in its L2: at least one, though that
// be more than the cache holds. 0: channels are too few to go round.
int64_t channels_per_tile(const Plan& plan) {
  int64_t row = plan.extent.s * plan.element;
  int64_t channel = plan.values() * plan.element * plan.arrays;
  int64_t workers = plan.workers();
  if (workers > 1 && plan.extent.c < 4 * workers) return 0;
  // A page of every sample at a time, so that short rows do not cost a page walk each.
  int64_t by_page = ceil_div(kPage, std::max<int64_t>(row, 1));
  // So many chunks that what is done once a tile does not count; where the next tile is read
  // meanwhile, and long rows or two inputs of both share the L2, as many as are summed together
  // (docs/performance.md, lesson 43).
  bool small = plan.beyond_l3() && (plan.arrays > 2 || plan.extent.s >= kChunk);
  int64_t by_chunks = ceil_div(small ? 16 : 512, plan.chunks());
  int64_t by_cache = std::max<int64_t>(l2_bytes() / 2 / std::max<int64_t>(channel, 1), 1);
  int64_t by_workers = std::max<int64_t>(plan.extent.c / (4 * workers), 1);
  int64_t most =
      std::min({std::max(by_page, by_chunks), by_cache, workers > 1 ? by_workers : plan.extent.c});
  // So many lie all alike in lines.
  int64_t alike = kLanes / std::gcd(plan.extent.s, kLanes);
  return most < alike ? most : most / alike * alike;
}

void map_ncs(const Plan& plan, Map& map) {
  const Extent& e = plan.extent;
  int64_t sample = e.c * e.s, most = task_bytes(plan) / plan.element;
  // A stream of each of several samples: they share what is made ready per channel.
  int64_t together = std::clamp<int64_t>(e.n, 1, plan.streams());
  int64_t length = std::min(sample, most / together / kLine * kLine);
  int64_t height = std::max<int64_t>(most / length, 1);
  int64_t across = ceil_div(sample, length), tasks = ceil_div(e.n, height) * across;
  parallel_for(plan.workers(), tasks, map_order(plan), [&](int64_t task, int) {
    int64_t n0 = task / across * height, f0 = task % across * length;
    map.ncs(n0, std::min(n0 + height, e.n), f0, std::min(f0 + length, sample), nullptr,
            {plan.streams(), plan.shared(), {}, {}});
  });
}

void map_nsc(const Plan& plan, Map& map) {
  int64_t unit = std::max<int64_t>(map.prepare_nsc(), 8);
  // One task, without the divisions that say so.
  if (plan.bytes() <= kTile) return map.nsc(0, plan.values(), plan.streams());
  int64_t row = std::max<int64_t>(plan.extent.c * plan.element, 1);
  int64_t rows = std::max<int64_t>(task_bytes(plan) / row / unit * unit, unit);
  int64_t tasks = ceil_div(plan.values(), rows);
  parallel_for(plan.workers(), tasks, map_order(plan), [&](int64_t task, int) {
    map.nsc(task * rows, std::min((task + 1) * rows, plan.values()), plan.streams());
  });
}

// Whether a tile's rows, a stride apart, crowd into so few sets of the L2 that they would drive
// each other out before the second pass: a stride with a large power of two in it does that.
bool crowds(const Plan& plan, int64_t width, const Data* inputs, int count) {
  constexpr int64_t kWays = 16;
  int64_t way = l2_bytes() / kWays, row = width * plan.extent.s * plan.element, ways = 0;
  for (int i = 0; i < count; i++) {
    int64_t step = std::gcd(inputs[i].pitch * plan.element, way);
    int64_t covered = way / step * std::min(step, row);
    ways += ceil_div(plan.extent.n * row, covered);
  }
  return ways > kWays / 2;
}

}  // namespace

int Plan::workers() const {
  // Sums of channels last, their merge and the pass after it: each wakes the threads.
  int64_t wakes = channels_last && sums ? 3 : 1;
  int64_t each = kWorthAThread * wakes, all = bytes() * arrays;
  // Channels last every worker reads what the caller has made ready for all channels out of its
  // core's cache: it is worth that for many rows, or much memory (docs/performance.md, lesson 26).
  if (channels_last && !sums) {
    constexpr int64_t kRowsWorthAThread = 128, kEnough = 4 * kWorthAThread;
    each = std::max(each, std::min(kRowsWorthAThread * extent.c * element * arrays, kEnough));
  }
  // Small calls do without a division.
  return all < 2 * each ? 1 : (int)std::min<int64_t>(all / each, threads);
}

bool Plan::beyond_l2() const { return traffic() > l2_bytes() * workers(); }

bool Plan::beyond_l3() const { return traffic() > 8 * l2_bytes() * workers(); }

bool Plan::beyond_shared_l3() const { return traffic() > tuning().shared_l3 * l2_bytes(); }

int64_t Plan::streams() const {
  // Within a last-level cache one stream is as fast or faster, unless it is of neighbouring rows:
  // to the prefetchers, those of one page are no stream at all.
  int64_t all = traffic(), workers = this->workers(), caches = l2_bytes() * workers;
  if (all > 8 * caches) {
    const Tuning& t = tuning();
    if (channels_last) {
      bool three = arrays > 2 && extent.c * element < kPage && beyond_shared_l3();
      return three ? t.three_row_streams : t.row_streams;
    }
    // Streams that are worth it are far apart, further than a slice goes.
    bool far_apart = whole == 0 || bytes() >= t.task;
    bool long_rows = extent.s >= kChunk && element > 2;
    return far_apart && long_rows && beyond_shared_l3() ? t.streams : t.other_streams;
  }
  return channels_last && (workers > 1 || all > caches) ? kRows : 1;
}

int64_t Plan::shared() const { return extent.s < kChunk ? tuning().shared : 1; }

int64_t Plan::chunks_ahead() const {
  // A sample's row of some pages, and then the next sample's: each ends when the prefetchers have
  // found it. Shorter ones lie beside the next channel's, which is summed next.
  bool jumps = extent.n > 1 && extent.s >= kChunk && extent.s * element <= 16 * kPage;
  return jumps && beyond_shared_l3() ? tuning().chunks_ahead : 0;
}

int64_t Plan::lane_rows(int inputs) const {
  constexpr int64_t kLeast = 8;  // channels; what is done once a row takes longer than fewer do
  const Tuning& t = tuning();
  const bool from_memory = bytes() * inputs > t.shared_l3 * l2_bytes();
  // From memory, rows in their order: worth it as long as the sums of 16 lanes, which are loaded
  // and stored for each row, stay in the L1; the more is read, the more of them.
  int64_t row = extent.c * std::max<int64_t>(element, sizeof(float));
  bool narrow = extent.c >= kLeast && row <= t.row_in_order * (inputs + 2);
  if (narrow && from_memory) return 1;
  return from_memory ? std::min(t.lane_streams / inputs, t.lane_rows) : t.lane_rows;
}

void run_map(const Plan& plan, Map& map) {
  if (plan.channels_last) {
    map_nsc(plan, map);
  } else {
    map_ncs(plan, map);
  }
}

ReduceMap::ReduceMap(const Plan& plan, const Reduce& reduce, bool maps)
    : plan_(plan), lanes_(plan.channels_last ? plan.workers() * kLaneBytes : 0) {
  if (plan.channels_last) return;
  width_ = channels_per_tile(plan);
  if (width_ == 0) return;
  inputs_ = reduce.inputs(input_);
  int64_t cache = l2_bytes() * 7 / 8, tile = plan.values() * width_ * plan.element * inputs_;
  // Only what is read again is worth keeping.
  if (!maps || !plan.beyond_l2()) return;
  const bool fits = tile * 2 <= cache;
  from_end_ = !fits && tuning().maps_from_end;
  if (tuning().copies && crowds(plan, width_, input_, inputs_)) {
    // Copied side by side, where the rows themselves do not stay in cache. While they are read they
    // are in cache too.
    copies_ = fits;
    // A value of the next tile goes where the value of this one was that has just been used, if
    // both lie alike.
    read_ahead_ = copies_ && width_ * plan.extent.s % kLanes == 0;
    pitch_ = ceil_div(width_ * plan.extent.s, kLanes) * kLanes;
    copy_ = ceil_div((plan.extent.n * pitch_ + kLanes) * plan.element, 64) * 64;
  } else {
    read_ahead_ = fits;
    // Of one sample only where that is the only one at work and in no cache: threads with an L2
    // each have more of it there already (docs/performance.md, lesson 44).
    const bool absent = plan.workers() == 1 && plan.traffic() > 3 * l2_bytes();
    sums_fetch_ = read_ahead_ && tuning().sums_fetch && (plan.extent.n > 1 || absent);
  }
}

void ReduceMap::run(void* scratch, Reduce& reduce, Map* map) const {
  // [workers] lanes or areas, then a and b, each [segments][channels].
  char* first = static_cast<char*>(scratch);
  double* a = reinterpret_cast<double*>(first + lanes_ + plan_.workers() * area());
  double* b = a + plan_.segments() * plan_.extent.c;
  if (width_ > 0) {
    by_tiles(first, a, b, reduce, map);
  } else {
    by_segments(first, a, b, reduce, map);
  }
}

Packed ReduceMap::place(int64_t tile, char* area) const {
  int64_t f0 = tile * width_ * plan_.extent.s;
  Packed packed = {{}, pitch_};
  // Aligned as in the array, if that is.
  for (int i = 0; i < inputs_; i++) {
    packed.p[i] = area + 64 + i * copy_ + (f0 % kLanes - f0) * plan_.element;
  }
  return packed;
}

void ReduceMap::read_next(const Packed* to, Walk* walk) const {
  // A tile is as far from its predecessor in every array.
  int64_t step = width_ * plan_.extent.s * plan_.element;
  for (int i = 0; i < inputs_; i++) {
    walk->from[i] = {static_cast<const char*>(input_[i].p) + step, input_[i].pitch};
    if (to) walk->to[i] = {to->p[i], to->pitch};
  }
}

Fetch ReduceMap::half_of(const Walk& walk, int64_t f0) const {
  const Extent& e = plan_.extent;
  int64_t bytes = width_ * e.s * plan_.element;
  Fetch half = {ceil_div(e.n, 2), e.n > 1 ? bytes : bytes / 2, {}, {}};
  for (int i = 0; i < inputs_; i++) {
    half.p[i] = static_cast<const char*>(walk.from[i].p) + f0 * plan_.element;
    half.step[i] = 2 * walk.from[i].pitch * plan_.element;
  }
  return half;
}

void ReduceMap::copy(int64_t tile, const Packed& to) const {
  const Extent& e = plan_.extent;
  int64_t f0 = tile * width_ * e.s, f1 = std::min((tile + 1) * width_, e.c) * e.s;
  for (int i = 0; i < inputs_; i++) {
    for (int64_t n = 0; n < e.n; n++) {
      int64_t from = (n * input_[i].pitch + f0) * plan_.element;
      std::memcpy(static_cast<char*>(to.p[i]) + (n * to.pitch + f0) * plan_.element,
                  static_cast<const char*>(input_[i].p) + from,
                  (size_t)((f1 - f0) * plan_.element));
    }
  }
}

// A channel tile at a time: summed, then mapped while it is in L2. One trip to memory.
void ReduceMap::by_tiles(char* areas, double* a, double* b, Reduce& reduce, Map* map) const {
  const Extent& e = plan_.extent;
  // Segments of one chunk are merged in the order of chunks: as one segment they are merged at
  // once.
  int64_t per = plan_.chunks_per_segment() == 1 ? plan_.chunks() : plan_.chunks_per_segment();
  int64_t segments = ceil_div(plan_.chunks(), per);
  // None where a tile is in the L2 before it is summed.
  int64_t ahead = copies_ || sums_fetch_ ? 0 : plan_.chunks_ahead();
  int64_t tiles = ceil_div(e.c, width_);
  auto held = [&](int worker) { return reinterpret_cast<int64_t*>(areas + worker * area()); };
  if (copies_) {
    for (int i = 0; i < plan_.workers(); i++) *held(i) = -1;
  }
  parallel_for(plan_.workers(), tiles, [&](int64_t tile, int worker) {
    int64_t c0 = tile * width_, c1 = std::min(c0 + width_, e.c), channels = c1 - c0;
    double *tile_a = a + c0 * segments, *tile_b = b + c0 * segments;
    char* area = areas + worker * this->area();
    Packed copied, *packed = nullptr;
    Walk walk = {tile_streams(plan_), plan_.shared(), {}, {}};
    Chunks chunks = {c0, c1, 0, plan_.chunks(), per, ahead, {}};
    // Only a whole tile is read meanwhile: it has a value for each of this one.
    bool next = c1 + width_ <= e.c;
    if (copies_) {
      copied = place(tile, area);
      packed = &copied;
      if (*held(worker) != tile) copy(tile, copied);
      *held(worker) = read_ahead_ && next ? tile + 1 : tile;
    }
    if (read_ahead_ && next) {
      read_next(packed, &walk);
      if (sums_fetch_) chunks.besides = half_of(walk, c0 * e.s);
    }
    reduce.ncs(chunks, tile_a, tile_b, packed);
    reduce.merge(channels, channels, segments, tile_a, tile_b);
    reduce.finish(c0, c1, tile_a, tile_b);
    if (map == nullptr) return;
    int64_t samples = from_end_ ? walk.streams : e.n;
    for (int64_t n1 = e.n; n1 > 0; n1 -= samples) {
      map->ncs(std::max<int64_t>(n1 - samples, 0), n1, c0 * e.s, c1 * e.s, packed, walk);
    }
  });
}

// All sums first, segments side by side, then the map.
void ReduceMap::by_segments(char* lanes, double* a, double* b, Reduce& reduce, Map* map) const {
  int64_t c = plan_.extent.c, segments = plan_.segments(), per = plan_.chunks_per_segment();
  int64_t width = channels_per_task(plan_), groups = ceil_div(c, width);
  parallel_for(plan_.workers(), segments * groups, [&](int64_t task, int worker) {
    int64_t p = task / groups, c0 = task % groups * width, c1 = std::min(c0 + width, c);
    int64_t q0 = p * per, q1 = std::min(q0 + per, plan_.chunks()), at = p * c + c0;
    if (plan_.channels_last) {
      reduce.nsc(c0, c1, q0, q1, lanes + worker * kLaneBytes, a + at, b + at);
    } else {
      reduce.ncs({c0, c1, q0, q1, per, plan_.chunks_ahead(), {}}, a + at, b + at, nullptr);
    }
    // Nothing to merge: what is made of the sums is made here, by whoever has them.
    if (segments == 1) reduce.finish(c0, c1, a + c0, b + c0);
  });
  // The merge reads segments * c pairs; only a large one is worth splitting.
  int64_t part = segments * c * 16 < kWorthAThread ? c : 256;
  parallel_for(plan_.workers(), segments == 1 ? 0 : ceil_div(c, part), [&](int64_t task, int) {
    int64_t c0 = task * part, c1 = std::min(c0 + part, c);
    reduce.merge(c, c1 - c0, segments, a + c0, b + c0);
    reduce.finish(c0, c1, a + c0, b + c0);
  });
  if (map) run_map(plan_, *map);
}

}  // namespace bn
