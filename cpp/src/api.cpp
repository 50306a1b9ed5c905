// The C ABI: checks, then the kernels of the wanted instruction set through a schedule. No
// algorithm.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "batchnorm4j.h"
#include "dense/dense.h"
#include "dispatch.h"
#include "kernel_map.h"
#include "parallel.h"
#include "stores.h"
#include "workspace.h"

namespace bn {
namespace {

// What all calls have in common, checked.
struct Call {
  const Kernels* kernels = nullptr;
  Plan plan = {};
  int activation = 0;
  double slope = 0;
  int64_t parameter = 0;  // bytes of a per-channel element

  int status = bn_ok;

  static constexpr int64_t kMost = int64_t{1} << 40;  // values

  Call(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s, int act,
       double slope_of_leaky)
      : activation(act), slope(slope_of_leaky) {
    bool ok = dtype >= bn_f32 && dtype <= bn_f16 && threads >= 1 &&
              (layout == bn_ncs || layout == bn_nsc) && n >= 0 && c >= 0 && s >= 0 &&
              fits({n, c, s}) && act >= bn_identity && act <= bn_leaky_relu &&
              std::isfinite(slope_of_leaky);
    // Else the sign of y would not be that of what it was made of, and no mask.
    if (act == bn_leaky_relu) ok = ok && slope_of_leaky > 0 && slope_of_leaky <= FLT_MAX;
    if (ok) kernels = kernels_for(isa, dtype);
    if (kernels == nullptr) {
      status = bn_bad_argument;
      return;
    }
    int64_t element = dtype == bn_f64 ? 8 : dtype == bn_f32 ? 4 : 2;
    plan = {{n, c, s}, layout == bn_nsc, std::min(threads, kMostWorkers), element, 0, false};
    parameter = dtype == bn_f64 ? 8 : 4;
  }

  // Before anything is planned by the number of threads: takes those of other callers at work off
  // it, or all that it would not pay to wake, so that what is planned, and learnt about stores, is
  // true of the threads there are.
  void begin() {
    if (plan.workers() == 1) return;
    int others = caller_.enter();
    plan.threads = team_sleeps(plan.traffic()) ? 1 : std::max(1, plan.threads - others);
  }

  bool empty() const { return plan.bytes() == 0; }
  int64_t per_channel() const { return plan.extent.c * parameter; }
  // Values between the first ones of neighbouring channels.
  int64_t channel_step() const { return plan.channels_last ? 1 : plan.extent.s; }

  // A data array, Data or Out, which may be null.
  template <class Array>
  Array counted(Array array) {
    if (array.p != nullptr) count(array.pitch);
    return array;
  }
  Gradient gradient(Data dy, Data x, Data y, Out dx, Out dresidual) {
    Gradient args = {};
    args.dy = counted(dy);
    args.x = counted(x);
    if (activation != bn_identity) args.y = counted(y);
    args.dx = counted(dx);
    args.dresidual = counted(dresidual);
    return args;
  }

  void need(const void* p) {
    if (p == nullptr && !empty()) status = bn_bad_argument;
  }
  void need_per_channel(const void* p) {
    if (p == nullptr && plan.extent.c > 0) status = bn_bad_argument;
  }

  void need_gradient_inputs(const Gradient& args) {
    need(args.dy.p);
    need(args.x.p);
  }
  // Where the mask cannot be computed from x.
  void need_output(const Gradient& args) {
    if (activation != bn_identity) need(args.y.p);
  }

  // Whether an output may be written around the caches: not where it is also an input, whose lines
  // are in cache already, nor where it is not aligned to its elements, as a Java buffer need not
  // be: then no store to it could be an aligned one.
  bool may_go_around(const void* written, std::initializer_list<const void*> read) const {
    bool aligned = ((uintptr_t)written & (uintptr_t)(plan.element - 1)) == 0;
    if (written == nullptr || !aligned) return false;
    for (const void* p : read) {
      if (p == written) return false;
    }
    return true;
  }

