package org.batchnorm4j.examples;

import java.io.PrintWriter;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.cli.Table;
import org.batchnorm4j.examples.data.Samples;
import org.batchnorm4j.nn.BatchNorm3d;
import org.batchnorm4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** Batch norm of volumes. */
@Command(name = "volume", description = "BatchNorm3d on volumes (N, C, D, H, W), train and eval.")
final class Volume implements Callable<Integer> {
  private static final long[] SHAPE = {2, 4, 8, 16, 16};

  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    SplittableRandom random = new SplittableRandom(1);
    try (BatchNorm3d norm = new BatchNorm3d(SHAPE[1]);
        Tensor fresh = Samples.normal(random, 7, 3, SHAPE)) {
      out.println(
          norm + " on batches of shape " + fresh.shape() + ", mean 7, standard deviation 3");
      out.println();
      out.println(
          "In train() each batch is normalized by itself, from the first one on. In eval() a");
      out.println("batch it has not seen is normalized with the running statistics, which come as");
      out.println("close to the data's as they have seen batches:");
      out.println();
      Table table =
          new Table(
              "batches",
              "running_mean",
              "running_var",
              "train(): mean",
              "std",
              "eval(): mean",
              "std");
      int seen = 0;
      for (int target : new int[] {1, 5, 20, 60}) {
        ChannelStats trained = null;
        for (; seen < target; seen++) {
          try (Tensor x = Samples.normal(random, 7, 3, SHAPE)) {
            trained = ChannelStats.of(norm.train().forward(x));
          }
        }
        ChannelStats served = ChannelStats.of(norm.eval().forward(fresh));
        table.row(
            Integer.toString(seen),
            ChannelStats.range(norm.runningMean().toDoubleArray()),
            ChannelStats.range(norm.runningVar().toDoubleArray()),
            ChannelStats.range(trained.mean()),
            ChannelStats.range(trained.std()),
            ChannelStats.range(served.mean()),
            ChannelStats.range(served.std()));
      }
      table.print(out);
      out.println();
      out.println("(smallest .. largest of the " + SHAPE[1] + " channels)");
    }
    return 0;
  }
}
