// The kernels of one instruction set for one data type, as a table of functions: the border between
// code compiled for that set (kernels/) and code that runs on any CPU (the rest).
#pragma once
#include <stdint.h>

namespace bn {

constexpr int64_t kChunk = 256;    // values summed in the element type (docs/numerics.md)
constexpr int64_t kSegments = 64;  // of chunks, at most (docs/numerics.md)
constexpr int64_t kStreams = 8;    // at most; beyond the last-level cache
constexpr int64_t kRows = 4;       // channels last, rows taken together within it
constexpr int64_t kStrip = 512;    // channels whose lanes a channels-last reduction keeps in cache
// What is kept of a lane: two sums of each channel. Lanes a power of two apart would share few sets
// of the L1 (without the 16: 1.0 to 1.2 times as long).
constexpr int64_t kLane = 2 * kStrip + 16;
constexpr int64_t kLaneBytes = 16 * kLane * 8;  // room for the lanes, in the widest type

// Values that fill a line of memory, in groups of 16, of so many bytes each.
constexpr int64_t line_of(int64_t element) { return element == 2 ? 32 : 16; }

// Data arrays with their pitches, and the extent of the problem they share.
struct Data {
  const void* p;
  int64_t pitch;
};
struct Out {
  void* p;
  int64_t pitch;
};
struct Extent {
  int64_t n, c, s;
  int64_t values() const { return n * s; }
};

// How a pass that writes goes through memory: in how many streams side by side, at most kStreams;
// how many samples share what is made ready per channel though fewer streams are wanted, at most
// kStreams too; and what it reads meanwhile for a later pass, if not null: value f of sample n of
// from[i], copied to the same place in to[i], or prefetched if that is null.
struct Walk {
  int64_t streams, shared;
  Data from[3];
  Out to[3];
};

// Memory that is fetched besides other work: so many rows of `bytes` in each input, the first at
// p[i], each step[i] bytes after the one before.
struct Fetch {
  int64_t rows, bytes;
  const char* p[3];
  int64_t step[3];
};

// y = act((x - mean - mean_low) * scale + bias + residual); per-channel arrays hold all channels.
struct Normalize {
  Extent extent;
  Data x, residual;
  Out y;
  const void *mean, *mean_low, *scale, *bias;
  double slope;
  bool around;  // whether it is written around the caches
};

// Sums over g = masked dy, and the gradients made from them. Where there is no y to mask by, scale
// and bias are those of the forward, before the sums too.
struct Gradient {
  Extent extent;
  Data dy, x, y;
  Out dx, dresidual;
  const void *mean, *mean_low, *scale, *bias, *c1, *c2;
  double slope;
  bool around;  // whether it is written around the caches
};

// What a training forward makes of a channel's moments. Elements of E; any output but mean,
// mean_low, inv_std, scale and bias_copy may be null.
struct FinishTraining {
  double count, eps, momentum;
  const void *weight, *bias;
  void *mean, *mean_low, *inv_std;  // saved for backward
  void *scale, *bias_copy;          // for normalize: its own, so running_* may be bias
  void *running_mean, *running_var;
};

// scale and bias of a normalization with given statistics: a running_var, or else an inv_std.
struct PrepareInference {
  double eps = 0;
  const void *running_var = nullptr, *given_inv_std = nullptr, *weight = nullptr, *bias = nullptr;
  void *scale = nullptr, *bias_copy = nullptr;
  void* inv_std = nullptr;  // may be null
};

// What backward makes of a channel's sums; dweight, dbias may be null, c1 and c2 are null in
// inference.
struct FinishGradient {
  double count;
  const void *weight, *inv_std;
  void *dweight, *dbias, *scale, *c1, *c2;
};

// What is summed, channels first: chunks [q0, q1) of channels [c0, c1), in segments of so many.
// Result i of channel c, of chunks [q0 + i * segment, q0 + (i + 1) * segment), goes to
// [i * (c1 - c0) + c - c0]. While a chunk is summed, the one so many chunks `ahead` is fetched,
// which is worth it where samples are not shorter than chunks; 0: none is. besides: what is fetched
// meanwhile for a later call, some lines with every chunk. No bit depends on these two.
struct Chunks {
  int64_t c0, c1, q0, q1, segment, ahead;
  Fetch besides;
};

struct Kernels {
  // Moments of each segment, its chunks merged in order: mean (relative to the channel's first
  // value) and m2.
  void (*moments_ncs)(const Extent&, Data x, const Chunks&, double* mean, double* m2);
  // Channels last: those of chunks [q0, q1) of channels [c0, c1), at [c - c0]. lanes is room for
  // kLaneBytes; lane_rows of the rows of each lane are summed before those of the next one. No bit
  // depends on it.
  void (*moments_nsc)(const Extent&, Data x, int64_t c0, int64_t c1, int64_t q0, int64_t q1,
                      void* lanes, int64_t lane_rows, double* mean, double* m2);

