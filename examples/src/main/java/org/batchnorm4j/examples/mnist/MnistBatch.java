package org.batchnorm4j.examples.mnist;

import java.util.Arrays;
import java.util.function.Consumer;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.tensor.Tensor;

/** The tensor that images are put into, batch after batch. */
final class MnistBatch implements AutoCloseable {
  /** Images per batch where nothing is trained. */
  private static final int EVALUATED = 500;

  private final MnistIdx data;
  private final float[] pixels;
  private final Tensor images;
  private final int[] labels;

  MnistBatch(MnistIdx data, int size) {
    this.data = data;
    this.pixels = new float[size * MnistIdx.PIXELS];
    this.images = Tensor.zeros(size, 1, MnistIdx.SIDE, MnistIdx.SIDE);
    this.labels = new int[size];
  }

  /** Gives the first {@code images} images to the body, in order and in batches. */
  static void forEach(MnistIdx data, int images, Consumer<MnistBatch> body) {
    int count = Math.min(images, data.size());
    int[] order = inOrder(count);
    for (int from = 0; from < count; from += EVALUATED) {
      try (MnistBatch batch = new MnistBatch(data, Math.min(EVALUATED, count - from))) {
        batch.fill(order, from);
        body.accept(batch);
      }
    }
  }

  static int[] inOrder(int count) {
    int[] order = new int[count];
    Arrays.setAll(order, i -> i);
    return order;
  }

  /** Fills the batch with the images {@code order[from], order[from + 1], ...}. */
  void fill(int[] order, int from) {
    for (int i = 0; i < labels.length; i++) {
      data.image(order[from + i], pixels, i * MnistIdx.PIXELS);
      labels[i] = data.label(order[from + i]);
    }
    images.copyFrom(pixels);
  }

  Tensor images() {
    return images;
  }

  int[] labels() {
    return labels;
  }

  /** How many rows of scores have their largest value at the right label. */
  int correct(Tensor scores) {
    float[] values = scores.toFloatArray();
    int correct = 0;
    for (int i = 0; i < labels.length; i++) {
      int best = 0;
      for (int c = 1; c < MnistIdx.CLASSES; c++) {
        if (values[i * MnistIdx.CLASSES + c] > values[i * MnistIdx.CLASSES + best]) {
          best = c;
        }
      }
      correct += best == labels[i] ? 1 : 0;
    }
    return correct;
  }

  @Override
  public void close() {
    images.close();
  }
}
