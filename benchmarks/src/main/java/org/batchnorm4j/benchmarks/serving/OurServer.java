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
    return Caller.of(() -> model.forward(input, output), output);
  }

  @Override
  public void close() {
    model.close();
  }
}
