package org.batchnorm4j.backend;

import static java.lang.System.Logger.Level.INFO;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.batchnorm4j.nn.functional.BatchNormFunctions;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Native inference on heap arrays: the bits of the Java backend, and a collector that can run. */
class HeapInferenceTest {
  /** What {@link Collecting} says. */
  private static final Pattern SAID =
      Pattern.compile("(\\d+) collections in (\\d+) calls of (\\d+) ms each.*");

  @BeforeEach
  void needsNatives() {
    assumeTrue(NativeLibrary.isLoaded(), "the native library is switched off");
  }

  private static Tensor heap(DType dtype, MemoryFormat format, Shape shape) {
    int size = (int) shape.size();
    Shape whole = Shape.of(size);
    Tensor flat =
        switch (dtype) {
          case F32 -> Tensor.wrap(new float[size + 5], 2, whole);
          case F64 -> Tensor.wrap(new double[size + 5], 2, whole);
          case BF16, F16 -> Tensor.wrap(new short[size + 5], 2, dtype, whole);
          case I64 -> throw new IllegalArgumentException("no data");
        };
    return flat.view(format, shape);
  }

  private static Tensor fill(Tensor t, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    float[] values = new float[(int) t.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return t.copyFrom(values);
  }

  private static Tensor parameter(DType dtype, long c, long seed) {
    Tensor t = fill(Tensor.zeros(dtype.parameterType(), c), seed);
    for (long i = 0; i < c; i++) {
      t.set(0.5 + Math.abs(t.get(i)), i);
    }
    return t;
  }

  /** Shapes below, at and above one slice, which is cut in samples, channels or positions. */
  @ParameterizedTest
  @CsvSource({"3,4,5", "7,300,50", "2,3,100000", "2,90000,1", "700,1000,1", "1,2,131072"})
  void hasTheBitsOfTheJavaBackend(long n, long c, long s) {
    Shape shape = Shape.of(n, c, s);
    for (DType dtype : List.of(DType.F32, DType.F64, DType.BF16, DType.F16)) {
      for (MemoryFormat format : MemoryFormat.values()) {
        Tensor x = fill(heap(dtype, format, shape), 1);
        Tensor residual = fill(heap(dtype, format, shape), 2);
        Tensor direct = Tensor.zeros(dtype, format, shape).copyFrom(x);
        Tensor expected = Tensor.zeros(dtype, format, shape);
        BatchNormBackend nativeBackend = Backends.nativeBackend();
        Tensor mean = parameter(dtype, c, 3);
        Tensor weight = parameter(dtype, c, 4);
        inference(Backends.javaBackend(), direct, null, mean, weight, expected);
        String what = dtype + " " + format;
        Tensor y = heap(dtype, format, shape);
        same(what, expected, inference(nativeBackend, x, null, mean, weight, y));
        same(what, expected, inference(nativeBackend, direct, null, mean, weight, y.fill(9)));
        Tensor out = Tensor.zeros(dtype, format, shape);
        same(what, expected, inference(nativeBackend, x, null, mean, weight, out));
        inference(Backends.javaBackend(), direct, residual, mean, weight, expected);
        same(what, expected, inference(nativeBackend, x, residual, mean, weight, residual));
        fill(residual, 2);
        same(what, expected, inference(nativeBackend, x, residual, mean, weight, x));
      }
    }
  }

  private static Tensor inference(
      BatchNormBackend backend, Tensor x, Tensor residual, Tensor mean, Tensor weight, Tensor out) {
    return BatchNormFunctions.batchNormInference(
        x, residual, mean, weight, weight, mean, 1e-5, Activation.RELU, backend, out);
  }

  private static void same(String what, Tensor expected, Tensor got) {
    if (expected.dtype() == DType.F64) {
      assertArrayEquals(expected.toDoubleArray(), got.toDoubleArray(), what);
    } else {
      assertTrue(Arrays.equals(expected.toFloatArray(), got.toFloatArray()), what);
    }
  }

  @Test
  void nothingAtAll() {
    for (Shape shape : List.of(Shape.of(0, 3, 4), Shape.of(2, 0, 4), Shape.of(2, 3, 0))) {
      Tensor x = heap(DType.F32, MemoryFormat.CHANNELS_FIRST, shape);
      Tensor mean = Tensor.zeros(shape.dim(1));
      inference(Backends.nativeBackend(), x, null, mean, mean, x);
      assertArrayEquals(new float[5], (float[]) TensorAccess.array(x));
    }
  }

  @Test
  void sliceOfChannelsAndOfSamples() {
    Tensor x = fill(heap(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(5, 8, 9)), 1);
    Tensor part = x.narrow(1, 2, 3).narrow(0, 1, 3);
    Tensor mean = parameter(DType.F32, 3, 1);
    Tensor expected = Tensor.zeros(3, 3, 9);
    inference(Backends.javaBackend(), part, null, mean, mean, expected);
    Tensor out = Tensor.zeros(3, 3, 9);
    same("", expected, inference(Backends.nativeBackend(), part, null, mean, mean, out));
    double before = x.get(0, 2, 0);
    inference(Backends.nativeBackend(), part, null, mean, mean, part);
    same("", expected, part.to(MemoryFormat.CHANNELS_FIRST));
    assertEquals(before, x.get(0, 2, 0), "outside the slice");
  }

  /** Statistics on the heap: in Java, with the same bits. */
  @Test
  void whatNativeCodeCannotReach() {
    Tensor x = fill(heap(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(4, 3)), 1);
    Tensor mean = Tensor.wrap(new float[] {1, 2, 3}, 3);
    Tensor expected = Tensor.zeros(4, 3);
    inference(Backends.javaBackend(), x, null, mean, mean, expected);
    same(
        "", expected, inference(Backends.nativeBackend(), x, null, mean, mean, Tensor.zeros(4, 3)));
    Tensor outside = x.to(DType.F32);
    same(
        "",
        expected,
        inference(Backends.nativeBackend(), outside, null, mean, mean, Tensor.zeros(4, 3)));
  }

  // --------------------------------------------------------------------------- garbage collection

  /**
   * In a JVM of its own: one thread normalizes a large array, another makes garbage. Were the array
   * held for the whole call, 50 ms, no collection could happen in it but a few at its ends (five
   * were counted, and sixty in slices), and each would wait for that long.
   */
  public static final class Collecting {
    private Collecting() {}

    public static void main(String[] args) throws Exception {
      int calls = 5;
      float[] array = new float[1 << 26];
      Tensor x = Tensor.wrap(array, 1 << 16, 1 << 10);
      Tensor ones = Tensor.zeros(1 << 10).fill(1);
      AtomicLong longestWait = new AtomicLong();
      Thread garbage =
          new Thread(
              () -> {
                long kept = 0;
                while (true) {
                  long start = System.nanoTime();
                  kept += new byte[1 << 14].length;
                  long waited = System.nanoTime() - start;
                  longestWait.accumulateAndGet(waited, Math::max);
                }
              });
      garbage.setDaemon(true);
      garbage.start();
      int during = 0;
      long nanos = 0;
      for (int call = 0; call < calls; call++) {
        int before = collected();
        long start = System.nanoTime();
        inference(Backends.nativeBackend(), x, null, ones, ones, x);
        nanos += System.nanoTime() - start;
        during += collected() - before;
      }
      System.out.printf(
          "%d collections in %d calls of %d ms each; the longest wait for memory was %d ms%n",
          during,
          calls,
          TimeUnit.NANOSECONDS.toMillis(nanos / calls),
          TimeUnit.NANOSECONDS.toMillis(longestWait.get()));
      System.exit(0);
    }

    private static int collected() {
      return (int)
          ManagementFactory.getGarbageCollectorMXBeans().stream()
              .mapToLong(b -> b.getCollectionCount())
              .sum();
    }
  }

  /** On a busy machine not each time; were the array held for the whole call, never. */
  @Test
  void theCollectorRunsWhileACallIsUnderWay() throws Exception {
    String complaint = "";
    for (int tries = 0; tries < 5; tries++) {
      complaint = complaint(collect());
      if (complaint.isEmpty()) {
        return;
      }
    }
    fail(complaint);
  }

  private static String collect() throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseG1GC",
                "-Xmx600m",
                "-Xmn8m",
                "-Xlog:gc+jni=debug:stdout:uptimenanos",
                "-cp",
                System.getProperty("java.class.path"),
                Collecting.class.getName())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    return output;
  }

  private static String complaint(String output) {
    System.Logger log = System.getLogger(HeapInferenceTest.class.getName());
    Matcher said = SAID.matcher(output);
    assertTrue(said.find(), output);
    log.log(INFO, said.group());
    int calls = Integer.parseInt(said.group(2));
    // In one slice a call lets at most two or three in, at its ends; in slices, on a busy machine,
    // 10.
    if (Integer.parseInt(said.group(1)) < 5 * calls) {
      return said.group();
    }
    // From JDK 22 on, G1 leaves the array's region alone and collects the others at once.
    if (Runtime.version().feature() < 22) {
      double[] waits = waits(output);
      if (waits.length < 2 * calls) {
        return "G1 waited " + waits.length + " times";
      }
      double median = waits[waits.length / 2];
      log.log(INFO, "G1 waited for a slice {0} ms, at most {1}", median, waits[waits.length - 1]);
      // A slice is a thousandth of a call. A busy machine takes the core away in the midst of one,
      // for some milliseconds, but then the call takes longer too.
      if (median >= Math.max(1, Double.parseDouble(said.group(3)) / 10)) {
        return "G1 waited for a slice, in ms, median: " + median + "; " + said.group();
      }
    }
    return "";
  }

  /** How long collections waited for the end of a slice, in milliseconds, sorted. */
  private static double[] waits(String output) {
    List<Double> waits = new ArrayList<>();
    long since = 0;
    for (String line : output.lines().filter(l -> l.startsWith("[")).toList()) {
      long at = Long.parseLong(line.substring(1, line.indexOf("ns]")));
      if (line.contains("Setting _needs_gc")) {
        since = at;
      } else if (line.contains("Performing GC after exiting critical section")) {
        waits.add((at - since) / 1e6);
      }
    }
    return waits.stream().mapToDouble(Double::doubleValue).sorted().toArray();
  }

  @Test
  void sizesAreChecked() {
    Tensor channels = Tensor.zeros(3).fill(1);
    Problem problem = new Problem(1, 3, 4, Layout.NCS, DType.F32, Activation.NONE);
    HeapInference two = Backends.nativeBackend().onHeap(problem, channels, channels, null, null, 1);
    float[] x = new float[24];
    two.run(2, x, 0, x, 0);
    for (int[] wrong : new int[][] {{3, 0, 0}, {2, 1, 0}, {2, 0, 1}, {1, -1, 0}, {-1, 0, 0}}) {
      assertThrows(
          IndexOutOfBoundsException.class,
          () -> two.run(wrong[0], x, wrong[1], x, wrong[2]),
          () -> Arrays.toString(wrong));
    }
    assertThrows(
        IllegalArgumentException.class,
        () -> Backends.nativeBackend().onHeap(problem, Tensor.zeros(2), channels, null, null, 1));
    Problem doubles = new Problem(1, 3, 4, Layout.NCS, DType.F64, Activation.NONE);
    Tensor wide = Tensor.zeros(DType.F64, 3);
    HeapInference ofDoubles = Backends.nativeBackend().onHeap(doubles, wide, wide, null, null, 1);
    assertThrows(IllegalArgumentException.class, () -> ofDoubles.run(1, x, 0, x, 0));
  }

  @Test
  void parametersOnTheHeapAreRefused() {
    Problem problem = new Problem(1, 4, 1, Layout.NSC, DType.F32, Activation.NONE);
    Tensor channels = Tensor.zeros(4).fill(1);
    Tensor heap = Tensor.wrap(new float[] {2, 2, 2, 2}, 4);
    assertThrows(
        IllegalArgumentException.class,
        () -> Backends.nativeBackend().onHeap(problem, channels, channels, heap, null, 1));
    // By tensors Java computes it.
    Tensor x = Tensor.wrap(new float[] {3, 3, 3, 3}, 1, 4);
    Tensor y = Tensor.wrap(new float[4], 1, 4);
    Backends.nativeBackend().inference(problem, x, null, y, channels, channels, heap, null, 0);
    assertArrayEquals(new float[] {4, 4, 4, 4}, y.toFloatArray());
  }
}
