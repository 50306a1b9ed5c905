package org.batchnorm4j.examples;

import java.io.PrintWriter;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.cli.Table;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.Conv1d;
import org.batchnorm4j.nn.ConvOptions;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** Batch norm of sequences. */
@Command(name = "temporal", description = "Conv1d, BatchNorm1d, ReLU on sequences (N, C, L).")
final class Temporal implements Callable<Integer> {
  private static final int SAMPLES = 16;
  private static final int CHANNELS = 3;
  private static final int LENGTH = 100;

  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    SplittableRandom random = new SplittableRandom(1);
    try (Sequential network =
            new Sequential(
                new Conv1d(CHANNELS, 4, ConvOptions.kernel(5).padding(2), random),
                new BatchNorm1d(4),
                new ReLU());
        Tensor x = waves(random)) {
      out.println(network);
      out.println();
      out.println(
          SAMPLES
              + " sequences of "
              + CHANNELS
              + " channels and "
              + LENGTH
              + " time steps: waves on drifting levels. On (N, C, L)");
      out.println(
          "BatchNorm1d takes its statistics over samples and time, "
              + SAMPLES * LENGTH
              + " values per channel:");
      out.println();
      Trace.forward(out, network, x);
      out.println();

      BatchNorm1d norm = (BatchNorm1d) network.get(1);
      ChannelStats batch = ChannelStats.of(network.get(0).forward(x));
      out.println("The running statistics, one number per channel, have moved a tenth of the way:");
      out.println();
      Table table =
          new Table("channel", "batch mean", "running_mean", "unbiased batch var", "running_var");
      double unbiased = SAMPLES * LENGTH / (SAMPLES * LENGTH - 1.0);
      for (int c = 0; c < 4; c++) {
        table.row(
            Integer.toString(c),
            format(batch.mean()[c]),
            format(norm.runningMean().get(c)),
            format(batch.std()[c] * batch.std()[c] * unbiased),
            format(norm.runningVar().get(c)));
      }
      table.print(out);
    }
    return 0;
  }

  private static Tensor waves(SplittableRandom random) {
    float[] values = new float[SAMPLES * CHANNELS * LENGTH];
    for (int row = 0; row < SAMPLES * CHANNELS; row++) {
      double level = random.nextDouble(-20, 20);
      double phase = random.nextDouble(2 * Math.PI);
      for (int t = 0; t < LENGTH; t++) {
        values[row * LENGTH + t] = (float) (level + t / 10.0 + 5 * Math.sin(t / 4.0 + phase));
      }
    }
    return Tensor.of(values, SAMPLES, CHANNELS, LENGTH);
  }

  private static String format(double value) {
    return String.format(Locale.ROOT, "%.4f", value);
  }
}
