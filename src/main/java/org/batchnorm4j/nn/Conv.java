package org.batchnorm4j.nn;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.random.RandomGenerator;
import org.batchnorm4j.nn.ConvOptions.Size;
import org.batchnorm4j.nn.Gemm.Matrix;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * Convolution as matrix products (im2col): each column of a matrix holds the inputs of one output
 * position, and the weights times that matrix are the outputs. The matrix is made block by block,
 * so that it stays in the cache. One dimension is two with a height of 1.
 */
abstract sealed class Conv extends Layer permits Conv1d, Conv2d {
  /** Elements of a block's matrix: half a MiB, which leaves room beside it in the L2 cache. */
  private static final int BLOCK = 1 << 17;

  /**
   * Samples are cut into at most so many runs, each of which sums up its own weight gradients. A
   * fixed number, so that the sums do not depend on the number of threads.
   */
  private static final int RUNS = 8;

  /** Multiplications below which waking another thread takes longer than it saves. */
  private static final long SMALL = 1L << 19;

  private final int dimensions;
  private final int inChannels;
  private final int outChannels;
  private final ConvOptions options;
  private final Size kernel;
  private final Size stride;
  private final Size padding;
  private final Size dilation;
  private final int groups;
  private final Parameter weight;
  private final @Nullable Parameter bias;

  /** Input and output channels of a group, and rows of a block's matrix. */
  private final int groupIn;

  private final int groupOut;
  private final int depth;

  private Strand[] strands = new Strand[0];
  private final Slot runs = new Slot();

  Conv(
      int dimensions,
      int inChannels,
      int outChannels,
      ConvOptions options,
      RandomGenerator random) {
    this.dimensions = dimensions;
    this.inChannels = Init.atLeast(1, "inChannels", inChannels);
    this.outChannels = Init.atLeast(1, "outChannels", outChannels);
    this.options = options;
    kernel = oneOrTwo("kernel", options.kernel(), 1);
    stride = oneOrTwo("stride", options.stride(), 1);
    padding = oneOrTwo("padding", options.padding(), 0);
    dilation = oneOrTwo("dilation", options.dilation(), 1);
    groups = options.groups();
    if (inChannels % groups != 0 || outChannels % groups != 0) {
      throw new IllegalArgumentException(
          "inChannels and outChannels must be divisible by groups, but got "
              + inChannels
              + ", "
              + outChannels
              + " and "
              + groups);
    }
    groupIn = inChannels / groups;
    groupOut = outChannels / groups;
    depth = Math.multiplyExact(groupIn, Math.multiplyExact(kernel.height(), kernel.width()));
    weight =
        dimensions == 1
            ? Init.uniform(random, depth, outChannels, groupIn, kernel.width())
            : Init.uniform(random, depth, outChannels, groupIn, kernel.height(), kernel.width());
    bias = options.bias() ? Init.uniform(random, depth, outChannels) : null;
  }

  /** The size, or, where there is one dimension only, its width and a height without effect. */
  private Size oneOrTwo(String name, Size size, int neutral) {
    if (dimensions == 2) {
      return size;
    }
    if (size.height() != size.width()) {
      throw new IllegalArgumentException(
          name
              + " must be one number, because Conv1d has one dimension, but got "
              + size.height()
              + " and "
              + size.width());
    }
    return new Size(neutral, size.width());
  }

  /** Of shape (outChannels, inChannels / groups, kernel...). */
  public final Parameter weight() {
    return weight;
  }

  /** Of shape (outChannels), or null. */
  public final @Nullable Parameter bias() {
    return bias;
  }

  /** The number of channels that go in. */
  public final int inChannels() {
    return inChannels;
  }

  /** The number of channels that come out. */
  public final int outChannels() {
    return outChannels;
  }

  /** The options it was made with. */
  public final ConvOptions convOptions() {
    return options;
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
    if (x.dim(1) != inChannels) {
      throw new IllegalArgumentException(
          "x has "
              + x.dim(1)
              + " channels (shape "
              + x
              + "), but this "
              + name()
              + " was built for "
              + inChannels);
    }
    Shape y = x.with(1, outChannels);
    int last = dimensions + 1;
    if (dimensions == 2) {
      y =
          y.with(
              2,
              outputSize(
                  x, 2, kernel.height(), stride.height(), padding.height(), dilation.height()));
    }
    return y.with(
        last,
        outputSize(x, last, kernel.width(), stride.width(), padding.width(), dilation.width()));
  }

