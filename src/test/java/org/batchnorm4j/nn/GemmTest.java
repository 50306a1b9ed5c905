package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.batchnorm4j.nn.Gemm.Matrix;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Both implementations against sums in f64, with gaps between rows and offsets. */
class GemmTest {

  /** The panels of the Java implementation are 64 x 256 x 512 elements. */
  static Stream<Arguments> sizes() {
    return Stream.of(
        Arguments.of(1, 1, 1),
        Arguments.of(3, 5, 7),
        Arguments.of(64, 16, 256), // exactly one panel of the left
        Arguments.of(65, 16, 257), // one more in height and depth
        Arguments.of(2, 513, 6), // one more in width
        Arguments.of(130, 20, 3),
        Arguments.of(4, 4, 0), // an empty sum
        Arguments.of(0, 4, 4),
        Arguments.of(4, 0, 4));
  }

  @ParameterizedTest
  @MethodSource("sizes")
  void equalsTheSumOfProducts(int m, int n, int k) {
    for (int variant = 0; variant < 8; variant++) {
      check(m, n, k, (variant & 1) != 0, (variant & 2) != 0, (variant & 4) != 0);
    }
  }

  private static void check(int m, int n, int k, boolean left, boolean right, boolean accumulate) {
    SplittableRandom random = new SplittableRandom(31L * m + 7L * n + k);
    int offset = 5;
    int gap = 3;
    double[][] a = random(random, m, k);
    double[][] b = random(random, k, n);
    double[][] c = random(random, m, n);
    double[][] expected = new double[m][n];
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double sum = accumulate ? c[i][j] : 0;
        for (int l = 0; l < k; l++) {
          sum += a[i][l] * b[l][j];
        }
        expected[i][j] = sum;
      }
    }
    Gemm gemm = new Gemm();
    for (boolean java : new boolean[] {true, false}) {
      try (Tensor ta = store(a, m, k, left, offset, gap);
          Tensor tb = store(b, k, n, right, offset, gap);
          Tensor tc = store(c, m, n, false, offset, gap)) {
        float[] before = tc.toFloatArray();
        Matrix ma = matrix(ta, m, k, left, offset, gap);
        Matrix mb = matrix(tb, k, n, right, offset, gap);
        Matrix mc = matrix(tc, m, n, false, offset, gap);
        if (java) {
          gemm.java(m, n, k, ma, mb, accumulate, mc);
        } else {
          gemm.multiply(m, n, k, ma, mb, accumulate, mc);
        }
        float[] after = tc.toFloatArray();
        float[] untouched = after.clone();
        for (int i = 0; i < m; i++) {
          for (int j = 0; j < n; j++) {
            int at = offset + i * (n + gap) + j;
            assertEquals(expected[i][j], after[at], 1e-6 * (k + 1), "(" + i + ", " + j + ")");
            untouched[at] = before[at];
          }
        }
        assertArrayEquals(before, untouched, "elements around the result");
      }
    }
  }

  private static double[][] random(SplittableRandom random, int rows, int columns) {
    double[][] values = new double[rows][columns];
    for (double[] row : values) {
      Arrays.setAll(row, i -> (float) random.nextDouble(-1, 1));
    }
    return values;
  }

  private static Tensor store(
      double[][] values, int rows, int columns, boolean transposed, int offset, int gap) {
    int stride = (transposed ? rows : columns) + gap;
    int lines = transposed ? columns : rows;
    float[] memory = new float[offset + Math.max(1, lines) * stride];
    Arrays.fill(memory, -7);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        memory[offset + (transposed ? j * stride + i : i * stride + j)] = (float) values[i][j];
      }
    }
    return Tensor.of(memory, memory.length);
  }

  private static Matrix matrix(
      Tensor t, int rows, int columns, boolean transposed, int offset, int gap) {
    return new Matrix(t, offset, (transposed ? rows : columns) + gap, transposed);
  }

  @Test
  void runsOnOpenBlasWhereTheLibraryIsLoaded() {
    try (Tensor t = Tensor.zeros(4)) {
      Matrix matrix = Matrix.of(t, 0, 2);
      assertEquals(NativeLibrary.isLoaded(), Gemm.runsOnBlas(matrix, matrix, matrix));
    }
  }

  /** OpenBLAS crashes when more threads are in it than it was built for. */
  @Test
  void noMoreThreadsThanOpenBlasCanTakeAreInIt() throws Exception {
    Tensor a = PyTorch.random(1, 64, 64);
    Matrix square = Matrix.of(a, 0, 64);
    assumeTrue(Gemm.runsOnBlas(square, square, square));
    assertEquals(64, Gemm.IN_BLAS.availablePermits());
    Tensor product = Tensor.zeros(64, 64);
    Thread caller =
        new Thread(
            () ->
                new Gemm().multiply(64, 64, 64, square, square, false, Matrix.of(product, 0, 64)));
    Gemm.IN_BLAS.acquire(64);
    try {
      caller.start();
      while (caller.isAlive() && !Gemm.IN_BLAS.hasQueuedThreads()) {
        Thread.sleep(1);
      }
      assertTrue(caller.isAlive(), "it did not wait");
      assertEquals(0, product.get(0, 0));
    } finally {
      Gemm.IN_BLAS.release(64);
    }
    caller.join();
    double expected = 0;
    for (int i = 0; i < 64; i++) {
      expected += a.get(3, i) * a.get(i, 5);
    }
    assertEquals(expected, product.get(3, 5), 1e-4);
    assertEquals(64, Gemm.IN_BLAS.availablePermits());
  }
}
