package org.batchnorm4j.benchmarks.serving;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.ConvOptions;
import org.batchnorm4j.nn.Dropout;
import org.batchnorm4j.nn.Flatten;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MaxPool2d;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;

/**
 * What is served. The peers get the layers with their batch norms folded, as they would do it
 * themselves if they could.
 *
 * @param sample the shape of one sample
 * @param module what we freeze
 * @param folded the layers that compute the same, in order
 */
record Network(long[] sample, Module module, List<Module> folded) {

  static Network of(String name) {
    SplittableRandom random = new SplittableRandom(1);
    return switch (name) {
      case "mlp" ->
          folded(
              new long[] {10},
              new Sequential(
                  new Linear(10, 50, random),
                  new BatchNorm1d(50),
                  new ReLU(),
                  new Linear(50, 2, random)));
      case "cnn" -> folded(new long[] {1, 28, 28}, cnn(random));
      case "scaler" -> {
        BatchNorm1d bn = new BatchNorm1d(100);
        for (int i = 0; i < 100; i++) {
          bn.runningMean().set(random.nextDouble(), i);
          bn.runningVar().set(0.5 + random.nextDouble(), i);
        }
        bn.eval();
        yield new Network(new long[] {100}, bn, List.of(bn));
      }
      default -> throw new IllegalArgumentException("there is no network " + name);
    };
  }

  /** The network of the main job, examples/run mnist. */
  private static Sequential cnn(SplittableRandom random) {
    return new Sequential(
        new Conv2d(1, 16, ConvOptions.kernel(3).padding(1), random),
        new BatchNorm2d(16),
        new ReLU(),
        new MaxPool2d(2),
        new Conv2d(16, 32, ConvOptions.kernel(3).padding(1), random),
        new BatchNorm2d(32),
        new ReLU(),
        new MaxPool2d(2),
        new Flatten(),
        new Linear(32 * 7 * 7, 128, random),
        new BatchNorm1d(128),
        new ReLU(),
        new Dropout(0.5, random),
        new Linear(128, 10, random));
  }

  private static Network folded(long[] sample, Sequential network) {
    network.eval();
    List<Module> layers = new ArrayList<>(network.fuse().children().values());
    layers.removeIf(layer -> layer instanceof Dropout);
    return new Network(sample, network, layers);
  }

  /** The shape of a batch. */
  long[] batch(int n) {
    long[] shape = new long[sample.length + 1];
    shape[0] = n;
    System.arraycopy(sample, 0, shape, 1, sample.length);
    return shape;
  }

  int inputSize() {
    int size = 1;
    for (long dim : sample) {
      size *= (int) dim;
    }
    return size;
  }
}
