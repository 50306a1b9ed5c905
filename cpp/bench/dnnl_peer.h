// oneDNN's batch normalization, set up as its documentation says: primitives made once, tensors
// reused, statistics and gradients of scale and shift included.
#pragma once
#include <dnnl.hpp>
#include <unordered_map>

#include <omp.h>

namespace bn {

class DnnlPeer {
 public:
  DnnlPeer(int threads, int64_t n, int64_t c, int64_t s, bool channels_last, float* x, float* y,
           float* dy, float* dx)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using namespace dnnl;
    omp_set_num_threads(threads);
    auto tag = s == 1          ? memory::format_tag::ab
               : channels_last ? memory::format_tag::acb
                               : memory::format_tag::abc;
    memory::dims dims = s == 1 ? memory::dims{n, c} : memory::dims{n, c, s};
    memory::desc data(dims, memory::data_type::f32, tag);
    memory::desc channel({c}, memory::data_type::f32, memory::format_tag::a);
    auto flags = normalization_flags::use_scale | normalization_flags::use_shift;
    batch_normalization_forward::primitive_desc train(engine_, prop_kind::forward_training, data,
                                                      data, 1e-5f, flags);
    batch_normalization_forward::primitive_desc infer(
        engine_, prop_kind::forward_inference, data, data, 1e-5f,
        flags | normalization_flags::use_global_stats);
    batch_normalization_backward::primitive_desc back(engine_, prop_kind::backward, data, data,
                                                      data, 1e-5f, flags, train);
    train_ = batch_normalization_forward(train);
    infer_ = batch_normalization_forward(infer);
    back_ = batch_normalization_backward(back);
    memory mx(data, engine_, x), my(data, engine_, y), mdy(data, engine_, dy),
        mdx(data, engine_, dx);
    memory mean(channel, engine_), var(channel, engine_), scale(channel, engine_),
        shift(channel, engine_), dscale(channel, engine_), dshift(channel, engine_);
    for (int64_t i = 0; i < c; i++) {
      ((float*)scale.get_data_handle())[i] = 1;
      ((float*)shift.get_data_handle())[i] = 0;
      ((float*)mean.get_data_handle())[i] = 0;
      ((float*)var.get_data_handle())[i] = 1;
    }
    forward_ = {{DNNL_ARG_SRC, mx},       {DNNL_ARG_DST, my},      {DNNL_ARG_MEAN, mean},
                {DNNL_ARG_VARIANCE, var}, {DNNL_ARG_SCALE, scale}, {DNNL_ARG_SHIFT, shift}};
    backward_ = {{DNNL_ARG_SRC, mx},
                 {DNNL_ARG_DIFF_DST, mdy},
                 {DNNL_ARG_DIFF_SRC, mdx},
                 {DNNL_ARG_MEAN, mean},
                 {DNNL_ARG_VARIANCE, var},
                 {DNNL_ARG_SCALE, scale},
                 {DNNL_ARG_DIFF_SCALE, dscale},
                 {DNNL_ARG_DIFF_SHIFT, dshift}};
  }

  void train() { run(train_, forward_); }
  void infer() { run(infer_, forward_); }
  void backward() { run(back_, backward_); }

 private:
  using Arguments = std::unordered_map<int, dnnl::memory>;
  void run(const dnnl::primitive& p, const Arguments& a) {
    p.execute(stream_, a);
    stream_.wait();
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::batch_normalization_forward train_, infer_;
  dnnl::batch_normalization_backward back_;
  Arguments forward_, backward_;
};

}  // namespace bn
