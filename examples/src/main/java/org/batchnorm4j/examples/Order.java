package org.batchnorm4j.examples;

import java.io.PrintWriter;
import java.util.Arrays;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.data.Samples;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.Dropout;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** The usual order of layers, and what train() and eval() make of the same input. */
@Command(
    name = "order",
    description = "Linear, BatchNorm1d, ReLU, Dropout: what changes between train() and eval().")
final class Order implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    SplittableRandom random = new SplittableRandom(6);
    try (Sequential network =
            new Sequential(
                new Linear(8, 6, random),
                new BatchNorm1d(6),
                new ReLU(),
                new Dropout(0.5, random));
        Tensor x = Samples.normal(random, 1, 2, 32, 8)) {
      out.println(network);
      out.println();
      out.println(
          "The order that people use: batch norm between the linear layer and its activation,");
      out.println(
          "where values are most nearly normal, and dropout last, so that its zeros do not");
      out.println("disturb the statistics.");
      BatchNorm1d norm = (BatchNorm1d) network.get(1);

      out.println();
      out.println("train(): statistics of the batch, dropout at work");
      network.train();
      float[] first = forward(network, x);
      print(out, "sample 0", first);
      float[] second = forward(network, x);
      print(out, "once more", second);
      out.println(
          "  same input, same output: "
              + Arrays.equals(first, second)
              + ", for dropout draws anew each time");
      out.println(
          "  num_batches_tracked: "
              + norm.numBatchesTracked().getLong()
              + ", for each forward moves the running statistics");
      try {
        forward(network, x.narrow(0, 0, 1));
        throw new AssertionError("a batch of one sample has no statistics");
      } catch (IllegalArgumentException e) {
        out.println("  sample 0 alone is refused: " + e.getMessage());
      }

      out.println();
      out.println("eval(): running statistics, dropout passes everything");
      network.eval();
      first = forward(network, x);
      print(out, "sample 0", first);
      second = forward(network, x);
      print(out, "once more", second);
      out.println("  same input, same output: " + Arrays.equals(first, second));
      out.println(
          "  num_batches_tracked: "
              + norm.numBatchesTracked().getLong()
              + ", for eval() changes nothing");
      float[] alone = forward(network, x.narrow(0, 0, 1));
      print(out, "alone", alone);
      double difference = 0;
      for (int i = 0; i < alone.length; i++) {
        difference = Math.max(difference, Math.abs(alone[i] - first[i]));
      }
      out.println(
          "  sample 0 alone as in its batch: "
              + (difference < 1e-5)
              + ", for nothing depends on the batch any more");
    }
    return 0;
  }

  private static float[] forward(Sequential network, Tensor x) {
    return network.forward(x).toFloatArray();
  }

  private static void print(PrintWriter out, String name, float[] y) {
    StringBuilder line = new StringBuilder(String.format("  %-10s", name));
    for (int i = 0; i < 6; i++) {
      line.append(String.format(Locale.ROOT, " %7.4f", y[i]));
    }
    out.println(line);
  }
}
