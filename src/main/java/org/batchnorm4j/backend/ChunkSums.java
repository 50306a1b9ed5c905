package org.batchnorm4j.backend;

/** What the reduction of a block gives for each column, widened. */
final class ChunkSums {
  /** Statistics: the chunk's first value. */
  final double[] first = new double[Chunks.MAX_COLUMNS];

  /** Statistics: what was subtracted from every value, k. */
  final double[] shift = new double[Chunks.MAX_COLUMNS];

  /** Statistics: the sum of shifted values, S1. Gradients: of g, A. */
  final double[] sum = new double[Chunks.MAX_COLUMNS];

  /** Statistics: the sum of their squares, S2. Gradients: of g * xm, B. */
  final double[] product = new double[Chunks.MAX_COLUMNS];
}
