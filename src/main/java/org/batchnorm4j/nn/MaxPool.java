package org.batchnorm4j.nn;

import java.util.Arrays;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/** Maximum over windows. One dimension is two with a height of 1. */
abstract sealed class MaxPool extends Layer permits MaxPool1d, MaxPool2d {
  /** Input elements that are worth a piece of their own. */
  private static final int PIECE = 1 << 15;

  private final int dimensions;
  private final int kernel;
  private final int stride;
  private final int padding;

  /** For each output element, which element of its input plane it is. */
  private int[] winners = new int[0];

  private float[][] inputs = new float[0][];
  private float[][] outputs = new float[0][];

  MaxPool(int dimensions, int kernel, int stride, int padding) {
    this.dimensions = dimensions;
    this.kernel = Init.atLeast(1, "kernel", kernel);
    this.stride = Init.atLeast(1, "stride", stride);
    this.padding = Init.atLeast(0, "padding", padding);
    if (padding > kernel / 2) {
      throw new IllegalArgumentException(
          "padding must be at most half of kernel, but got padding "
              + padding
              + " and kernel "
              + kernel);
    }
  }

  /** The size of a window, in every dimension. */
  public final int kernel() {
    return kernel;
  }

  /** From one window to the next. */
  public final int stride() {
    return stride;
  }

  /** What is added on each side of the input. */
  public final int padding() {
    return padding;
  }

  @Override
  public final Shape outputShape(Shape x) {
    if (x.rank() != dimensions + 2) {
      throw new IllegalArgumentException(
          "expected "
              + (dimensions + 2)
              + "D input (got "
              + x.rank()
              + "D input): x has shape "
              + x
              + ", "
              + name()
              + " takes "
              + (dimensions == 1 ? "(N, C, L)" : "(N, C, H, W)"));
    }
    Shape y = x;
    for (int i = 2; i < x.rank(); i++) {
      if (x.dim(i) == 0) {
        throw new IllegalArgumentException(
            "x has no elements in dimension "
                + i
                + " (shape "
                + x
                + "): "
                + name()
                + " has nothing to choose from");
      }
      long padded = x.dim(i) + 2L * padding;
      if (padded < kernel) {
        throw new IllegalArgumentException(
            "x has size "
                + x.dim(i)
                + " in dimension "
                + i
                + " (shape "
                + x
                + "), "
                + padded
                + " with padding, but the kernel of this "
                + name()
                + " extends over "
                + kernel);
      }
      y = y.with(i, (padded - kernel) / stride + 1);
    }
    return y;
  }

  @Override
  final void compute(Tensor x, Tensor y) {
    Geometry g = new Geometry(x.shape(), y.shape());
    if (winners.length < y.size()) {
      winners = new int[(int) y.size()];
    }
    overPlanes(
        g,
        (input, output, plane) -> {
          TensorAccess.read(x, (long) plane * g.in, input, 0, g.in);
          pool(g, input, 0, output, 0, winners, plane * g.out);
          TensorAccess.write(y, (long) plane * g.out, output, 0, g.out);
        });
  }

  @Override
  final void differentiate(Tensor x, Tensor dy, Tensor dx) {
    Geometry g = new Geometry(x.shape(), dy.shape());
    overPlanes(
        g,
        (input, output, plane) -> {
          TensorAccess.read(dy, (long) plane * g.out, output, 0, g.out);
          Arrays.fill(input, 0, g.in, 0);
          for (int i = 0; i < g.out; i++) {
            input[winners[plane * g.out + i]] += output[i];
          }
          TensorAccess.write(dx, (long) plane * g.in, input, 0, g.in);
        });
  }

  /**
   * One plane. Of equal values the first wins, of NaNs the last, as in PyTorch. Which element wins
   * is random, so the loop must do without a branch on it.
   *
   * @param from where the plane begins in the input
   * @param to where it begins in the output
   * @param winners where to leave which elements won, from {@code at} on; null for nowhere
   */
  private void pool(
      Geometry g,
      float[] input,
      int from,
      float[] output,
      int to,
      int @Nullable [] winners,
      int at) {
    int kernelHeight = dimensions == 1 ? 1 : kernel;
    int padTop = dimensions == 1 ? 0 : padding;
    int count = 0;
    for (int r = 0; r < g.outHeight; r++) {
      int top = Math.max(0, r * stride - padTop);
      int bottom = Math.min(g.height, r * stride - padTop + kernelHeight);
      for (int c = 0; c < g.outWidth; c++) {
        int left = Math.max(0, c * stride - padding);
        int columns = Math.min(g.width, c * stride - padding + kernel) - left;
        int winner = from + top * g.width + left;
        float best = input[winner];
        int end = from + bottom * g.width + left;
        for (int row = winner; row < end; row += g.width) {
          for (int k = row; k < row + columns; k++) {
            float v = input[k];
            int wins = (v > best ? -1 : 0) | (v != v ? -1 : 0);
            winner = k & wins | winner & ~wins;
            best =
                Float.intBitsToFloat(
                    Float.floatToRawIntBits(v) & wins | Float.floatToRawIntBits(best) & ~wins);
          }
        }
        output[to + count] = best;
        if (winners != null) {
          winners[at + count] = winner - from;
        }
        count++;
      }
    }
  }

  /** What an {@link InferenceModel} runs for inputs of this shape. */
  final Step freeze(Shape x) {
    Geometry g = new Geometry(x, outputShape(x));
    int planes = (int) x.dim(1);
    return (Step.Pure)
        (from, to, n) -> {
          for (int plane = 0; plane < n * planes; plane++) {
            pool(g, from, plane * g.in, to, plane * g.out, null, 0);
          }
        };
  }

  private interface PlaneBody {
    void run(float[] input, float[] output, int plane);
  }

  private void overPlanes(Geometry g, PlaneBody body) {
    int perPiece = Math.max(1, PIECE / Math.max(1, g.in));
    int pieces = (g.planes + perPiece - 1) / perPiece;
    int strands = Parallel.strands(pieces);
    if (inputs.length < strands || inputs[0].length < g.in || outputs[0].length < g.out) {
      inputs = new float[strands][g.in];
      outputs = new float[strands][g.out];
    }
    Parallel.forEach(
        pieces,
        strands,
        (strand, piece) -> {
          int end = Math.min(g.planes, (piece + 1) * perPiece);
          for (int plane = piece * perPiece; plane < end; plane++) {
            body.run(inputs[strand], outputs[strand], plane);
          }
        });
  }

  @Override
  final String options() {
    return "kernel_size="
        + kernel
        + ", stride="
        + stride
        + ", padding="
        + padding
        + ", dilation=1, ceil_mode=False";
  }

  /** The sizes of one call; a plane is one channel of one sample. */
  private final class Geometry {
    final int planes;
    final int height;
    final int width;
    final int outHeight;
    final int outWidth;
    final int in;
    final int out;

    Geometry(Shape x, Shape y) {
      planes = (int) (x.dim(0) * x.dim(1));
      height = dimensions == 1 ? 1 : (int) x.dim(2);
      width = (int) x.dim(dimensions + 1);
      outHeight = dimensions == 1 ? 1 : (int) y.dim(2);
      outWidth = (int) y.dim(dimensions + 1);
      in = height * width;
      out = outHeight * outWidth;
    }
  }
}
