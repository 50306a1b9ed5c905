package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

class BatchNormUpdateTest {

  /** Batches of unequal sizes with unequal means. */
  private static List<Tensor> data() {
    List<Tensor> data = new ArrayList<>();
    int seed = 0;
    for (int n : new int[] {7, 40, 2, 19}) {
      Tensor x = PyTorch.random(++seed, n, 6);
      double[] values = x.toDoubleArray();
      for (int i = 0; i < values.length; i++) {
        values[i] = values[i] * seed + 3 * seed;
      }
      data.add(x.copyFrom(values));
    }
    return data;
  }

  private static Tensor joined(List<Tensor> parts) {
    long samples = parts.stream().mapToLong(t -> t.shape().dim(0)).sum();
    Tensor all = Tensor.zeros(parts.get(0).shape().with(0, samples).toArray());
    long at = 0;
    for (Tensor part : parts) {
      all.narrow(0, at, part.shape().dim(0)).copyFrom(part);
      at += part.shape().dim(0);
    }
    return all;
  }

  private static Map<String, double[]> state(Module model) {
    Map<String, double[]> state = new LinkedHashMap<>();
    model.stateDict().forEach((name, t) -> state.put(name, t.toDoubleArray()));
    return state;
  }

  private static void assertState(Map<String, double[]> expected, Module model) {
    state(model).forEach((name, values) -> assertArrayEquals(expected.get(name), values, name));
  }

  // ----------------------------------------------------------------------------------- population

  /** Checks running statistics against the batch norm's inputs, all of them, in evaluation mode. */
  private static void assertPopulation(Tensor input, BatchNorm bn, long batches) {
    double[] values = input.toDoubleArray();
    int c = (int) bn.numFeatures();
    int n = values.length / c;
    for (int k = 0; k < c; k++) {
      double mean = 0;
      for (int i = k; i < values.length; i += c) {
        mean += values[i] / n;
      }
      double m2 = 0;
      for (int i = k; i < values.length; i += c) {
        m2 += (values[i] - mean) * (values[i] - mean);
      }
      double var = m2 / (n - 1);
      assertEquals(mean, bn.runningMean().get(k), 1e-6 * Math.sqrt(var), "mean " + k);
      assertEquals(var, bn.runningVar().get(k), 1e-6 * var, "variance " + k);
    }
    assertEquals(batches, bn.numBatchesTracked().getLong());
  }

  @Test
  void populationIsThatOfTheInputsInEvaluationMode() {
    BatchNorm1d first = new BatchNorm1d(5);
    BatchNorm1d second = BatchNorm1d.builder(4).momentum(0.7).build();
    // Dropout does nothing to it, and is not touched.
    Sequential head = new Sequential(new Linear(6, 5));
    Sequential middle = new Sequential(first, new ReLU(), new Dropout(0.5), new Linear(5, 4));
    Sequential net = new Sequential(head, middle, second);
    Tensor w = first.weight().value().copyFrom(PyTorch.random(1, 5));
    first.runningMean().fill(100);
    List<Tensor> data = data();
    BatchNormUpdate.population(net, data);
    assertArrayEquals(PyTorch.random(1, 5).toFloatArray(), w.toFloatArray());
    assertEquals(0.7, second.momentum());
    assertEquals(0.1, first.momentum());
    assertEquals(true, middle.isTraining());

    net.eval();
    Tensor all = joined(data);
    Tensor h = head.forward(all);
    assertPopulation(h, first, 4);
    assertPopulation(middle.forward(h), second, 4);
    // Doing it again changes nothing.
    Map<String, double[]> before = state(net);
    BatchNormUpdate.population(net, data);
    assertState(before, net);
  }

  /** The order is that of the forward, not that of the names. */
  @Test
  void populationFollowsTheForward() {
    BatchNorm1d inShortcut = new BatchNorm1d(6);
    BatchNorm1d inBody = new BatchNorm1d(6);
    BatchNorm1d last = new BatchNorm1d(6);
    Residual residual =
        new Residual(
            new Sequential(new Linear(6, 6), inBody), new Sequential(inShortcut), Activation.RELU);
    Module backwards =
        new Module() {
          @Override
          protected Map<String, Module> children() {
            Map<String, Module> children = new LinkedHashMap<>();
            children.put("last", last);
            children.put("first", residual);
            return children;
          }

          @Override
          public Tensor forward(Tensor x) {
            return last.forward(residual.forward(x));
          }

          @Override
          public Tensor backward(Tensor dy) {
            return residual.backward(last.backward(dy));
          }
        };
    BatchNormUpdate.population(backwards, data());
    residual.eval();
    assertPopulation(joined(data()), inShortcut, 4);
    assertPopulation(((Sequential) residual.body()).get(0).forward(joined(data())), inBody, 4);
    assertPopulation(residual.forward(joined(data())), last, 4);
  }

