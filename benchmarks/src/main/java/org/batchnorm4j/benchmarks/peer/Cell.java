package org.batchnorm4j.benchmarks.peer;

import java.util.Arrays;
import java.util.stream.Collectors;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.tensor.DType;

/**
 * What all contenders are asked to do.
 *
 * @param group the part of the report it belongs to
 * @param dims (N, C, spatial...)
 * @param buffers how many sets of tensors are used in turn; more than the caches hold makes every
 *     run a cold one
 */
public record Cell(
    String group,
    Operation operation,
    Layout layout,
    DType dtype,
    Fusion fusion,
    long[] dims,
    int buffers) {

  /** What is computed. */
  public enum Operation {
    INFERENCE,
    TRAINING,
    BACKWARD
  }

  /** What comes behind the normalization. */
  public enum Fusion {
    NONE,
    RELU,
    ADD_RELU
  }

  public long n() {
    return dims[0];
  }

  public long c() {
    return dims[1];
  }

  /** Spatial positions. */
  public long s() {
    long s = 1;
    for (int i = 2; i < dims.length; i++) {
      s *= dims[i];
    }
    return s;
  }

  /** Elements of a tensor. */
  public long size() {
    return n() * c() * s();
  }

  public boolean is(Operation other) {
    return operation == other;
  }

  public boolean relu() {
    return fusion != Fusion.NONE;
  }

  public boolean residual() {
    return fusion == Fusion.ADD_RELU;
  }

  public Problem problem() {
    Activation activation = relu() ? Activation.RELU : Activation.NONE;
    return new Problem(n(), c(), s(), layout, dtype, activation);
  }

  /** Such as 32x64x56x56. */
  public String shape() {
    return Arrays.stream(dims).mapToObj(Long::toString).collect(Collectors.joining("x"));
  }

  /** Such as nchw; 2-dimensional input has no layout but nc. */
  public String format() {
    if (dims.length == 2) {
      return "nc";
    }
    String spatial = dims.length == 5 ? "dhw" : "hw";
    return layout == Layout.NCS ? "nc" + spatial : "n" + spatial + "c";
  }

  /** The same in another type. */
  public Cell in(DType other) {
    return new Cell(group, operation, layout, other, fusion, dims, buffers);
  }

  /** The same with nothing behind the normalization. */
  public Cell plain() {
    return new Cell(group, operation, layout, dtype, Fusion.NONE, dims, buffers);
  }

  /** Elements from one value to the next of each dimension. */
  public long[] strides() {
    long[] strides = new long[dims.length];
    long step = layout == Layout.NSC ? c() : 1;
    for (int i = dims.length - 1; i >= 2; i--) {
      strides[i] = step;
      step *= dims[i];
    }
    strides[1] = layout == Layout.NSC ? 1 : step;
    strides[0] = c() * s();
    return strides;
  }
}