  private long outputSize(Shape x, int dim, long k, long s, long p, long d) {
    long padded = x.dim(dim) + 2 * p;
    long extent = d * (k - 1) + 1;
    if (padded < extent) {
      throw new IllegalArgumentException(
          "x has size "
              + x.dim(dim)
              + " in dimension "
              + dim
              + " (shape "
              + x
              + "), "
              + padded
              + " with padding, but the kernel of this "
              + name()
              + " extends over "
              + extent);
    }
    return (padded - extent) / s + 1;
  }

  @Override
  final void compute(Tensor x, Tensor y) {
    Geometry g = new Geometry(x.shape(), y.shape());
    int perSample = groups * g.blocks;
    int pieces = g.samples * perSample;
    int count = prepare(pieces, y);
    Matrix w = Matrix.of(weight.value(), 0, depth);
    float @Nullable [] added = bias == null ? null : bias.value().toFloatArray();
    Parallel.forEach(
        pieces,
        count,
        (strand, piece) -> {
          int sample = piece / perSample;
          int group = piece % perSample / g.blocks;
          Block block = g.block(piece % g.blocks);
          Strand s = strands[strand];
          Tensor columns = s.gather(g, block, x, sample, group);
          long at = (long) (sample * outChannels + group * groupOut) * g.outPlane + block.at(g);
          if (added != null) {
            s.fillRows(y, at, g.outPlane, block.size(), added, group * groupOut, groupOut);
          }
          s.gemm.multiply(
              groupOut,
              block.size(),
              depth,
              w.from(group * groupOut, 0),
              Matrix.of(columns, 0, block.size()),
              added != null,
              Matrix.of(y, at, g.outPlane));
        });
  }

  @Override
  final void differentiate(Tensor x, Tensor dy, Tensor dx) {
    Geometry g = new Geometry(x.shape(), dy.shape());
    int count = Math.min(RUNS, g.samples);
    int weights = (int) weight.value().size();
    Tensor weightSums = runs.get(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(count, weights));
    double[][] biasSums = new double[count][bias == null ? 0 : outChannels];
    Parallel.forEach(
        count,
        prepare(count, dy),
        (strand, run) -> {
          Strand s = strands[strand];
          int first = (int) ((long) g.samples * run / count);
          int end = (int) ((long) g.samples * (run + 1) / count);
          for (int sample = first; sample < end; sample++) {
            for (int group = 0; group < groups; group++) {
              Matrix sums =
                  Matrix.of(
                      weightSums, (long) run * weights + (long) group * groupOut * depth, depth);
              differentiate(s, g, x, dy, dx, sample, group, sample == first, sums);
            }
            s.addRowSums(dy, (long) sample * outChannels * g.outPlane, g.outPlane, biasSums[run]);
          }
        });
    sumRuns(weightSums, count, weights);
    if (bias != null) {
      double[] total = new double[outChannels];
      for (double[] sums : biasSums) {
        for (int i = 0; i < outChannels; i++) {
          total[i] += sums[i];
        }
      }
      bias.grad().copyFrom(total);
    }
  }

  /** One group of one sample: its part of dx, and its share of the group's weight gradients. */
  private void differentiate(
      Strand s,
      Geometry g,
      Tensor x,
      Tensor dy,
      Tensor dx,
      int sample,
      int group,
      boolean isFirst,
      Matrix weightSums) {
    Matrix w = Matrix.of(weight.value(), (long) group * groupOut * depth, depth);
    s.clearGradient(g);
    for (int i = 0; i < g.blocks; i++) {
      Block block = g.block(i);
      long at = (long) (sample * outChannels + group * groupOut) * g.outPlane + block.at(g);
      Matrix gradient = Matrix.of(dy, at, g.outPlane);
      Matrix columns = Matrix.of(s.gather(g, block, x, sample, group), 0, block.size());
      s.gemm.multiply(
          groupOut,
          depth,
          block.size(),
          gradient,
          columns.transpose(),
          !(isFirst && i == 0),
          weightSums);
      // The inputs are done with: their gradients take their place.
      s.gemm.multiply(depth, block.size(), groupOut, w.transpose(), gradient, false, columns);
      s.scatter(g, block);
    }
    s.writeGradient(g, dx, sample, group);
  }

