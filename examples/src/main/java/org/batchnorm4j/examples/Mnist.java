package org.batchnorm4j.examples;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.examples.cli.DataOption;
import org.batchnorm4j.examples.cli.OutOption;
import org.batchnorm4j.examples.cli.OutputFolder;
import org.batchnorm4j.examples.cli.Progress;
import org.batchnorm4j.examples.cli.Require;
import org.batchnorm4j.examples.cli.Table;
import org.batchnorm4j.examples.data.DataFiles;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.examples.mnist.MnistNetwork;
import org.batchnorm4j.examples.mnist.MnistServing;
import org.batchnorm4j.examples.mnist.MnistTraining;
import org.batchnorm4j.examples.mnist.MnistTraining.History;
import org.batchnorm4j.examples.mnist.MnistTraining.Settings;
import org.batchnorm4j.examples.plot.Figure;
import org.batchnorm4j.examples.plot.Figure.Panel;
import org.batchnorm4j.io.Safetensors;
import org.batchnorm4j.nn.Sequential;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * The main job: train a network on handwritten digits with and without batch norm, and serve it.
 */
@Command(
    name = "mnist",
    description =
        "Trains a CNN on handwritten digits, with and without batch norm, plots both, then serves"
            + " the one with it on the native and on the Java backend.")
final class Mnist implements Callable<Integer> {
  private static final int DEFAULT_IMAGES = 20_000;
  private static final String WITH = "with batch norm";
  private static final String WITHOUT = "without batch norm";

  @Spec private CommandSpec spec;
  @Mixin private DataOption data;
  @Mixin private OutOption out;

  @Option(names = "--full", description = "Train on all images.")
  private boolean full;

  @Option(
      names = "--images",
      paramLabel = "N",
      description = "Train on the first N images (default: " + DEFAULT_IMAGES + ").")
  private @Nullable Integer images;

  @Option(
      names = "--epochs",
      paramLabel = "N",
      defaultValue = "3",
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

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "1",
      description = "Start of all random numbers (default: ${DEFAULT-VALUE}).")
  private long seed;

  /** A network's training and what became of it. */
  private record Trained(String name, History history, double accuracy) {}

  @Override
  public Integer call() throws IOException {
    PrintWriter print = spec.commandLine().getOut();
    checkNumbers();
    DataFiles files = data.files();
    MnistIdx train = MnistIdx.train(files);
    MnistIdx test = MnistIdx.test(files);
    Settings settings = settings(train);
    List<BatchNormBackend> backends = backends();
    OutputFolder folder = out.prepare();
    Figure.checkFonts();
    print.println(Backends.describe());
    print.printf(
        Locale.ROOT,
        "%,d training images, %,d test images; training on %,d, %d x, %d at a time%n%n",
        train.size(),
        test.size(),
        settings.images(),
        epochs,
        batch);

    MnistTraining training = new MnistTraining(train, test, settings);
    try (Sequential with = MnistNetwork.build(true, seed);
        Sequential without = MnistNetwork.build(false, seed)) {
      List<Trained> trained =
          List.of(
              train(print, training, settings, test, WITH, with),
              train(print, training, settings, test, WITHOUT, without));
      report(print, folder, trained);
      Path model = folder.file("mnist.safetensors");
      Safetensors.write(model, with.stateDict());
      print.println("model: " + model);
      serve(print, backends, model, test);
    }
    return 0;
  }

  private void checkNumbers() {
    if (images != null) {
      if (full) {
        throw new ParameterException(
            spec.commandLine(), "--full and --images contradict each other; give one of them");
      }
      Require.between(spec, "--images", images, 1, Integer.MAX_VALUE);
    }
    Require.between(spec, "--epochs", epochs, 1, 1000);
    // Batch norm needs more than one value of a channel, behind the last layers of the network too.
    Require.between(spec, "--batch", batch, 2, 10_000);
    Require.positive(spec, "--lr", learningRate);
  }

  private Settings settings(MnistIdx train) {
    int used = full ? train.size() : images == null ? DEFAULT_IMAGES : images;
    used = Math.min(used, train.size());
    if (batch > used) {
      throw new ParameterException(
          spec.commandLine(),
          "--batch must be at most the number of training images (--images), which is "
              + used
              + ", but got "
              + batch);
    }
    return new Settings(used, epochs, batch, learningRate, seed);
  }

  private static Trained train(
      PrintWriter print,
      MnistTraining training,
      Settings settings,
      MnistIdx test,
      String name,
      Sequential network) {
    String padded = String.format("%-" + WITHOUT.length() + "s", name);
    History history;
    try (Progress progress = new Progress(print, Progress.isTerminal(), padded, settings.total())) {
      history = training.train(name, network, progress);
    }
    double accuracy = MnistTraining.accuracy(network.eval(), test, test.size());
    return new Trained(name, history, accuracy);
  }

  private static void report(PrintWriter print, OutputFolder folder, List<Trained> trained)
      throws IOException {
    // No speeds: the first network runs while the JVM still compiles.
    Table table = new Table("", "training loss at the end", "test accuracy");
    for (Trained t : trained) {
      table.row(
          t.name,
          String.format(Locale.ROOT, "%.4f", t.history.lastLoss()),
          String.format(Locale.ROOT, "%.2f %%", t.accuracy));
    }
    print.println();
    table.print(print);

    String x = "thousands of training images seen";
    Figure figure =
        new Figure(
            List.of(
                new Panel(
                    "Training loss",
                    x,
                    "cross-entropy",
                    true,
                    trained.stream().map(t -> t.history.loss()).toList()),
                new Panel(
                    "Accuracy on " + History.CURVE_IMAGES + " test images",
                    x,
                    "% correct",
                    false,
                    trained.stream().map(t -> t.history.accuracy()).toList())));
    print.println();
    print.println("plots: " + folder.write("mnist.png", figure::writePng));
    print.println("       " + folder.write("mnist.svg", figure::writeSvg));
  }

  /**
   * Native and Java, to be compared. Where the native library does not load this fails, and does so
   * before the training, unless the user wants to go without it.
   */
  private static List<BatchNormBackend> backends() {
    return "java".equals(System.getProperty("org.batchnorm4j.backend"))
        ? List.of(Backends.javaBackend())
        : List.of(Backends.nativeBackend(), Backends.javaBackend());
  }

  private static void serve(
      PrintWriter print, List<BatchNormBackend> backends, Path model, MnistIdx test)
      throws IOException {
    print.println();
    print.println("Serving " + model.getFileName() + " in eval():");
    print.println();
    List<MnistServing> servings = new ArrayList<>();
    Table table = new Table("backend", "test accuracy", "images/s", "batch norms alone, images/s");
    try {
      for (BatchNormBackend backend : backends) {
        MnistServing serving = MnistServing.load(model, backend);
        servings.add(serving);
        MnistServing.Result result = serving.serve(test);
        table.row(
            backend.name(),
            String.format(Locale.ROOT, "%.2f %%", result.accuracy()),
            String.format(Locale.ROOT, "%,.0f", result.imagesPerSecond()),
            String.format(Locale.ROOT, "%,.0f", result.normsPerSecond()));
      }
      table.print(print);
      print.println();
      if (servings.size() == 2) {
        long compared = MnistServing.compareBits(servings.get(0), servings.get(1), test);
        print.printf(
            Locale.ROOT, "Same bits: %,d outputs of batch norms, native against Java.%n", compared);
      } else {
        print.println("Only one backend, nothing to compare: native was switched off.");
      }
    } finally {
      servings.forEach(MnistServing::close);
    }
  }
}
