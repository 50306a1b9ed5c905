package org.batchnorm4j.examples;

import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.cli.DataOption;
import org.batchnorm4j.examples.cli.OutOption;
import org.batchnorm4j.examples.cli.OutputFolder;
import org.batchnorm4j.examples.cli.Require;
import org.batchnorm4j.examples.cli.Table;
import org.batchnorm4j.examples.data.CsvTable;
import org.batchnorm4j.examples.data.Regression;
import org.batchnorm4j.examples.plot.Figure;
import org.batchnorm4j.examples.plot.Figure.Curve;
import org.batchnorm4j.examples.plot.Figure.Panel;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MSELoss;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.optim.Adam;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** A regression with and without batch norm, on random and on real data. */
@Command(
    name = "compare",
    description = "A small regression with and without batch norm, on random and on real data.")
final class Compare implements Callable<Integer> {
  private static final int REPORT_EVERY = 50;

  @Spec private CommandSpec spec;
  @Mixin private DataOption data;
  @Mixin private OutOption out;

  @Option(
      names = "--epochs",
      paramLabel = "N",
      defaultValue = "200",
      description = "Steps, each over all samples (default: ${DEFAULT-VALUE}).")
  private int epochs;

  @Option(
      names = "--lr",
      paramLabel = "RATE",
      defaultValue = "0.01",
      description = "Learning rate of Adam (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  @Override
  public Integer call() throws IOException {
    PrintWriter print = spec.commandLine().getOut();
    Require.between(spec, "--epochs", epochs, 1, 1_000_000);
    Require.positive(spec, "--lr", learningRate);
    CsvTable housing = CsvTable.housing(data.files());
    OutputFolder folder = out.prepare();
    Figure.checkFonts();
    List<Panel> panels = new ArrayList<>();
    try (Regression random = Regression.random(1000, 10, new Random(1));
        Regression real = Regression.lastColumnOf(housing, new Random(1))) {
      print.println("Random data: the sum of 10 features of one scale, and a little noise");
      panels.add(compare(print, "Random data", random));
      print.println("Boston housing: median home value from 13 features of very different scales");
      panels.add(compare(print, "Boston housing", real));
    }
    Figure figure = new Figure(panels);
    print.println("plots: " + folder.write("compare.png", figure::writePng));
    print.println("       " + folder.write("compare.svg", figure::writeSvg));
    return 0;
  }

  private Panel compare(PrintWriter print, String title, Regression regression) {
    List<String> columns = new ArrayList<>(List.of("mean squared error"));
    for (int epoch = REPORT_EVERY; epoch <= epochs; epoch += REPORT_EVERY) {
      columns.add("epoch " + epoch);
    }
    columns.add("test, eval()");
    Table table = new Table(columns.toArray(new String[0]));
    List<Curve> curves =
        List.of(
            train(table, "with batch norm", true, regression),
            train(table, "without batch norm", false, regression));
    print.println();
    table.print(print);
    print.println();
    return new Panel(title, "epoch", "mean squared error", true, curves);
  }

  private Curve train(Table table, String name, boolean batchNorm, Regression regression) {
    List<String> row = new ArrayList<>(List.of(name));
    double[] x = new double[epochs];
    double[] y = new double[epochs];
    int features = (int) regression.trainX().shape().dim(1);
    try (Sequential network = network(batchNorm, features);
        MSELoss loss = new MSELoss()) {
      Adam optimizer = new Adam(network.parameters(), learningRate);
      for (int epoch = 1; epoch <= epochs; epoch++) {
        double value = loss.forward(network.forward(regression.trainX()), regression.trainY());
        network.backward(loss.backward());
        optimizer.step();
        x[epoch - 1] = epoch;
        y[epoch - 1] = value;
        if (epoch % REPORT_EVERY == 0) {
          row.add(format(value));
        }
      }
      row.add(format(loss.forward(network.eval().forward(regression.testX()), regression.testY())));
    }
    table.row(row.toArray(new String[0]));
    return new Curve(name, x, y);
  }

  /** The same seed, so both networks start with the same weights. */
  private static Sequential network(boolean batchNorm, int features) {
    SplittableRandom random = new SplittableRandom(1);
    Sequential network = new Sequential(new Linear(features, 50, random));
    if (batchNorm) {
      network.add(new BatchNorm1d(50));
    }
    return network.add(new ReLU()).add(new Linear(50, 1, random));
  }

  private static String format(double value) {
    return String.format(Locale.ROOT, "%.4f", value);
  }
}
