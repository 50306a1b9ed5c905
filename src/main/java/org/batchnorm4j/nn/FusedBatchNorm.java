package org.batchnorm4j.nn;

import java.util.Map;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/**
 * A batch norm and the activation behind it in one pass. Its state has the names of the batch
 * norm's.
 */
final class FusedBatchNorm extends Module {
  private final BatchNorm bn;
  private final Elementwise function;
  private final Activation activation;

  /**
   * Takes over the batch norm.
   *
   * @param function a ReLU or a LeakyReLU with a slope that can be fused
   */
  FusedBatchNorm(BatchNorm bn, Elementwise function) {
    this.bn = bn;
    this.function = function;
    activation =
        function instanceof LeakyReLU leaky
            ? Activation.leakyRelu(leaky.negativeSlope())
            : Activation.RELU;
  }

  BatchNorm batchNorm() {
    return bn;
  }

  Elementwise function() {
    return function;
  }

  @Override
  public Tensor forward(Tensor x) {
    return bn.forward(x, null, activation);
  }

  @Override
  public Tensor backward(Tensor dy) {
    return bn.backward(dy);
  }

  @Override
  public Shape outputShape(Shape x) {
    return bn.outputShape(x);
  }

  @Override
  Shape check(Shape x) {
    return bn.check(x);
  }

  @Override
  FusedBatchNorm copy() {
    return withMode(new FusedBatchNorm(bn.copy(), function));
  }

  @Override
  protected Map<String, Parameter> ownParameters() {
    return bn.ownParameters();
  }

  @Override
  protected Map<String, Tensor> ownBuffers() {
    return bn.ownBuffers();
  }

  @Override
  public FusedBatchNorm backend(BatchNormBackend backend) {
    bn.backend(backend);
    return this;
  }

  @Override
  public void close() {
    bn.close();
  }

  @Override
  String label() {
    return bn.label() + " + " + function.label();
  }

  @Override
  public String toString() {
    return bn + " + " + function;
  }
}
