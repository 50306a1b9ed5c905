package org.batchnorm4j.examples.mnist;

import java.util.SplittableRandom;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.ConvOptions;
import org.batchnorm4j.nn.Dropout;
import org.batchnorm4j.nn.Flatten;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MaxPool2d;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;

/** The network of the main job, with batch norms and without. */
public final class MnistNetwork {
  private MnistNetwork() {}

  /**
   * The network: two convolutions and two linear layers.
   *
   * @param seed the same seed, the same weights, with batch norms or without
   */
  public static Sequential build(boolean batchNorm, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    Sequential network = new Sequential();
    addConvolution(network, 1, 16, batchNorm, random);
    addConvolution(network, 16, 32, batchNorm, random);
    network.add(new Flatten());
    int side = MnistIdx.SIDE / 4;
    network.add(new Linear(32 * side * side, 128, random));
    if (batchNorm) {
      network.add(new BatchNorm1d(128));
    }
    network.add(new ReLU());
    network.add(new Dropout(0.5, random));
    network.add(new Linear(128, MnistIdx.CLASSES, random));
    return network;
  }

  private static void addConvolution(
      Sequential network, int in, int out, boolean batchNorm, SplittableRandom random) {
    network.add(new Conv2d(in, out, ConvOptions.kernel(3).padding(1), random));
    if (batchNorm) {
      network.add(new BatchNorm2d(out));
    }
    network.add(new ReLU());
    network.add(new MaxPool2d(2));
  }
}