 private:
  Caller caller_;

  // Whether no product of any of these overflows, not even where another is 0. Without a division:
  // the smallest calls would feel it (docs/performance.md, lesson 25).
  static bool fits(std::initializer_list<int64_t> factors) {
    double product = 1;
    for (int64_t factor : factors) product *= (double)std::max<int64_t>(factor, 1);
    return product <= (double)kMost;
  }

  void count(int64_t pitch) {
    const Extent& e = plan.extent;
    plan.arrays++;
    if (empty()) return;
    const int64_t row = plan.channels_last ? e.c : e.c * e.s;
    const int64_t rows = plan.channels_last ? e.values() : e.n;
    if (pitch < row || !fits({pitch, rows})) status = bn_bad_argument;
  }
};

KernelMap<Normalize> map_of(const Call& call, const Normalize& args, const JoinedRows& joined) {
  const Kernels& k = *call.kernels;
  bool add = args.residual.p != nullptr;
  return {args, k.normalize_ncs[call.activation][add], k.normalize_nsc[call.activation][add],
          joined};
}

// Whether the activation's mask is computed again from x.
bool masks_by_x(const Call& call, const Gradient& args) {
  return call.activation != bn_identity && args.y.p == nullptr;
}
int mask_of(const Call& call, const Gradient& args) {
  return call.activation + (masks_by_x(call, args) ? 2 : 0);
}

KernelMap<Gradient> map_of(const Call& call, const Gradient& args, bool training,
                           const JoinedRows& joined) {
  const Kernels& k = *call.kernels;
  int mask = mask_of(call, args);
  bool residual = args.dresidual.p != nullptr;
  return {args, k.gradient_ncs[mask][training][residual], k.gradient_nsc[mask][training][residual],
          joined};
}

// finish(c0, c1, a, b): what is made of the moments, or sums, of channels [c0, c1).
template <class Finish>
class MomentsReduce final : public Reduce {
 public:
  MomentsReduce(const Call& call, Data x, const Finish& finish)
      : call_(call), x_(x), finish_(finish) {}

  int inputs(Data* arrays) const override {
    arrays[0] = x_;
    return 1;
  }
  void ncs(const Chunks& chunks, double* a, double* b, const Packed* packed) override {
    Data x = packed ? Data{packed->p[0], packed->pitch} : x_;
    call_.kernels->moments_ncs(call_.plan.extent, x, chunks, a, b);
  }
  void nsc(int64_t c0, int64_t c1, int64_t q0, int64_t q1, void* lanes, double* a,
           double* b) override {
    call_.kernels->moments_nsc(call_.plan.extent, x_, c0, c1, q0, q1, lanes,
                               call_.plan.lane_rows(1), a, b);
  }
  void merge(int64_t width, int64_t channels, int64_t segments, double* a, double* b) override {
    call_.kernels->merge_moments(width, channels, segments,
                                 call_.plan.chunks_per_segment() * kChunk, call_.plan.values(), a,
                                 b);
  }
  void finish(int64_t c0, int64_t c1, const double* a, const double* b) override {
    finish_(c0, c1, a, b);
  }

 private:
  const Call& call_;
  Data x_;
  const Finish& finish_;
};

template <class Finish>
class SumsReduce final : public Reduce {
 public:
  SumsReduce(const Call& call, const Gradient& args, const Finish& finish)
      : call_(call), args_(args), finish_(finish) {}

