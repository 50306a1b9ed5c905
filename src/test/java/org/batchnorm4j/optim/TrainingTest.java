package org.batchnorm4j.optim;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.SplittableRandom;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MSELoss;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

/** The whole loop, on y = sin(3 a) + b². */
class TrainingTest {

  @Test
  void aNetworkLearnsARegression() {
    double first = train(1);
    double last = train(300);
    assertTrue(last < 0.01 * first, "loss fell from " + first + " to " + last + " only");
    assertEquals(last, train(300), "the same seed must give the same loss");
  }

  private static double train(int steps) {
    SplittableRandom random = new SplittableRandom(42);
    Tensor x = Tensor.zeros(256, 2);
    Tensor target = Tensor.zeros(256, 1);
    for (int i = 0; i < 256; i++) {
      double a = random.nextDouble(-1, 1);
      double b = random.nextDouble(-1, 1);
      x.set(a, i, 0);
      x.set(b, i, 1);
      target.set(Math.sin(3 * a) + b * b, i, 0);
    }
    try (Sequential net =
            new Sequential(new Linear(2, 32, random), new ReLU(), new Linear(32, 1, random));
        MSELoss mse = new MSELoss()) {
      Adam adam = new Adam(net.parameters(), 0.01);
      double loss = 0;
      for (int step = 0; step < steps; step++) {
        loss = mse.forward(net.forward(x), target);
        adam.zeroGrad();
        net.backward(mse.backward());
        adam.step();
      }
      return loss;
    }
  }
}
