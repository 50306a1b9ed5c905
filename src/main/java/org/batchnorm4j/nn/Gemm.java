package org.batchnorm4j.nn;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Arrays;
import java.util.concurrent.Semaphore;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.openblas.global.openblas_nolapack;
import org.jspecify.annotations.Nullable;

/**
 * Products of f32 matrices that lie in tensors: by OpenBLAS where the tensors have addresses,
 * otherwise in Java. Runs on the calling thread; each thread needs an instance of its own, which
 * holds the scratch. The caller has acquired the tensors.
 *
 * <p>OpenBLAS is loaded by the first product, and set to one thread: layers split their work
 * themselves, which also makes results independent of the number of threads.
 */
final class Gemm {
  private static final int DEPTH = 256;
  private static final int WIDTH = 512;
  private static final int HEIGHT = 64;

  /**
   * OpenBLAS keeps a buffer for each thread that is in it, of which it has as many as it was built
   * for; with more it writes where it must not. The rest wait: they would wait for a core anyway.
   */
  static final Semaphore IN_BLAS = new Semaphore(64);

  private @Nullable Pointers pointers;
  private float[][] right = new float[0][];
  private float[][] left = new float[0][];
  private float[] row = new float[0];

  /**
   * A matrix within a tensor's memory.
   *
   * @param tensor where it lies
   * @param at its first element, counted from the tensor's first
   * @param stride elements from one row in memory to the next
   * @param transposed whether the rows in memory are the matrix's columns
   */
  record Matrix(Tensor tensor, long at, int stride, boolean transposed) {

    static Matrix of(Tensor tensor, long at, int stride) {
      return new Matrix(tensor, at, stride, false);
    }

    Matrix transpose() {
      return new Matrix(tensor, at, stride, !transposed);
    }

    /** The part from this row and column on. */
    Matrix from(int row, int column) {
      long step = transposed ? (long) column * stride + row : (long) row * stride + column;
      return new Matrix(tensor, at + step, stride, transposed);
    }

    private long address() {
      return tensor.address() + at * Float.BYTES;
    }

    private int operation() {
      return transposed ? openblas_nolapack.CblasTrans : openblas_nolapack.CblasNoTrans;
    }

    /** Copies {@code n} elements of row {@code i} in memory, from {@code j} on. */
    private void read(int i, int j, float[] to, int n) {
      TensorAccess.read(tensor, at + (long) i * stride + j, to, 0, n);
    }

    private void write(int i, int j, float[] from, int n) {
      TensorAccess.write(tensor, at + (long) i * stride + j, from, 0, n);
    }
  }

  /**
   * {@code c = a b}, or {@code c += a b}; a is m x k, b is k x n, c is m x n and not transposed.
   */
  void multiply(int m, int n, int k, Matrix a, Matrix b, boolean accumulate, Matrix c) {
    // OpenBLAS need not be asked for an empty sum.
    if (k > 0 && runsOnBlas(a, b, c)) {
      blas(m, n, k, a, b, accumulate, c);
    } else {
      java(m, n, k, a, b, accumulate, c);
    }
  }

  /** Whether a product of these matrices is OpenBLAS's. */
  static boolean runsOnBlas(Matrix a, Matrix b, Matrix c) {
    boolean addresses =
        a.tensor.address() != 0 && b.tensor.address() != 0 && c.tensor.address() != 0;
    return addresses && Blas.AVAILABLE;
  }

  /** {@link #multiply} by OpenBLAS. */
  private void blas(int m, int n, int k, Matrix a, Matrix b, boolean accumulate, Matrix c) {
    Pointers p = pointers;
    if (p == null) {
      p = new Pointers();
      pointers = p;
    }
    IN_BLAS.acquireUninterruptibly();
    try {
      openblas_nolapack.cblas_sgemm(
          openblas_nolapack.CblasRowMajor,
          a.operation(),
          b.operation(),
          m,
          n,
          k,
          1,
          p.a.at(a.address()),
          a.stride,
          p.b.at(b.address()),
          b.stride,
          accumulate ? 1 : 0,
          p.c.at(c.address()),
          c.stride);
    } finally {
      IN_BLAS.release();
    }
  }

