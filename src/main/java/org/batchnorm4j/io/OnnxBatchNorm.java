package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.List;
import org.batchnorm4j.nn.BatchNorm;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.nn.BatchNorm3d;
import org.batchnorm4j.tensor.DType;

/**
 * The parameters of a BatchNormalization node of an ONNX model, under PyTorch's names. Immutable.
 *
 * <p>ONNX's momentum is the weight of the old value, PyTorch's and ours that of the new one: it is
 * converted. Numbers that ONNX has as floats are taken as the decimals they were written from:
 * 1e-5, not 9.999999747378752e-6.
 */
public final class OnnxBatchNorm {
  private final String name;
  private final String input;
  private final String output;
  private final DType dtype;
  private final double[] weight;
  private final double[] bias;
  private final double[] runningMean;
  private final double[] runningVar;
  private final double eps;
  private final double momentum;

  OnnxBatchNorm(
      String name,
      String input,
      String output,
      DType dtype,
      double[] weight,
      double[] bias,
      double[] runningMean,
      double[] runningVar,
      double eps,
      double momentum) {
    this.name = name;
    this.input = input;
    this.output = output;
    this.dtype = dtype;
    this.weight = weight;
    this.bias = bias;
    this.runningMean = runningMean;
    this.runningVar = runningVar;
    this.eps = eps;
    this.momentum = momentum;
  }

  /**
   * Reads every BatchNormalization node of a model, in the model's order, those of subgraphs and of
   * the model's own functions included. Parameters may be initializers or outputs of Constant
   * nodes, directly or through Identity nodes, in FLOAT, DOUBLE, FLOAT16 or BFLOAT16.
   *
   * <p>Every length is checked before anything is allocated: a damaged or hostile file leads to an
   * exception, and never takes more memory than a small multiple of its own length.
   *
   * @return one for each node; empty if there is none
   * @throws IOException if the file cannot be read, is no ONNX model, is damaged, or a node has
   *     parameters that are not in the file or not one number per channel; the message names the
   *     file, the node and the input
   */
  public static List<OnnxBatchNorm> read(Path file) throws IOException {
    try (FileChannel channel = WholeFile.open(file, "an ONNX model")) {
      return new OnnxModel(new ProtoReader(file, channel)).batchNorms();
    }
  }

  /** The node's name; empty if it has none. */
  public String name() {
    return name;
  }

  /** The name of the value the node normalizes. */
  public String input() {
    return input;
  }

  /** The name of the node's output. */
  public String output() {
    return output;
  }

  /** The number of channels. */
  public int numFeatures() {
    return weight.length;
  }

  /** What a batch norm with these parameters needs: F64 if one of them is DOUBLE, otherwise F32. */
  public DType dtype() {
    return dtype;
  }

  /** The scale; a copy. */
  public double[] weight() {
    return weight.clone();
  }

  /** The shift; a copy. */
  public double[] bias() {
    return bias.clone();
  }

  /** The running mean; a copy. */
  public double[] runningMean() {
    return runningMean.clone();
  }

  /** The running variance; a copy. */
  public double[] runningVar() {
    return runningVar.clone();
  }

  /** What is added to the variance. */
  public double eps() {
    return eps;
  }

  /** PyTorch's momentum, the weight of the new value: 1 - ONNX's. */
  public double momentum() {
    return momentum;
  }

  /** A new batch norm with these values, in evaluation mode, for (N, C) and (N, C, L). */
  public BatchNorm1d toBatchNorm1d() {
    return fill(BatchNorm1d.builder(numFeatures()));
  }

  /** A new batch norm with these values, in evaluation mode, for (N, C, H, W). */
  public BatchNorm2d toBatchNorm2d() {
    return fill(BatchNorm2d.builder(numFeatures()));
  }

  /** A new batch norm with these values, in evaluation mode, for (N, C, D, H, W). */
  public BatchNorm3d toBatchNorm3d() {
    return fill(BatchNorm3d.builder(numFeatures()));
  }

  private <T extends BatchNorm> T fill(BatchNorm.Builder<T> builder) {
    T bn = builder.eps(eps).momentum(momentum).dtype(dtype).build();
    bn.stateDict().get("weight").copyFrom(weight);
    bn.stateDict().get("bias").copyFrom(bias);
    bn.stateDict().get("running_mean").copyFrom(runningMean);
    bn.stateDict().get("running_var").copyFrom(runningVar);
    bn.eval();
    return bn;
  }

  /** Such as {@code OnnxBatchNorm(bn1: conv1 -> relu1, 64 channels, eps=1.0E-5, momentum=0.1)}. */
  @Override
  public String toString() {
    return "OnnxBatchNorm("
        + name
        + ": "
        + input
        + " -> "
        + output
        + ", "
        + numFeatures()
        + " channels, eps="
        + eps
        + ", momentum="
        + momentum
        + ")";
  }
}