  @Test
  void populationOfWhatALazyOneHasBecomeAndOfF64() {
    LazyBatchNorm1d lazy = LazyBatchNorm1d.builder().dtype(DType.F64).build();
    lazy.forward(Tensor.zeros(DType.F64, 2, 6));
    BatchNormUpdate.population(lazy, data().stream().map(t -> t.to(DType.F64)).toList());
    assertPopulation(joined(data()), lazy.batchNorm(), 4);
  }

  // --------------------------------------------------------------------------- cumulative average

  @Test
  void cumulativeAverageIsPyTorchs() {
    for (MemoryFormat format : MemoryFormat.values()) {
      BatchNorm2d bn = BatchNorm2d.builder(3).momentum(0.6).build();
      bn.forward(PyTorch.random(9, 2, 3, 4, 4));
      bn.eval();
      // PyTorch's update_bn is this: statistics reset, momentum None, training mode, one pass.
      TorchBatchNorm torch = new TorchBatchNorm(2, 3, 1e-5, null, true, true, DType.F32);
      List<Tensor> data = new ArrayList<>();
      for (int i = 0; i < 5; i++) {
        Tensor x = PyTorch.random(i, DType.F32, format, 1 + i, 3, 2, 5);
        data.add(x);
        double[] values = x.toDoubleArray();
        torch.step(true, DType.F32, x.shape().toArray(), values, format, values, format);
      }
      BatchNormUpdate.cumulativeAverage(bn, data);
      PyTorch.assertClose(
          "running_mean", torch.get("running_mean"), bn.runningMean().toDoubleArray(), 1e-6);
      PyTorch.assertClose(
          "running_var", torch.get("running_var"), bn.runningVar().toDoubleArray(), 1e-6);
      assertEquals(5, bn.numBatchesTracked().getLong());
      assertEquals(0.6, bn.momentum());
      assertEquals(false, bn.isTraining());
    }
  }

  /** The two agree where their documentation says, and differ where it says. */
  @Test
  void theTwoDifferInTheVarianceOfTheMeans() {
    Tensor one = Tensor.of(new float[] {1, 3}, 2, 1);
    Tensor two = Tensor.of(new float[] {11, 13}, 2, 1);
    BatchNorm1d bn = new BatchNorm1d(1);
    BatchNormUpdate.cumulativeAverage(bn, List.of(one, two));
    assertEquals(7, bn.runningMean().get(0));
    assertEquals(2, bn.runningVar().get(0));
    BatchNormUpdate.population(bn, List.of(one, two));
    assertEquals(7, bn.runningMean().get(0));
    // (36 + 16 + 16 + 36) / 3
    assertEquals(104.0 / 3, bn.runningVar().get(0), 1e-5);
    assertEquals(2, bn.numBatchesTracked().getLong());
  }

  // ------------------------------------------------------------------------------ what stays as it
  // is

  private interface Way {
    void update(Module model, Iterable<Tensor> data);
  }

  private static final List<Way> WAYS =
      List.of(BatchNormUpdate::population, BatchNormUpdate::cumulativeAverage);

  @Test
  void modesMomentaAndFrozenStatisticsStay() {
    for (Way way : WAYS) {
      BatchNorm1d frozen = new BatchNorm1d(6);
      frozen.runningMean().fill(5);
      frozen.setTrackRunningStats(false);
      BatchNorm1d stateless = BatchNorm1d.builder(6).trackRunningStats(false).build();
      BatchNorm1d evaluating = BatchNorm1d.builder(6).momentum(null).build();
      BatchNorm1d training = BatchNorm1d.builder(6).momentum(-0.5).build();
      Sequential inner = new Sequential(evaluating, stateless);
      Sequential net = new Sequential(frozen, inner, training);
      inner.eval();
      stateless.train();
      way.update(net, data());
      assertArrayEquals(new float[] {5, 5, 5, 5, 5, 5}, frozen.runningMean().toFloatArray());
      assertEquals(0, frozen.numBatchesTracked().getLong());
      assertEquals(4, evaluating.numBatchesTracked().getLong());
      assertEquals(4, training.numBatchesTracked().getLong());
      assertEquals(
          List.of(true, true, false, false, true, true),
          List.of(
              net.isTraining(),
              frozen.isTraining(),
              inner.isTraining(),
              evaluating.isTraining(),
              stateless.isTraining(),
              training.isTraining()));
      assertNull(evaluating.momentum());
      assertEquals(-0.5, training.momentum());
    }
  }

