package org.batchnorm4j.benchmarks.peer;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;
import org.jspecify.annotations.Nullable;

/**
 * What one writes with the JDK's Vector API: the plain loop's arrays, the widest vectors, several
 * sums at a time, on one thread. Sums are in float about a value of the channel, over at most
 * {@link #ROWS} rows or a row, and in double from there.
 *
 * <p>Compiled apart from the rest: javac offers incubator modules only without --release, and warns
 * of them whatever one says.
 */
public final class VectorLoop implements Peer {
  private static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
  private static final int LANES = SPECIES.length();
  private static final int ROWS = 64;

  @Override
  public String name() {
    return "JDK Vector API";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    return ArrayLoop.prepare(cell, o, Loop::new);
  }

  private static FloatVector load(float[] a, int at) {
    return FloatVector.fromArray(SPECIES, a, at);
  }

  private static final class Loop extends ArrayLoop {
    private final float[] lanes = new float[LANES];
    private final float[] lanes2 = new float[LANES];

    Loop(Cell cell, Operands o) {
      super(cell, o);
    }

    @Override
    void addMoments(int from, int length, int k) {
      float origin = x[k * length];
      int end = from + length;
      int j = from;
      FloatVector o = FloatVector.broadcast(SPECIES, origin);
      FloatVector t0 = FloatVector.zero(SPECIES);
      FloatVector t1 = t0;
      FloatVector q0 = t0;
      FloatVector q1 = t0;
      for (; j + 2 * LANES <= end; j += 2 * LANES) {
        FloatVector a = load(x, j).sub(o);
        FloatVector b = load(x, j + LANES).sub(o);
        t0 = t0.add(a);
        t1 = t1.add(b);
        q0 = a.fma(a, q0);
        q1 = b.fma(b, q1);
      }
      double total = t0.add(t1).reduceLanes(VectorOperators.ADD);
      double total2 = q0.add(q1).reduceLanes(VectorOperators.ADD);
      for (; j < end; j++) {
        double v = x[j] - origin;
        total += v;
        total2 += v * v;
      }
      addAbout(origin, length, total, total2, k);
    }

    /** From sums about the origin to sums about 0. */
    private void addAbout(double origin, int count, double total, double total2, int k) {
      sum[k] += total + count * origin;
      squares[k] += total2 + 2 * origin * total + count * origin * origin;
    }

    @Override
    void addGradients(int from, int length, int k) {
      int end = from + length;
      int j = from;
      FloatVector m = FloatVector.broadcast(SPECIES, mean[k]);
      FloatVector t0 = FloatVector.zero(SPECIES);
      FloatVector t1 = t0;
      FloatVector p0 = t0;
      FloatVector p1 = t0;
      for (; j + 2 * LANES <= end; j += 2 * LANES) {
        FloatVector a = load(dy, j);
        FloatVector b = load(dy, j + LANES);
        t0 = t0.add(a);
        t1 = t1.add(b);
        p0 = a.fma(load(x, j).sub(m), p0);
        p1 = b.fma(load(x, j + LANES).sub(m), p1);
      }
      double total = t0.add(t1).reduceLanes(VectorOperators.ADD);
      double product = p0.add(p1).reduceLanes(VectorOperators.ADD);
      for (; j < end; j++) {
        total += dy[j];
        product += (double) dy[j] * (x[j] - mean[k]);
      }
      sum[k] += total;
      squares[k] += product;
    }

    @Override
    void normalizeRow(int from, int length, int k) {
      int end = from + length;
      int j = from;
      FloatVector a = FloatVector.broadcast(SPECIES, scale[k]);
      FloatVector b = FloatVector.broadcast(SPECIES, shift[k]);
      for (; j + LANES <= end; j += LANES) {
        load(x, j).fma(a, b).intoArray(out, j);
      }
      for (; j < end; j++) {
        out[j] = x[j] * scale[k] + shift[k];
      }
    }

    @Override
    void gradientRow(int from, int length, int k) {
      int end = from + length;
      int j = from;
      FloatVector a = FloatVector.broadcast(SPECIES, scale[k]);
      FloatVector b = FloatVector.broadcast(SPECIES, slope[k]);
      FloatVector d = FloatVector.broadcast(SPECIES, shift[k]);
      for (; j + LANES <= end; j += LANES) {
        load(dy, j).fma(a, load(x, j).fma(b, d)).intoArray(out, j);
      }
      for (; j < end; j++) {
        out[j] = scale[k] * dy[j] + slope[k] * x[j] + shift[k];
      }
    }

    @Override
    void addMoments(int count) {
      for (int row = 0; row < count; row += ROWS) {
        int rows = Math.min(ROWS, count - row);
        int k = 0;
        for (; k + LANES <= c; k += LANES) {
          FloatVector origin = load(x, k);
          FloatVector t = FloatVector.zero(SPECIES);
          FloatVector q = t;
          for (int j = row * c + k; j < (row + rows) * c; j += c) {
            FloatVector v = load(x, j).sub(origin);
            t = t.add(v);
            q = v.fma(v, q);
          }
          t.intoArray(lanes, 0);
          q.intoArray(lanes2, 0);
          for (int i = 0; i < LANES; i++) {
            addAbout(x[k + i], rows, lanes[i], lanes2[i], k + i);
          }
        }
        for (; k < c; k++) {
          for (int j = row * c + k; j < (row + rows) * c; j += c) {
            sum[k] += x[j];
            squares[k] += (double) x[j] * x[j];
          }
        }
      }
    }

    @Override
    void addGradients(int count) {
      for (int row = 0; row < count; row += ROWS) {
        int rows = Math.min(ROWS, count - row);
        int k = 0;
        for (; k + LANES <= c; k += LANES) {
          FloatVector m = load(mean, k);
          FloatVector t = FloatVector.zero(SPECIES);
          FloatVector p = t;
          for (int j = row * c + k; j < (row + rows) * c; j += c) {
            FloatVector g = load(dy, j);
            t = t.add(g);
            p = g.fma(load(x, j).sub(m), p);
          }
          t.intoArray(lanes, 0);
          p.intoArray(lanes2, 0);
          for (int i = 0; i < LANES; i++) {
            sum[k + i] += lanes[i];
            squares[k + i] += lanes2[i];
          }
        }
        for (; k < c; k++) {
          for (int j = row * c + k; j < (row + rows) * c; j += c) {
            sum[k] += dy[j];
            squares[k] += (double) dy[j] * (x[j] - mean[k]);
          }
        }
      }
    }

    @Override
    void normalizeRow(int from) {
      int k = 0;
      for (; k + LANES <= c; k += LANES) {
        load(x, from + k).fma(load(scale, k), load(shift, k)).intoArray(out, from + k);
      }
      for (; k < c; k++) {
        out[from + k] = x[from + k] * scale[k] + shift[k];
      }
    }

    @Override
    void gradientRow(int from) {
      int k = 0;
      for (; k + LANES <= c; k += LANES) {
        FloatVector rest = load(x, from + k).fma(load(slope, k), load(shift, k));
        load(dy, from + k).fma(load(scale, k), rest).intoArray(out, from + k);
      }
      for (; k < c; k++) {
        out[from + k] = scale[k] * dy[from + k] + slope[k] * x[from + k] + shift[k];
      }
    }
  }
}
