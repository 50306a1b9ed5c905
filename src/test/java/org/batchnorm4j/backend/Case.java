package org.batchnorm4j.backend;

import java.util.Random;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Half;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Everything a backend is called with, as plain arrays: data (N, C, S) row-major, per-channel
 * values in order. {@link #run} puts it into tensors of some layout and gives back what comes out,
 * widened.
 */
final class Case {
  final DType dtype;
  final int n;
  final int c;
  final int s;
  Activation activation = Activation.NONE;
  double eps = 1e-5;
  double momentum = 0.1;
  final double[] x;
  final double[] dy;
  double @Nullable [] residual;
  double @Nullable [] weight;
  double @Nullable [] bias;
  final double[] runningMean;
  final double[] runningVar;

  /** Standard normal data, sensible parameters, no residual. */
  Case(DType dtype, int n, int c, int s, Random random) {
    this.dtype = dtype;
    this.n = n;
    this.c = c;
    this.s = s;
    x = data(random);
    dy = data(random);
    weight = new double[c];
    bias = new double[c];
    runningMean = new double[c];
    runningVar = new double[c];
    for (int i = 0; i < c; i++) {
      weight[i] = parameter(random.nextGaussian());
      bias[i] = parameter(random.nextGaussian());
      runningMean[i] = parameter(random.nextGaussian() / 4);
      runningVar[i] = parameter(0.5 + random.nextDouble());
    }
  }

  /** The forward's outputs; {@code mean} and {@code meanLow} are null after an inference. */
  record Forward(
      double[] y,
      double @Nullable [] mean,
      double @Nullable [] meanLow,
      double @Nullable [] invStd,
      double @Nullable [] runningMean,
      double @Nullable [] runningVar) {}

  /** The backward's outputs. */
  record Backward(double[] dx, double[] dresidual, double[] dweight, double[] dbias) {}

  /** The outputs of all four operations. */
  record Results(
      Forward training, Backward backwardTraining, Forward inference, Backward backwardInference) {}

  /** Where the data lies. */
  enum Memory {
    /** Contiguous. */
    DENSE,
    /** The middle channels of a larger tensor, whose other values must stay as they are. */
    SLICE,
    /** Contiguous; y is written onto x, dx onto dy and dresidual onto y. */
    ONTO_X,
    /** Contiguous; y is written onto the residual, dx onto x and dresidual onto dy. */
    ONTO_RESIDUAL
  }

  double[] data(Random random) {
    double[] a = new double[n * c * s];
    for (int i = 0; i < a.length; i++) {
      a[i] = rounded(random.nextGaussian());
    }
    return a;
  }

  @Override
  public String toString() {
    return dtype + " " + n + "x" + c + "x" + s + " " + activation.kind();
  }

  /** Rounds to the data's type. */
  double rounded(double value) {
    return switch (dtype) {
      case F64 -> value;
      case F32 -> (float) value;
      case BF16 -> Half.fromBf16(Half.toBf16((float) value));
      case F16 -> Half.fromF16(Half.toF16((float) value));
      case I64 -> throw new IllegalArgumentException("no data type");
    };
  }

  /** Rounds to the parameters' type. */
  double parameter(double value) {
    return dtype == DType.F64 ? value : (float) value;
  }

  /** The values of one channel in the order of docs/numerics.md. */
  double[] channel(double[] data, int channel) {
    double[] v = new double[n * s];
    for (int i = 0; i < n; i++) {
      System.arraycopy(data, (i * c + channel) * s, v, i * s, s);
    }
    return v;
  }

  void setChannel(double[] data, int channel, double[] v) {
    for (int i = 0; i < n; i++) {
      System.arraycopy(v, i * s, data, (i * c + channel) * s, s);
    }
  }

  // ------------------------------------------------------------------------------------- running

  Problem problem(Layout layout) {
    return new Problem(n, c, s, layout, dtype, activation);
  }

  /** Training and its backward, then inference and its backward. */
  Results run(BatchNormBackend backend, Layout layout, Memory memory) {
    Forward training = forward(backend, layout, memory, true);
    Backward backwardTraining = backward(backend, layout, memory, training);
    Forward inference = forward(backend, layout, memory, false);
    Backward backwardInference = backward(backend, layout, memory, inference);
    return new Results(training, backwardTraining, inference, backwardInference);
  }

  Results run(BatchNormBackend backend, Layout layout) {
    return run(backend, layout, Memory.DENSE);
  }

  Forward training(BatchNormBackend backend, Layout layout) {
    return forward(backend, layout, Memory.DENSE, true);
  }

  Forward inference(BatchNormBackend backend, Layout layout) {
    return forward(backend, layout, Memory.DENSE, false);
  }

  Forward forward(BatchNormBackend backend, Layout layout, Memory memory, boolean training) {
    try (Placed px = new Placed(x, layout, memory);
        Placed pr = new Placed(residual, layout, memory);
        Placed py = new Placed(new double[x.length], layout, memory);
        SavedStatistics saved = SavedStatistics.allocate(dtype.parameterType(), c)) {
      Placed y =
          switch (memory) {
            case DENSE, SLICE -> py;
            case ONTO_X -> px;
            case ONTO_RESIDUAL -> residual == null ? px : pr;
          };
      Tensor w = parameters(weight);
      Tensor b = parameters(bias);
      Tensor rm = parameters(runningMean);
      Tensor rv = parameters(runningVar);
      Problem problem = problem(layout);
      if (training) {
        backend.training(
            problem, px.tensor(), pr.tensor(), y.tensor(), w, b, eps, saved, rm, rv, momentum);
        return new Forward(
            y.values(),
            saved.mean().toDoubleArray(),
            saved.meanLow().toDoubleArray(),
            saved.invStd().toDoubleArray(),
            rm.toDoubleArray(),
            rv.toDoubleArray());
      }
      backend.inference(problem, px.tensor(), pr.tensor(), y.tensor(), rm, rv, w, b, eps);
      return new Forward(y.values(), null, null, null, null, null);
    }
  }

  /** The backward of a forward: of training's where it has batch statistics. */
  Backward backward(BatchNormBackend backend, Layout layout, Memory memory, Forward forward) {
    try (Placed pdy = new Placed(dy, layout, memory);
        Placed px = new Placed(x, layout, memory);
        Placed py = new Placed(forward.y, layout, memory);
        Placed pdx = new Placed(new double[x.length], layout, memory);
        Placed pdr = new Placed(new double[x.length], layout, memory)) {
      Placed dx =
          switch (memory) {
            case DENSE, SLICE -> pdx;
            case ONTO_X -> pdy;
            case ONTO_RESIDUAL -> px;
          };
      Placed dr =
          switch (memory) {
            case DENSE, SLICE -> pdr;
            case ONTO_X -> py;
            case ONTO_RESIDUAL -> pdy;
          };
      Tensor y = activation.kind() == Activation.Kind.NONE ? null : py.tensor();
      Tensor w = parameters(weight);
      Tensor dw = Tensor.zeros(dtype.parameterType(), c).fill(Double.NaN);
      Tensor db = Tensor.zeros(dtype.parameterType(), c).fill(Double.NaN);
      Problem problem = problem(layout);
      if (forward.mean != null) {
        SavedStatistics saved =
            new SavedStatistics(
                parameters(forward.mean), parameters(forward.meanLow), parameters(forward.invStd));
        backend.backwardTraining(
            problem,
            pdy.tensor(),
            px.tensor(),
            y,
            w,
            null,
            saved,
            dx.tensor(),
            dr.tensor(),
            dw,
            db);
      } else {
        backend.backwardInference(
            problem,
            pdy.tensor(),
            px.tensor(),
            y,
            w,
            null,
            parameters(runningMean),
            parameters(runningVar),
            eps,
            dx.tensor(),
            dr.tensor(),
            dw,
            db);
      }
      return new Backward(dx.values(), dr.values(), dw.toDoubleArray(), db.toDoubleArray());
    }
  }

  /** A per-channel tensor, or null. */
  @Nullable Tensor parameters(double @Nullable [] values) {
    return values == null ? null : Tensor.zeros(dtype.parameterType(), c).copyFrom(values);
  }

  /** A tensor with data of this case in it. */
  private final class Placed implements AutoCloseable {
    private static final double GUARD = -123;

    private final @Nullable Tensor whole;
    private final @Nullable Tensor view;
    private final Memory memory;

    Placed(double @Nullable [] values, Layout layout, Memory memory) {
      this.memory = memory;
      if (values == null) {
        whole = null;
        view = null;
        return;
      }
      MemoryFormat format =
          layout == Layout.NCS ? MemoryFormat.CHANNELS_FIRST : MemoryFormat.CHANNELS_LAST;
      if (memory == Memory.SLICE) {
        whole = Tensor.zeros(dtype, format, Shape.of(n, c + 3, s)).fill(GUARD);
        view = whole.narrow(1, 1, c);
      } else {
        whole = Tensor.zeros(dtype, format, Shape.of(n, c, s));
        view = whole;
      }
      view.copyFrom(values);
    }

    @Nullable Tensor tensor() {
      return view;
    }

    double[] values() {
      if (memory == Memory.SLICE) {
        checkGuard(whole.narrow(1, 0, 1));
        checkGuard(whole.narrow(1, c + 1, 2));
      }
      return view.toDoubleArray();
    }

    private void checkGuard(Tensor guard) {
      for (double value : guard.toDoubleArray()) {
        if (value != GUARD) {
          throw new AssertionError("wrote outside its channels: " + value);
        }
      }
    }

    @Override
    public void close() {
      if (whole != null) {
        whole.close();
      }
    }
  }
}
