/* batchnorm4j: batch normalization kernels. The C ABI, the only thing Java sees.
 *
 * A problem is N samples of C channels of S values. Element (n, c, i) of a data array lies at
 *   bn_ncs: data[n * pitch + c * s + i]       (channels first; pitch >= c * s)
 *   bn_nsc: data[(n * s + i) * pitch + c]     (channels last;  pitch >= c)
 * in elements of the data type. Per-channel arrays hold C values of the parameter type: double for
 * bn_f64, float for all others. Data may begin at any address, per-channel arrays at multiples of
 * their element; multiples of 64 are fastest. n * c * s, and n * pitch (n * s * pitch channels
 * last), are at most 2^40.
 *
 * Outputs may be the same memory as an input of the same layout (in place), or lie in the gaps that
 * its pitch leaves, but must not overlap otherwise. Per channel, one array may serve as several
 * inputs, and running_mean, running_var, dweight and dbias may be those of weight and bias; no
 * other output may be an input. Results do not depend on isa, threads or layout: see
 * docs/numerics.md for every formula and its order of operations.
 *
 * Every function that returns a bn_status changes nothing unless it is bn_ok. Arguments are checked
 * for plausibility only; null where a pointer is needed is refused, a wrong size cannot be. All
 * functions may be called from any number of threads; at most one call at a time uses a team of
 * threads, the others run on their caller. Each calling thread keeps the scratch memory of its
 * largest call until it ends: O(C), and for each thread that the call could use some 130 KB
 * channels last, or where channels first are copied to tiles up to 7/16 of an L2.
 */
#ifndef BATCHNORM4J_H
#define BATCHNORM4J_H

#include <stdint.h>

#define BN_ABI_VERSION 3

#if defined(_WIN32)
#define BN_API
#else
#define BN_API __attribute__((visibility("hidden")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum bn_status { bn_ok = 0, bn_bad_argument = 1, bn_no_memory = 2, bn_wrong_bits = 3 };
enum bn_isa { bn_scalar = 0, bn_avx2 = 1, bn_avx512 = 2, bn_neon = 3 };
enum bn_dtype { bn_f32 = 0, bn_f64 = 1, bn_bf16 = 2, bn_f16 = 3 };
enum bn_layout { bn_ncs = 0, bn_nsc = 1 };
enum bn_activation { bn_identity = 0, bn_relu = 1, bn_leaky_relu = 2 };

/* BN_ABI_VERSION of the library. */
BN_API int bn_abi_version(void);

/* The best bn_isa of this CPU and operating system. */
BN_API int bn_detect_isa(void);

/* Runs small problems of bn_f32 on an instruction set and compares with known bits: bn_ok,
 * bn_wrong_bits, or what kept a problem from being run. */
BN_API int bn_self_test(int isa);

/* Zeroed memory aligned to 64 bytes, or 0. 16 KiB and more begin at another place of a page than
 * what was allocated just before, so that a call's arrays do not compete for the same cache lines;
 * 2 MiB and more are on huge pages where the system has them. Freed by bn_free, which ignores 0. */
BN_API int64_t bn_alloc(int64_t bytes);
BN_API void bn_free(int64_t address);

/* y = act((x - running_mean) * (weight / sqrt(running_var + eps)) + bias + residual)
 *
 * residual, weight and bias may be null. slope is that of bn_leaky_relu, in (0, FLT_MAX]; with
 * other activations any finite one. threads >= 1 is the most the call may use. n * s = 0 writes
 * nothing.
 */
BN_API int bn_inference(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                        int64_t s, int activation, double slope, const void* x, int64_t x_pitch,
                        const void* residual, int64_t residual_pitch, void* y, int64_t y_pitch,
                        const void* running_mean, const void* running_var, const void* weight,
                        const void* bias, double eps);

/* bn_inference, on the calling thread, of a slice of a problem that has `whole` values and is
 * computed slice by slice: it goes through memory as one does that is so large. */
BN_API int bn_inference_slice(int isa, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                              int activation, double slope, const void* x, int64_t x_pitch,
                              const void* residual, int64_t residual_pitch, void* y,
                              int64_t y_pitch, const void* running_mean, const void* running_var,
                              const void* weight, const void* bias, double eps, int64_t whole);

/* y = act((x - mean) * (weight / sqrt(var + eps)) + bias + residual) with the batch's mean and
 * biased variance. Writes mean, mean_low (the part of the mean that its type cannot hold) and
 * inv_std = 1 / sqrt(var + eps); moves running_mean and running_var (both or neither null) by
 * momentum towards the mean and the unbiased variance. n * s = 0 writes nothing. */
