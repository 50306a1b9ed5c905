package org.batchnorm4j.optim;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import java.util.SplittableRandom;
import org.batchnorm4j.nn.Parameter;
import org.batchnorm4j.nn.PyTorch;
import org.batchnorm4j.optim.ReduceLROnPlateau.Mode;
import org.batchnorm4j.optim.ReduceLROnPlateau.Options;
import org.batchnorm4j.optim.ReduceLROnPlateau.ThresholdMode;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.ReduceLROnPlateauScheduler;
import org.bytedeco.pytorch.SGDOptions;
import org.bytedeco.pytorch.TensorVector;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SchedulerTest {
  private final Tensor value = Tensor.zeros(2);
  private final SGD sgd = new SGD(List.of(Parameter.of(value)), 0.5);
  private final org.bytedeco.pytorch.SGD oracle =
      new org.bytedeco.pytorch.SGD(new TensorVector(PyTorch.leaf(value)), new SGDOptions(0.5));

  private double oraclesRate() {
    return oracle.param_groups().get(0).options().get_lr();
  }

  @Test
  void stepLrIsPyTorchs() {
    StepLR ours = new StepLR(sgd, 3, 0.3);
    org.bytedeco.pytorch.StepLR theirs = new org.bytedeco.pytorch.StepLR(oracle, 3, 0.3);
    // The first call of libtorch's counts as epoch 0.
    theirs.step();
    for (int epoch = 1; epoch <= 10; epoch++) {
      ours.step();
      sgd.step();
      oracle.step();
      theirs.step();
      assertEquals(0.5 * Math.pow(0.3, epoch / 3), sgd.learningRate(), 1e-15, "by the formula");
      assertEquals(oraclesRate(), sgd.learningRate(), 1e-15, "epoch " + epoch);
    }
  }

  /**
   * PyTorch's rule over noisy metrics. Without MAX and ABS together: there libtorch multiplies by
   * the threshold where PyTorch adds it.
   */
  @ParameterizedTest
  @CsvSource({
    "MIN, REL, 0.3, 2, 0.05, 0, 0, 1e-8",
    "MIN, ABS, 0.5, 1, 0.02, 2, 0.01, 1e-8",
    "MAX, REL, 0.3, 0, 0.05, 1, 0, 1e-8",
    "MAX, REL, 0.9, 3, 0, 0, 0.3, 1e-8",
    // From 0.5 to 0.25 and 0.125: the next change would be less than eps.
    "MIN, REL, 0.5, 0, 0.05, 0, 0, 0.1",
  })
  void reduceOnPlateauIsPyTorchs(
      Mode mode,
      ThresholdMode thresholdMode,
      double factor,
      int patience,
      double threshold,
      int cooldown,
      double minimum,
      double eps) {
    Options options =
        Options.DEFAULTS
            .mode(mode)
            .factor(factor)
            .patience(patience)
            .threshold(threshold, thresholdMode)
            .cooldown(cooldown)
            .minLearningRate(minimum)
            .eps(eps);
    ReduceLROnPlateau ours = new ReduceLROnPlateau(sgd, options);
    ReduceLROnPlateauScheduler theirs =
        new ReduceLROnPlateauScheduler(
            oracle,
            mode == Mode.MIN
                ? ReduceLROnPlateauScheduler.SchedulerMode.min
                : ReduceLROnPlateauScheduler.SchedulerMode.max,
            (float) factor,
            patience,
            threshold,
            thresholdMode == ThresholdMode.REL
                ? ReduceLROnPlateauScheduler.ThresholdMode.rel
                : ReduceLROnPlateauScheduler.ThresholdMode.abs,
            cooldown,
            new float[] {(float) minimum},
            eps,
            false);
    SplittableRandom random = new SplittableRandom(7);
    double last = sgd.learningRate();
    int changes = 0;
    for (int epoch = 0; epoch < 40; epoch++) {
      double trend = mode == Mode.MIN ? 1 - epoch / 60.0 : 0.3 + epoch / 60.0;
      float metric = (float) (trend + random.nextDouble(-0.2, 0.2));
      ours.step(metric);
      theirs.step(metric);
      assertEquals(oraclesRate(), sgd.learningRate(), 1e-6 * sgd.learningRate(), "epoch " + epoch);
      changes += sgd.learningRate() != last ? 1 : 0;
      last = sgd.learningRate();
    }
    assertEquals(true, changes > 1, changes + " changes");
  }

  @Test
  void reduceOnPlateauByHand() {
    ReduceLROnPlateau plateau =
        new ReduceLROnPlateau(sgd, Options.DEFAULTS.factor(0.5).patience(1).cooldown(1));
    double[] metrics = {3, 2, 2, 2, 2, 2, 2, 1, Double.NaN, 1};
    double[] rates = new double[metrics.length];
    for (int i = 0; i < metrics.length; i++) {
      plateau.step(metrics[i]);
      rates[i] = sgd.learningRate();
    }
    // Bad from the third on: the second bad one reduces, the next is not counted.
    assertArrayEquals(
        new double[] {0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625}, rates);
    assertEquals(1, plateau.best());
  }

  @Test
  void anAbsoluteThresholdIsAddedToTheBest() {
    ReduceLROnPlateau plateau =
        new ReduceLROnPlateau(
            sgd,
            Options.DEFAULTS
                .mode(Mode.MAX)
                .factor(0.5)
                .patience(0)
                .threshold(0.25, ThresholdMode.ABS)
                .minLearningRate(0.2));
    double[] metrics = {-1, -0.5, -0.25, 0.5, 0.75, 0.76};
    double[] rates = new double[metrics.length];
    for (int i = 0; i < metrics.length; i++) {
      plateau.step(metrics[i]);
      rates[i] = sgd.learningRate();
    }
    // -0.25 is no more than 0.25 above -0.5, and 0.75 than 0.5; then the lower limit holds.
    assertArrayEquals(new double[] {0.5, 0.5, 0.25, 0.25, 0.2, 0.2}, rates);
  }

  @Test
  void refuseWhatMakesNoSense() {
    assertMessage("stepSize must be at least 1, but got 0", () -> new StepLR(sgd, 0));
    assertMessage(
        "gamma must be finite and at least 0, but got -1.0", () -> new StepLR(sgd, 1, -1));
    assertMessage(
        "factor must be at least 0 and less than 1, but got 1.0", () -> Options.DEFAULTS.factor(1));
    assertMessage(
        "patience must be finite and at least 0, but got -1.0",
        () -> Options.DEFAULTS.patience(-1));
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
