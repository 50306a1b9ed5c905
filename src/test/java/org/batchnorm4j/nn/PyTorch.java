package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.fail;

import java.lang.ref.Reference;
import java.util.SplittableRandom;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.TensorArrayRefOptional;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.jspecify.annotations.Nullable;

/** PyTorch as the oracle: values to and from its tensors, and comparisons. */
public final class PyTorch {
  private PyTorch() {}

  /** A f64 tensor of these values, row-major. */
  static org.bytedeco.pytorch.Tensor tensor(double[] values, long... shape) {
    // More threads would add channels-last sums in another order each time.
    torch.set_num_threads(1);
    try (DoublePointer p = new DoublePointer(Math.max(1, values.length)).put(values)) {
      return torch.from_blob(p, shape, new TensorOptions(torch.ScalarType.Double)).clone();
    }
  }

  /** A f64 copy that collects gradients. */
  public static org.bytedeco.pytorch.Tensor leaf(Tensor t) {
    return tensor(t.toDoubleArray(), t.shape().toArray()).requires_grad_(true);
  }

  /** Runs the backward pass from the gradient of the output. */
  public static void backward(org.bytedeco.pytorch.Tensor y, Tensor dy) {
    y.backward(leaf(dy).detach(), new BoolOptional(), false, new TensorArrayRefOptional());
  }

  /**
   * A copy of the gradient of a leaf. PyTorch's own ends with the leaf, which the garbage collector
   * may take as soon as nobody names it any more.
   */
  public static org.bytedeco.pytorch.Tensor grad(org.bytedeco.pytorch.Tensor leaf) {
    org.bytedeco.pytorch.Tensor copy = leaf.grad().clone();
    Reference.reachabilityFence(leaf);
    return copy;
  }

  /** The elements, row-major. */
  public static double[] values(org.bytedeco.pytorch.Tensor t) {
    org.bytedeco.pytorch.Tensor dense = t.detach().to(torch.ScalarType.Double).contiguous();
    double[] out = new double[(int) dense.numel()];
    if (out.length > 0) {
      dense.data_ptr_double().get(out);
    }
    Reference.reachabilityFence(dense);
    return out;
  }

  /** Compares on the scale of the largest expected value. */
  public static void assertClose(
      String what, org.bytedeco.pytorch.Tensor expected, Tensor actual, double tolerance) {
    assertEquals(expected.dim(), actual.shape().rank(), what + ": rank");
    for (int i = 0; i < expected.dim(); i++) {
      assertEquals(expected.size(i), actual.shape().dim(i), what + ": dimension " + i);
    }
    assertClose(what, values(expected), actual.toDoubleArray(), tolerance);
  }

  /** Compares on the scale of the largest expected value. */
  public static void assertClose(
      String what, double[] expected, double[] actual, double tolerance) {
    assertEquals(expected.length, actual.length, what + ": length");
    double scale = 0;
    for (double e : expected) {
      scale = Math.max(scale, Math.abs(e));
    }
    for (int i = 0; i < expected.length; i++) {
      if (!(Math.abs(expected[i] - actual[i]) <= tolerance * scale)) {
        fail(what + "[" + i + "]: expected " + expected[i] + ", got " + actual[i]);
      }
    }
  }

  /** Null for none. */
  public static TensorOptional optional(org.bytedeco.pytorch.@Nullable Tensor t) {
    return t == null ? new TensorOptional() : new TensorOptional(t);
  }

  /** An f32 tensor of normally distributed values. */
  public static Tensor random(long seed, long... shape) {
    return random(seed, DType.F32, MemoryFormat.CHANNELS_FIRST, shape);
  }

  /** A tensor of normally distributed values: the same ones for a seed, whatever the format. */
  public static Tensor random(long seed, DType dtype, MemoryFormat format, long... shape) {
    SplittableRandom random = new SplittableRandom(seed);
    Tensor t = Tensor.zeros(dtype, format, Shape.of(shape));
    double[] values = new double[(int) t.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextGaussian();
    }
    return t.copyFrom(values);
  }
}
