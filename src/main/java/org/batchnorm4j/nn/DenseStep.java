package org.batchnorm4j.nn;

import org.batchnorm4j.nn.Gemm.Matrix;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/** A Linear: a few rows in Java, where a call into OpenBLAS would cost more than the product. */
final class DenseStep implements Step {
  private static final int FEW = 4;

  private final int in;
  private final int out;
  private final int rowsPerSample;

  /** By output and then input, as the layer has it. */
  private final Tensor weight;

  /** By input and then output, so that the outputs of one input are neighbours. */
  private final float[][] byInput;

  private final float[] bias;

  /**
   * A step with the values of {@code linear}, copied.
   *
   * @param rowsPerSample how many rows of {@code inFeatures} a sample has
   */
  DenseStep(Linear linear, int rowsPerSample) {
    in = linear.inFeatures();
    out = linear.outFeatures();
    this.rowsPerSample = rowsPerSample;
    weight = linear.weight().value().to(DType.F32);
    byInput = byInput(linear);
    bias = bias(linear);
  }

  /** A copy of the weights by input and then output, so that the outputs of one are neighbours. */
  static float[][] byInput(Linear linear) {
    int in = linear.inFeatures();
    int out = linear.outFeatures();
    float[] values = linear.weight().value().toFloatArray();
    float[][] byInput = new float[in][out];
    for (int i = 0; i < in; i++) {
      for (int o = 0; o < out; o++) {
        byInput[i][o] = values[o * in + i];
      }
    }
    return byInput;
  }

  /** A copy of the bias, of zeros where there is none. */
  static float[] bias(Linear linear) {
    Parameter bias = linear.bias();
    return bias == null ? new float[linear.outFeatures()] : bias.value().toFloatArray();
  }

  @Override
  public Runner newRunner(int samples) {
    return new Product(samples * rowsPerSample);
  }

  @Override
  public void close() {
    weight.close();
  }

  private final class Product implements Runner {
    private final float[] inputs = new float[in];
    private final float[] sums = new float[out];
    private final float[] biases;
    private final Tensor x;
    private final Tensor y;
    private final Gemm gemm = new Gemm();
    private final Matrix left;
    private final Matrix right;
    private final Matrix result;

    Product(int rows) {
      TensorAccess.acquire(weight);
      x = Tensor.zeros(rows, in);
      y = Tensor.zeros(rows, out);
      left = Matrix.of(x, 0, in);
      right = Matrix.of(weight, 0, in).transpose();
      result = Matrix.of(y, 0, out);
      biases = new float[rows < FEW ? 0 : rows * out];
      for (int i = 0; i < biases.length; i += out) {
        System.arraycopy(bias, 0, biases, i, out);
      }
    }

    @Override
    public void run(float[] from, float[] to, int n) {
      int rows = n * rowsPerSample;
      if (rows < FEW) {
        for (int r = 0; r < rows; r++) {
          System.arraycopy(from, r * in, inputs, 0, in);
          System.arraycopy(bias, 0, sums, 0, out);
          Gemm.addProducts(inputs, byInput, in, sums, out);
          System.arraycopy(sums, 0, to, r * out, out);
        }
        return;
      }
      TensorAccess.write(x, 0, from, 0, rows * in);
      TensorAccess.write(y, 0, biases, 0, rows * out);
      gemm.multiply(rows, out, in, left, right, true, result);
      TensorAccess.read(y, 0, to, 0, rows * out);
    }

    @Override
    public void close() {
      x.close();
      y.close();
      TensorAccess.release(weight);
    }
  }
}
