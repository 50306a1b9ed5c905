package org.batchnorm4j.tensor;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class TensorCopyTest {
  private static final DType[] TYPES = {DType.F32, DType.F64, DType.BF16, DType.F16};

  /** Ranks 0 to 5; blocks of 32 channels and positions: tail only, exact, and with a tail. */
  private static final long[][] SHAPES = {
    {},
    {5},
    {0},
    {2, 3},
    {3, 70},
    {2, 70, 1},
    {2, 64, 64},
    {1, 65, 130},
    {2, 3, 0},
    {0, 3, 5},
    {2, 3, 4, 5, 6}
  };

  private static double[] values(int count) {
    SplittableRandom random = new SplittableRandom(count);
    double[] values = new double[count];
    for (int i = 0; i < count; i++) {
      // Few bits, so that every type holds them.
      values[i] = (random.nextInt(255) - 127) / 8.0;
    }
    return values;
  }

  /** As it comes, and as a slice of channels with gaps. */
  private static Tensor[] empty(DType dtype, MemoryFormat format, Shape shape) {
    Tensor dense = Tensor.zeros(dtype, format, shape);
    if (shape.rank() < 2) {
      return new Tensor[] {dense};
    }
    long channels = shape.dim(1);
    Tensor wide = Tensor.zeros(dtype, format, shape.with(1, channels + 5));
    return new Tensor[] {dense, wide.narrow(1, 3, channels)};
  }

  /** Counters, and what NumPy calls integers: every bit, also where a slice has gaps. */
  @Test
  void copiesIntegers() {
    Tensor labels = Tensor.zeros(DType.I64, 2, 3).copyFrom(new double[] {1, 2, 3, 4, 5, 6});
    assertArrayEquals(new float[] {1, 2, 3, 4, 5, 6}, labels.toFloatArray());
    Tensor column = labels.narrow(1, 2, 1);
    assertEquals("Tensor(I64 [2, 1], channels_first, with gaps)", column.toString());
    assertArrayEquals(new float[] {3, 6}, column.to(MemoryFormat.CHANNELS_FIRST).toFloatArray());
    Tensor large = Tensor.zeros(DType.I64, 1);
    large.setLong((1L << 53) + 1);
    assertEquals((1L << 53) + 1, Tensor.zerosLike(large).copyFrom(large).getLong());
  }

  @Test
  void copiesBetweenAllTypesAndFormats() {
    for (long[] dims : SHAPES) {
      Shape shape = Shape.of(dims);
      double[] values = values((int) shape.size());
      for (MemoryFormat format : MemoryFormat.values()) {
        for (MemoryFormat other : MemoryFormat.values()) {
          if (dims.length < 2 && (format != other || format == MemoryFormat.CHANNELS_LAST)) {
            continue;
          }
          for (DType dtype : TYPES) {
            for (DType target : TYPES) {
              for (Tensor from : empty(dtype, format, shape)) {
                from.copyFrom(values);
                for (Tensor to : empty(target, other, shape)) {
                  to.copyFrom(from);
                  assertArrayEquals(values, to.toDoubleArray(), () -> from + " to " + to);
                }
              }
            }
          }
        }
      }
    }
  }

  /** What lies between the channels of a slice is not touched. */
  @Test
  void aSliceIsAllThatIsWritten() {
    for (MemoryFormat format : MemoryFormat.values()) {
      Tensor wide = Tensor.zeros(DType.F32, format, Shape.of(2, 7, 3)).fill(9);
      wide.narrow(1, 2, 4).copyFrom(Tensor.zeros(DType.BF16, 2, 4, 3));
      for (int n = 0; n < 2; n++) {
        for (int c = 0; c < 7; c++) {
          assertEquals(c < 2 || c > 5 ? 9 : 0, wide.get(n, c, 1));
        }
      }
    }
  }

  @Test
  void roundsOnce() {
    // Halfway between two bf16, and a little above halfway.
    Tensor floats = Tensor.of(new float[] {1 + 0x1p-8f, 1 + 0x1p-8f + 0x1p-20f, 1e30f}, 1, 3, 1);
    Tensor halves =
        Tensor.zeros(DType.BF16, MemoryFormat.CHANNELS_LAST, Shape.of(1, 3, 1)).copyFrom(floats);
    assertArrayEquals(
        new double[] {1, 1 + 0x1p-7}, new double[] {halves.get(0, 0, 0), halves.get(0, 1, 0)});
    assertEquals(Double.POSITIVE_INFINITY, floats.to(DType.F16).get(0, 2, 0));
  }

  @Test
  void counters() {
    assertEquals(1L << 60 | 1, Tensor.scalar(0).copyFrom(Tensor.scalar(1L << 60 | 1)).getLong());
    assertEquals(7, Tensor.zeros(DType.F32).copyFrom(Tensor.scalar(7)).get());
    assertEquals(
        "source has shape [3], expected [2]",
        assertThrows(
                IllegalArgumentException.class, () -> Tensor.zeros(2).copyFrom(Tensor.zeros(3)))
            .getMessage());
  }

  @Test
  void ofASourceThatOverlaps() {
    double[] values = values(64 * 8 * 8);
    Tensor a = Tensor.of(values, 1, 64, 8, 8);
    // The same memory in another order, and shifted by a sample, both ways.
    a.view(MemoryFormat.CHANNELS_LAST, a.shape()).copyFrom(a);
    assertArrayEquals(values, a.view(MemoryFormat.CHANNELS_LAST, a.shape()).toDoubleArray());
    for (int to = 0; to < 2; to++) {
      for (long channels : new long[] {64, 40}) {
        Tensor b = Tensor.of(values(3 * 64 * 33), 3, 64, 33).narrow(1, 0, channels);
        double[] expected = b.narrow(0, 1 - to, 2).toDoubleArray();
        b.narrow(0, to, 2).copyFrom(b.narrow(0, 1 - to, 2));
        assertArrayEquals(expected, b.narrow(0, to, 2).toDoubleArray());
      }
    }
  }

  /** A slice of nothing has no gaps. */
  @Test
  void emptySlices() {
    Tensor none = Tensor.zeros(4, 3, 2, 2).narrow(0, 0, 0);
    assertTrue(none.isRowMajor());
    assertEquals(Shape.of(0, 12), none.reshape(0, 12).shape());
    assertEquals(0, Tensor.zeros(3).narrow(0, 0, 0).to(DType.BF16).size());
  }

  /** A slice has gaps between its samples, or its positions: where there is one, it has none. */
  @Test
  void aSliceOfOneSampleIsContiguous() {
    Tensor x = Tensor.of(values(2 * 8 * 6), 2, 8, 6);
    Tensor slice = x.narrow(0, 1, 1).narrow(1, 3, 4);
    assertTrue(slice.isContiguous() && slice.isRowMajor());
    assertEquals(24, slice.pitch());
    assertArrayEquals(
        Arrays.copyOfRange(x.toDoubleArray(), 66, 90), slice.reshape(4, 6).toDoubleArray());
    assertEquals(x.get(1, 3, 0), slice.to(DType.F32).asFloatBuffer().get(0));
    assertArrayEquals(slice.toDoubleArray(), slice.narrow(0, 0, 1).toDoubleArray());
    assertFalse(x.narrow(1, 3, 4).isContiguous());
    assertTrue(x.narrow(1, 0, 8).isContiguous());
    Tensor last = x.to(MemoryFormat.CHANNELS_LAST);
    assertFalse(last.narrow(0, 1, 1).narrow(1, 3, 4).isContiguous());
    assertTrue(last.narrow(0, 1, 1).isContiguous());
    Tensor row = Tensor.of(values(8), 1, 8, 1).to(MemoryFormat.CHANNELS_LAST).narrow(1, 2, 3);
    assertTrue(row.isContiguous() && row.isRowMajor());
    assertArrayEquals(Arrays.copyOfRange(values(8), 2, 5), row.toDoubleArray());
    assertTrue(Tensor.scalar(3).isContiguous());
  }
}
