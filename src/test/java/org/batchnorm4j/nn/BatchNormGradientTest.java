package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Random;
import java.util.function.DoubleSupplier;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Gradients against finite differences of the forward, and the identities they obey. */
class BatchNormGradientTest {
  private static final String BACKENDS = "org.batchnorm4j.TestBackends#all";
  private static final double EPS = 1e-4;

  private static Tensor random(MemoryFormat format, Random random, Shape shape) {
    double[] values = new double[(int) shape.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextGaussian() + 0.5;
    }
    return Tensor.zeros(DType.F64, format, shape).copyFrom(values);
  }

  /** The loss is sum(forward * dy), so that backward(dy) gives its gradients. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void agreeWithFiniteDifferences(BatchNormBackend backend) {
    Shape shape = Shape.of(3, 2, 2, 2);
    for (boolean training : new boolean[] {true, false}) {
      for (MemoryFormat format : MemoryFormat.values()) {
        for (boolean fused : new boolean[] {false, true}) {
          Random random = new Random(1);
          BatchNorm2d bn = BatchNorm2d.builder(2).eps(EPS).dtype(DType.F64).build();
          bn.backend(backend).train(training);
          Tensor weight = bn.weight().value().copyFrom(new double[] {0.7, -1.3});
          Tensor bias = bn.bias().value().copyFrom(new double[] {-0.2, 0.4});
          bn.runningMean().copyFrom(new double[] {0.3, 0.1});
          // 0: then only eps is left under the root.
          bn.runningVar().copyFrom(new double[] {0, 2});
          // The forward in question is the first one; differencing must not move the statistics.
          bn.setTrackRunningStats(false);
          Tensor x = random(format, random, shape);
          Tensor residual = fused ? random(format, random, shape) : null;
          Tensor dy = random(format, random, shape);
          Activation activation = fused ? Activation.leakyRelu(0.3) : Activation.NONE;
          bn.forward(x, residual, activation);
          Tensor dx = bn.backward(dy);
          Tensor dresidual = fused ? bn.residualGrad() : null;
          DoubleSupplier loss = () -> loss(bn, x, residual, activation, dy);
          check("dx", x, dx, loss);
          check("dweight", weight, bn.weight().grad(), loss);
          check("dbias", bias, bn.bias().grad(), loss);
          if (fused) {
            check("dresidual", residual, dresidual, loss);
          }
        }
      }
    }
  }

  private static double loss(
      BatchNorm2d bn, Tensor x, @Nullable Tensor residual, Activation activation, Tensor dy) {
    double[] y = bn.forward(x, residual, activation, Tensor.zerosLike(x)).toDoubleArray();
    double[] w = dy.toDoubleArray();
    double sum = 0;
    for (int i = 0; i < y.length; i++) {
      sum += y[i] * w[i];
    }
    return sum;
  }

  private static void check(String what, Tensor of, Tensor gradient, DoubleSupplier loss) {
    double[] values = of.toDoubleArray();
    double[] expected = gradient.toDoubleArray();
    double h = 1e-6;
    for (int i = 0; i < values.length; i++) {
      double[] moved = values.clone();
      moved[i] = values[i] + h;
      of.copyFrom(moved);
      double above = loss.getAsDouble();
      moved[i] = values[i] - h;
      of.copyFrom(moved);
      double below = loss.getAsDouble();
      // Central differences err by h^2 f''' and by the rounding of a loss of at most a few hundred.
      double difference = (above - below) / (2 * h);
      assertEquals(expected[i], difference, 1e-6 * (1 + Math.abs(expected[i])), what + " " + i);
    }
    of.copyFrom(values);
  }

  /** sum(dx) = 0; sum(dx (x - m)) = dot * s * W * (1 - var / (var + eps)). */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void obeyTheIdentities(BatchNormBackend backend) {
    Random random = new Random(2);
    Shape shape = Shape.of(7, 5, 90);
    for (MemoryFormat format : MemoryFormat.values()) {
      BatchNorm1d bn = BatchNorm1d.builder(5).eps(0.3).dtype(DType.F64).build();
      bn.backend(backend);
      bn.weight().value().copyFrom(new double[] {1, -2, 0.5, 3, 0});
      Tensor x = random(format, random, shape);
      Tensor dy = random(format, random, shape);
      bn.forward(x);
      Tensor dx = bn.backward(dy);
      int n = 7 * 90;
      for (int c = 0; c < 5; c++) {
        double mean = 0;
        double var = 0;
        for (int i = 0; i < n; i++) {
          mean += x.get(i / 90, c, i % 90) / n;
        }
        for (int i = 0; i < n; i++) {
          double d = x.get(i / 90, c, i % 90) - mean;
          var += d * d / n;
        }
        double sum = 0;
        double moment = 0;
        for (int i = 0; i < n; i++) {
          double g = dx.get(i / 90, c, i % 90);
          sum += g;
          moment += g * (x.get(i / 90, c, i % 90) - mean);
        }
        double w = bn.weight().value().get(c);
        double dweight = bn.weight().grad().get(c);
        assertEquals(0, sum, 1e-12);
        assertEquals(dweight * w * (1 - var / (var + 0.3)), moment, 1e-11);
      }
    }
  }
}