  /**
   * {@link #multiply} in Java. For each panel of b that fits the cache, rows of c gather multiples
   * of its rows, a loop that the JVM vectorizes.
   */
  void java(int m, int n, int k, Matrix a, Matrix b, boolean accumulate, Matrix c) {
    int depth = Math.min(DEPTH, k);
    int width = Math.min(WIDTH, n);
    if (right.length < depth || right.length > 0 && right[0].length < width) {
      right = new float[depth][width];
    }
    if (row.length == 0) {
      row = new float[Math.max(WIDTH, DEPTH)];
      left = new float[HEIGHT][DEPTH];
    }
    for (int j = 0; j < n; j += WIDTH) {
      int nj = Math.min(WIDTH, n - j);
      // At least once, so that an empty product is written too.
      for (int l = 0; l == 0 || l < k; l += DEPTH) {
        int nl = Math.min(DEPTH, k - l);
        pack(b, l, nl, j, nj, right);
        for (int i = 0; i < m; i += HEIGHT) {
          int ni = Math.min(HEIGHT, m - i);
          pack(a, i, ni, l, nl, left);
          for (int ii = 0; ii < ni; ii++) {
            if (accumulate || l > 0) {
              c.read(i + ii, j, row, nj);
            } else {
              Arrays.fill(row, 0, nj, 0);
            }
            addProducts(left[ii], right, nl, row, nj);
            c.write(i + ii, j, row, nj);
          }
        }
      }
    }
  }

  /** Copies the block of {@code rows} x {@code columns} elements at (i, j). */
  private void pack(Matrix from, int i, int rows, int j, int columns, float[][] to) {
    if (from.transposed) {
      for (int c = 0; c < columns; c++) {
        from.read(j + c, i, row, rows);
        for (int r = 0; r < rows; r++) {
          to[r][c] = row[r];
        }
      }
    } else {
      for (int r = 0; r < rows; r++) {
        from.read(i + r, j, to[r], columns);
      }
    }
  }

  /** Adds the first {@code nl} rows of {@code b} times their factors to {@code sum}. */
  static void addProducts(float[] factors, float[][] b, int nl, float[] sum, int n) {
    int l = 0;
    for (; l + 4 <= nl; l += 4) {
      addFour(factors, l, b[l], b[l + 1], b[l + 2], b[l + 3], sum, n);
    }
    for (; l < nl; l++) {
      float f = factors[l];
      float[] row = b[l];
      for (int j = 0; j < n; j++) {
        sum[j] += f * row[j];
      }
    }
  }

  /** Rows are arrays of their own because HotSpot vectorizes no loop over arrays with offsets. */
  private static void addFour(
      float[] factors, int l, float[] b0, float[] b1, float[] b2, float[] b3, float[] sum, int n) {
    float f0 = factors[l];
    float f1 = factors[l + 1];
    float f2 = factors[l + 2];
    float f3 = factors[l + 3];
    for (int j = 0; j < n; j++) {
      sum[j] += f0 * b0[j] + f1 * b1[j] + (f2 * b2[j] + f3 * b3[j]);
    }
  }

  /** Loads OpenBLAS on first use. */
  private static final class Blas {
    private static final Logger LOG = System.getLogger(Gemm.class.getName());
    static final boolean AVAILABLE = load();

    private static boolean load() {
      try {
        Loader.load(openblas_nolapack.class);
        openblas_nolapack.blas_set_num_threads(1);
        return true;
      } catch (LinkageError | RuntimeException e) {
        LOG.log(
            Level.WARNING,
            "Linear and convolutions run in Java, because OpenBLAS does not load: {0}. Add the jars of"
                + " org.bytedeco:openblas and org.bytedeco:javacpp with the classifier {1} to the"
                + " class path",
            e.getMessage(),
            Loader.getPlatform());
        return false;
      }
    }
  }

  /** Three pointers that are set anew for each call, so that calls allocate none. */
  private static final class Pointers {
    final Window a = new Window();
    final Window b = new Window();
    final Window c = new Window();
  }

  /** Gives JavaCPP an address it does not own. */
  private static final class Window extends FloatPointer {
    Window() {
      super((Pointer) null);
    }

    Window at(long newAddress) {
      address = newAddress;
      return this;
    }
  }
}
