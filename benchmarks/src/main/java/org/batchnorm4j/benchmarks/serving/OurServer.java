package org.batchnorm4j.benchmarks.serving;

import org.batchnorm4j.nn.InferenceModel;

/** An InferenceModel on heap arrays. */
final class OurServer implements Server {
  private final InferenceModel model;

  OurServer(Network network) {
    model = InferenceModel.of(network.module(), network.sample());
  }

  @Override
  public Caller caller(int batch, float[] input) {
    float[] output = new float[batch * (int) model.outputShape().size()];
    return new Caller() {
      @Override
      public void call() {
        model.forward(input, output);
      }

      @Override
      public float[] output() {
        return output;
      }

      @Override
      public void close() {}
    };
  }

  @Override
  public void close() {
    model.close();
  }
}
