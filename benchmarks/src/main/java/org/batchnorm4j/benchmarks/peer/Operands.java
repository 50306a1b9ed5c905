package org.batchnorm4j.benchmarks.peer;

import java.util.SplittableRandom;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/**
 * The tensors of a cell. All contenders read and write these same ones, so that none is luckier
 * with its pages than another; only the heap arrays of the plain loop are its own.
 */
public final class Operands implements AutoCloseable {
  /** The epsilon of every contender. */
  public static final double EPS = 1e-5;

  /** The weight of the new value in the running statistics. */
  public static final double MOMENTUM = 0.1;

  public final Tensor x;
  public final Tensor y;
  public final Tensor residual;
  public final Tensor dy;
  public final Tensor dx;
  public final Tensor weight;
  public final Tensor bias;
  public final Tensor runningMean;
  public final Tensor runningVar;
  public final Tensor dweight;
  public final Tensor dbias;

  /** What a training moves; inference reads {@link #runningMean}, which must stay as it is. */
  public final Tensor movingMean;

  public final Tensor movingVar;
  public final SavedStatistics saved;

  /** Allocates and fills. A backward cell gets the y and the statistics of its forward. */
  public Operands(Cell cell, long seed) {
    long c = cell.c();
    boolean backward = cell.is(Cell.Operation.BACKWARD);
    SplittableRandom random = new SplittableRandom(seed);
    x = data(cell, cell.size());
    y = data(cell, backward && !cell.relu() ? 0 : cell.size());
    residual = data(cell, cell.residual() ? cell.size() : 0);
    dy = data(cell, backward ? cell.size() : 0);
    dx = data(cell, backward ? cell.size() : 0);
    fill(x, random, -0.5f, 1.5f);
    fill(residual, random, -1, 1);
    fill(dy, random, -1, 1);
    weight = perChannel(c, random, 0.5f, 1.5f);
    bias = perChannel(c, random, -0.5f, 0.5f);
    runningMean = perChannel(c, random, 0.4f, 0.6f);
    runningVar = perChannel(c, random, 0.3f, 0.4f);
    movingMean = perChannel(c, random, 0.4f, 0.6f);
    movingVar = perChannel(c, random, 0.3f, 0.4f);
    dweight = Tensor.zeros(c);
    dbias = Tensor.zeros(c);
    saved = SavedStatistics.allocate(DType.F32, c);
    if (backward) {
      try (Tensor scratch = cell.relu() ? null : data(cell, cell.size())) {
        Tensor forward = scratch == null ? y : scratch;
        Tensor added = cell.residual() ? residual : null;
        Backends.best()
            .training(cell.problem(), x, added, forward, weight, bias, EPS, saved, null, null, 0);
      }
    }
  }

  /** The tensor a cell's operation writes. */
  public Tensor output(Cell cell) {
    return cell.is(Cell.Operation.BACKWARD) ? dx : y;
  }

  private static Tensor data(Cell cell, long size) {
    Shape shape = Shape.of(size == cell.size() ? cell.dims() : new long[] {size, 1});
    boolean last = cell.layout() == Layout.NSC;
    MemoryFormat format = last ? MemoryFormat.CHANNELS_LAST : MemoryFormat.CHANNELS_FIRST;
    return Tensor.zeros(cell.dtype(), format, shape);
  }

  private static Tensor perChannel(long c, SplittableRandom random, float low, float high) {
    Tensor t = Tensor.zeros(c);
    fill(t, random, low, high);
    return t;
  }

  private static void fill(Tensor t, SplittableRandom random, float low, float high) {
    float[] block = new float[4096];
    for (long at = 0; at < t.size(); at += block.length) {
      int length = (int) Math.min(block.length, t.size() - at);
      for (int i = 0; i < length; i++) {
        block[i] = low + (high - low) * 0x1p-24f * (random.nextInt() >>> 8);
      }
      TensorAccess.write(t, at, block, 0, length);
    }
  }

  @Override
  public void close() {
    for (Tensor t :
        new Tensor[] {
          x,
          y,
          residual,
          dy,
          dx,
          weight,
          bias,
          runningMean,
          runningVar,
          movingMean,
          movingVar,
          dweight,
          dbias
        }) {
      t.close();
    }
    saved.close();
  }
}
