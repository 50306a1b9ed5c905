package org.batchnorm4j.optim;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.batchnorm4j.nn.Parameter;
import org.batchnorm4j.nn.PyTorch;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.pytorch.AdamWOptions;
import org.bytedeco.pytorch.SGDOptions;
import org.bytedeco.pytorch.TensorVector;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class OptimizerTest {
  private static final int STEPS = 12;

  /** More elements than the 1024 that are worked on at a time. */
  private static List<Parameter> parameters(DType dtype) {
    return List.of(
        Parameter.of(PyTorch.random(1, 50, 41).to(dtype)),
        Parameter.of(PyTorch.random(2, 7).to(dtype)));
  }

  /** Steps both along the same gradients, in f64, where they must agree to rounding. */
  private static void compare(
      List<Parameter> ours,
      Optimizer optimizer,
      TensorVector theirs,
      org.bytedeco.pytorch.Optimizer oracle) {
    for (int step = 0; step < STEPS; step++) {
      for (int i = 0; i < ours.size(); i++) {
        Parameter p = ours.get(i);
        Tensor g = PyTorch.random(100L * step + i, p.value().shape().toArray());
        p.grad().copyFrom(g);
        theirs.get(i).mutable_grad().put(PyTorch.leaf(g).detach());
      }
      optimizer.step();
      oracle.step();
      for (int i = 0; i < ours.size(); i++) {
        PyTorch.assertClose(
            "step " + step + ", parameter " + i, theirs.get(i), ours.get(i).value(), 1e-13);
      }
    }
  }

  private static TensorVector leaves(List<Parameter> parameters) {
    TensorVector leaves = new TensorVector();
    parameters.forEach(p -> leaves.push_back(PyTorch.leaf(p.value())));
    return leaves;
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0, 0, false",
    "0, 0, 0.1, false",
    "0.9, 0, 0, false",
    "0.9, 0.3, 0.01, false",
    "0.9, 0, 0.01, true",
  })
  void sgdStepsAsPyTorchs(double momentum, double dampening, double weightDecay, boolean nesterov) {
    List<Parameter> ours = parameters(DType.F64);
    TensorVector theirs = leaves(ours);
    SGDOptions o = new SGDOptions(0.05);
    o.momentum().put(momentum);
    o.dampening().put(dampening);
    o.weight_decay().put(weightDecay);
    o.nesterov().put(nesterov);
    SGD.Options options =
        SGD.Options.DEFAULTS
            .momentum(momentum)
            .dampening(dampening)
            .weightDecay(weightDecay)
            .nesterov(nesterov);
    compare(ours, new SGD(ours, 0.05, options), theirs, new org.bytedeco.pytorch.SGD(theirs, o));
  }

  @ParameterizedTest
  @CsvSource({"0.9, 0.999, 1e-8, 0", "0.5, 0.9, 1e-3, 0.1"})
  void adamStepsAsPyTorchs(double beta1, double beta2, double eps, double weightDecay) {
    List<Parameter> ours = parameters(DType.F64);
    TensorVector theirs = leaves(ours);
    org.bytedeco.pytorch.AdamOptions o = new org.bytedeco.pytorch.AdamOptions(0.02);
    setBetas(o.betas(), beta1, beta2);
    o.eps().put(eps);
    o.weight_decay().put(weightDecay);
    AdamOptions options =
        AdamOptions.DEFAULTS.betas(beta1, beta2).eps(eps).weightDecay(weightDecay);
    compare(ours, new Adam(ours, 0.02, options), theirs, new org.bytedeco.pytorch.Adam(theirs, o));

    ours = parameters(DType.F64);
    theirs = leaves(ours);
    AdamWOptions w = new AdamWOptions(0.02);
    setBetas(w.betas(), beta1, beta2);
    w.eps().put(eps);
    w.weight_decay().put(weightDecay);
    compare(
        ours, new AdamW(ours, 0.02, options), theirs, new org.bytedeco.pytorch.AdamW(theirs, w));
  }

  /** The pair is a std::tuple, whose order in memory is up to the C++ library. */
  private static void setBetas(DoublePointer pair, double beta1, double beta2) {
    boolean reversed = pair.get(0) == 0.999;
    pair.put(reversed ? 1 : 0, beta1);
    pair.put(reversed ? 0 : 1, beta2);
  }

  @Test
  void defaultsArePyTorchs() {
    List<Parameter> ours = parameters(DType.F64);
    TensorVector theirs = leaves(ours);
    compare(ours, new Adam(ours), theirs, new org.bytedeco.pytorch.Adam(theirs));
    ours = parameters(DType.F64);
    theirs = leaves(ours);
    compare(ours, new AdamW(ours), theirs, new org.bytedeco.pytorch.AdamW(theirs));
  }

  @Test
  void f32ParametersAreThoseOfF64Rounded() {
    List<Parameter> narrow = parameters(DType.F32);
    List<Parameter> wide = parameters(DType.F64);
    SGD.Options options = SGD.Options.DEFAULTS.momentum(0.9);
    SGD a = new SGD(narrow, 0.1, options);
    SGD b = new SGD(wide, 0.1, options);
    Tensor g = PyTorch.random(3, 50, 41);
    narrow.get(0).grad().copyFrom(g);
    wide.get(0).grad().copyFrom(g);
    a.step();
    b.step();
    assertArrayEquals(wide.get(0).value().toFloatArray(), narrow.get(0).value().toFloatArray());
    assertArrayEquals(wide.get(1).value().toFloatArray(), narrow.get(1).value().toFloatArray());
  }

  @Test
  void zeroGradClearsEveryGradient() {
    List<Parameter> parameters = parameters(DType.F32);
    parameters.forEach(p -> p.grad().fill(3));
    new Adam(parameters).zeroGrad();
    for (Parameter p : parameters) {
      assertArrayEquals(new float[(int) p.grad().size()], p.grad().toFloatArray());
    }
  }

  @Test
  void refusesWhatMakesNoSense() {
    List<Parameter> p = parameters(DType.F32);
    assertMessage(
        "parameters is empty: there is nothing to optimize", () -> new SGD(List.of(), 0.1));
    assertMessage(
        "parameters[0] must be contiguous and F32 or F64, but is"
            + " Tensor(BF16 [3], channels_first)",
        () -> new SGD(List.of(Parameter.of(Tensor.zeros(DType.BF16, 3))), 0.1));
    assertMessage(
        "learningRate must be finite and at least 0, but got -0.1", () -> new SGD(p, -0.1));
    assertMessage(
        "learningRate must be finite and at least 0, but got NaN",
        () -> new Adam(p).learningRate(Double.NaN));
    assertMessage(
        "nesterov needs a momentum > 0 and a dampening of 0, but got Options[momentum=0.0,"
            + " dampening=0.0, weightDecay=0.0, nesterov=true]",
        () -> new SGD(p, 0.1, SGD.Options.DEFAULTS.nesterov(true)));
    assertMessage(
        "momentum must be finite and at least 0, but got -1.0",
        () -> SGD.Options.DEFAULTS.momentum(-1));
    assertMessage(
        "beta2 must be at least 0 and less than 1, but got 1.0",
        () -> AdamOptions.DEFAULTS.betas(0.5, 1));
  }

  @Test
  void aStepThatThrowsChangesNothing() {
    List<Parameter> p = parameters(DType.F32);
    p.get(0).grad().fill(1);
    float[] before = p.get(0).value().toFloatArray();
    p.get(1).value().close();
    SGD sgd = new SGD(p, 0.1);
    assertEquals(
        "parameters[1] is closed",
        assertThrows(IllegalStateException.class, sgd::step).getMessage());
    assertArrayEquals(before, p.get(0).value().toFloatArray());
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  /** Slices and other orders would be read as something else. */
  @Test
  void aGradientIsLikeItsValue() {
    Tensor value = Tensor.zeros(4);
    String end = " and value is " + value + "; make one with Tensor.zerosLike(value)";
    for (Tensor grad : List.of(Tensor.zeros(2), Tensor.zeros(DType.F64, 4))) {
      assertMessage(
          "grad must be like value, and both contiguous, but grad is " + grad + end,
          () -> new Parameter(value, grad));
    }
    Tensor matrix = Tensor.zeros(2, 2);
    for (Tensor grad :
        List.of(
            Tensor.zeros(2, 3).narrow(1, 0, 2),
            Tensor.zeros(DType.F32, MemoryFormat.CHANNELS_LAST, matrix.shape()))) {
      assertThrows(IllegalArgumentException.class, () -> new Parameter(matrix, grad));
    }
    assertMessage(
        "grad shares memory with value, so that one would overwrite the other; make one with"
            + " Tensor.zerosLike(value)",
        () -> new Parameter(matrix, matrix));
    Parameter first = Parameter.of(Tensor.zeros(2));
    Parameter second = new Parameter(Tensor.zeros(2), first.value());
    assertMessage(
        "the gradient of parameters[1] shares memory with parameters[0] or its gradient: make it"
            + " with Tensor.zerosLike(value)",
        () -> new SGD(List.of(first, second), 0.1));
  }

  @Test
  void parametersThatAStepCannotMoveOrMovesTwice() {
    Parameter p = Parameter.of(Tensor.zeros(4));
    assertMessage(
        "parameters[1] is parameters[0] again, or shares its memory: a step would move it twice",
        () -> new SGD(List.of(p, p), 0.1));
    Tensor readOnly =
        Tensor.wrap(
            ByteBuffer.allocateDirect(16)
                .asReadOnlyBuffer()
                .order(ByteOrder.nativeOrder())
                .asFloatBuffer(),
            4);
    assertMessage(
        "parameters[1] wraps memory that is read-only; it must be writable",
        () -> new SGD(List.of(p, Parameter.of(readOnly)), 0.1));
  }
}