  int inputs(Data* arrays) const override {
    int count = 0;
    for (Data d : {args_.dy, args_.x, args_.y}) {
      if (d.p) arrays[count++] = d;
    }
    return count;
  }
  void ncs(const Chunks& chunks, double* a, double* b, const Packed* packed) override {
    auto sums = call_.kernels->sums_ncs[mask_of(call_, args_)];
    Gradient args = args_;
    if (packed) take_packed(args, *packed);
    sums(args, chunks, a, b);
  }
  void nsc(int64_t c0, int64_t c1, int64_t q0, int64_t q1, void* lanes, double* a,
           double* b) override {
    Data arrays[3];
    call_.kernels->sums_nsc[mask_of(call_, args_)](args_, c0, c1, q0, q1, lanes,
                                                   call_.plan.lane_rows(inputs(arrays)), a, b);
  }
  void merge(int64_t width, int64_t channels, int64_t segments, double* a, double* b) override {
    call_.kernels->merge_sums(width, channels, segments, a, b);
  }
  void finish(int64_t c0, int64_t c1, const double* a, const double* b) override {
    finish_(c0, c1, a, b);
  }

 private:
  const Call& call_;
  const Gradient& args_;
  const Finish& finish_;
};

// Sums alone.
int sum_only(Call& call, Reduce& reduce) {
  call.plan.sums = true;
  call.begin();
  ReduceMap schedule(call.plan, reduce, false);
  void* scratch;
  if (!take_scratch({{&scratch, schedule.scratch()}})) return bn_no_memory;
  schedule.run(scratch, reduce, nullptr);
  return bn_ok;
}

// Where backward's mean and inv_std come from: a training forward, or running statistics.
struct Statistics {
  const void *mean, *mean_low, *inv_std;
  const void *running_mean, *running_var;
  double eps;
  bool training() const { return running_mean == nullptr; }
};

struct Gradients {
  void *dweight, *dbias;
};

// The residual's gradient where dx is not wanted: g alone, g * 1, as dx of an inference without
// weight. scale is room for the ones.
void residual_gradient(const Call& call, Gradient args, const JoinedRows& joined, void* scale) {
  for (int64_t c = 0; c < call.plan.extent.c; c++) {
    if (call.parameter == 8) {
      static_cast<double*>(scale)[c] = 1;
    } else {
      static_cast<float*>(scale)[c] = 1;
    }
  }
  args.dx = args.dresidual;
  args.dresidual = {};
  args.around = false;
  KernelMap<Gradient> map = map_of(call, args, false, joined);
  run_map(call.plan, map);
}

int backward(Call& call, Gradient args, const Statistics& from, const void* weight,
             const void* bias, Gradients to) {
  const Kernels& kernels = *call.kernels;
  bool training = from.training();
  call.need_gradient_inputs(args);
  if (args.dresidual.p) call.need_output(args);
  if (training) {
    for (const void* p : {from.mean, from.mean_low, from.inv_std}) call.need_per_channel(p);
  } else {
    call.need_per_channel(from.running_var);
  }
  if (call.status != bn_ok) return call.status;
  int64_t c = call.plan.extent.c, bytes = call.per_channel();
  if (call.empty()) {
    // Sums over no values.
    if (to.dweight) std::memset(to.dweight, 0, bytes);
    if (to.dbias) std::memset(to.dbias, 0, bytes);
    return bn_ok;
  }

  call.plan.sums = to.dweight || to.dbias || (training && args.dx.p);
  call.begin();
  FinishGradient finish = {};
  auto finish_sums = [&](int64_t c0, int64_t c1, const double* sum_dy, const double* dot) {
    kernels.finish_gradient(finish, c0, c1, sum_dy, dot);
  };
  SumsReduce reduce(call, args, finish_sums);
  ReduceMap schedule(call.plan, reduce, args.dx.p != nullptr);
  JoinedRows joined(call.plan, call.parameter, args);
  void *scale, *bias_copy, *c1, *c2, *low, *inv_std, *scratch;
  if (!take_scratch({{&scale, bytes},
                     {&bias_copy, bytes},
                     {&c1, bytes},
                     {&c2, bytes},
                     {&low, bytes},
                     {&inv_std, bytes},
                     {&scratch, call.plan.sums ? schedule.scratch() : 0},
                     {&joined.room, joined.room_bytes}})) {
    return bn_no_memory;
  }

  args.extent = call.plan.extent;
  args.scale = scale;
  args.bias = bias_copy;
  args.slope = call.slope;
  StoreChoice stores(training ? Pass::kBackward : Pass::kBackwardInference, call.kernels, call.plan,
                     call.may_go_around(args.dx.p, {args.dy.p, args.x.p, args.y.p}));
  args.around = stores.around();
  finish.count = (double)call.plan.values();
  finish.weight = weight;
  finish.dweight = to.dweight;
  finish.dbias = to.dbias;
  finish.scale = scale;
  PrepareInference prepare = {};
  prepare.weight = weight;
  prepare.bias = bias;
  prepare.scale = scale;
  prepare.bias_copy = bias_copy;
  if (training) {
    args.mean = from.mean;
    args.mean_low = from.mean_low;
    args.c1 = finish.c1 = c1;
    args.c2 = finish.c2 = c2;
    finish.inv_std = prepare.given_inv_std = from.inv_std;
    if (masks_by_x(call, args)) kernels.prepare_inference(prepare, 0, c);
  } else {
    args.mean = from.running_mean;
    args.mean_low = std::memset(low, 0, bytes);
    finish.inv_std = prepare.inv_std = inv_std;
    prepare.eps = from.eps;
    prepare.running_var = from.running_var;
    kernels.prepare_inference(prepare, 0, c);
  }

  KernelMap<Gradient> map = map_of(call, args, training, joined);
  if (call.plan.sums) {
    schedule.run(scratch, reduce, args.dx.p ? &map : nullptr);
  } else if (args.dx.p) {
    run_map(call.plan, map);
  }
  if (!args.dx.p && args.dresidual.p) residual_gradient(call, args, joined, scale);
  return bn_ok;
}

// y from x with given statistics; mean_low null for 0. prepare gets its scale and bias_copy here.
int normalize(Call& call, Data x, Data residual, Out y, const void* mean, const void* mean_low,
              PrepareInference& prepare) {
  Normalize args = {};
  args.x = call.counted(x);
  args.residual = call.counted(residual);
  args.y = call.counted(y);
  call.need(x.p);
  call.need(y.p);
  call.need_per_channel(mean);
  if (call.status != bn_ok || call.empty()) return call.status;

  call.begin();
  args.extent = call.plan.extent;
  args.mean = mean;
  args.mean_low = mean_low;
  args.slope = call.slope;
  JoinedRows joined(call.plan, call.parameter, args);
  int64_t bytes = call.per_channel();
  void* low;
  if (!take_scratch({{&prepare.scale, bytes},
                     {&prepare.bias_copy, bytes},
                     {&low, bytes},
                     {&joined.room, joined.room_bytes}})) {
    return bn_no_memory;
  }
  args.scale = prepare.scale;
  args.bias = prepare.bias_copy;
  if (mean_low == nullptr) args.mean_low = std::memset(low, 0, bytes);
  call.kernels->prepare_inference(prepare, 0, call.plan.extent.c);

  StoreChoice stores(Pass::kInference, call.kernels, call.plan,
                     call.may_go_around(y.p, {x.p, residual.p}));
  args.around = stores.around();
  KernelMap<Normalize> map = map_of(call, args, joined);
  run_map(call.plan, map);
  return bn_ok;
}

int inference(Call& call, Data x, Data residual, Out y, const void* running_mean,
              PrepareInference& prepare) {
  if (call.status != bn_ok) return call.status;
  call.need_per_channel(prepare.running_var);
  return normalize(call, x, residual, y, running_mean, nullptr, prepare);
}

}  // namespace
}  // namespace bn