  private void sumRuns(Tensor weightSums, int count, int weights) {
    Tensor grad = weight.grad();
    float[] total = new float[Math.min(weights, 4096)];
    float[] part = new float[total.length];
    for (int at = 0; at < weights; at += total.length) {
      int n = Math.min(total.length, weights - at);
      Arrays.fill(total, 0);
      for (int run = 0; run < count; run++) {
        TensorAccess.read(weightSums, (long) run * weights + at, part, 0, n);
        for (int i = 0; i < n; i++) {
          total[i] += part[i];
        }
      }
      TensorAccess.write(grad, at, total, 0, n);
    }
  }

  /** Makes as many strands as the work is worth, and says how many that is. */
  private int prepare(int pieces, Tensor output) {
    int wanted = output.size() * depth < SMALL ? 1 : Parallel.strands(pieces);
    int had = strands.length;
    if (had < wanted) {
      strands = Arrays.copyOf(strands, wanted);
      for (int i = had; i < wanted; i++) {
        strands[i] = new Strand();
      }
    }
    return wanted;
  }

  @Override
  public final synchronized void close() {
    for (Strand s : strands) {
      s.columns.close();
    }
    runs.close();
    super.close();
  }

  @Override
  protected final Map<String, Parameter> ownParameters() {
    Map<String, Parameter> own = new LinkedHashMap<>();
    own.put("weight", weight);
    if (bias != null) {
      own.put("bias", bias);
    }
    return own;
  }

  @Override
  final String options() {
    StringBuilder text = new StringBuilder();
    text.append(inChannels).append(", ").append(outChannels);
    text.append(", kernel_size=").append(tuple(kernel)).append(", stride=").append(tuple(stride));
    if (padding.height() != 0 || padding.width() != 0) {
      text.append(", padding=").append(tuple(padding));
    }
    if (dilation.height() != 1 || dilation.width() != 1) {
      text.append(", dilation=").append(tuple(dilation));
    }
    if (groups != 1) {
      text.append(", groups=").append(groups);
    }
    if (bias == null) {
      text.append(", bias=False");
    }
    return text.toString();
  }

  private String tuple(Size size) {
    return dimensions == 1
        ? "(" + size.width() + ",)"
        : "(" + size.height() + ", " + size.width() + ")";
  }

  /** The sizes of one call, and how output planes are cut into blocks. */
  private final class Geometry {
    final int samples;
    final int height;
    final int width;
    final int outWidth;
    final int outHeight;
    final int plane;
    final int outPlane;

    /** A block is so many whole rows of the output, or, of long rows, a part of one. */
    final int blockRows;

    final int blockColumns;
    final int blocksPerRow;
    final int blocks;

    Geometry(Shape x, Shape y) {
      samples = (int) x.dim(0);
      height = dimensions == 1 ? 1 : (int) x.dim(2);
      width = (int) x.dim(dimensions + 1);
      outHeight = dimensions == 1 ? 1 : (int) y.dim(2);
      outWidth = (int) y.dim(dimensions + 1);
      plane = height * width;
      outPlane = outHeight * outWidth;
      int positions = Math.max(1, BLOCK / depth);
      blockColumns = Math.min(outWidth, positions);
      blocksPerRow = (outWidth + blockColumns - 1) / blockColumns;
      blockRows = blocksPerRow > 1 ? 1 : Math.min(outHeight, positions / outWidth);
      blocks = (outHeight + blockRows - 1) / blockRows * blocksPerRow;
    }

    Block block(int i) {
      int row = i / blocksPerRow * blockRows;
      int column = i % blocksPerRow * blockColumns;
      return new Block(
          row,
          Math.min(outHeight, row + blockRows),
          column,
          Math.min(outWidth, column + blockColumns));
    }
  }

  /** Neighbouring positions of an output plane. */
  private record Block(int row, int rowEnd, int column, int columnEnd) {
    int size() {
      return (rowEnd - row) * (columnEnd - column);
    }

    int at(Geometry g) {
      return row * g.outWidth + column;
    }
  }

  /** Whether neighbouring outputs come from neighbouring inputs. */
  private boolean isDense() {
    return stride.height() == 1 && stride.width() == 1;
  }

