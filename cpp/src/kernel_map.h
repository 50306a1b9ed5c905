// The passes that write, as the schedule sees them: one kernel for each layout, and its arguments.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "schedule.h"

namespace bn {

// Calls f(array, its pitch) for every array, which may be null.
template <class F>
void arrays_of(Normalize& a, F f) {
  for (Data* d : {&a.x, &a.residual}) f(d->p, d->pitch);
  f(a.y.p, a.y.pitch);
}
template <class F>
void arrays_of(Gradient& a, F f) {
  for (Data* d : {&a.dy, &a.x, &a.y}) f(d->p, d->pitch);
  for (Out* d : {&a.dx, &a.dresidual}) f(d->p, d->pitch);
}

// Calls f(values) for all that is per channel, which may be null.
template <class F>
void per_channel_of(Normalize& a, F f) {
  for (const void** p : {&a.mean, &a.mean_low, &a.scale, &a.bias}) f(*p);
}
template <class F>
void per_channel_of(Gradient& a, F f) {
  for (const void** p : {&a.mean, &a.mean_low, &a.scale, &a.bias, &a.c1, &a.c2}) f(*p);
}

inline const void* output_of(const Normalize& a) { return a.y.p; }
inline const void* output_of(const Gradient& a) { return a.dx.p ? a.dx.p : a.dresidual.p; }

// Moves a pass on by so many values, and by so many channels; pointers may be null.
template <class Args>
void advance(Args& args, int64_t values_bytes, int64_t channels_bytes) {
  auto move = [](auto& p, int64_t bytes) {
    using Byte = std::conditional_t<std::is_same_v<decltype(p), void*&>, char, const char>;
    if (p) p = static_cast<Byte*>(p) + bytes;
  };
  arrays_of(args, [&](auto& p, int64_t) { move(p, values_bytes); });
  per_channel_of(args, [&](const void*& p) { move(p, channels_bytes); });
}

// The copied inputs of a tile instead of the inputs, in the order of Reduce::inputs.
inline void take_packed(Normalize& args, const Packed& packed) {
  args.x = {packed.p[0], packed.pitch};
}
inline void take_packed(Gradient& args, const Packed& packed) {
  args.dy = {packed.p[0], packed.pitch};
  args.x = {packed.p[1], packed.pitch};
  if (args.y.p) args.y = {packed.p[2], packed.pitch};
}

// Channels last without gaps: rows of the pass's own, which begin where a line of the output does
// and fill lines, several as one if need be. So they fill vectors, and stores are aligned
// (docs/performance.md, lessons 37 and 41). What is per channel is repeated for them, from the
// channel on with which they begin.
struct JoinedRows {
  int64_t rows = 1;            // of how many each is made
  int64_t lead = 0;            // values before the first one
  int64_t element, parameter;  // bytes of a value, and of what is per channel
  int64_t bytes;               // of all channels' of that
  void* room = nullptr;        // of room_bytes, for all that is per channel, `rows` times
  int64_t room_bytes = 0;

  template <class Args>
  JoinedRows(const Plan& plan, int64_t parameter_bytes, const Args& given)
      : element(plan.element), parameter(parameter_bytes), bytes(plan.extent.c * parameter_bytes) {
    constexpr int64_t kMostChannels = 2048, kLeastRows = 32;
    if (!plan.channels_last || plan.values() < kLeastRows) return;
    Args args = given;
    int64_t c = plan.extent.c, line = line_of(element);
    int64_t wanted = line / std::min<int64_t>(c & -c, line);
    bool worth = wanted * c <= kMostChannels && plan.values() >= kLeastRows * wanted;
    arrays_of(args, [&](const void* p, int64_t pitch) { worth &= p == nullptr || pitch == c; });
    if (!worth) return;
    rows = wanted;
    auto address = reinterpret_cast<uintptr_t>(output_of(args));
    // In the caches that wins nothing; data at no multiple of its elements meets no line.
    if (plan.beyond_l2() && address % (uintptr_t)element == 0) {
      lead = (int64_t)(-address % (uintptr_t)(line * element)) / element;
    }
    if (!used()) return;
    per_channel_of(args, [&](const void*) { room_bytes += rows * bytes; });
  }

  bool used() const { return rows > 1 || lead > 0; }
};

template <class Args>
class KernelMap final : public Map {
 public:
  using Ncs = void (*)(const Args&, const Walk&, int64_t n0, int64_t n1, int64_t f0, int64_t f1);
  using Nsc = void (*)(const Args&, int64_t streams, int64_t r0, int64_t r1);

  KernelMap(const Args& args, Ncs channels_first, Nsc channels_last, const JoinedRows& joined)
      : args_(args), ncs_(channels_first), nsc_(channels_last), joined_(joined) {}

  void ncs(int64_t n0, int64_t n1, int64_t f0, int64_t f1, const Packed* packed,
           const Walk& walk) override {
    if (packed == nullptr) return ncs_(args_, walk, n0, n1, f0, f1);
    Args part = args_;
    take_packed(part, *packed);
    ncs_(part, walk, n0, n1, f0, f1);
  }

  int64_t prepare_nsc() override {
    if (!joined_.used()) return 1;
    const int64_t rows = joined_.rows, lead = joined_.lead, channels = args_.extent.c * rows;
    wide_ = args_;
    wide_.extent = {(args_.extent.values() * args_.extent.c - lead) / channels, channels, 1};
    advance(wide_, lead * joined_.element, 0);
    arrays_of(wide_, [&](const void*, int64_t& pitch) { pitch = channels; });
    const auto bytes = (size_t)joined_.bytes;
    const auto before = (size_t)(lead % args_.extent.c * joined_.parameter);
    char* room = static_cast<char*>(joined_.room);
    per_channel_of(wide_, [&](const void*& values) {
      const char *given = static_cast<const char*>(values), *repeated = room;
      if (given == nullptr) return;
      for (int64_t i = 0; i < rows; i++, room += bytes) {
        std::memcpy(room, given + before, bytes - before);
        std::memcpy(room + bytes - before, given, before);
      }
      values = repeated;
    });
    return rows;
  }

  void nsc(int64_t r0, int64_t r1, int64_t streams) override {
    if (!joined_.used()) return nsc_(args_, streams, r0, r1);
    const int64_t rows = joined_.rows, last = std::min(r1 / rows, wide_.extent.n);
    if (r0 / rows < last) nsc_(wide_, streams, r0 / rows, last);
    if (r0 == 0) values(0, joined_.lead);
    if (r1 == args_.extent.values()) {
      values(joined_.lead + wide_.extent.values() * wide_.extent.c, r1 * args_.extent.c);
    }
  }

 private:
  // Values [from, to), which are in none of the wide rows.
  void values(int64_t from, int64_t to) {
    const int64_t c = args_.extent.c;
    while (from < to) {
      const int64_t first = from % c, count = std::min(c - first, to - from);
      Args part = args_;
      part.extent = {1, count, 1};
      advance(part, from * joined_.element, first * joined_.parameter);
      nsc_(part, 1, 0, 1);
      from += count;
    }
  }

  const Args& args_;
  Ncs ncs_;
  Nsc nsc_;
  JoinedRows joined_;
  Args wide_;  // of rows taken as one
};

}  // namespace bn