using bn::Call;

int bn_abi_version() { return BN_ABI_VERSION; }

int bn_detect_isa() { return bn::best_isa(); }

int bn_inference(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                 int activation, double slope, const void* x, int64_t x_pitch, const void* residual,
                 int64_t residual_pitch, void* y, int64_t y_pitch, const void* running_mean,
                 const void* running_var, const void* weight, const void* bias, double eps) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  bn::PrepareInference prepare = {eps, running_var, nullptr, weight, bias};
  return bn::inference(call, {x, x_pitch}, {residual, residual_pitch}, {y, y_pitch}, running_mean,
                       prepare);
}

int bn_inference_slice(int isa, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                       int activation, double slope, const void* x, int64_t x_pitch,
                       const void* residual, int64_t residual_pitch, void* y, int64_t y_pitch,
                       const void* running_mean, const void* running_var, const void* weight,
                       const void* bias, double eps, int64_t whole) {
  Call call(isa, 1, dtype, layout, n, c, s, activation, slope);
  call.plan.whole = whole;
  if (whole < 0 || whole > Call::kMost) call.status = bn_bad_argument;
  bn::PrepareInference prepare = {eps, running_var, nullptr, weight, bias};
  return bn::inference(call, {x, x_pitch}, {residual, residual_pitch}, {y, y_pitch}, running_mean,
                       prepare);
}

