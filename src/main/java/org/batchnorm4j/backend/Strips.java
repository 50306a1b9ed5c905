package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.Tensor;

/**
 * How element-by-element passes walk a tensor. Both layouts are rows of neighbouring elements,
 * {@code pitch} apart: a position of all channels, or a sample of all values of all channels. A
 * strip is a range of columns of all rows; it is visited in blocks of as many rows as make {@link
 * #LENGTH} elements, for which per-channel values are laid out once.
 */
final class Strips<A> {
  /** Elements of a block: long enough for the loops, short enough that nine fit the L1 cache. */
  static final int LENGTH = 1024;

  private final Kernels<A> kernels;

  private long rows;
  private int valuesPerColumn;
  private int firstColumn;
  private int columns;
  private int width;
  private int endColumn;
  private int group;

  Strips(Kernels<A> kernels) {
    this.kernels = kernels;
  }

  /** Goes before the first strip of channels {@code from} to {@code end - 1}. */
  void start(Problem problem, int from, int end) {
    boolean channelsLast = problem.layout() == Layout.NSC;
    rows = channelsLast ? problem.valuesPerChannel() : problem.n();
    valuesPerColumn = channelsLast ? 1 : (int) problem.s();
    firstColumn = from * valuesPerColumn;
    endColumn = end * valuesPerColumn;
    // In long: a row may be as long as an array.
    long all = endColumn - firstColumn;
    long count = (all + LENGTH - 1) / LENGTH;
    width = (int) ((all + count - 1) / count);
    columns = 0;
  }

  /** Goes to the next strip; false where there is none. */
  boolean next() {
    firstColumn += columns;
    columns = Math.min(width, endColumn - firstColumn);
    if (columns == 0) {
      return false;
    }
    group = (int) Math.min(LENGTH / columns, rows);
    return true;
  }

  /** The number of rows. */
  long rows() {
    return rows;
  }

  /** The number of rows of a block; the last may have fewer. */
  int group() {
    return group;
  }

  /** Lays the values of the strip's channels out like a block. */
  void spread(A perChannel, A block) {
    if (valuesPerColumn == 1) {
      kernels.copy(perChannel, firstColumn, block, 0, columns);
    } else {
      int end = firstColumn + columns;
      for (int column = firstColumn; column < end; ) {
        int channel = column / valuesPerColumn;
        int next = (int) Math.min((channel + 1L) * valuesPerColumn, end);
        double value = kernels.get(perChannel, channel);
        kernels.fill(block, column - firstColumn, next - firstColumn, value);
        column = next;
      }
    }
    for (int row = 1; row < group; row++) {
      kernels.copy(block, 0, block, row * columns, columns);
    }
  }

  /** Reads the block that starts at a row, and returns its number of elements. */
  int read(Tensor t, long row, A block) {
    int count = (int) Math.min(group, rows - row);
    long position = row * t.pitch() + firstColumn;
    if (columns == t.pitch()) {
      kernels.read(t, position, block, 0, count * columns);
    } else {
      for (int i = 0; i < count; i++) {
        kernels.read(t, position + i * t.pitch(), block, i * columns, columns);
      }
    }
    return count * columns;
  }

  /** Writes the block that starts at a row. */
  void write(Tensor t, long row, A block) {
    int count = (int) Math.min(group, rows - row);
    long position = row * t.pitch() + firstColumn;
    if (columns == t.pitch()) {
      kernels.write(t, position, block, 0, count * columns);
    } else {
      for (int i = 0; i < count; i++) {
        kernels.write(t, position + i * t.pitch(), block, i * columns, columns);
      }
    }
  }
}