  /** The output positions of a block at which element (i, j) of the kernel is over the input. */
  private final class Window {
    final int up;
    final int down;
    final int left;
    final int right;

    /** The input position that belongs to the first of them. */
    final int inputRow;

    final int inputColumn;

    Window(Geometry g, Block b, int i, int j) {
      // As longs: no stride, padding or dilation is too large.
      long rowShift = (long) i * dilation.height() - padding.height();
      long columnShift = (long) j * dilation.width() - padding.width();
      up = first(b.row, b.rowEnd, -rowShift, stride.height());
      down = first(up, b.rowEnd, g.height - rowShift, stride.height());
      left = first(b.column, b.columnEnd, -columnShift, stride.width());
      right = first(left, b.columnEnd, g.width - columnShift, stride.width());
      inputRow = (int) (up * (long) stride.height() + rowShift);
      inputColumn = (int) (left * (long) stride.width() + columnShift);
    }

    /** The first position between the two whose input position is not below the limit. */
    private int first(int from, int to, long limit, int step) {
      return (int) Math.max(from, Math.min(to, -Math.floorDiv(-limit, step)));
    }

    boolean isEmpty() {
      return up == down || left == right;
    }
  }

  /** The windows of all elements of the kernel, row by row. */
  private Window[] windows(Geometry g, Block b) {
    Window[] windows = new Window[kernel.height() * kernel.width()];
    for (int i = 0; i < kernel.height(); i++) {
      for (int j = 0; j < kernel.width(); j++) {
        windows[i * kernel.width() + j] = new Window(g, b, i, j);
      }
    }
    return windows;
  }

  /**
   * What an {@link InferenceModel} runs for inputs of this shape. It takes over the layer: nobody
   * else may use it, and closing the step closes it.
   */
  final Step freeze(Shape x) {
    return new Frozen(new Geometry(x, outputShape(x)));
  }

  private final class Frozen implements Step {
    private final Geometry geometry;
    private final Block[] blocks;
    private final Window[][] windows;
    private final Matrix[] weights = new Matrix[groups];
    private final float @Nullable [] added = bias == null ? null : bias.value().toFloatArray();

    Frozen(Geometry g) {
      geometry = g;
      blocks = new Block[g.blocks];
      windows = new Window[g.blocks][];
      for (int i = 0; i < g.blocks; i++) {
        blocks[i] = g.block(i);
        windows[i] = windows(g, blocks[i]);
      }
      for (int i = 0; i < groups; i++) {
        weights[i] = Matrix.of(weight.value(), 0, depth).from(i * groupOut, 0);
      }
    }

    @Override
    public Runner newRunner(int samples) {
      return new FrozenStrand(this);
    }

    @Override
    public void close() {
      Conv.this.close();
    }
  }

  private final class FrozenStrand implements Step.Runner {
    private final Frozen step;
    private final Strand strand = new Strand();
    private final Tensor columns;
    private final Tensor product;
    private final Matrix[] columnsOf;
    private final Matrix[] productOf;

    FrozenStrand(Frozen step) {
      this.step = step;
      TensorAccess.acquire(weight.value());
      int largest = step.blocks[0].size();
      columns = Tensor.zeros(depth, largest);
      product = Tensor.zeros(groupOut, largest);
      columnsOf = new Matrix[step.blocks.length];
      productOf = new Matrix[step.blocks.length];
      for (int i = 0; i < columnsOf.length; i++) {
        columnsOf[i] = Matrix.of(columns, 0, step.blocks[i].size());
        productOf[i] = Matrix.of(product, 0, step.blocks[i].size());
      }
    }

    @Override
    public void run(float[] x, float[] y, int n) {
      for (int sample = 0; sample < n; sample++) {
        for (int group = 0; group < groups; group++) {
          for (int i = 0; i < step.blocks.length; i++) {
            run(x, y, sample, group, i);
          }
        }
      }
    }

