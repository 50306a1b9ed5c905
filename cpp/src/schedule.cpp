#include "schedule.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "dispatch.h"
#include "parallel.h"

namespace bn {
namespace {

constexpr int64_t kWorthAThread = 64 << 10;  // bytes that one more thread should have to itself
constexpr int64_t kTile = 64 << 10;          // bytes of one array in a task: a fraction of any L2
constexpr int64_t kPage = 4 << 10;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Channels per task of a reduction, when there are too few segments to go round.
int64_t channels_per_task(const Plan& plan) {
  int64_t c = plan.extent.c, wanted = 2 * plan.workers();
  if (plan.segments() >= wanted || plan.workers() == 1) return c;
  int64_t groups = ceil_div(wanted, plan.segments());
  return std::max<int64_t>(64, ceil_div(ceil_div(c, groups), 16) * 16);
}

// Channels that one worker sums and then maps while they are in its L2. 0: channels are too few to
// go round, or one is more than the cache holds.
int64_t channels_per_tile(const Plan& plan) {
  int64_t row = plan.extent.s * plan.element;
  int64_t channel = plan.values() * plan.element * plan.arrays;
  int64_t workers = plan.workers();
  if (workers > 1 && plan.extent.c < 4 * workers) return 0;
  // A page of every sample at a time, so that short rows do not cost a page walk each.
  int64_t by_page = ceil_div(kPage, std::max<int64_t>(row, 1));
  int64_t by_cache = std::max<int64_t>(l2_bytes() / 2 / std::max<int64_t>(channel, 1), 1);
  int64_t by_workers = std::max<int64_t>(plan.extent.c / (4 * workers), 1);
  return std::min({by_page, by_cache, workers > 1 ? by_workers : plan.extent.c});
}

void map_ncs(const Plan& plan, Map& map) {
  const Extent& e = plan.extent;
  int64_t row = std::max<int64_t>(e.s * plan.element, 1);
  int64_t width = std::clamp<int64_t>(kTile / row, 1, e.c);
  int64_t height = width == e.c ? std::clamp<int64_t>(kTile / (row * e.c), 1, e.n) : 1;
  int64_t length = width == 1 ? std::min(e.s, std::max<int64_t>(kTile / plan.element, 16)) : e.s;
  int64_t across = ceil_div(e.c, width), down = ceil_div(e.n, height),
          along = ceil_div(e.s, length);
  parallel_for(plan.workers(), down * across * along, [&](int64_t task, int) {
    int64_t n0 = task / (across * along) * height, c0 = task / along % across * width;
    int64_t s0 = task % along * length;
    map.ncs(n0, std::min(n0 + height, e.n), c0, std::min(c0 + width, e.c), s0,
            std::min(s0 + length, e.s), 0, nullptr);
  });
}

void map_nsc(const Plan& plan, Map& map) {
  int64_t row = std::max<int64_t>(plan.extent.c * plan.element, 1);
  int64_t rows = std::max<int64_t>(kTile / row / 8 * 8, 8);
  parallel_for(plan.workers(), ceil_div(plan.values(), rows), [&](int64_t task, int) {
    map.nsc(task * rows, std::min((task + 1) * rows, plan.values()));
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
  int64_t worth = bytes() * arrays / kWorthAThread;
  return (int)std::clamp<int64_t>(worth, 1, threads);
}

void run_map(const Plan& plan, Map& map) {
  if (plan.channels_last) {
    map_nsc(plan, map);
  } else {
    map_ncs(plan, map);
  }
}

ReduceMap::ReduceMap(const Plan& plan, const Reduce& reduce)
    : plan_(plan), lanes_(plan.channels_last ? plan.workers() * kLaneBytes : 0) {
  if (plan.channels_last) return;
  width_ = channels_per_tile(plan);
  if (width_ == 0) return;
  inputs_ = reduce.inputs(input_);
  int64_t tile = plan.values() * width_ * plan.element;
  if (tile * inputs_ > l2_bytes() * 7 / 8) return;
  if (crowds(plan, width_, input_, inputs_)) {
    copy_ = (tile + 63) / 64 * 64;
  } else if (tile * inputs_ * 2 <= l2_bytes() * 7 / 8) {
    // While a tile is mapped its successor, which lies right behind it in every sample, comes into
    // L2: so reading and writing memory overlap.
    ahead_ = width_ * plan.extent.s;
  }
}

void ReduceMap::run(void* scratch, Reduce& reduce, Map* map) const {
  // [workers][kLaneBytes] or [workers][inputs][copy], then a and b, each [segments][channels].
  char* first = static_cast<char*>(scratch);
  double* a = reinterpret_cast<double*>(first + lanes_ + packed());
  double* b = a + plan_.segments() * plan_.extent.c;
  if (width_ > 0) {
    by_tiles(first, a, b, reduce, map);
  } else {
    by_segments(first, a, b, reduce, map);
  }
}

Packed ReduceMap::pack(int64_t c0, int64_t c1, char* to) const {
  const Extent& e = plan_.extent;
  int64_t row = (c1 - c0) * e.s * plan_.element;
  Packed packed = {{}, (c1 - c0) * e.s};
  for (int i = 0; i < inputs_; i++) {
    const char* from = static_cast<const char*>(input_[i].p) + c0 * e.s * plan_.element;
    for (int64_t n = 0; n < e.n; n++) {
      std::memcpy(to + n * row, from + n * input_[i].pitch * plan_.element, (size_t)row);
    }
    packed.p[i] = to - c0 * e.s * plan_.element;
    to += copy_;
  }
  return packed;
}

// A channel tile at a time: summed, then mapped while it is in L2. One trip to memory.
void ReduceMap::by_tiles(char* copies, double* a, double* b, Reduce& reduce, Map* map) const {
  const Extent& e = plan_.extent;
  int64_t segments = plan_.segments(), per = plan_.chunks_per_segment();
  parallel_for(plan_.workers(), ceil_div(e.c, width_), [&](int64_t task, int worker) {
    int64_t c0 = task * width_, c1 = std::min(c0 + width_, e.c), channels = c1 - c0;
    double *tile_a = a + c0 * segments, *tile_b = b + c0 * segments;
    Packed copy, *packed = nullptr;
    if (copy_ > 0) {
      copy = pack(c0, c1, copies + worker * inputs_ * copy_);
      packed = &copy;
    }
    for (int64_t p = 0; p < segments; p++) {
      reduce.ncs(c0, c1, p * per, std::min((p + 1) * per, plan_.chunks()), tile_a + p * channels,
                 tile_b + p * channels, packed);
    }
    reduce.merge(channels, channels, segments, tile_a, tile_b);
    reduce.finish(c0, c1, tile_a, tile_b);
    if (map) map->ncs(0, e.n, c0, c1, 0, e.s, c1 < e.c ? ahead_ : 0, packed);
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
      reduce.ncs(c0, c1, q0, q1, a + at, b + at, nullptr);
    }
  });
  // The merge reads segments * c pairs; only a large one is worth splitting.
  int64_t part = segments * c * 16 < kWorthAThread ? c : 256;
  parallel_for(plan_.workers(), ceil_div(c, part), [&](int64_t task, int) {
    int64_t c0 = task * part, c1 = std::min(c0 + part, c);
    reduce.merge(c, c1 - c0, segments, a + c0, b + c0);
    reduce.finish(c0, c1, a + c0, b + c0);
  });
  if (map) run_map(plan_, *map);
}

}  // namespace bn