int bn_dense(int isa, int64_t rows, int64_t count, const bn_dense_layer* layers, const float* x,
             int64_t x_at, float* y, int64_t y_at) {
  constexpr int64_t kMost = int64_t{1} << 31;
  bool ok = x != nullptr && y != nullptr && layers != nullptr && count > 0 && rows >= 0 &&
            x_at >= 0 && y_at >= 0 && rows < kMost && isa <= bn::best_isa();
  for (int64_t l = 0; ok && l < count; l++) {
    int64_t in = layers[l].in, out = layers[l].out, most = count > 1 ? BN_DENSE_WIDTH : kMost - 1;
    ok = in >= 0 && out >= 0 && in <= most && out <= most && layers[l].weight != nullptr &&
         layers[l].bias != nullptr && (l == 0 || in == layers[l - 1].out);
  }
  bn::Dense* dense = nullptr;
#if defined(__x86_64__)
  if (ok && isa == bn_avx512) dense = bn::dense_avx512;
  if (ok && isa == bn_avx2) dense = bn::dense_avx2;
#elif defined(__aarch64__)
  if (ok && isa == bn_neon) dense = bn::dense_neon;
#endif
  if (dense == nullptr) return bn_bad_argument;
  dense(rows, count, layers, x + x_at, y + y_at);
  return bn_ok;
}

int bn_normalize(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                 int activation, double slope, const void* x, int64_t x_pitch, const void* residual,
                 int64_t residual_pitch, void* y, int64_t y_pitch, const void* mean,
                 const void* mean_low, const void* inv_std, const void* weight, const void* bias) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  if (call.status != bn_ok) return call.status;
  call.need_per_channel(mean_low);
  call.need_per_channel(inv_std);
  bn::PrepareInference prepare = {0, nullptr, inv_std, weight, bias};
  return bn::normalize(call, {x, x_pitch}, {residual, residual_pitch}, {y, y_pitch}, mean, mean_low,
                       prepare);
}

int bn_statistics(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                  const void* x, int64_t x_pitch, double* mean, double* m2) {
  Call call(isa, threads, dtype, layout, n, c, s, bn_identity, 0);
  if (call.status != bn_ok) return call.status;
  bn::Data data = call.counted(bn::Data{x, x_pitch});
  call.need(x);
  call.need_per_channel(mean);
  call.need_per_channel(m2);
  if (call.status != bn_ok || call.empty()) return call.status;
  auto finish = [&](int64_t c0, int64_t c1, const double* a, const double* b) {
    call.kernels->finish_statistics(x, call.channel_step(), c0, c1, a, b, mean, m2);
  };
  bn::MomentsReduce reduce(call, data, finish);
  return bn::sum_only(call, reduce);
}

