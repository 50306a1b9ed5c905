package org.batchnorm4j.nn;

import org.batchnorm4j.backend.InUse;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * The mean of the squared differences, like {@code torch.nn.MSELoss}. f32, any shape and contiguous
 * memory format; summed in f64. For one thread at a time.
 */
public final class MSELoss implements AutoCloseable {
  private static final int CHUNK = 2048;

  private final Slot slot = new Slot();
  private @Nullable Tensor gradient;

  /**
   * The loss.
   *
   * @param prediction the output of a network
   * @param target what it should have been, in the same shape and memory format
   * @throws IllegalArgumentException if the two differ in shape or memory format, are empty or are
   *     not f32 and contiguous
   * @throws IllegalStateException if one of them is closed
   */
  public double forward(Tensor prediction, Tensor target) {
    Layer.checkFloats("MSELoss", "prediction", prediction);
    Layer.checkFloats("MSELoss", "target", target);
    if (!prediction.shape().equals(target.shape())) {
      throw new IllegalArgumentException(
          "prediction has shape " + prediction.shape() + ", but target has " + target.shape());
    }
    if (prediction.size() == 0) {
      throw new IllegalArgumentException("prediction is empty: there is nothing to take a mean of");
    }
    if (!prediction.isContiguous() || !Layer.isSameOrder(target, prediction)) {
      throw new IllegalArgumentException(
          "prediction and target must be contiguous and have the same memory format, but got "
              + prediction
              + " and "
              + target
              + "; copy one with to(...) first");
    }
    if (slot.overlaps(prediction) || slot.overlaps(target)) {
      throw new IllegalArgumentException(
          "prediction or target is this MSELoss's own gradient, which the call would overwrite;"
              + " copy it first");
    }
    Tensor g = slot.propose(prediction);
    int size = (int) prediction.size();
    double scale = 2.0 / size;
    float[] p = new float[CHUNK];
    float[] t = new float[CHUNK];
    double sum = 0;
    Tensor[] used = {prediction, target, g};
    InUse.acquire(used);
    slot.adopt();
    gradient = g;
    try {
      for (int at = 0; at < size; at += CHUNK) {
        int n = Math.min(CHUNK, size - at);
        TensorAccess.read(prediction, at, p, 0, n);
        TensorAccess.read(target, at, t, 0, n);
        for (int i = 0; i < n; i++) {
          double difference = (double) p[i] - t[i];
          sum += difference * difference;
          p[i] = (float) (difference * scale);
        }
        TensorAccess.write(g, at, p, 0, n);
      }
    } finally {
      InUse.release(used);
    }
    return sum / size;
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
      throw new IllegalStateException("MSELoss.backward needs a forward: call forward first");
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
    return "MSELoss()";
  }
}
