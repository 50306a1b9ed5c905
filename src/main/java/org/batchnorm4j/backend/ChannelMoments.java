package org.batchnorm4j.backend;

/** Count, mean and squared deviations of channels, merged from those of their chunks. */
final class ChannelMoments {
  /** The first value, K. */
  double[] first = {};

  /** The mean less K. */
  double[] mean = {};

  /** The sum of squared deviations from the mean. */
  double[] m2 = {};

  private double[] segmentMean = {};
  private double[] segmentM2 = {};

  void ensure(int channels) {
    if (first.length < channels) {
      first = new double[channels];
      mean = new double[channels];
      m2 = new double[channels];
      segmentMean = new double[channels];
      segmentM2 = new double[channels];
    }
  }

  /** Merges the block's chunks, which follow those already merged. */
  void add(Chunks chunks, ChunkSums sums) {
    int n = chunks.length();
    double perValue = 1.0 / n;
    for (int column = 0; column < chunks.columns(); column++) {
      int c = chunks.channelOf(column);
      long q = chunks.chunkOf(column);
      if (q == 0) {
        first[c] = sums.first[column];
      }
      double s1 = sums.sum[column];
      double dm = s1 * perValue;
      double chunkM2 = Math.fma(-s1, dm, sums.product[column]);
      if (chunkM2 < 0) {
        chunkM2 = 0;
      }
      double chunkMean = (sums.shift[column] - first[c]) + dm;
      long before = chunks.valuesBefore(q);
      merge(segmentMean, segmentM2, c, before, chunkMean, chunkM2, n);
      if (chunks.endsSegment(q)) {
        long beforeSegment = chunks.valuesBeforeSegment(chunks.segment(q));
        merge(mean, m2, c, beforeSegment, segmentMean[c], segmentM2[c], before + n);
      }
    }
  }

  /** Merges B into entry {@code c}, which stands for {@code countA} values; 0: B replaces it. */
  private static void merge(
      double[] meanA, double[] m2A, int c, double countA, double meanB, double m2B, double countB) {
    if (countA == 0) {
      meanA[c] = meanB;
      m2A[c] = m2B;
      return;
    }
    double w = countB / (countA + countB);
    double delta = meanB - meanA[c];
    meanA[c] = Math.fma(delta, w, meanA[c]);
    m2A[c] = Math.fma(delta * delta, countA * w, m2A[c] + m2B);
  }
}
