package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.Tensor;

/** Brings the blocks of {@link Chunks} from memory into rows, whatever the layout. */
final class BlockReader<A> {
  /** Elements from which a read of their own pays. */
  private static final int LONG_RUN = 128;

  private final Kernels<A> kernels;

  /** Channels first: the block's columns behind each other. */
  private A linear;

  /** Channels first: all channels of the block of one sample. */
  private A sample;

  BlockReader(Kernels<A> kernels) {
    this.kernels = kernels;
    linear = kernels.allocate(0);
    sample = kernels.allocate(0);
  }

  /** Reads the block of {@code t}. */
  void read(Problem problem, Chunks block, Tensor t, A[] rows) {
    int width = Chunks.LANES * block.columns();
    for (int g = 0; g * Chunks.LANES < block.length(); g++) {
      if (rows[g] == null || kernels.length(rows[g]) < width) {
        rows[g] = kernels.allocate(width);
      }
    }
    if (problem.layout() == Layout.NSC) {
      readPositions(problem, block, t, rows);
    } else {
      readChannels(problem, block, t, rows);
    }
  }

  /** Lays the values of the block's channels out like a row. */
  void spread(Chunks block, A perChannel, A row) {
    int columns = block.columns();
    if (block.columnStride() == 1) {
      for (int lane = 0; lane < Chunks.LANES; lane++) {
        kernels.copy(perChannel, block.channel(), row, lane * columns, columns);
      }
    } else {
      for (int column = 0; column < columns; column++) {
        int at = column * Chunks.LANES;
        double value = kernels.get(perChannel, block.channelOf(column));
        kernels.fill(row, at, at + Chunks.LANES, value);
      }
    }
  }

  // -------------------------------------------------------------------------------- channels last

  private void readPositions(Problem problem, Chunks block, Tensor t, A[] rows) {
    for (int i = 0; i < block.length(); i += Chunks.LANES) {
      int count = Math.min(Chunks.LANES, block.length() - i);
      readPositions(block, t, i, count, rows[i / Chunks.LANES]);
    }
  }

  private void readPositions(Chunks block, Tensor t, int i, int count, A row) {
    int channels = block.channels();
    long position = (block.firstValue() + i) * t.pitch() + block.channel();
    if (channels == t.pitch()) {
      kernels.read(t, position, row, 0, count * channels);
      return;
    }
    for (int lane = 0; lane < count; lane++) {
      kernels.read(t, position + lane * t.pitch(), row, lane * channels, channels);
    }
  }

  // ------------------------------------------------------------------------------- channels first

  private void readChannels(Problem problem, Chunks block, Tensor t, A[] rows) {
    int columns = block.columns();
    int length = block.length();
    linear = grown(linear, columns * length);
    readChannels(problem, block, t, linear);
    kernels.arrange(linear, columns, length, rows);
  }

  private void readChannels(Problem problem, Chunks block, Tensor t, A to) {
    int channels = block.channels();
    int perChannel = block.columns() / channels * block.length();
    int s = (int) problem.s();
    long r = block.firstValue();
    for (int at = 0; at < perChannel; ) {
      int inSample = (int) (r % s);
      int run = Math.min(s - inSample, perChannel - at);
      long position = r / s * t.pitch() + (long) block.channel() * s;
      if (channels == 1 || s >= LONG_RUN) {
        for (int channel = 0; channel < channels; channel++) {
          long start = position + (long) channel * s + inSample;
          kernels.read(t, start, to, channel * perChannel + at, run);
        }
      } else {
        // One read for all channels: many short ones cost more than copies from the cache.
        sample = grown(sample, channels * s);
        kernels.read(t, position, sample, 0, channels * s);
        for (int channel = 0; channel < channels; channel++) {
          kernels.copy(sample, channel * s + inSample, to, channel * perChannel + at, run);
        }
      }
      at += run;
      r += run;
    }
  }

  private A grown(A a, int length) {
    return kernels.length(a) < length ? kernels.allocate(length) : a;
  }
}
