package org.batchnorm4j.examples;

import java.util.Locale;
import org.batchnorm4j.tensor.Tensor;

/**
 * The mean and standard deviation of each channel of an (N, C, ...) tensor, as examples print them.
 */
record ChannelStats(double[] mean, double[] std) {

  static ChannelStats of(Tensor t) {
    int n = (int) t.shape().dim(0);
    int c = (int) t.shape().dim(1);
    float[] values = t.toFloatArray();
    int spatial = values.length / (n * c);
    double[] mean = new double[c];
    double[] std = new double[c];
    for (int channel = 0; channel < c; channel++) {
      double sum = 0;
      double squares = 0;
      for (int sample = 0; sample < n; sample++) {
        for (int i = 0; i < spatial; i++) {
          double v = values[(sample * c + channel) * spatial + i];
          sum += v;
          squares += v * v;
        }
      }
      double count = (double) n * spatial;
      mean[channel] = sum / count;
      std[channel] = Math.sqrt(Math.max(0, squares / count - mean[channel] * mean[channel]));
    }
    return new ChannelStats(mean, std);
  }

  /** From the smallest to the largest. */
  static String range(double[] values) {
    double min = Double.POSITIVE_INFINITY;
    double max = Double.NEGATIVE_INFINITY;
    for (double v : values) {
      min = Math.min(min, v);
      max = Math.max(max, v);
    }
    // Adding 0 turns -0.0 into 0.0.
    return String.format(
        Locale.ROOT,
        "%.3f .. %.3f",
        Math.round(min * 1e3) / 1e3 + 0,
        Math.round(max * 1e3) / 1e3 + 0);
  }
}
