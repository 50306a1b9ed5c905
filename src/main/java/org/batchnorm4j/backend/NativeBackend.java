package org.batchnorm4j.backend;

import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The kernels in C++. A call with a tensor that native code cannot go to, on the heap or in a
 * MemorySegment that another thread may close, is computed by the Java backend: the same bits, on
 * the calling thread alone. Only for inference of data on the heap the kernels go there.
 *
 * <p>Immutable: {@link #withIsa} and {@link #withThreads} make another one, for tests, benchmarks
 * and callers that want a limit of their own.
 */
public final class NativeBackend implements BatchNormBackend {
  private final Isa isa;
  private final int threads;

  NativeBackend(Isa isa, int threads) {
    this.isa = isa;
    this.threads = threads;
  }

  /** This backend on another instruction set, which the CPU must have. */
  public NativeBackend withIsa(Isa other) {
    if (!Backends.supportedIsas().contains(other)) {
      throw new IllegalArgumentException(
          "isa must be one this CPU has, " + Backends.supportedIsas() + ", but got " + other);
    }
    return new NativeBackend(other, threads);
  }

  /** This backend with at most that many threads per call. */
  public NativeBackend withThreads(int limit) {
    if (limit < 1) {
      throw new IllegalArgumentException("threads must be at least 1, but got " + limit);
    }
    return new NativeBackend(isa, limit);
  }

  /** The instruction set its calls run on. */
  public Isa isa() {
    return isa;
  }

  /** The most threads a call uses. */
  public int threads() {
    return threads;
  }

  @Override
  public String name() {
    return "native";
  }

  @Override
  public void inference(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      Tensor runningMean,
      Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps) {
    @Nullable Tensor[] used = {x, residual, y, runningMean, runningVar, weight, bias};
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        if (HeapInference.canReach(problem.dtype(), x, residual, y)
            && canReach(runningMean, runningVar, weight, bias)) {
          onHeap(problem, runningMean, runningVar, weight, bias, eps).run(x, residual, y);
        } else {
          Backends.javaBackend()
              .inference(problem, x, residual, y, runningMean, runningVar, weight, bias, eps);
        }
        return;
      }
      check(
          BatchNormNative.bn_inference(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, x),
              pitch(x),
              data(problem, residual),
              pitch(residual),
              data(problem, written(y)),
              pitch(y),
              channels(problem, runningMean),
              channels(problem, runningVar),
              channels(problem, weight),
              channels(problem, bias),
              eps));
    } finally {
      InUse.release(used);
    }
  }

  /**
   * {@link #inference} for many calls whose data lies on the heap.
   *
   * @param problem whose N does not count: a call says how many samples it has
   */
  public HeapInference onHeap(
      Problem problem,
      Tensor runningMean,
      Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps) {
    return new HeapInference(isa, problem, runningMean, runningVar, weight, bias, eps);
  }

  @Override
  public void training(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      SavedStatistics saved,
      @Nullable Tensor runningMean,
      @Nullable Tensor runningVar,
      double momentum) {
    Tensor mean = saved.mean();
    Tensor meanLow = saved.meanLow();
    Tensor invStd = saved.invStd();
    @Nullable Tensor[] used = {
      x, residual, y, weight, bias, mean, meanLow, invStd, runningMean, runningVar
    };
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend()
            .training(
                problem,
                x,
                residual,
                y,
                weight,
                bias,
                eps,
                saved,
                runningMean,
                runningVar,
                momentum);
        return;
      }
      check(
          BatchNormNative.bn_training(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, x),
              pitch(x),
              data(problem, residual),
              pitch(residual),
              data(problem, written(y)),
              pitch(y),
              channels(problem, weight),
              channels(problem, bias),
              eps,
              channels(problem, written(mean)),
              channels(problem, written(meanLow)),
              channels(problem, written(invStd)),
              channels(problem, written(runningMean)),
              channels(problem, written(runningVar)),
              momentum));
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void backwardTraining(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      SavedStatistics saved,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Tensor mean = saved.mean();
    Tensor meanLow = saved.meanLow();
    Tensor invStd = saved.invStd();
    @Nullable Tensor[] used = {
      dy, x, y, weight, bias, mean, meanLow, invStd, dx, dresidual, dweight, dbias
    };
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend()
            .backwardTraining(
                problem, dy, x, y, weight, bias, saved, dx, dresidual, dweight, dbias);
        return;
      }
      check(
          BatchNormNative.bn_backward_training(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, dy),
              pitch(dy),
              data(problem, x),
              pitch(x),
              data(problem, y),
              pitch(y),
              channels(problem, weight),
              channels(problem, bias),
              channels(problem, mean),
              channels(problem, meanLow),
              channels(problem, invStd),
              data(problem, written(dx)),
              pitch(dx),
              data(problem, written(dresidual)),
              pitch(dresidual),
              channels(problem, written(dweight)),
              channels(problem, written(dbias))));
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void backwardInference(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      Tensor runningMean,
      Tensor runningVar,
      double eps,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    @Nullable Tensor[] used = {
      dy, x, y, weight, bias, runningMean, runningVar, dx, dresidual, dweight, dbias
    };
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend()
            .backwardInference(
                problem,
                dy,
                x,
                y,
                weight,
                bias,
                runningMean,
                runningVar,
                eps,
                dx,
                dresidual,
                dweight,
                dbias);
        return;
      }
      check(
          BatchNormNative.bn_backward_inference(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, dy),
              pitch(dy),
              data(problem, x),
              pitch(x),
              data(problem, y),
              pitch(y),
              channels(problem, weight),
              channels(problem, bias),
              channels(problem, runningMean),
              channels(problem, runningVar),
              eps,
              data(problem, written(dx)),
              pitch(dx),
              data(problem, written(dresidual)),
              pitch(dresidual),
              channels(problem, written(dweight)),
              channels(problem, written(dbias))));
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void statistics(Problem problem, Tensor x, Tensor mean, Tensor m2) {
    @Nullable Tensor[] used = {x, mean, m2};
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend().statistics(problem, x, mean, m2);
        return;
      }
      check(
          BatchNormNative.bn_statistics(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              data(problem, x),
              pitch(x),
              sums(problem, written(mean)),
              sums(problem, written(m2))));
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void normalize(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      SavedStatistics given,
      @Nullable Tensor weight,
      @Nullable Tensor bias) {
    @Nullable Tensor[] used = {
      x, residual, y, weight, bias, given.mean(), given.meanLow(), given.invStd()
    };
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend().normalize(problem, x, residual, y, given, weight, bias);
        return;
      }
      check(
          BatchNormNative.bn_normalize(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, x),
              pitch(x),
              data(problem, residual),
              pitch(residual),
              data(problem, written(y)),
              pitch(y),
              channels(problem, given.mean()),
              channels(problem, given.meanLow()),
              channels(problem, given.invStd()),
              channels(problem, weight),
              channels(problem, bias)));
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void gradientSums(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      SavedStatistics given,
      Tensor sumDy,
      Tensor dot) {
    @Nullable Tensor[] used = {dy, x, y, given.mean(), given.meanLow(), given.invStd(), sumDy, dot};
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend().gradientSums(problem, dy, x, y, given, sumDy, dot);
        return;
      }
      check(
          BatchNormNative.bn_gradient_sums(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, dy),
              pitch(dy),
              data(problem, x),
              pitch(x),
              data(problem, y),
              pitch(y),
              channels(problem, given.mean()),
              channels(problem, given.meanLow()),
              sums(problem, written(sumDy)),
              sums(problem, written(dot))));
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void inputGradient(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      SavedStatistics given,
      Tensor sumDy,
      Tensor dot,
      long count,
      Tensor dx,
      @Nullable Tensor dresidual) {
    @Nullable Tensor[] used = {
      dy, x, y, weight, given.mean(), given.meanLow(), given.invStd(), sumDy, dot, dx, dresidual
    };
    InUse.acquire(used);
    try {
      if (!canReach(used)) {
        Backends.javaBackend()
            .inputGradient(problem, dy, x, y, weight, given, sumDy, dot, count, dx, dresidual);
        return;
      }
      check(
          BatchNormNative.bn_input_gradient(
              isa.ordinal(),
              threads,
              problem.dtype().ordinal(),
              problem.layout().ordinal(),
              problem.n(),
              problem.c(),
              problem.s(),
              problem.activation().kind().ordinal(),
              problem.activation().slope(),
              data(problem, dy),
              pitch(dy),
              data(problem, x),
              pitch(x),
              data(problem, y),
              pitch(y),
              channels(problem, weight),
              channels(problem, given.mean()),
              channels(problem, given.meanLow()),
              channels(problem, given.invStd()),
              sums(problem, sumDy),
              sums(problem, dot),
              count,
              data(problem, written(dx)),
              pitch(dx),
              data(problem, written(dresidual)),
              pitch(dresidual)));
    } finally {
      InUse.release(used);
    }
  }

  /** The address of data, which must have room for all of the problem's values. */
  private static long data(Problem problem, @Nullable Tensor t) {
    if (t != null && !problem.fits(t)) {
      throw tooSmall(problem, t);
    }
    return address(t);
  }

  /** The address of per-channel values. */
  private static long channels(Problem problem, @Nullable Tensor t) {
    return perChannel(problem, problem.dtype().parameterType(), t);
  }

  /** The address of per-channel sums or moments. */
  private static long sums(Problem problem, Tensor t) {
    return perChannel(problem, DType.F64, t);
  }

  private static long perChannel(Problem problem, DType dtype, @Nullable Tensor t) {
    if (t != null && !problem.fitsPerChannel(t, dtype)) {
      throw tooSmall(problem, t);
    }
    return address(t);
  }

  private static IllegalArgumentException tooSmall(Problem problem, Tensor t) {
    return new IllegalArgumentException(
        t + " is too small for " + problem + ", or of another type than its values there have");
  }

  /** An output, which native code would write to though it can only be read. */
  private static <T extends @Nullable Tensor> T written(T t) {
    if (t != null && t.isReadOnly()) {
      throw new IllegalArgumentException(
          t
              + " wraps memory that is read-only, but is an output: give a copy, such as to(dtype())");
    }
    return t;
  }

  /** Whether native code can go to all of these. */
  private static boolean canReach(@Nullable Tensor... tensors) {
    for (Tensor t : tensors) {
      if (t != null && t.address() == 0) {
        return false;
      }
    }
    return true;
  }

  /** Where native code finds a tensor that it {@link #canReach}; 0 for none. */
  private static long address(@Nullable Tensor t) {
    return t == null ? 0 : t.address();
  }

  private static long pitch(@Nullable Tensor t) {
    return t == null ? 0 : t.pitch();
  }

  static void check(int status) {
    switch (status) {
      case 0 -> {}
      case 1 -> throw new IllegalArgumentException("the native library refused its arguments");
      case 2 -> throw new OutOfMemoryError("no memory for the native library's workspace");
      default -> throw new IllegalStateException("the native library returned status " + status);
    }
  }
}
