package org.batchnorm4j.examples.data;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.ZipException;

/**
 * Grey images of 28 x 28 and their labels 0 to 9, as MNIST and its successors publish them: two IDX
 * files, big-endian, a magic number and the sizes, then bytes.
 */
public final class MnistIdx {
  /** Height and width of an image. */
  public static final int SIDE = 28;

  /** Bytes of an image. */
  public static final int PIXELS = SIDE * SIDE;

  /** The number of different labels. */
  public static final int CLASSES = 10;

  private static final int IMAGES_MAGIC = 0x803;
  private static final int LABELS_MAGIC = 0x801;

  private final byte[] pixels;
  private final byte[] labels;

  private MnistIdx(byte[] pixels, byte[] labels) {
    this.pixels = pixels;
    this.labels = labels;
  }

  /** The images to train on; 60,000 in MNIST. */
  public static MnistIdx train(DataFiles files) throws IOException {
    return load(files, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz");
  }

  /** The images to test with; 10,000 in MNIST. */
  public static MnistIdx test(DataFiles files) throws IOException {
    return load(files, "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz");
  }

  private static MnistIdx load(DataFiles files, String images, String labels) throws IOException {
    byte[] pixels;
    byte[] classes;
    try (InputStream in = files.open("mnist/", images)) {
      pixels = readImages(images, in);
    } catch (EOFException | ZipException e) {
      throw new IOException(images + ": damaged or cut off: " + e.getMessage(), e);
    }
    try (InputStream in = files.open("mnist/", labels)) {
      classes = readLabels(labels, in);
    } catch (EOFException | ZipException e) {
      throw new IOException(labels + ": damaged or cut off: " + e.getMessage(), e);
    }
    if (pixels.length / PIXELS != classes.length) {
      throw new IOException(
          images
              + " has "
              + pixels.length / PIXELS
              + " images, but "
              + labels
              + " has "
              + classes.length
              + " labels");
    }
    return new MnistIdx(pixels, classes);
  }

  /** All pixels, image by image and row by row. */
  static byte[] readImages(String name, InputStream in) throws IOException {
    DataInputStream data = new DataInputStream(in);
    int count = readHeader(name, data, IMAGES_MAGIC);
    int height = data.readInt();
    int width = data.readInt();
    if (height != SIDE || width != SIDE) {
      throw new IOException(
          name
              + ": its images are "
              + height
              + " x "
              + width
              + ", expected "
              + SIDE
              + " x "
              + SIDE);
    }
    return readRest(name, data, (long) count * PIXELS);
  }

  static byte[] readLabels(String name, InputStream in) throws IOException {
    DataInputStream data = new DataInputStream(in);
    byte[] labels = readRest(name, data, readHeader(name, data, LABELS_MAGIC));
    for (int i = 0; i < labels.length; i++) {
      if (labels[i] < 0 || labels[i] >= CLASSES) {
        throw new IOException(
            name
                + ": label "
                + i
                + " is "
                + (labels[i] & 0xff)
                + ", expected 0 to "
                + (CLASSES - 1));
      }
    }
    return labels;
  }

  private static int readHeader(String name, DataInputStream data, int expected)
      throws IOException {
    int magic = data.readInt();
    if (magic != expected) {
      throw new IOException(
          String.format(
              "%s: magic number is 0x%08x, expected 0x%08x (IDX, %s)",
              name, magic, expected, expected == IMAGES_MAGIC ? "images" : "labels"));
    }
    int count = data.readInt();
    if (count < 1 || count > Integer.MAX_VALUE / PIXELS) {
      throw new IOException(
          name
              + ": its header says "
              + count
              + " items, expected 1 to "
              + Integer.MAX_VALUE / PIXELS);
    }
    return count;
  }

  /** Memory grows with what is really there, not with what the header says. */
  private static byte[] readRest(String name, InputStream in, long length) throws IOException {
    byte[] bytes = in.readNBytes((int) length);
    if (bytes.length < length) {
      throw new EOFException(
          "its header promises " + length + " bytes, but only " + bytes.length + " follow");
    }
    if (in.read() >= 0) {
      throw new IOException(
          name + ": more bytes follow than the " + length + " its header promises");
    }
    return bytes;
  }

  /** The number of images. */
  public int size() {
    return labels.length;
  }

  /** What image {@code i} shows. */
  public int label(int i) {
    return labels[i];
  }

  /**
   * Writes image {@code i} to {@code to[at..]}, normalized to about mean 0 and variance 1 by the
   * usual constants of MNIST.
   */
  public void image(int i, float[] to, int at) {
    for (int p = 0; p < PIXELS; p++) {
      to[at + p] = ((pixels[i * PIXELS + p] & 0xff) / 255f - 0.1307f) / 0.3081f;
    }
  }
}
