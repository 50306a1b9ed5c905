// The two shapes a call can have: one pass over memory (map), or sums per channel and then a pass
// that uses them (reduce, then map). What is done in which order to which bit is in the kernels;
// this file decides only who does it and when, so that memory is read as few times as possible.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels.h"

namespace bn {

// A problem as the schedule sees it.
struct Plan {
  Extent extent;
  bool channels_last;
  int threads;        // at most
  int64_t element;    // bytes of a stored element
  int64_t arrays;     // data arrays that the call reads or writes
  bool sums;          // whether it sums first
  int64_t whole = 0;  // values of the problem that this is a slice of

  int64_t values() const { return extent.values(); }
  int64_t bytes() const { return values() * extent.c * element; }

  // docs/numerics.md: chunks of values, and segments of chunks.
  int64_t chunks() const { return (values() + kChunk - 1) / kChunk; }
  int64_t chunks_per_segment() const { return (chunks() + kSegments - 1) / kSegments; }
  int64_t segments() const { return (chunks() + chunks_per_segment() - 1) / chunks_per_segment(); }

  // Memory that the problem goes through.
  int64_t traffic() const { return std::max(values() * extent.c, whole) * element * arrays; }
  bool beyond_l2() const;
  // And more than a last-level cache is likely to have for these threads.
  bool beyond_l3() const;
  // And more than all of one that other cores use too.
  bool beyond_shared_l3() const;
  // Streams in which to walk through memory side by side.
  int64_t streams() const;
  // Samples that share what is made ready per channel, in one stream too.
  int64_t shared() const;

  // Chunks of channels first that are fetched ahead of what is summed.
  int64_t chunks_ahead() const;
  // Rows of a lane of channels last that are summed before the next lane's, in so many inputs.
  int64_t lane_rows(int inputs) const;

  // Threads that are worth waking for this much memory.
  int workers() const;
};

// Inputs of a channel tile, copied side by side: sample n of the tile's channels c is at
// p[i] + (n * pitch + c * s) elements, like in the array it was copied from.
struct Packed {
  void* p[3];  // in the order of Reduce::inputs
  int64_t pitch;
};

// The pass that writes.
class Map {
 public:
  // Channels first: values [f0, f1) of samples [n0, n1), counted through the channels, c * s + i.
  // packed, if not null, has the inputs that the sums were made of.
  virtual void ncs(int64_t n0, int64_t n1, int64_t f0, int64_t f1, const Packed* packed,
                   const Walk& walk) = 0;
  // Channels last, once what is per channel is known: returns of how many rows r0 is a multiple.
  virtual int64_t prepare_nsc() = 0;
  // Rows [r0, r1).
  virtual void nsc(int64_t r0, int64_t r1, int64_t streams) = 0;

 protected:
  ~Map() = default;
};

// The pass that sums two things per channel, and what is made of the sums.
class Reduce {
 public:
  // The arrays that are summed, at most three; their number is the return value.
  virtual int inputs(Data* arrays) const = 0;
  virtual void ncs(const Chunks& chunks, double* a, double* b, const Packed* packed) = 0;
  virtual void nsc(int64_t c0, int64_t c1, int64_t q0, int64_t q1, void* lanes, double* a,
                   double* b) = 0;
  virtual void merge(int64_t width, int64_t channels, int64_t segments, double* a, double* b) = 0;
  virtual void finish(int64_t c0, int64_t c1, const double* a, const double* b) = 0;

 protected:
  ~Reduce() = default;
};

void run_map(const Plan& plan, Map& map);

// A reduction and the pass that uses it, planned once: the scratch it needs and how it runs.
class ReduceMap {
 public:
  // maps: whether run will have a map.
  ReduceMap(const Plan& plan, const Reduce& reduce, bool maps);

  // Bytes of scratch, aligned to 64, that run needs.
  int64_t scratch() const {
    return lanes_ + plan_.workers() * area() +
           2 * plan_.segments() * plan_.extent.c * (int64_t)sizeof(double);
  }

  // map may be null: only the sums are wanted.
  void run(void* scratch, Reduce& reduce, Map* map) const;

 private:
  // Bytes of a worker's copy of a tile: a line that says which, and the inputs.
  int64_t area() const { return copies_ ? 64 + inputs_ * copy_ : 0; }
  // Where the copy of a tile goes, in a worker's area.
  Packed place(int64_t tile, char* area) const;
  void copy(int64_t tile, const Packed& to) const;
  // While one tile is mapped the next is read: copied, or prefetched if to is null.
  void read_next(const Packed* to, Walk* walk) const;
  // Every second sample, or half of the only one, of what is read meanwhile for the tile after that
  // of value f0.
  Fetch half_of(const Walk& walk, int64_t f0) const;
  void by_tiles(char* areas, double* a, double* b, Reduce& reduce, Map* map) const;
  void by_segments(char* lanes, double* a, double* b, Reduce& reduce, Map* map) const;

  const Plan& plan_;
  int64_t lanes_;            // bytes of the workers' lanes, channels last only
  bool copies_ = false;      // whether tiles are copied
  bool read_ahead_ = false;  // whether the next tile is read while one is mapped
  bool sums_fetch_ = false;  // and half of it already while that one is summed
  bool from_end_ = false;    // whether a tile's last samples are mapped first
  int64_t width_ = 0;        // channels per tile; 0: not by tiles
  int64_t pitch_ = 0;        // elements between the samples of a copy
  int64_t copy_ = 0;         // bytes of the copy of an input's tile
  int inputs_ = 0;
  Data input_[3];
};

}  // namespace bn
