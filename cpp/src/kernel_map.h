// The passes that write, as the schedule sees them: one kernel for each layout, and its arguments.
#pragma once
#include <cstring>

#include "schedule.h"
#include "workspace.h"

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

// The copied inputs of a tile instead of the inputs, in the order of Reduce::inputs.
inline void take_packed(Normalize& args, const Packed& packed) {
  args.x = {packed.p[0], packed.pitch};
}
inline void take_packed(Gradient& args, const Packed& packed) {
  args.dy = {packed.p[0], packed.pitch};
  args.x = {packed.p[1], packed.pitch};
  if (args.y.p) args.y = {packed.p[2], packed.pitch};
}

// Channels last: how many rows are taken as one of so many times the channels, where rows alone
// neither fill vectors nor let stores be aligned (docs/performance.md, lesson 37). What is per
// channel is repeated for them.
struct JoinedRows {
  int64_t rows = 1;      // 1: none are
  int64_t bytes = 0;     // of what is per channel, each
  char* room = nullptr;  // for it, `rows` times

  // Plans the room. parameter: bytes of a per-channel element.
  template <class Args>
  JoinedRows(const Plan& plan, int64_t parameter, const Args& given, Workspace& workspace) {
    constexpr int64_t kMostChannels = 2048, kLeastRows = 32;
    if (!plan.channels_last || plan.values() < kLeastRows) return;
    Args args = given;
    int64_t c = plan.extent.c, line = plan.element == 2 ? 32 : 16;
    int64_t wanted = line / std::min<int64_t>(c & -c, line);
    bool worth = wanted * c <= kMostChannels && plan.values() >= kLeastRows * wanted;
    arrays_of(args, [&](const void* p, int64_t pitch) { worth &= p == nullptr || pitch == c; });
    if (!worth || wanted == 1) return;
    rows = wanted;
    bytes = c * parameter;
    workspace.plan(size(args));
  }

  // After the workspace is reserved, in the order of planning.
  template <class Args>
  void take(const Args& args, Workspace& workspace) {
    if (rows > 1) room = static_cast<char*>(workspace.take(size(args)));
  }

 private:
  template <class Args>
  int64_t size(Args args) const {
    int64_t count = 0;
    per_channel_of(args, [&](const void*) { count++; });
    return count * rows * bytes;
  }
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
    const int64_t rows = joined_.rows, channels = args_.extent.c * rows;
    if (rows == 1) return 1;
    wide_ = args_;
    wide_.extent = {args_.extent.values() / rows, channels, 1};
    arrays_of(wide_, [&](const void*, int64_t& pitch) { pitch = channels; });
    char* room = joined_.room;
    per_channel_of(wide_, [&](const void*& values) {
      const char* repeated = room;
      for (int64_t i = 0; i < rows && values; i++, room += joined_.bytes) {
        std::memcpy(room, values, (size_t)joined_.bytes);
      }
      if (values) values = repeated;
    });
    return rows;
  }

  void nsc(int64_t r0, int64_t r1, int64_t streams) override {
    int64_t rows = joined_.rows;
    if (rows == 1) return nsc_(args_, streams, r0, r1);
    nsc_(wide_, streams, r0 / rows, r1 / rows);
    if (r1 % rows != 0) nsc_(args_, 1, r1 / rows * rows, r1);
  }

 private:
  const Args& args_;
  Ncs ncs_;
  Nsc nsc_;
  JoinedRows joined_;
  Args wide_;  // of rows taken as one
};

}  // namespace bn
