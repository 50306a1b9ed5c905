package org.batchnorm4j.nn;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Arrays;
import org.batchnorm4j.tensor.Tensor;
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

  private @Nullable Pointers pointers;
  private float[] right = new float[0];
  private float[] left = new float[0];
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
      long step =
          transposed ? (long) column * stride + row : (long) row * stride + column;
      return new Matrix(tensor, at + step, stride, transposed);
    }

    private long address() {
      return tensor.address() + at * Float.BYTES;
    }

    private int operation() {
      return transposed ? openblas_nolapack.CblasTrans : openblas_nolapack.CblasNoTrans;
    }

    /** Copies {@code n} elements of row {@code i} in memory, from {@code j} on. */
    private void read(int i, int j, float[] to, int start, int n) {
      tensor.read(tensor.offset() + at + (long) i * stride + j, to, start, n);
    }

    private void write(int i, int j, float[] from, int n) {
      tensor.write(tensor.offset() + at + (long) i * stride + j, from, 0, n);
    }
  }

  /** {@code c = a b}, or {@code c += a b}; a is m x k, b is k x n, c is m x n and not transposed. */
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
  }

  /**
   * {@link #multiply} in Java. For each panel of b that fits the cache, rows of c gather multiples
   * of its rows, a loop that the JVM vectorizes.
   */
  void java(int m, int n, int k, Matrix a, Matrix b, boolean accumulate, Matrix c) {
    int panel = Math.min(DEPTH, k) * Math.min(WIDTH, n);
    if (right.length < panel) {
      right = new float[panel];
    }
    if (row.length == 0) {
      row = new float[Math.max(WIDTH, DEPTH)];
      left = new float[HEIGHT * DEPTH];
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
              c.read(i + ii, j, row, 0, nj);
            } else {
              Arrays.fill(row, 0, nj, 0);
            }
            addProducts(left, ii * nl, nl, right, nj, row);
            c.write(i + ii, j, row, nj);
          }
        }
      }
    }
  }

  /** Copies the block of {@code rows} x {@code columns} elements at (i, j), row after row. */
  private void pack(Matrix from, int i, int rows, int j, int columns, float[] to) {
    if (from.transposed) {
      for (int c = 0; c < columns; c++) {
        from.read(j + c, i, row, 0, rows);
        for (int r = 0; r < rows; r++) {
          to[r * columns + c] = row[r];
        }
      }
    } else {
      for (int r = 0; r < rows; r++) {
        from.read(i + r, j, to, r * columns, columns);
      }
    }
  }

  /** Adds {@code nl} rows of {@code b}, each {@code n} long, times factors, to {@code sum}. */
  private static void addProducts(float[] factors, int at, int nl, float[] b, int n, float[] sum) {
    int l = 0;
    for (; l + 4 <= nl; l += 4) {
      float f0 = factors[at + l];
      float f1 = factors[at + l + 1];
      float f2 = factors[at + l + 2];
      float f3 = factors[at + l + 3];
      int b0 = l * n;
      int b1 = b0 + n;
      int b2 = b1 + n;
      int b3 = b2 + n;
      for (int j = 0; j < n; j++) {
        sum[j] += f0 * b[b0 + j] + f1 * b[b1 + j] + (f2 * b[b2 + j] + f3 * b[b3 + j]);
      }
    }
    for (; l < nl; l++) {
      float f = factors[at + l];
      int b0 = l * n;
      for (int j = 0; j < n; j++) {
        sum[j] += f * b[b0 + j];
      }
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
            "Linear and convolutions run in Java, because OpenBLAS does not load: {0}",
            e.getMessage());
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
