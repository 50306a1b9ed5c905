package org.batchnorm4j.nn;

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