  @Test
  void nothingHappensWithoutBatchNorms() {
    Iterable<Tensor> untouchable =
        () -> {
          throw new AssertionError("iterated");
        };
    for (Way way : WAYS) {
      way.update(new Sequential(new ReLU(), new GroupNorm(1, 2)), untouchable);
      way.update(BatchNorm1d.builder(2).trackRunningStats(false).build(), untouchable);
    }
  }

  private static void failing(
      Class<? extends Throwable> type, String message, Iterable<Tensor> data, Way way) {
    BatchNorm1d bn = BatchNorm1d.builder(6).momentum(0.25).build();
    Linear linear = new Linear(6, 6, new SplittableRandom(1));
    Sequential net = new Sequential(bn, linear, new BatchNorm1d(6));
    bn.forward(PyTorch.random(77, 5, 6));
    bn.eval();
    Map<String, double[]> before = state(net);
    Throwable e = assertThrows(type, () -> way.update(net, data));
    assertEquals(message, e.getMessage());
    assertState(before, net);
    assertEquals(0.25, bn.momentum());
    assertEquals(List.of(true, false), List.of(net.isTraining(), bn.isTraining()));
    // No one observes any more.
    net.forward(PyTorch.random(78, 5, 6));
    assertEquals(1, bn.numBatchesTracked().getLong());
  }

  @Test
  void aFailureLeavesTheModelAsItWas() {
    List<Tensor> wrong = data();
    wrong.add(Tensor.zeros(3, 7));
    for (Way way : WAYS) {
      failing(
          IllegalArgumentException.class,
          "layer 0: x has 7 channels, this BatchNorm1d was built for 6",
          wrong,
          way);
      failing(IllegalArgumentException.class, "data has no batches", List.of(), way);
      failing(
          IllegalStateException.class,
          "the disk is gone",
          () -> {
            Iterator<Tensor> some = data().iterator();
            return new Iterator<>() {
              private int left = 3;

              @Override
              public boolean hasNext() {
                return true;
              }

              @Override
              public Tensor next() {
                if (left-- == 0) {
                  throw new IllegalStateException("the disk is gone");
                }
                return some.next();
              }
            };
          },
          way);
    }
    Iterator<Tensor> once = data().iterator();
    failing(
        IllegalArgumentException.class,
        "data has no batches",
        () -> once,
        BatchNormUpdate::population);
    int[] round = {0};
    failing(
        IllegalArgumentException.class,
        "data had 4 batches first and then 2, but must have the same ones each time it is iterated",
        () -> (++round[0] < 3 ? data() : data().subList(0, 2)).iterator(),
        BatchNormUpdate::population);
    failing(
        IllegalArgumentException.class,
        "data must have more than 1 value per channel, but BatchNorm1d(6, eps=1e-05, momentum=0.25,"
            + " affine=True, track_running_stats=True) has seen 1",
        List.of(Tensor.zeros(1, 6)),
        BatchNormUpdate::population);
    failing(
        IllegalArgumentException.class,
        "layer 0: Expected more than 1 value per channel when training, got input size"
            + " torch.Size([1, 6])",
        List.of(Tensor.zeros(1, 6)),
        BatchNormUpdate::cumulativeAverage);
  }

  @Test
  void refusesWhatCannotBeUpdated() {
    for (Way way : WAYS) {
      assertEquals(
          "LazyBatchNorm1d(0, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True) has"
              + " seen no input yet and has no running statistics: call forward first",
          assertThrows(
                  IllegalArgumentException.class,
                  () -> way.update(new Sequential(new LazyBatchNorm1d()), data()))
              .getMessage());
      Sequential net = new Sequential(new BatchNorm1d(6), new ReLU());
      net.eval();
      assertEquals(
          "this Sequential was made by fuse() and can only evaluate: train the network it was made"
              + " from, and fuse that again",
          assertThrows(IllegalStateException.class, () -> way.update(net.fuse(), data()))
              .getMessage());
    }
  }
}
