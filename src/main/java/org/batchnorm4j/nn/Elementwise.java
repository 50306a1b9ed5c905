package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/** A layer that maps every element by itself, in whatever order the elements lie. */
abstract class Elementwise extends Layer {
  private static final int CHUNK = 2048;
  private static final int CHUNKS_PER_PIECE = 16;

  private float[][] scratch = new float[0][];

  /**
   * Maps the first {@code n} values in place; the first of them is element {@code at} in memory.
   */
  abstract void apply(float[] values, int n, long at);

  /** Turns the first {@code n} values of {@code dy} into those of dx, where the input was x. */
  abstract void applyGradient(float[] x, float[] dy, int n, long at);

  @Override
  final boolean isElementwise() {
    return true;
  }

  @Override
  final Shape outputShape(Shape x) {
    return x;
  }

  @Override
  void compute(Tensor x, Tensor y) {
    overChunks(
        x,
        (values, ignored, at, n) -> {
          x.read(x.offset() + at, values, 0, n);
          apply(values, n, at);
          y.write(y.offset() + at, values, 0, n);
        });
  }

  @Override
  final void differentiate(Tensor x, Tensor dy, Tensor dx) {
    overChunks(
        x,
        (values, gradients, at, n) -> {
          x.read(x.offset() + at, values, 0, n);
          dy.read(dy.offset() + at, gradients, 0, n);
          applyGradient(values, gradients, n, at);
          dx.write(dx.offset() + at, gradients, 0, n);
        });
  }

  private interface ChunkBody {
    void run(float[] first, float[] second, int at, int n);
  }

  private void overChunks(Tensor x, ChunkBody body) {
    int size = (int) x.size();
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
