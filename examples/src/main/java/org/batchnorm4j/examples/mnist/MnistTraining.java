package org.batchnorm4j.examples.mnist;

import java.util.SplittableRandom;
import org.batchnorm4j.examples.cli.Progress;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.examples.plot.Figure.Curve;
import org.batchnorm4j.nn.CrossEntropyLoss;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.optim.SGD;

/** Trains a network and keeps its loss and its accuracy over time. */
public final class MnistTraining {
  private static final int LOSS_POINTS = 100;
  private static final int ACCURACY_POINTS = 20;

  private final MnistIdx train;
  private final MnistIdx test;
  private final Settings settings;

  /** For these data and settings, whatever the network. */
  public MnistTraining(MnistIdx train, MnistIdx test, Settings settings) {
    this.train = train;
    this.test = test;
    this.settings = settings;
  }

  /**
   * How to train.
   *
   * @param images how many of the training images to use
   * @param batch images per step; what is left of an epoch when it is over is not used
   */
  public record Settings(int images, int epochs, int batch, double learningRate, long seed) {
    private int stepsPerEpoch() {
      return images / batch;
    }

    /** Images that all steps together see. */
    public long total() {
      return (long) stepsPerEpoch() * epochs * batch;
    }
  }

  /**
   * How a training went, over the number of images seen.
   *
   * @param loss the mean over the steps since the last point
   * @param accuracy percent of {@link #CURVE_IMAGES} test images
   */
  public record History(Curve loss, Curve accuracy) {
    /** What accuracy is measured on during the training: not all, to keep it short. */
    public static final int CURVE_IMAGES = 2000;

    /** The loss at the end. */
    public double lastLoss() {
      return loss.y()[loss.y().length - 1];
    }
  }

  /** Trains the network; leaves it in training mode. */
  public History train(String name, Sequential network, Progress progress) {
    int steps = settings.stepsPerEpoch() * settings.epochs;
    Points losses = new Points(Math.min(LOSS_POINTS, steps), steps);
    Points accuracies = new Points(Math.min(ACCURACY_POINTS, steps), steps);
    SGD optimizer =
        new SGD(
            network.parameters(),
            settings.learningRate,
            SGD.Options.DEFAULTS.momentum(0.9).weightDecay(1e-4));
    SplittableRandom random = new SplittableRandom(settings.seed);
    int[] order = MnistBatch.inOrder(settings.images);
    try (MnistBatch batch = new MnistBatch(train, settings.batch);
        CrossEntropyLoss loss = new CrossEntropyLoss()) {
      for (int step = 0; step < steps; step++) {
        int within = step % settings.stepsPerEpoch();
        if (within == 0) {
          shuffle(order, random);
        }
        batch.fill(order, within * settings.batch);
        double value = loss.forward(network.forward(batch.images()), batch.labels());
        network.backward(loss.backward());
        optimizer.step();
        progress.step(settings.batch, value);
        losses.add(step, value);
        if (accuracies.isDue(step)) {
          progress.pause();
          accuracies.add(step, accuracy(network.eval(), test, History.CURVE_IMAGES));
          network.train();
          progress.resume();
        }
      }
    }
    return new History(losses.curve(name, settings.batch), accuracies.curve(name, settings.batch));
  }

  /** Percent of the first {@code images} images that the network gets right. */
  public static double accuracy(Module network, MnistIdx test, int images) {
    int[] correct = new int[1];
    MnistBatch.forEach(
        test, images, batch -> correct[0] += batch.correct(network.forward(batch.images())));
    return 100.0 * correct[0] / Math.min(images, test.size());
  }

  private static void shuffle(int[] order, SplittableRandom random) {
    for (int i = order.length - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      int swapped = order[i];
      order[i] = order[j];
      order[j] = swapped;
    }
  }

  /** Means of what was added, at evenly spaced steps. */
  private static final class Points {
    private final int steps;
    private final int[] at;
    private final double[] values;
    private int filled;
    private double sum;
    private int count;

    Points(int size, int steps) {
      this.steps = steps;
      this.at = new int[size];
      this.values = new double[size];
    }

    /** Whether a point is taken after this step. */
    boolean isDue(int step) {
      return (long) (step + 1) * at.length / steps > filled;
    }

    void add(int step, double value) {
      sum += value;
      count++;
      if (isDue(step)) {
        at[filled] = step + 1;
        values[filled] = sum / count;
        filled++;
        sum = 0;
        count = 0;
      }
    }

    /** Over thousands of images. */
    Curve curve(String name, int batch) {
      double[] x = new double[at.length];
      for (int i = 0; i < x.length; i++) {
        x[i] = at[i] * (double) batch / 1000;
      }
      return new Curve(name, x, values);
    }
  }
}
