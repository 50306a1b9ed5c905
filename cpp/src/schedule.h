// The two shapes a call can have: one pass over memory (map), or sums per channel and then a pass
// that uses them (reduce, then map). What is done in which order to which bit is in the kernels;
// this file decides only who does it and when, so that memory is read as few times as possible.
#pragma once
#include <cstdint>

#include "kernels.h"

namespace bn {

// A problem as the schedule sees it.
struct Plan {
  Extent extent;
  bool channels_last;
  int threads;      // at most
  int64_t element;  // bytes of a stored element
  int64_t arrays;   // data arrays that the call reads or writes

  int64_t values() const { return extent.values(); }
  int64_t bytes() const { return values() * extent.c * element; }

  // docs/numerics.md: chunks of values, and segments of chunks.
  int64_t chunks() const { return (values() + kChunk - 1) / kChunk; }
  int64_t chunks_per_segment() const { return (chunks() + 63) / 64; }
  int64_t segments() const { return (chunks() + chunks_per_segment() - 1) / chunks_per_segment(); }

  // Threads that are worth waking for this much memory.
  int workers() const;
};

// Inputs of a channel tile, copied side by side: sample n of the tile's channels c is at
// p[i] + (n * pitch + c * s) elements, like in the array it was copied from.
struct Packed {
  const void* p[3];  // in the order of Reduce::inputs
  int64_t pitch;
};

// The pass that writes.
class Map {
 public:
  // Channels first: values [s0, s1) of channels [c0, c1) of samples [n0, n1); all values, unless it
  // is one channel of one sample. Meanwhile the inputs `ahead` elements further on are prefetched.
  // packed, if not null, has the inputs that the sums were made of.
  virtual void ncs(int64_t n0, int64_t n1, int64_t c0, int64_t c1, int64_t s0, int64_t s1,
                   int64_t ahead, const Packed* packed) = 0;
  // Channels last: rows [r0, r1).
  virtual void nsc(int64_t r0, int64_t r1) = 0;

 protected:
  ~Map() = default;
};

// The pass that sums two things per channel, and what is made of the sums.
class Reduce {
 public:
  // The arrays that are summed, at most three; their number is the return value.
  virtual int inputs(Data* arrays) const = 0;
  virtual void ncs(int64_t c0, int64_t c1, int64_t q0, int64_t q1, double* a, double* b,
                   const Packed* packed) = 0;
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
  ReduceMap(const Plan& plan, const Reduce& reduce);

  // Bytes of scratch, aligned to 64, that run needs.
  int64_t scratch() const {
    return lanes_ + packed() + 2 * plan_.segments() * plan_.extent.c * (int64_t)sizeof(double);
  }

  // map may be null: only the sums are wanted.
  void run(void* scratch, Reduce& reduce, Map* map) const;

 private:
  // Bytes of the workers' copies of inputs.
  int64_t packed() const { return plan_.workers() * inputs_ * copy_; }
  Packed pack(int64_t c0, int64_t c1, char* to) const;
  void by_tiles(char* copies, double* a, double* b, Reduce& reduce, Map* map) const;
  void by_segments(char* lanes, double* a, double* b, Reduce& reduce, Map* map) const;

  const Plan& plan_;
  int64_t lanes_;      // bytes of the workers' lanes, channels last only
  int64_t width_ = 0;  // channels per tile; 0: not by tiles
  int64_t ahead_ = 0;  // elements to prefetch ahead
  int64_t copy_ = 0;   // bytes of a tile of an input, copied; 0: not copied
  int inputs_ = 0;
  Data input_[3];
};

}  // namespace bn
