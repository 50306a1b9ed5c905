package org.batchnorm4j.backend;

/** The sums of a channel's gradients, added from those of its chunks. */
final class ChannelGradients {
  /** The sum of g. */
  double[] sumDy = {};

  /** The sum of g * (x - mean). */
  double[] dot = {};

  private double[] segmentSumDy = {};
  private double[] segmentDot = {};

  void ensure(int channels) {
    if (sumDy.length < channels) {
      sumDy = new double[channels];
      dot = new double[channels];
      segmentSumDy = new double[channels];
      segmentDot = new double[channels];
    }
  }

  /** Adds the block's chunks, which follow those already added. */
  void add(Chunks chunks, ChunkSums sums) {
    for (int column = 0; column < chunks.columns(); column++) {
      int c = chunks.channelOf(column);
      long q = chunks.chunkOf(column);
      boolean opensSegment = chunks.valuesBefore(q) == 0;
      add(segmentSumDy, c, opensSegment, sums.sum[column]);
      add(segmentDot, c, opensSegment, sums.product[column]);
      if (chunks.endsSegment(q)) {
        boolean opensChannel = chunks.segment(q) == 0;
        add(sumDy, c, opensChannel, segmentSumDy[c]);
        add(dot, c, opensChannel, segmentDot[c]);
      }
    }
  }

  private static void add(double[] to, int c, boolean first, double value) {
    to[c] = first ? value : to[c] + value;
  }
}