  // Merges segments [1, p) of `segment` values into segment 0, for `count` channels; segment i of
  // channel c is at [i * width + c].
  void (*merge_moments)(int64_t width, int64_t count, int64_t p, int64_t segment, int64_t values,
                        double* mean, double* m2);

  // For channels [c0, c1), whose moments are at [c - c0]; first is the first value of channel 0,
  // those of the others follow at distance step.
  void (*finish_training)(const FinishTraining&, const void* first, int64_t step, int64_t c0,
                          int64_t c1, const double* mean, const double* m2);
  // The moments themselves: means about 0 instead of the first value.
  void (*finish_statistics)(const void* first, int64_t step, int64_t c0, int64_t c1,
                            const double* mean, const double* m2, double* mean_out, double* m2_out);
  void (*prepare_inference)(const PrepareInference&, int64_t c0, int64_t c1);

  // [activation][residual]; ncs: values [f0, f1) of samples [n0, n1), counted through the channels,
  // c * s + i, while x is read ahead; nsc: rows [r0, r1), in so many streams.
  void (*normalize_ncs[3][2])(const Normalize&, const Walk&, int64_t n0, int64_t n1, int64_t f0,
                              int64_t f1);
  void (*normalize_nsc[3][2])(const Normalize&, int64_t streams, int64_t r0, int64_t r1);

  // [mask]: an activation whose mask is read from y, or, 2 further, computed again from x. Sums of
  // g and g * (x - mean).
  void (*sums_ncs[5])(const Gradient&, const Chunks&, double* g, double* dot);
  void (*sums_nsc[5])(const Gradient&, int64_t c0, int64_t c1, int64_t q0, int64_t q1, void* lanes,
                      int64_t lane_rows, double* g, double* dot);
  // Adds segments [1, p) to segment 0.
  void (*merge_sums)(int64_t width, int64_t count, int64_t p, double* g, double* dot);
  void (*finish_gradient)(const FinishGradient&, int64_t c0, int64_t c1, const double* g,
                          const double* dot);

  // [mask][training][dresidual wanted], null for a dresidual without y; dy, x and y are read ahead.
  void (*gradient_ncs[5][2][2])(const Gradient&, const Walk&, int64_t n0, int64_t n1, int64_t f0,
                                int64_t f1);
  void (*gradient_nsc[5][2][2])(const Gradient&, int64_t streams, int64_t r0, int64_t r1);
};

// One table per instruction set and data type, each in an object file of its own.
#define BN_TABLES(isa)                   \
  const Kernels& kernels_##isa##_f32();  \
  const Kernels& kernels_##isa##_f64();  \
  const Kernels& kernels_##isa##_bf16(); \
  const Kernels& kernels_##isa##_f16();
BN_TABLES(scalar)
BN_TABLES(avx2)
BN_TABLES(avx512)
BN_TABLES(neon)
#undef BN_TABLES

}  // namespace bn
