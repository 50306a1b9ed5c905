package org.batchnorm4j.optim;

import java.util.Arrays;
import java.util.List;
import org.batchnorm4j.nn.Parameter;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/**
 * Moves parameters against their gradients. Computes in f64, whatever the parameters' type, and
 * keeps its own state in f64 on the heap: f32 parameters are rounded once per step.
 *
 * <p>For one thread at a time.
 */
public abstract sealed class Optimizer permits SGD, Moments {
  private static final int CHUNK = 1024;

  private final List<Parameter> parameters;
  private double learningRate;
  private final float[] floats = new float[CHUNK];
  private final double[] values = new double[CHUNK];
  private final double[] gradients = new double[CHUNK];

  Optimizer(List<Parameter> parameters, double learningRate) {
    if (parameters.isEmpty()) {
      throw new IllegalArgumentException("parameters is empty: there is nothing to optimize");
    }
    for (int i = 0; i < parameters.size(); i++) {
      Tensor value = parameters.get(i).value();
      if (value.dtype() != DType.F32 && value.dtype() != DType.F64 || !value.isContiguous()) {
        throw new IllegalArgumentException(
            "parameters[" + i + "] must be contiguous and F32 or F64, but is " + value);
      }
      if (value.isReadOnly() || parameters.get(i).grad().isReadOnly()) {
        throw new IllegalArgumentException(
            "parameters[" + i + "] wraps memory that is read-only; it must be writable");
      }
      for (int j = 0; j < i; j++) {
        if (value.overlaps(parameters.get(j).value())) {
          throw new IllegalArgumentException(
              "parameters["
                  + i
                  + "] is parameters["
                  + j
                  + "] again, or shares its memory: a step would move it twice");
        }
      }
      for (int j = 0; j < parameters.size(); j++) {
        Parameter other = parameters.get(j);
        Tensor grad = parameters.get(i).grad();
        if (grad.overlaps(other.value()) || j < i && grad.overlaps(other.grad())) {
          throw new IllegalArgumentException(
              "the gradient of parameters["
                  + i
                  + "] shares memory with parameters["
                  + j
                  + "] or its gradient: make it with Tensor.zerosLike(value)");
        }
      }
    }
    this.parameters = List.copyOf(parameters);
    learningRate(learningRate);
  }

  /**
   * Moves every parameter by its gradient, and the state along.
   *
   * @throws IllegalStateException if a parameter is closed
   */
  public final void step() {
    checkOpen();
    for (int i = 0; i < parameters.size(); i++) {
      Parameter p = parameters.get(i);
      TensorAccess.acquire(p.value());
      try {
        TensorAccess.acquire(p.grad());
        try {
          step(i, p.value(), p.grad());
        } finally {
          TensorAccess.release(p.grad());
        }
      } finally {
        TensorAccess.release(p.value());
      }
    }
    endStep();
  }

  private void checkOpen() {
    for (int i = 0; i < parameters.size(); i++) {
      Parameter p = parameters.get(i);
      if (p.value().isClosed() || p.grad().isClosed()) {
        throw new IllegalStateException("parameters[" + i + "] is closed");
      }
      p.value().checkUsable();
      p.grad().checkUsable();
    }
  }

  private void step(int index, Tensor value, Tensor grad) {
    int size = (int) value.size();
    for (int at = 0; at < size; at += CHUNK) {
      int n = Math.min(CHUNK, size - at);
      read(value, at, n, values);
      read(grad, at, n, gradients);
      update(index, at / CHUNK, n, values, gradients);
      write(value, at, n, values);
    }
  }

  private void read(Tensor from, int at, int n, double[] to) {
    if (from.dtype() == DType.F64) {
      TensorAccess.read(from, at, to, 0, n);
    } else {
      TensorAccess.read(from, at, floats, 0, n);
      for (int i = 0; i < n; i++) {
        to[i] = floats[i];
      }
    }
  }

  private void write(Tensor to, int at, int n, double[] from) {
    if (to.dtype() == DType.F64) {
      TensorAccess.write(to, at, from, 0, n);
    } else {
      for (int i = 0; i < n; i++) {
        floats[i] = (float) from[i];
      }
      TensorAccess.write(to, at, floats, 0, n);
    }
  }

  /** Called once per step, after all {@link #update}s. */
  abstract void endStep();

  /**
   * Moves a chunk of a parameter.
   *
   * @param index which parameter
   * @param chunk which chunk of it
   * @param n how many values
   * @param values the values, to be changed
   * @param gradients their gradients; scratch afterwards
   */
  abstract void update(int index, int chunk, int n, double[] values, double[] gradients);

  /**
   * One f64 number of state for each element of each parameter: by parameter, chunk, and place
   * within it. Chunks are arrays of their own because HotSpot vectorizes no loop over arrays with
   * offsets.
   */
  final double[][][] state() {
    return parameters.stream()
        .map(p -> new double[(int) ((p.value().size() + CHUNK - 1) / CHUNK)][CHUNK])
        .toArray(double[][][]::new);
  }

  /**
   * Sets all gradients to zero. Not needed before {@code backward}, which overwrites them; useful
   * for parameters that the next backward does not reach.
   *
   * @throws IllegalStateException if a parameter is closed
   */
  public final void zeroGrad() {
    checkOpen();
    Arrays.fill(gradients, 0);
    for (Parameter p : parameters) {
      Tensor grad = p.grad();
      TensorAccess.acquire(grad);
      try {
        for (int at = 0; at < grad.size(); at += CHUNK) {
          write(grad, at, (int) Math.min(CHUNK, grad.size() - at), gradients);
        }
      } finally {
        TensorAccess.release(grad);
      }
    }
  }

  /** The learning rate of the next step. */
  public final double learningRate() {
    return learningRate;
  }

  /**
   * Sets the learning rate of the next step.
   *
   * @throws IllegalArgumentException if it is negative or not finite
   */
  public final void learningRate(double rate) {
    learningRate = notNegative("learningRate", rate);
  }

  static double notNegative(String name, double value) {
    if (!(value >= 0 && value < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException(name + " must be finite and at least 0, but got " + value);
    }
    return value;
  }

  static double fraction(String name, double value) {
    if (!(value >= 0 && value < 1)) {
      throw new IllegalArgumentException(
          name + " must be at least 0 and less than 1, but got " + value);
    }
    return value;
  }
}