    private void run(float[] x, float[] y, int sample, int group, int i) {
      Geometry g = step.geometry;
      Block block = step.blocks[i];
      int size = block.size();
      int origin = (sample * inChannels + group * groupIn) * g.plane;
      strand.gather(block, step.windows[i], x, origin, g.plane, g.width);
      TensorAccess.write(columns, 0, strand.matrix, 0, depth * size);
      strand.gemm.multiply(
          groupOut, size, depth, step.weights[group], columnsOf[i], false, productOf[i]);
      for (int o = 0; o < groupOut; o++) {
        int channel = group * groupOut + o;
        int at = (sample * outChannels + channel) * g.outPlane + block.at(g);
        TensorAccess.read(product, (long) o * size, y, at, size);
        if (step.added != null) {
          float b = step.added[channel];
          for (int k = at; k < at + size; k++) {
            y[k] += b;
          }
        }
      }
    }

    @Override
    public void close() {
      columns.close();
      product.close();
      TensorAccess.release(weight.value());
    }
  }

  /** What one strand computes with, one piece after another. */
  private final class Strand {
    final Gemm gemm = new Gemm();
    final Slot columns = new Slot();
    private float[] matrix = new float[0];
    private float[] input = new float[0];
    private float[] line = new float[0];

    private static int within(int size, long position) {
      return (int) Math.max(0, Math.min(size, position));
    }

    /** The matrix of a block: row (c, i, j) holds what element (i, j) of the kernel meets. */
    Tensor gather(Geometry g, Block b, Tensor x, int sample, int group) {
      int size = b.size();
      long from = (long) (sample * inChannels + group * groupIn) * g.plane;
      // The rows of the input that the block needs; of long rows, the part.
      int top = within(g.height, b.row * (long) stride.height() - padding.height());
      long reach = (kernel.height() - 1L) * dilation.height() - padding.height();
      int bottom = within(g.height, (b.rowEnd - 1L) * stride.height() + reach + 1);
      int rows = Math.max(0, bottom - top);
      int left = 0;
      int right = g.width;
      if (g.blocksPerRow > 1) {
        left = within(g.width, b.column * (long) stride.width() - padding.width());
        reach = (kernel.width() - 1L) * dilation.width() - padding.width();
        right = within(g.width, (b.columnEnd - 1L) * stride.width() + reach + 1);
      }
      int width = Math.max(0, right - left);
      input = atLeast(input, groupIn * rows * width);
      for (int c = 0; c < groupIn; c++) {
        long first = from + (long) c * g.plane + (long) top * g.width + left;
        if (rows == 0 || width == 0) {
          continue; // a block of padding alone, which may lie behind the end
        }
        if (width == g.width) {
          TensorAccess.read(x, first, input, c * rows * width, rows * width);
        } else {
          for (int r = 0; r < rows; r++) {
            TensorAccess.read(x, first + (long) r * g.width, input, (c * rows + r) * width, width);
          }
        }
      }
      gather(b, windows(g, b), input, -top * width - left, rows * width, width);
      Tensor result = columns.get(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(depth, size));
      TensorAccess.write(result, 0, matrix, 0, depth * size);
      return result;
    }

    /**
     * Fills the matrix of a block from channels that begin at {@code origin} and lie {@code plane}
     * elements apart, in rows of {@code width}.
     */
    void gather(Block b, Window[] windows, float[] channels, int origin, int plane, int width) {
      matrix = atLeast(matrix, depth * b.size());
      for (int element = 0; element < windows.length; element++) {
        for (int c = 0; c < groupIn; c++) {
          int start = (c * windows.length + element) * b.size();
          gatherRow(channels, origin + c * plane, width, b, windows[element], start);
        }
      }
    }

    private int row(int c, int i, int j) {
      return (c * kernel.height() + i) * kernel.width() + j;
    }

    /** Writes a row of the matrix; row r of the input begins at {@code origin + r * width}. */
    private void gatherRow(float[] input, int origin, int width, Block b, Window w, int start) {
      if (w.isEmpty()) {
        Arrays.fill(matrix, start, start + b.size(), 0);
        return;
      }
      int columns = b.columnEnd - b.column;
      Arrays.fill(matrix, start, start + (w.up - b.row) * columns, 0);
      Arrays.fill(matrix, start + (w.down - b.row) * columns, start + b.size(), 0);
      int to = start + (w.up - b.row) * columns + w.left - b.column;
      int from = origin + w.inputRow * width + w.inputColumn;
      int n = w.right - w.left;
      if (isDense() && width == columns) {
        // Rows of the input lie as far apart as those of the matrix: all of them at once.
        System.arraycopy(input, from, matrix, to, (w.down - w.up - 1) * columns + n);
      } else {
        for (int r = w.up; r < w.down; r++) {
          if (stride.width() == 1) {
            System.arraycopy(input, from, matrix, to, n);
          } else {
            for (int k = 0; k < n; k++) {
              matrix[to + k] = input[from + k * stride.width()];
            }
          }
          from += stride.height() * width;
          to += columns;
        }
      }
      clearMargins(w, b, start);
    }

