package org.batchnorm4j.examples.mnist;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.io.Safetensors;
import org.batchnorm4j.nn.BatchNorm;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;

/**
 * A trained network with batch norms, loaded from its file and nothing else, in evaluation mode.
 */
public final class MnistServing implements AutoCloseable {
  private static final int WARM_UP = 3000;

  private final Sequential network;

  private MnistServing(Sequential network) {
    this.network = network;
  }

  /** Loads a network that normalizes on the given backend. */
  public static MnistServing load(Path model, BatchNormBackend backend) throws IOException {
    // Another seed than any training has: what comes out right can only come from the file.
    Sequential network = MnistNetwork.build(true, -1);
    Map<String, Tensor> state = Safetensors.read(model);
    try {
      network.loadStateDict(state);
    } finally {
      state.values().forEach(Tensor::close);
    }
    network.backend(backend).eval();
    return new MnistServing(network);
  }

  /**
   * What serving the test images gave.
   *
   * @param accuracy in percent
   * @param imagesPerSecond of the whole network
   * @param normsPerSecond how many images a second its batch norms alone would be done with
   */
  public record Result(double accuracy, double imagesPerSecond, double normsPerSecond) {}

  /** Serves all test images, after some to warm up. */
  public Result serve(MnistIdx test) {
    serve(test, WARM_UP);
    return serve(test, test.size());
  }

  private Result serve(MnistIdx test, int images) {
    int[] correct = new int[1];
    long[] inNorms = new long[1];
    long[] inAll = new long[1];
    MnistBatch.forEach(
        test,
        images,
        batch -> {
          long begin = System.nanoTime();
          Tensor x = batch.images();
          for (Module layer : network.children().values()) {
            long before = System.nanoTime();
            x = layer.forward(x);
            inNorms[0] += layer instanceof BatchNorm ? System.nanoTime() - before : 0;
          }
          inAll[0] += System.nanoTime() - begin;
          correct[0] += batch.correct(x);
        });
    double count = Math.min(images, test.size());
    return new Result(
        100 * correct[0] / count, count / (inAll[0] / 1e9), count / (inNorms[0] / 1e9));
  }

  /**
   * Compares two servings, batch norm by batch norm on the same input, for all test images.
   *
   * @return how many values were compared
   * @throws IllegalStateException at the first value that differs in a bit
   */
  public static long compareBits(MnistServing one, MnistServing other, MnistIdx test) {
    long[] compared = new long[1];
    MnistBatch.forEach(
        test,
        test.size(),
        batch -> {
          Tensor x = batch.images();
          for (int i = 0; i < one.network.size(); i++) {
            Module layer = one.network.get(i);
            Tensor y = layer.forward(x);
            if (layer instanceof BatchNorm) {
              compared[0] += compareBits(i, y, other.network.get(i).forward(x));
            }
            x = y;
          }
        });
    return compared[0];
  }

  private static long compareBits(int layer, Tensor one, Tensor other) {
    float[] a = one.toFloatArray();
    float[] b = other.toFloatArray();
    // Compares bits: +0 and -0 differ; any two NaNs are equal.
    int differs = Arrays.mismatch(a, b);
    if (differs >= 0) {
      throw new IllegalStateException(
          "layer "
              + layer
              + ": the backends differ in value "
              + differs
              + ": "
              + a[differs]
              + " and "
              + b[differs]
              + ". This is a bug in batchnorm4j: please report it");
    }
    return a.length;
  }

  @Override
  public void close() {
    network.close();
  }
}
