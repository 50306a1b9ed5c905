package org.batchnorm4j.examples;

import java.io.PrintWriter;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.data.Samples;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.ConvOptions;
import org.batchnorm4j.nn.Flatten;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MaxPool2d;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** Batch norm behind a convolution. */
@Command(
    name = "simple-cnn",
    description = "Conv2d, BatchNorm2d, ReLU, MaxPool2d, Linear on one image of 3 x 64 x 64.")
final class SimpleCnn implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    SplittableRandom random = new SplittableRandom(1);
    try (Sequential network =
            new Sequential(
                new Conv2d(3, 16, ConvOptions.kernel(3).padding(1), random),
                new BatchNorm2d(16),
                new ReLU(),
                new MaxPool2d(2),
                new Flatten(),
                new Linear(16 * 32 * 32, 10, random));
        Tensor image = Samples.normal(random, 0.5, 0.25, 1, 3, 64, 64)) {
      out.println(network);
      out.println();
      out.println(
          "A training forward of one image. BatchNorm2d takes its statistics over the batch");
      out.println("and all positions, 64 x 64 values per channel, so that one image is enough:");
      out.println();
      Trace.forward(out, network, image);
      out.println();
      out.println(
          "The same image in eval(). The running statistics have seen a tenth of one batch,");
      out.println("so the output of the batch norm is not yet at mean 0 and standard deviation 1:");
      out.println();
      network.eval();
      Trace.forward(out, network, image);
    }
    return 0;
  }
}