    /** Sets to 0 what the kernel's element meets left and right of the input. */
    private void clearMargins(Window w, Block b, int start) {
      int columns = b.columnEnd - b.column;
      for (int r = w.up; r < w.down; r++) {
        int row = start + (r - b.row) * columns;
        for (int k = row; k < row + w.left - b.column; k++) {
          matrix[k] = 0;
        }
        for (int k = row + w.right - b.column; k < row + columns; k++) {
          matrix[k] = 0;
        }
      }
    }

    void clearGradient(Geometry g) {
      line = atLeast(line, groupIn * g.plane);
      Arrays.fill(line, 0, groupIn * g.plane, 0);
    }

    /** The reverse of {@link #gather}: adds each element of the matrix to where it came from. */
    void scatter(Geometry g, Block b) {
      int size = b.size();
      Tensor gradients = columns.get(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(depth, size));
      TensorAccess.read(gradients, 0, matrix, 0, depth * size);
      for (int i = 0; i < kernel.height(); i++) {
        for (int j = 0; j < kernel.width(); j++) {
          Window w = new Window(g, b, i, j);
          if (!w.isEmpty()) {
            for (int c = 0; c < groupIn; c++) {
              scatterRow(g, b, w, c * g.plane, row(c, i, j) * size);
            }
          }
        }
      }
    }

    private void scatterRow(Geometry g, Block b, Window w, int plane, int start) {
      int columns = b.columnEnd - b.column;
      int from = start + (w.up - b.row) * columns + w.left - b.column;
      int to = plane + w.inputRow * g.width + w.inputColumn;
      int n = w.right - w.left;
      if (isDense() && g.width == columns) {
        clearMargins(w, b, start);
        add(matrix, from, line, to, 1, (w.down - w.up - 1) * columns + n);
      } else {
        for (int r = w.up; r < w.down; r++) {
          add(matrix, from, line, to, stride.width(), n);
          from += columns;
          to += stride.height() * g.width;
        }
      }
    }

    private static void add(float[] from, int at, float[] to, int start, int step, int n) {
      if (step == 1) {
        for (int k = 0; k < n; k++) {
          to[start + k] += from[at + k];
        }
      } else {
        for (int k = 0; k < n; k++) {
          to[start + k * step] += from[at + k];
        }
      }
    }

    void writeGradient(Geometry g, Tensor dx, int sample, int group) {
      long to = (long) (sample * inChannels + group * groupIn) * g.plane;
      TensorAccess.write(dx, to, line, 0, groupIn * g.plane);
    }

    /** Fills {@code rows} rows of {@code n} elements with one value each. */
    void fillRows(Tensor y, long at, int pitch, int n, float[] values, int first, int rows) {
      line = atLeast(line, n);
      for (int i = 0; i < rows; i++) {
        Arrays.fill(line, 0, n, values[first + i]);
        TensorAccess.write(y, at + (long) i * pitch, line, 0, n);
      }
    }

    /** Adds the sum of each row of {@code n} elements to {@code sums}. */
    void addRowSums(Tensor dy, long at, int n, double[] sums) {
      line = atLeast(line, n);
      for (int i = 0; i < sums.length; i++) {
        TensorAccess.read(dy, at + (long) i * n, line, 0, n);
        sums[i] += sum(line, n);
      }
    }

    /** In four strands, because additions that wait for one another are slow. */
    private static double sum(float[] values, int n) {
      double s0 = 0;
      double s1 = 0;
      double s2 = 0;
      double s3 = 0;
      int k = 0;
      for (; k + 4 <= n; k += 4) {
        s0 += values[k];
        s1 += values[k + 1];
        s2 += values[k + 2];
        s3 += values[k + 3];
      }
      for (; k < n; k++) {
        s0 += values[k];
      }
      return s0 + s1 + (s2 + s3);
    }

    private float[] atLeast(float[] array, int length) {
      return array.length >= length ? array : new float[length];
    }
  }
}