int bn_gradient_sums(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                     int activation, double slope, const void* dy, int64_t dy_pitch, const void* x,
                     int64_t x_pitch, const void* y, int64_t y_pitch, const void* mean,
                     const void* mean_low, double* sum_dy, double* dot) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  if (call.status != bn_ok) return call.status;
  bn::Gradient args = call.gradient({dy, dy_pitch}, {x, x_pitch}, {y, y_pitch}, {}, {});
  call.need_gradient_inputs(args);
  call.need_output(args);
  for (const void* p : {mean, mean_low, (const void*)sum_dy, (const void*)dot}) {
    call.need_per_channel(p);
  }
  if (call.status != bn_ok) return call.status;
  if (call.empty()) {
    // Sums over no values.
    for (double* sums : {sum_dy, dot}) std::fill_n(sums, c, 0);
    return bn_ok;
  }
  args.extent = call.plan.extent;
  args.mean = mean;
  args.mean_low = mean_low;
  args.slope = slope;
  auto finish = [&](int64_t c0, int64_t c1, const double* a, const double* b) {
    std::memcpy(sum_dy + c0, a, (size_t)(c1 - c0) * sizeof(double));
    std::memcpy(dot + c0, b, (size_t)(c1 - c0) * sizeof(double));
  };
  bn::SumsReduce reduce(call, args, finish);
  return bn::sum_only(call, reduce);
}

int bn_input_gradient(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                      int activation, double slope, const void* dy, int64_t dy_pitch, const void* x,
                      int64_t x_pitch, const void* y, int64_t y_pitch, const void* weight,
                      const void* mean, const void* mean_low, const void* inv_std,
                      const double* sum_dy, const double* dot, double count, void* dx,
                      int64_t dx_pitch, void* dresidual, int64_t dresidual_pitch) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  if (call.status != bn_ok) return call.status;
  bn::Gradient args = call.gradient({dy, dy_pitch}, {x, x_pitch}, {y, y_pitch}, {dx, dx_pitch},
                                    {dresidual, dresidual_pitch});
  call.need_gradient_inputs(args);
  call.need_output(args);
  call.need(dx);
  for (const void* p : {mean, mean_low, inv_std, (const void*)sum_dy, (const void*)dot}) {
    call.need_per_channel(p);
  }
  if (call.status != bn_ok || call.empty()) return call.status;

  call.begin();
  bn::JoinedRows joined(call.plan, call.parameter, args);
  bn::FinishGradient finish = {};
  finish.count = count;
  finish.weight = weight;
  finish.inv_std = inv_std;
  int64_t bytes = call.per_channel();
  if (!bn::take_scratch({{&finish.scale, bytes},
                         {&finish.c1, bytes},
                         {&finish.c2, bytes},
                         {&joined.room, joined.room_bytes}})) {
    return bn_no_memory;
  }
  call.kernels->finish_gradient(finish, 0, c, sum_dy, dot);
  args.extent = call.plan.extent;
  args.mean = mean;
  args.mean_low = mean_low;
  args.scale = finish.scale;
  args.c1 = finish.c1;
  args.c2 = finish.c2;
  args.slope = slope;
  bn::StoreChoice stores(bn::Pass::kInputGradient, call.kernels, call.plan,
                         call.may_go_around(dx, {dy, x, args.y.p}));
  args.around = stores.around();
  bn::KernelMap<bn::Gradient> map = bn::map_of(call, args, true, joined);
  bn::run_map(call.plan, map);
  return bn_ok;
}

