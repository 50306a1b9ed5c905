package org.batchnorm4j.nn;

/** Cuts a run of elements into chunks and lends each two arrays to compute with. */
final class ElementChunks {
  private static final int CHUNK = 2048;
  private static final int CHUNKS_PER_PIECE = 16;

  private float[][] scratch = new float[0][];

  /** What is done with elements {@code at} to {@code at + n - 1}. */
  interface Body {
    void run(float[] first, float[] second, int at, int n);
  }

  /** Runs over all chunks of {@code size} elements, in parallel where there are many. */
  void forEach(long elements, Body body) {
    int size = (int) elements;
    int perPiece = CHUNK * CHUNKS_PER_PIECE;
    int pieces = (size + perPiece - 1) / perPiece;
    int strands = Parallel.strands(pieces);
    if (scratch.length < 2 * strands) {
      scratch = new float[2 * strands][CHUNK];
    }
    Parallel.forEach(
        pieces,
        strands,
        (strand, piece) -> {
          int end = Math.min(size, (piece + 1) * perPiece);
          for (int at = piece * perPiece; at < end; at += CHUNK) {
            int n = Math.min(CHUNK, end - at);
            body.run(scratch[2 * strand], scratch[2 * strand + 1], at, n);
          }
        });
  }
}
