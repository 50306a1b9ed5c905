package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.Tensor;

/**
 * A part of an {@link InferenceModel}: what a layer does to samples. Immutable, so that all threads
 * share it.
 */
interface Step extends AutoCloseable {

  /** A runner for calls of at most so many samples. */
  Runner newRunner(int samples);

  /** Gives memory back, as soon as no runner uses it. */
  @Override
  default void close() {}

  /** What one thread at a time computes with: the step, and memory for it. */
  interface Runner extends AutoCloseable {
    /**
     * Maps the first {@code n} samples of {@code x}, one behind the other, to those of {@code y}.
     */
    void run(float[] x, float[] y, int n);

    @Override
    default void close() {}
  }

  /** A runner that takes samples from anywhere in an array, and puts them anywhere. */
  interface Anywhere extends Runner {
    /** As the other, but from and to these indices. */
    void run(float[] x, int xFrom, float[] y, int yFrom, int n);

    @Override
    default void run(float[] x, float[] y, int n) {
      run(x, 0, y, 0, n);
    }

    /**
     * The same of contiguous f32 tensors outside the heap.
     *
     * @return false, without having done anything, if this runner cannot
     */
    default boolean runOutside(Tensor x, Tensor y, int n) {
      return false;
    }

    /** Whether the samples may be put where they are taken from. */
    default boolean worksInPlace() {
      return false;
    }
  }

  /** A step that needs no memory of its own. */
  interface Pure extends Step, Runner {
    @Override
    default Runner newRunner(int samples) {
      return this;
    }

    @Override
    default void close() {}
  }
}
