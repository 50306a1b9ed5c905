package org.batchnorm4j.stats;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class ChannelStatisticsTest {

  /** Normal, channel c around {@code offset * c}. */
  private static Tensor random(
      DType dtype, MemoryFormat format, int seed, double offset, long... shape) {
    Random random = new Random(seed);
    Tensor t = Tensor.zeros(dtype, format, Shape.of(shape));
    double[] values = new double[(int) t.size()];
    int perChannel = Math.max(1, (int) (t.size() / Math.max(1, shape[0] * shape[1])));
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextGaussian() + offset * (i / perChannel % shape[1]);
    }
    return t.copyFrom(values);
  }

  /** Mean and sum of squared deviations of one channel, exactly, then rounded. */
  private static double[] exact(int channel, List<Tensor> parts) {
    List<BigDecimal> values = new ArrayList<>();
    for (Tensor t : parts) {
      double[] all = t.toDoubleArray();
      int c = (int) t.shape().dim(1);
      int s = (int) (t.size() / Math.max(1, t.shape().dim(0) * c));
      for (int i = 0; i < all.length; i++) {
        if (i / s % c == channel) {
          values.add(new BigDecimal(all[i]));
        }
      }
    }
    BigDecimal n = new BigDecimal(values.size());
    BigDecimal mean =
        values.stream().reduce(BigDecimal.ZERO, BigDecimal::add).divide(n, new MathContext(60));
    BigDecimal m2 = BigDecimal.ZERO;
    for (BigDecimal v : values) {
      m2 = m2.add(v.subtract(mean).pow(2));
    }
    return new double[] {mean.doubleValue(), m2.doubleValue(), values.size()};
  }

  private static void assertExact(ChannelStatistics statistics, List<Tensor> parts) {
    // Within 256 values the arithmetic is f32, but for f64 data.
    double slack = parts.get(0).dtype() == DType.F64 ? 1e-15 : 1e-7;
    double[] mean = statistics.mean();
    double[] biased = statistics.variance(false);
    double[] unbiased = statistics.variance(true);
    for (int c = 0; c < statistics.channels(); c++) {
      double[] exact = exact(c, parts);
      double n = exact[2];
      assertEquals(n, statistics.count());
      double std = Math.sqrt(exact[1] / n);
      assertEquals(exact[0], mean[c], slack * std + 4 * Math.ulp(exact[0]), "mean " + c);
      assertEquals(exact[1] / n, biased[c], 10 * slack * exact[1] / n, "variance " + c);
      assertEquals(exact[1] / (n - 1), unbiased[c], 10 * slack * exact[1] / n, "unbiased " + c);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F64", "BF16", "F16"})
  void unequalPartsOfEveryLayoutMergeIntoTheWhole(DType dtype) {
    // Channels, and channels of a position, longer than a block of 1024; slices with gaps.
    Tensor wide = random(dtype, MemoryFormat.CHANNELS_LAST, 1, 3, 2, 1030, 2);
    Tensor tall = random(dtype, MemoryFormat.CHANNELS_FIRST, 2, 3, 1, 3, 1500);
    assertExact(ChannelStatistics.of(tall), List.of(tall));
    assertExact(
        ChannelStatistics.of(wide.narrow(1, 1025, 3)),
        List.of(wide.narrow(1, 1025, 3).to(MemoryFormat.CHANNELS_FIRST)));
    double[] whole = ChannelStatistics.of(wide).mean();
    assertEquals(1030, whole.length);
    assertArrayEquals(
        Arrays.copyOfRange(whole, 1025, 1028),
        ChannelStatistics.of(wide.narrow(1, 1025, 3)).mean());

    List<Tensor> parts = new ArrayList<>();
    int seed = 3;
    for (MemoryFormat format : MemoryFormat.values()) {
      parts.add(random(dtype, format, seed++, 3, 4, 3, 5, 7));
      parts.add(random(dtype, format, seed++, 3, 1, 3));
      parts.add(random(dtype, format, seed++, 3, 0, 3, 2));
      parts.add(random(dtype, format, seed++, 3, 9, 3, 2, 2, 2));
      parts.add(random(dtype, format, seed++, 3, 5, 8, 6).narrow(1, 2, 3));
      parts.add(random(dtype, format, seed++, 3, 5, 3, 6).narrow(0, 1, 2));
    }
    ChannelStatistics added = new ChannelStatistics(3);
    ChannelStatistics merged = new ChannelStatistics(3);
    for (Tensor part : parts) {
      added.add(part);
      merged.merge(ChannelStatistics.of(part));
    }
    assertExact(added, parts);
    assertArrayEquals(added.toBytes(), merged.toBytes());
    // Other ways to merge differ in rounding only.
    ChannelStatistics left = new ChannelStatistics(3);
    ChannelStatistics right = new ChannelStatistics(3);
    for (int i = 0; i < parts.size(); i++) {
      (i % 3 == 0 ? left : right).add(parts.get(i));
    }
    assertExact(right.merge(left), parts);
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void sameBitsEverywhere(BatchNormBackend backend) {
    for (DType dtype : new DType[] {DType.F32, DType.F64, DType.BF16}) {
      Tensor x = random(dtype, MemoryFormat.CHANNELS_FIRST, 1, 5, 7, 3, 300);
      byte[] expected = new ChannelStatistics(3).add(x, Backends.javaBackend()).toBytes();
      assertArrayEquals(expected, new ChannelStatistics(3).add(x, backend).toBytes());
      Tensor last = x.to(MemoryFormat.CHANNELS_LAST);
      assertArrayEquals(expected, new ChannelStatistics(3).add(last, backend).toBytes());
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {1e4, 1e6})
  void aMeanFarFromZeroCostsNothing(double offset) {
    for (DType dtype : new DType[] {DType.F32, DType.F64}) {
      List<Tensor> parts = new ArrayList<>();
      ChannelStatistics statistics = new ChannelStatistics(2);
      for (int i = 0; i < 5; i++) {
        parts.add(random(dtype, MemoryFormat.values()[i % 2], i, offset, 3 + i, 2, 30));
        statistics.add(parts.get(i));
      }
      // Relative to the deviation: of the mean no more than f64 holds, of the variance its root.
      double[] exact = exact(1, parts);
      double slack = dtype == DType.F64 ? 1e-15 : 1e-7;
      assertEquals(exact[0], statistics.mean()[1], slack + 2 * Math.ulp(offset));
      assertEquals(exact[1], statistics.variance(false)[1] * exact[2], (slack + 1e-9) * exact[1]);
    }
  }

  @Test
  void constantDataHasVarianceZero() {
    ChannelStatistics statistics = new ChannelStatistics(1);
    for (int i = 1; i < 5; i++) {
      statistics.add(Tensor.zeros(i, 1, 7).fill(0.1));
    }
    assertArrayEquals(new double[] {0.1f}, statistics.mean());
    assertArrayEquals(new double[] {0}, statistics.variance(false));
  }

  @Test
  void nanStaysInItsChannel() {
    Tensor x = Tensor.of(new float[] {1, 1, 3, Float.NaN, 5, 2}, 3, 2);
    ChannelStatistics statistics = ChannelStatistics.of(x).add(Tensor.zeros(1, 2));
    assertArrayEquals(new double[] {9 / 4.0, Double.NaN}, statistics.mean());
    assertEquals(3.6875, statistics.variance(false)[0]);
    assertTrue(Double.isNaN(statistics.variance(false)[1]));
  }

  @Test
  void tooFewValues() {
    ChannelStatistics statistics = new ChannelStatistics(2);
    double[] nan = {Double.NaN, Double.NaN};
    assertArrayEquals(nan, statistics.mean());
    assertArrayEquals(nan, statistics.variance(false));
    statistics.merge(new ChannelStatistics(2)).add(Tensor.zeros(0, 2));
    assertEquals(0, statistics.count());
    statistics.add(Tensor.of(new float[] {4, 5}, 1, 2));
    assertArrayEquals(new double[] {4, 5}, statistics.mean());
    assertArrayEquals(new double[2], statistics.variance(false));
    assertArrayEquals(nan, statistics.variance(true));
    Tensor mean = Tensor.zeros(2);
    assertEquals(
        "running statistics need at least 2 values per channel, but these are of 1",
        assertThrows(
                IllegalStateException.class, () -> statistics.toRunningStats(mean, Tensor.zeros(2)))
            .getMessage());
    assertArrayEquals(new float[2], mean.toFloatArray());
    assertEquals("ChannelStatistics(2 channels of 1 values)", statistics.toString());
  }

  @Test
  void variancesOfTooFewValuesAreNaN() {
    assertArrayEquals(new double[] {Double.NaN}, new ChannelStatistics(1).variance(true));
    assertArrayEquals(new double[] {Double.NaN}, new ChannelStatistics(1).variance(false));
    ChannelStatistics one = ChannelStatistics.of(Tensor.of(new float[] {3}, 1, 1));
    assertArrayEquals(new double[] {Double.NaN}, one.variance(true));
    assertArrayEquals(new double[] {0}, one.variance(false));
  }

  @Test
  void mergesWithItself() {
    Tensor x = Tensor.of(new float[] {1, 4}, 2, 1);
    ChannelStatistics statistics = ChannelStatistics.of(x);
    statistics.merge(statistics);
    assertEquals(4, statistics.count());
    assertArrayEquals(new double[] {2.5}, statistics.mean());
    assertArrayEquals(new double[] {2.25}, statistics.variance(false));
  }

  @Test
  void runningAndSavedStatistics() {
    // Means 2 and 3e7 + 1, biased variances 1 and 1, unbiased 2 and 2.
    Tensor x = Tensor.of(new double[] {1, 3e7, 3, 3e7 + 2}, 2, 2);
    ChannelStatistics statistics = ChannelStatistics.of(x);
    Tensor mean = Tensor.of(new double[] {10, Double.NaN}, 2);
    Tensor var = Tensor.of(new double[] {20, 20}, 2);
    statistics.updateRunningStats(mean, var, 0.25);
    assertArrayEquals(new double[] {8, Double.NaN}, mean.toDoubleArray());
    assertArrayEquals(new double[] {15.5, 15.5}, var.toDoubleArray());
    statistics.toRunningStats(mean, var);
    assertArrayEquals(new double[] {2, 3e7 + 1}, mean.toDoubleArray());
    assertArrayEquals(new double[] {2, 2}, var.toDoubleArray());

    try (SavedStatistics saved = SavedStatistics.allocate(DType.F32, 2)) {
      statistics.save(3, saved);
      assertArrayEquals(new float[] {2, 3e7f}, saved.mean().toFloatArray());
      assertArrayEquals(new float[] {0, 1}, saved.meanLow().toFloatArray());
      assertArrayEquals(new float[] {0.5f, 0.5f}, saved.invStd().toFloatArray());
    }
  }

  @Test
  void bytesThereAndBack() {
    ChannelStatistics statistics =
        ChannelStatistics.of(random(DType.F32, MemoryFormat.CHANNELS_FIRST, 1, 1, 4, 3, 5));
    byte[] bytes = statistics.toBytes();
    assertEquals(16 + 3 * 16, bytes.length);
    assertEquals("bn4s", new String(bytes, 0, 4, StandardCharsets.US_ASCII));
    ChannelStatistics read = ChannelStatistics.fromBytes(bytes);
    assertEquals(20, read.count());
    assertArrayEquals(statistics.mean(), read.mean());
    assertArrayEquals(statistics.variance(true), read.variance(true));
    assertArrayEquals(bytes, read.toBytes());
  }

  @Test
  void damagedBytesAreRefused() {
    byte[] good = ChannelStatistics.of(Tensor.of(new float[] {1, 2}, 2, 1)).toBytes();
    String magic = "bytes are not those of channel statistics: the first four should be bn4s";
    refused(magic, () -> ChannelStatistics.fromBytes(new byte[0]));
    refused(magic, () -> ChannelStatistics.fromBytes(Arrays.copyOf(good, 15)));
    refused(magic, () -> ChannelStatistics.fromBytes(changed(good, 0, 'x')));
    refused(
        "1 channels need 32 bytes, but there are 31",
        () -> ChannelStatistics.fromBytes(Arrays.copyOf(good, 31)));
    refused(
        "2 channels need 48 bytes, but there are 32",
        () -> ChannelStatistics.fromBytes(changed(good, 4, 2)));
    refused(
        "bytes are damaged: they have 0 channels of 2 values",
        () -> ChannelStatistics.fromBytes(changed(good, 4, 0)));
    refused(
        "2147483393 channels need 34359734304 bytes, but there are 32",
        () -> ChannelStatistics.fromBytes(changed(changed(good, 7, 0x7f), 5, 0xff, 6, 0xff)));
    refused(
        "bytes are damaged: they have 1 channels of -9223372036854775806 values",
        () -> ChannelStatistics.fromBytes(changed(good, 15, 0x80)));
    refused(
        "bytes are damaged: channel 0 has squared deviations of -0.5",
        () -> ChannelStatistics.fromBytes(changed(good, 31, 0xbf)));
  }

  private static byte[] changed(byte[] bytes, int... indexAndValue) {
    byte[] copy = bytes.clone();
    for (int i = 0; i < indexAndValue.length; i += 2) {
      copy[indexAndValue[i]] = (byte) indexAndValue[i + 1];
    }
    return copy;
  }

  @Test
  void errorsNameTheCulpritAndNothingIsAdded() {
    ChannelStatistics statistics = ChannelStatistics.of(Tensor.of(new float[] {1, 2}, 1, 2));
    byte[] before = statistics.toBytes();
    refused("channels must be at least 1, but got 0", () -> new ChannelStatistics(0));
    refused(
        "x has 3 channels, these statistics are of 2", () -> statistics.add(Tensor.zeros(4, 3)));
    refused(
        "x must be (N, C, ...) in F32, F64, BF16 or F16, but is Tensor(F32 [2], channels_first)",
        () -> statistics.add(Tensor.zeros(2)));
    refused(
        "x must be (N, C, ...) in F32, F64, BF16 or F16, but is Tensor(I64 [2, 2],"
            + " channels_first)",
        () -> ChannelStatistics.of(Tensor.zeros(DType.I64, 2, 2)));
    refused(
        "other is of 3 channels, these statistics are of 2",
        () -> statistics.merge(new ChannelStatistics(3)));
    Tensor closed = Tensor.zeros(4, 2);
    closed.close();
    assertEquals(
        "x is closed; its memory has been given back",
        assertThrows(IllegalStateException.class, () -> statistics.add(closed)).getMessage());

    statistics.add(Tensor.of(new float[] {1, 2}, 1, 2));
    Tensor two = Tensor.zeros(2).fill(7);
    refused(
        "running_var should contain 2 elements not 3",
        () -> statistics.toRunningStats(two, Tensor.zeros(3)));
    refused(
        "running_mean must be F32 or F64, but is BF16",
        () -> statistics.toRunningStats(Tensor.zeros(DType.BF16, 2), two));
    refused(
        "momentum must be finite, but got NaN",
        () -> statistics.updateRunningStats(two, Tensor.zeros(2), Double.NaN));
    FloatBuffer readOnly =
        ByteBuffer.allocateDirect(8)
            .asReadOnlyBuffer()
            .order(ByteOrder.nativeOrder())
            .asFloatBuffer();
    refused(
        "running_var wraps memory that is read-only; it must be writable",
        () -> statistics.updateRunningStats(two, Tensor.wrap(readOnly, 2), 0.5));
    refused(
        "running_var shares memory with running_mean; it must have memory of its own",
        () -> statistics.toRunningStats(two, two));
    refused(
        "saved.invStd shares memory with saved.mean; it must have memory of its own",
        () -> statistics.save(1, new SavedStatistics(two, Tensor.zeros(2), two)));
    SavedStatistics saved = new SavedStatistics(two, Tensor.zeros(2), Tensor.zeros(3));
    refused("saved.invStd should contain 2 elements not 3", () -> statistics.save(1, saved));
    refused("eps must be > 0, but got 0.0", () -> statistics.save(0, saved));
    SavedStatistics fits = SavedStatistics.allocate(DType.F32, 1);
    assertEquals(
        "these statistics are of no values: add a batch first",
        assertThrows(IllegalStateException.class, () -> new ChannelStatistics(1).save(1, fits))
            .getMessage());
    assertArrayEquals(new float[] {7, 7}, two.toFloatArray());
    assertArrayEquals(before, ChannelStatistics.of(Tensor.of(new float[] {1, 2}, 1, 2)).toBytes());
  }

  @Test
  void gradientSumsAdd() {
    GradientSums sums = new GradientSums(3, new double[] {1, 2}, new double[] {3, 4});
    assertEquals(
        sums, sums.merge(new GradientSums(4, new double[] {10, 20}, new double[] {30, 40})));
    assertEquals(7, sums.count());
    assertArrayEquals(new double[] {11, 22}, sums.sumDy());
    assertArrayEquals(new double[] {33, 44}, sums.dot());
    assertEquals("GradientSums(2 channels of 7 values)", sums.toString());
    refused(
        "other is of 1 channels, these sums are of 2",
        () -> sums.merge(new GradientSums(1, new double[1], new double[1])));
    refused(
        "sumDy and dot must have one value per channel, but have 1 and 2",
        () -> new GradientSums(1, new double[1], new double[2]));
    refused("count must not be negative, but got -1", () -> new GradientSums(-1, null, null));
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
