package org.batchnorm4j.examples;

import java.io.PrintWriter;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.data.Samples;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** Batch norm in a small multilayer perceptron. */
@Command(name = "mlp", description = "Linear, BatchNorm1d, ReLU, Linear on a batch of 64 samples.")
final class Mlp implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    SplittableRandom random = new SplittableRandom(1);
    try (Sequential network =
            new Sequential(
                new Linear(10, 50, random),
                new BatchNorm1d(50),
                new ReLU(),
                new Linear(50, 2, random));
        Tensor x = Samples.normal(random, 3, 5, 64, 10)) {
      out.println(network);
      out.println();
      out.println(
          "A training forward. Whatever the input's scale, batch norm brings each of the 50");
      out.println("features to mean 0 and standard deviation 1 over the batch:");
      out.println();
      Trace.forward(out, network, x);
      out.println();

      BatchNorm1d norm = (BatchNorm1d) network.get(1);
      out.println("It has also moved the running statistics by momentum " + norm.momentum());
      out.println("from (0, 1) towards the batch's:");
      out.println();
      out.println("  running_mean  " + ChannelStats.range(norm.runningMean().toDoubleArray()));
      out.println("  running_var   " + ChannelStats.range(norm.runningVar().toDoubleArray()));
      out.println();

      for (int i = 0; i < 60; i++) {
        network.forward(x);
      }
      out.println(
          "After 60 batches more they are the batch's, and eval(), which uses nothing else,");
      out.println("normalizes as well:");
      out.println();
      network.eval();
      Trace.forward(out, network, x);
    }
    return 0;
  }
}
