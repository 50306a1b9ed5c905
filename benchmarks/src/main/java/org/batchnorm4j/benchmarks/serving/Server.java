package org.batchnorm4j.benchmarks.serving;

/** A network that is ready to be called by many threads. */
interface Server {

  /** What one thread calls with, with its own input and output. */
  Caller caller(int batch, float[] input) throws Exception;

  void close() throws Exception;

  /** Whether it computes the network, or only shows how fast memory is. */
  default boolean computes() {
    return true;
  }

  /** One call after another, on one thread. */
  interface Caller {
    void call();

    /** What the last call computed. */
    float[] output();

    void close() throws Exception;

    /** One that has nothing to close. */
    static Caller of(Runnable call, float[] output) {
      return new Caller() {
        @Override
        public void call() {
          call.run();
        }

        @Override
        public float[] output() {
          return output;
        }

        @Override
        public void close() {}
      };
    }
  }
}
