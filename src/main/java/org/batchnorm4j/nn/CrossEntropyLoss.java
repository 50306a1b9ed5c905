package org.batchnorm4j.nn;

import org.batchnorm4j.backend.InUse;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * The mean of −log softmax(x)[target] over a batch, like {@code torch.nn.CrossEntropyLoss} with
 * class numbers as targets. The input is logits of shape (N, classes), f32, row-major; exponentials
 * and sums are f64. For one thread at a time.
 */
public final class CrossEntropyLoss implements AutoCloseable {
  private final Slot slot = new Slot();
  private @Nullable Tensor gradient;

  /**
   * The loss.
   *
   * @param prediction logits, of shape (N, classes)
   * @param targets the right class of each sample
   * @throws IllegalArgumentException if the shapes do not match, a target is not a class, the batch
   *     is empty or {@code prediction} is not f32, contiguous and row-major
   * @throws IllegalStateException if {@code prediction} is closed
   */
  public double forward(Tensor prediction, int[] targets) {
    Layer.checkFloats("CrossEntropyLoss", "prediction", prediction);
    if (prediction.shape().rank() != 2) {
      throw new IllegalArgumentException(
          "prediction must have shape (N, classes), but got " + prediction.shape());
    }
    int samples = (int) prediction.shape().dim(0);
    int classes = (int) prediction.shape().dim(1);
    if (targets.length != samples) {
      throw new IllegalArgumentException(
          "got "
              + targets.length
              + " targets for "
              + samples
              + " samples (prediction has shape "
              + prediction.shape()
              + ")");
    }
    if (samples == 0) {
      throw new IllegalArgumentException("prediction is empty: there is nothing to take a mean of");
    }
    for (int i = 0; i < samples; i++) {
      if (targets[i] < 0 || targets[i] >= classes) {
        throw new IllegalArgumentException(
            "targets["
                + i
                + "] must be a class from 0 to "
                + (classes - 1)
                + ", but got "
                + targets[i]);
      }
    }
    if (!prediction.isRowMajor()) {
      throw new IllegalArgumentException(
          "prediction must be contiguous, but is " + prediction + "; copy it with to(...) first");
    }
    if (slot.overlaps(prediction)) {
      throw new IllegalArgumentException(
          "prediction is this CrossEntropyLoss's own gradient, which the call would overwrite; copy"
              + " it first");
    }
    Tensor g = slot.propose(prediction);
    float[] row = new float[classes];
    double[] exponentials = new double[classes];
    double loss = 0;
    Tensor[] used = {prediction, g};
    InUse.acquire(used);
    slot.adopt();
    gradient = g;
    try {
      for (int i = 0; i < samples; i++) {
        long at = (long) i * classes;
        TensorAccess.read(prediction, at, row, 0, classes);
        loss += sample(row, exponentials, targets[i], samples);
        TensorAccess.write(g, at, row, 0, classes);
      }
    } finally {
      InUse.release(used);
    }
    return loss / samples;
  }

  /** The loss of one sample; its logits become their gradient. */
  private static double sample(float[] row, double[] exponentials, int target, int samples) {
    double max = Double.NEGATIVE_INFINITY;
    for (float logit : row) {
      max = Math.max(max, logit);
    }
    double sum = 0;
    for (int j = 0; j < row.length; j++) {
      exponentials[j] = Math.exp(row[j] - max);
      sum += exponentials[j];
    }
    double loss = Math.log(sum) - (row[target] - max);
    for (int j = 0; j < row.length; j++) {
      double softmax = exponentials[j] / sum;
      row[j] = (float) ((j == target ? softmax - 1 : softmax) / samples);
    }
    return loss;
  }

  /**
   * The gradient of the last forward's prediction. It belongs to this object and is overwritten by
   * the next forward.
   *
   * @throws IllegalStateException if there was no forward
   */
  public Tensor backward() {
    Tensor g = gradient;
    if (g == null) {
      throw new IllegalStateException(
          "CrossEntropyLoss.backward needs a forward: call forward first");
    }
    return g;
  }

  /** Gives the gradient's memory back. Idempotent. */
  @Override
  public void close() {
    gradient = null;
    slot.close();
  }

  @Override
  public String toString() {
    return "CrossEntropyLoss()";
  }
}
