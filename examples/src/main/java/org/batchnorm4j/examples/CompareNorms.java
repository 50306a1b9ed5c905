package org.batchnorm4j.examples;

import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.batchnorm4j.examples.cli.DataOption;
import org.batchnorm4j.examples.cli.OutOption;
import org.batchnorm4j.examples.cli.OutputFolder;
import org.batchnorm4j.examples.cli.Progress;
import org.batchnorm4j.examples.cli.Require;
import org.batchnorm4j.examples.cli.Table;
import org.batchnorm4j.examples.data.DataFiles;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.examples.mnist.MnistTraining;
import org.batchnorm4j.examples.mnist.MnistTraining.History;
import org.batchnorm4j.examples.mnist.MnistTraining.Settings;
import org.batchnorm4j.examples.plot.Figure;
import org.batchnorm4j.examples.plot.Figure.Curve;
import org.batchnorm4j.examples.plot.Figure.Panel;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.ConvOptions;
import org.batchnorm4j.nn.Flatten;
import org.batchnorm4j.nn.GroupNorm;
import org.batchnorm4j.nn.InstanceNorm2d;
import org.batchnorm4j.nn.LayerNorm;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MaxPool2d;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.nn.Sequential;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** One network with each of the normalizations, and with none. */
@Command(
    name = "compare-norms",
    description =
        "The same CNN on handwritten digits with batch, instance, group, layer and no"
            + " normalization.")
final class CompareNorms implements Callable<Integer> {
  private static final int GROUPS = 4;

  @Spec private CommandSpec spec;
  @Mixin private DataOption data;
  @Mixin private OutOption out;

  @Option(
      names = "--images",
      paramLabel = "N",
      defaultValue = "12000",
      description = "Train on the first N images (default: ${DEFAULT-VALUE}).")
  private int images;

  @Option(
      names = "--epochs",
      paramLabel = "N",
      defaultValue = "1",
      description = "How often each image is used (default: ${DEFAULT-VALUE}).")
  private int epochs;

  @Option(
      names = "--batch",
      paramLabel = "N",
      defaultValue = "64",
      description = "Images per step (default: ${DEFAULT-VALUE}).")
  private int batch;

  @Option(
      names = "--lr",
      paramLabel = "RATE",
      defaultValue = "0.01",
      description = "Learning rate of SGD with momentum 0.9 (default: ${DEFAULT-VALUE}).")
  private double learningRate;

  /** A normalization, and what it takes the mean and the variance of. */
  private enum Norm {
    BATCH("batch", "a channel, over all samples and positions"),
    INSTANCE("instance", "a channel of one sample, over its positions"),
    GROUP("group", GROUPS + " groups of channels of one sample"),
    LAYER("layer", "all channels and positions of one sample"),
    NONE("none", "nothing");

    private final String title;
    private final String over;

    Norm(String title, String over) {
      this.title = title;
      this.over = over;
    }

    /** Null for none. All have a weight and a bias. */
    private @Nullable Module make(int channels, int side) {
      return switch (this) {
        case BATCH -> new BatchNorm2d(channels);
        case INSTANCE -> InstanceNorm2d.builder(channels).affine(true).build();
        case GROUP -> new GroupNorm(GROUPS, channels);
        case LAYER -> new LayerNorm(channels, side, side);
        case NONE -> null;
      };
    }
  }

  @Override
  public Integer call() throws IOException {
    PrintWriter print = spec.commandLine().getOut();
    Require.between(spec, "--images", images, 2, Integer.MAX_VALUE);
    Require.between(spec, "--epochs", epochs, 1, 1000);
    Require.positive(spec, "--lr", learningRate);
    DataFiles files = data.files();
    MnistIdx train = MnistIdx.train(files);
    MnistIdx test = MnistIdx.test(files);
    int used = Math.min(images, train.size());
    Require.between(spec, "--batch", batch, 1, used);
    Settings settings = new Settings(used, epochs, batch, learningRate, 1);
    OutputFolder folder = out.prepare();
    Figure.checkFonts();
    print.printf(
        Locale.ROOT, "Training on %,d images, %d x, %d at a time%n%n", used, epochs, batch);

    MnistTraining training = new MnistTraining(train, test, settings);
    Table table =
        new Table("norm", "training loss at the end", "test accuracy", "mean and variance of");
    List<Curve> losses = new ArrayList<>();
    List<Curve> accuracies = new ArrayList<>();
    for (Norm norm : Norm.values()) {
      try (Sequential network = network(norm)) {
        History history = train(print, training, settings, norm, network);
        double accuracy = MnistTraining.accuracy(network.eval(), test, test.size());
        losses.add(history.loss());
        accuracies.add(history.accuracy());
        table.row(
            norm.title,
            String.format(Locale.ROOT, "%.4f", history.lastLoss()),
            String.format(Locale.ROOT, "%.2f %%", accuracy),
            norm.over);
      }
    }
    print.println();
    table.print(print);
    print.println();
    print.println(
        "Batch norm alone looks at other samples. So it alone needs running statistics for");
    print.println("evaluation, and in training the result for one sample depends on the others.");

    String x = "thousands of training images seen";
    Figure figure =
        new Figure(
            List.of(
                new Panel(
                    "Training loss, " + batch + " per step", x, "cross-entropy", true, losses),
                new Panel(
                    "Accuracy on " + History.CURVE_IMAGES + " test images",
                    x,
                    "% correct",
                    false,
                    accuracies)));
    print.println();
    print.println("plots: " + folder.write("compare-norms.png", figure::writePng));
    print.println("       " + folder.write("compare-norms.svg", figure::writeSvg));
    return 0;
  }

  private static History train(
      PrintWriter print, MnistTraining training, Settings settings, Norm norm, Sequential network) {
    String padded = String.format("%-8s", norm.title);
    try (Progress progress = new Progress(print, Progress.isTerminal(), padded, settings.total())) {
      return training.train(norm.title, network, progress);
    }
  }

  /** The same seed, so all networks start with the same weights. */
  private static Sequential network(Norm norm) {
    SplittableRandom random = new SplittableRandom(1);
    Sequential network = new Sequential();
    addConvolution(network, 1, 8, MnistIdx.SIDE, norm, random);
    addConvolution(network, 8, 16, MnistIdx.SIDE / 2, norm, random);
    int side = MnistIdx.SIDE / 4;
    return network.add(new Flatten()).add(new Linear(16 * side * side, MnistIdx.CLASSES, random));
  }

  private static void addConvolution(
      Sequential network, int in, int out, int side, Norm norm, SplittableRandom random) {
    network.add(new Conv2d(in, out, ConvOptions.kernel(3).padding(1), random));
    Module normalization = norm.make(out, side);
    if (normalization != null) {
      network.add(normalization);
    }
    network.add(new ReLU()).add(new MaxPool2d(2));
  }
}
