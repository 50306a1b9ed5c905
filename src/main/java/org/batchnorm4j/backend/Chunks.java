package org.batchnorm4j.backend;

/**
 * The chunks of the channels of a problem, and which of them are reduced together: a block of up to
 * {@link #MAX_COLUMNS} <em>columns</em>, each one chunk of one channel, all of the same length. The
 * numbers are docs/numerics.md's; only the grouping into blocks is free, and chosen so that the
 * loops are long and memory is read in long runs.
 *
 * <p>A block lies in 16 rows: row g holds values 16g to 16g + 15 of every column, value {@code 16g
 * + lane} of a column at {@code column * columnStride + lane * laneStride}. Channels last, a row is
 * 16 positions of memory as they are; channels first, 16 neighbouring values stay together.
 */
final class Chunks {
  /** Values of a chunk. */
  static final int LENGTH = 256;

  /** Lanes of a chunk. */
  static final int LANES = 16;

  /** The most columns of a block. */
  static final int MAX_COLUMNS = 128;

  /** Rows of a block. */
  static final int ROWS = LENGTH / LANES;

  private static final int MAX_SEGMENTS = 64;

  /** Channels first, the columns of a block, where channels have as many chunks. */
  private static final int BLOCK_COLUMNS = 32;

  /** Channels first, the neighbouring elements that are worth a read. */
  private static final int RUN_ELEMENTS = 256;

  /** Channels first, enough channels for long loops over each one's last, short chunk. */
  private static final int TILE_CHANNELS = 16;

  /** Channels first, elements that stay in the L2 cache between being reduced and being used. */
  private static final int TILE_ELEMENTS = 1 << 16;

  private boolean channelsLast;
  private long values;
  private long chunksPerChannel;
  private long chunksPerSegment;
  private int tile;
  private int strip;
  private int firstOfTile;
  private int endOfTile;

  private int channel;
  private int channels;
  private long chunk;
  private int chunks;
  private int length;

  /** Sets the problem, which must have values. */
  void problem(Problem problem) {
    channelsLast = problem.layout() == Layout.NSC;
    values = problem.valuesPerChannel();
    chunksPerChannel = ceilDiv(values, LENGTH);
    chunksPerSegment = ceilDiv(chunksPerChannel, MAX_SEGMENTS);
    int c = (int) problem.c();
    strip = (int) ceilDiv(c, ceilDiv(c, MAX_COLUMNS));
    if (channelsLast) {
      tile = c;
    } else {
      long cached = Math.min(TILE_CHANNELS, ceilDiv(TILE_ELEMENTS, values));
      tile = (int) Math.min(strip, Math.max(cached, ceilDiv(RUN_ELEMENTS, problem.s())));
    }
  }

  /** How many channels are best reduced and then used together, while they are in the cache. */
  int tile() {
    return tile;
  }

  /** Goes before the first block of channels {@code from} to {@code end - 1}. */
  void start(int from, int end) {
    firstOfTile = from;
    endOfTile = end;
    channel = from;
    channels = channelsLast ? 0 : end - from;
    chunk = 0;
    chunks = channelsLast ? 1 : 0;
  }

  /** Goes to the next block; false where there is none. Chunks of a channel come in order. */
  boolean next() {
    if (channelsLast) {
      channel += channels;
      if (channel == endOfTile) {
        channel = firstOfTile;
        chunk++;
      }
      channels = Math.min(strip, endOfTile - channel);
    } else {
      chunk += chunks;
      long full = values / LENGTH - chunk;
      chunks = (int) Math.max(1, Math.min(full, Math.max(1, BLOCK_COLUMNS / channels)));
    }
    length = (int) Math.min(LENGTH, values - chunk * LENGTH);
    return chunk < chunksPerChannel;
  }

  /** The first channel of the block. */
  int channel() {
    return channel;
  }

  /** The number of channels of the block. */
  int channels() {
    return channels;
  }

  /** The first value of the block, counted from the channel's first. */
  long firstValue() {
    return chunk * LENGTH;
  }

  /** The number of values of every column. */
  int length() {
    return length;
  }

  int columns() {
    return channels * chunks;
  }

  int columnStride() {
    return channelsLast ? 1 : LANES;
  }

  int laneStride() {
    return channelsLast ? channels : 1;
  }

  /** The channel of a column. */
  int channelOf(int column) {
    return channel + column / chunks;
  }

  /** The chunk of a column, counted from the channel's first. */
  long chunkOf(int column) {
    return chunk + column % chunks;
  }

  /** The segment of a chunk. */
  long segment(long q) {
    return q / chunksPerSegment;
  }

  /** The number of values before a chunk in its segment. */
  long valuesBefore(long q) {
    return q % chunksPerSegment * LENGTH;
  }

  /** The number of values before a segment. */
  long valuesBeforeSegment(long segment) {
    return segment * chunksPerSegment * LENGTH;
  }

  boolean endsSegment(long q) {
    return q == chunksPerChannel - 1 || (q + 1) % chunksPerSegment == 0;
  }

  private static long ceilDiv(long a, long b) {
    return (a + b - 1) / b;
  }
}