BN_API int bn_training(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s,
                       int activation, double slope, const void* x, int64_t x_pitch,
                       const void* residual, int64_t residual_pitch, void* y, int64_t y_pitch,
                       const void* weight, const void* bias, double eps, void* mean, void* mean_low,
                       void* inv_std, void* running_mean, void* running_var, double momentum);

/* The gradients of bn_training. y is the forward's output, read for the activation's mask. It may
 * be null: for bn_identity, and where no residual was added. Then the mask is computed again, to
 * the same bits, from x and from weight and bias, which must be the forward's, and memory is read
 * for two arrays instead of three. bias is used for that alone, and may be null for 0. dx,
 * dresidual, dweight and dbias may each be null: not wanted. n * s = 0 makes dweight and dbias 0.
 */
BN_API int bn_backward_training(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                                int64_t s, int activation, double slope, const void* dy,
                                int64_t dy_pitch, const void* x, int64_t x_pitch, const void* y,
                                int64_t y_pitch, const void* weight, const void* bias,
                                const void* mean, const void* mean_low, const void* inv_std,
                                void* dx, int64_t dx_pitch, void* dresidual,
                                int64_t dresidual_pitch, void* dweight, void* dbias);

/* The gradients of bn_inference: the statistics are constants. */
BN_API int bn_backward_inference(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                                 int64_t s, int activation, double slope, const void* dy,
                                 int64_t dy_pitch, const void* x, int64_t x_pitch, const void* y,
                                 int64_t y_pitch, const void* weight, const void* bias,
                                 const void* running_mean, const void* running_var, double eps,
                                 void* dx, int64_t dx_pitch, void* dresidual,
                                 int64_t dresidual_pitch, void* dweight, void* dbias);

/* The steps of bn_training and bn_backward_training, each alone, so that what lies between them can
 * be merged with that of other parts of a batch. Sums and statistics are double for every dtype.
 *
 * bn_statistics: mean and sum of squared deviations of the values of each channel. n * s = 0 writes
 * nothing. */
BN_API int bn_statistics(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                         int64_t s, const void* x, int64_t x_pitch, double* mean, double* m2);

/* y = act((x - mean - mean_low) * (inv_std * weight) + bias + residual) */
BN_API int bn_normalize(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                        int64_t s, int activation, double slope, const void* x, int64_t x_pitch,
                        const void* residual, int64_t residual_pitch, void* y, int64_t y_pitch,
                        const void* mean, const void* mean_low, const void* inv_std,
                        const void* weight, const void* bias);

/* The sums of g and of g * (x - mean - mean_low), where g is dy where the activation passed it on:
 * y is needed for that, as by bn_input_gradient. n * s = 0 makes both 0. */
BN_API int bn_gradient_sums(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                            int64_t s, int activation, double slope, const void* dy,
                            int64_t dy_pitch, const void* x, int64_t x_pitch, const void* y,
                            int64_t y_pitch, const void* mean, const void* mean_low, double* sum_dy,
                            double* dot);

/* dx from sums over `count` values per channel, which may be those of a larger batch. */
BN_API int bn_input_gradient(int isa, int threads, int dtype, int layout, int64_t n, int64_t c,
                             int64_t s, int activation, double slope, const void* dy,
                             int64_t dy_pitch, const void* x, int64_t x_pitch, const void* y,
                             int64_t y_pitch, const void* weight, const void* mean,
                             const void* mean_low, const void* inv_std, const double* sum_dy,
                             const double* dot, double count, void* dx, int64_t dx_pitch,
                             void* dresidual, int64_t dresidual_pitch);

/* y = x weight + bias, or 0 where relu is not 0 and that is less than 0. weight is by input and
 * then output; its rows, and bias, are padded with zeros to a multiple of 16 outputs.
 */
typedef struct bn_dense_layer {
  int64_t in, out, relu;
  const float *weight, *bias;
} bn_dense_layer;

/* The most values that a row has between layers, and that those have which are not alone. */
#define BN_DENSE_WIDTH 128

/* `count` layers, one after another: rows of as many values as the first one takes, from x + x_at
 * on, to rows of as many as the last one gives, from y + y_at on. For weights that fit the
 * first-level cache. Not on bn_scalar, nor where x and y overlap.
 */
BN_API int bn_dense(int isa, int64_t rows, int64_t count, const bn_dense_layer* layers,
                    const float* x, int64_t x_at, float* y, int64_t y_at);

#ifdef __cplusplus
}
#endif
#endif
