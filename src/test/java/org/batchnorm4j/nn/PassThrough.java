package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.Tensor;

/** A module of a user's own, which says nothing of shapes and cannot be copied. */
class PassThrough extends Module {
  @Override
  public Tensor forward(Tensor x) {
    return x;
  }

  @Override
  public Tensor backward(Tensor dy) {
    return dy;
  }
}
