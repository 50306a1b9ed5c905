package org.batchnorm4j.benchmarks.peer;

import org.batchnorm4j.tensor.DType;
import org.bytedeco.javacpp.BoolPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.T_TensorTensorTensor_T;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * libtorch's own operators, without autograd. Preallocated, the forward writes where it is told to;
 * plain, it allocates its result, as {@code torch.nn} does. Its backward can only allocate (the
 * variant with outputs is the allocating one and three copies).
 */
public final class Torch implements Peer {
  private final boolean preallocated;

  /**
   * Sets libtorch's thread count, for the process.
   *
   * @throws IllegalStateException if it does not take it
   */
  public Torch(boolean preallocated, int threads) {
    this.preallocated = preallocated;
    torch.set_num_threads(threads);
    if (torch.get_num_threads() != threads) {
      throw new IllegalStateException(
          "libtorch has " + torch.get_num_threads() + " threads, asked for " + threads);
    }
  }

  @Override
  public String name() {
    return preallocated ? "libtorch" : "libtorch, plain call";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    boolean backward = cell.is(Cell.Operation.BACKWARD);
    // One way of each: the plain forward with a fusion is no faster than the other.
    if (preallocated ? cell.residual() && backward : backward || cell.relu()) {
      return null;
    }
    return new Run(cell, o);
  }

  private final class Run implements Task {
    // A scope would free the tensors on leaving; this one is left when the task is closed.
    private final PointerScope scope = new PointerScope();
    private final InferenceMode mode = new InferenceMode(true);
    private final Cell cell;
    private final Operands operands;
    private final Tensor x;
    private final Tensor y;
    private final Tensor dy;
    private final Tensor masked;
    private final Tensor residual;
    private final Tensor saveMean;
    private final Tensor saveInvStd;
    private final Tensor dx;
    private final Tensor dweight;
    private final Tensor dbias;
    private final TensorOptional weight;
    private final TensorOptional bias;
    private final TensorOptional mean;
    private final TensorOptional var;
    private final TensorOptional mean2;
    private final TensorOptional invStd2;
    private final Scalar zero = new Scalar(0f);
    private final Scalar one = new Scalar(1f);
    private final BoolPointer all = new BoolPointer(3).put(0, true).put(1, true).put(2, true);
    private @Nullable Tensor result;
    private @Nullable T_TensorTensorTensor_T gradients;

    Run(Cell cell, Operands o) {
      this.cell = cell;
      operands = o;
      boolean training = !cell.is(Cell.Operation.INFERENCE);
      x = data(o.x);
      y = data(o.y);
      dy = data(o.dy);
      dx = data(o.dx);
      residual = data(o.residual);
      dweight = vector(o.dweight);
      dbias = vector(o.dbias);
      weight = new TensorOptional(vector(o.weight));
      bias = new TensorOptional(vector(o.bias));
      mean = new TensorOptional(vector(training ? o.movingMean : o.runningMean));
      var = new TensorOptional(vector(training ? o.movingVar : o.runningVar));
      TensorOptions f32 = new TensorOptions(ScalarType.Float);
      long saved = training ? cell.c() : 0;
      saveMean = torch.empty(new long[] {saved}, f32, null);
      saveInvStd = torch.empty(new long[] {saved}, f32, null);
      mean2 = new TensorOptional(saveMean);
      invStd2 = new TensorOptional(saveInvStd);
      boolean backward = cell.is(Cell.Operation.BACKWARD);
      masked = backward && cell.relu() ? torch.empty_like(dy) : dy;
      if (backward) {
        try (Tensor scratch = torch.empty_like(x)) {
          forward(scratch, true);
        }
      }
    }

    @Override
    public void run() {
      switch (cell.operation()) {
        case BACKWARD -> {
          if (cell.relu()) {
            torch.threshold_backward_outf(dy, y, zero, masked).close();
          }
          var next =
              torch.native_batch_norm_backward(
                  masked, x, weight, mean, var, mean2, invStd2, true, Operands.EPS, all);
          if (gradients != null) {
            gradients.close();
          }
          gradients = next;
        }
        default -> {
          boolean training = cell.is(Cell.Operation.TRAINING);
          if (preallocated) {
            forward(y, training);
            if (cell.residual()) {
              torch.add_outf(y, residual, one, y).close();
            }
            if (cell.relu()) {
              torch.relu_(y).close();
            }
          } else {
            Tensor next =
                torch.batch_norm(
                    x, weight, bias, mean, var, training, Operands.MOMENTUM, Operands.EPS, false);
            // The memory of the previous result serves the next call.
            if (result != null) {
              result.close();
            }
            result = next;
          }
        }
      }
    }

    private void forward(Tensor to, boolean training) {
      torch
          .native_batch_norm_outf(
              x,
              weight,
              bias,
              mean,
              var,
              training,
              Operands.MOMENTUM,
              Operands.EPS,
              to,
              saveMean,
              saveInvStd)
          .close();
    }

    @Override
    public void publish() {
      if (result != null) {
        y.copy_(result).close();
      }
      if (gradients != null) {
        dx.copy_(gradients.get0()).close();
        dweight.copy_(gradients.get1()).close();
        dbias.copy_(gradients.get2()).close();
      }
    }

    @Override
    public void close() {
      if (result != null) {
        result.close();
      }
      if (gradients != null) {
        gradients.close();
      }
      mode.close();
      scope.close();
    }

    private Tensor data(org.batchnorm4j.tensor.Tensor t) {
      if (t.size() == 0) {
        return new Tensor();
      }
      ScalarType type = cell.dtype() == DType.BF16 ? ScalarType.BFloat16 : ScalarType.Float;
      return torch.from_blob(
          new Address(t.address()), cell.dims(), cell.strides(), new TensorOptions(type));
    }

    private Tensor vector(org.batchnorm4j.tensor.Tensor t) {
      return torch.from_blob(
          new Address(t.address()), new long[] {t.size()}, new TensorOptions(ScalarType.Float));
    }
  }

  /** Memory of ours. */
  static final class Address extends Pointer {
    Address(long address) {
      this.address = address;
    }
  }
}