int bn_training(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                int activation, double slope, const void* x, int64_t x_pitch, const void* residual,
                int64_t residual_pitch, void* y, int64_t y_pitch, const void* weight,
                const void* bias, double eps, void* mean, void* mean_low, void* inv_std,
                void* running_mean, void* running_var, double momentum) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  if (call.status != bn_ok) return call.status;
  bn::Normalize args = {};
  args.x = call.counted(bn::Data{x, x_pitch});
  args.residual = call.counted(bn::Data{residual, residual_pitch});
  args.y = call.counted(bn::Out{y, y_pitch});
  call.need(x);
  call.need(y);
  for (void* p : {mean, mean_low, inv_std}) call.need_per_channel(p);
  if ((running_mean == nullptr) != (running_var == nullptr)) return bn_bad_argument;
  if (call.status != bn_ok || call.empty()) return call.status;

  call.plan.sums = true;
  call.begin();
  bn::FinishTraining finish = {};
  auto finish_moments = [&](int64_t c0, int64_t c1, const double* a, const double* b) {
    call.kernels->finish_training(finish, x, call.channel_step(), c0, c1, a, b);
  };
  bn::MomentsReduce reduce(call, args.x, finish_moments);
  bn::ReduceMap schedule(call.plan, reduce, true);
  bn::JoinedRows joined(call.plan, call.parameter, args);
  int64_t bytes = call.per_channel();
  void* scratch;
  if (!bn::take_scratch({{&finish.scale, bytes},
                         {&finish.bias_copy, bytes},
                         {&scratch, schedule.scratch()},
                         {&joined.room, joined.room_bytes}})) {
    return bn_no_memory;
  }
  finish.count = (double)call.plan.values();
  finish.eps = eps;
  finish.momentum = momentum;
  finish.weight = weight;
  finish.bias = bias;
  finish.mean = mean;
  finish.mean_low = mean_low;
  finish.inv_std = inv_std;
  finish.running_mean = running_mean;
  finish.running_var = running_var;
  args.extent = call.plan.extent;
  args.mean = mean;
  args.mean_low = mean_low;
  args.scale = finish.scale;
  args.bias = finish.bias_copy;
  args.slope = slope;
  bn::StoreChoice stores(bn::Pass::kTraining, call.kernels, call.plan,
                         call.may_go_around(y, {x, residual}));
  args.around = stores.around();
  bn::KernelMap<bn::Normalize> map = bn::map_of(call, args, joined);
  schedule.run(scratch, reduce, &map);
  return bn_ok;
}

int bn_backward_training(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                         int64_t s, int activation, double slope, const void* dy, int64_t dy_pitch,
                         const void* x, int64_t x_pitch, const void* y, int64_t y_pitch,
                         const void* weight, const void* bias, const void* mean,
                         const void* mean_low, const void* inv_std, void* dx, int64_t dx_pitch,
                         void* dresidual, int64_t dresidual_pitch, void* dweight, void* dbias) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  if (call.status != bn_ok) return call.status;
  bn::Gradient args = call.gradient({dy, dy_pitch}, {x, x_pitch}, {y, y_pitch}, {dx, dx_pitch},
                                    {dresidual, dresidual_pitch});
  return bn::backward(call, args, {mean, mean_low, inv_std, nullptr, nullptr, 0}, weight, bias,
                      {dweight, dbias});
}

int bn_backward_inference(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                          int64_t s, int activation, double slope, const void* dy, int64_t dy_pitch,
                          const void* x, int64_t x_pitch, const void* y, int64_t y_pitch,
                          const void* weight, const void* bias, const void* running_mean,
                          const void* running_var, double eps, void* dx, int64_t dx_pitch,
                          void* dresidual, int64_t dresidual_pitch, void* dweight, void* dbias) {
  Call call(isa, threads, dtype, layout, n, c, s, activation, slope);
  if (call.status != bn_ok) return call.status;
  if (running_mean == nullptr && c > 0) return bn_bad_argument;
  bn::Gradient args = call.gradient({dy, dy_pitch}, {x, x_pitch}, {y, y_pitch}, {dx, dx_pitch},
                                    {dresidual, dresidual_pitch});
  return bn::backward(call, args, {nullptr, nullptr, nullptr, running_mean, running_var, eps},
                      weight, bias, {dweight, dbias});
}
