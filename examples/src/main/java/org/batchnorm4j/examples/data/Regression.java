package org.batchnorm4j.examples.data;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.batchnorm4j.tensor.Tensor;

/**
 * Features and a number to predict from them, to train on and to test with: x of shape (N,
 * features), y of shape (N, 1).
 */
public record Regression(Tensor trainX, Tensor trainY, Tensor testX, Tensor testY)
    implements AutoCloseable {

  /** The sum of normally distributed features, and a little noise; a fifth more to test with. */
  public static Regression random(int samples, int features, Random random) {
    List<float[]> rows = new ArrayList<>();
    for (int i = 0; i < samples + samples / 5; i++) {
      float[] row = new float[features + 1];
      double sum = 0;
      for (int j = 0; j < features; j++) {
        row[j] = (float) random.nextGaussian();
        sum += row[j];
      }
      row[features] = (float) (sum + 0.1 * random.nextGaussian());
      rows.add(row);
    }
    return split(rows, samples);
  }

  /** Predicts the last column from the others; every fifth row, shuffled, is there to test with. */
  public static Regression lastColumnOf(CsvTable table, Random random) {
    List<float[]> rows = new ArrayList<>(table.rows());
    Collections.shuffle(rows, random);
    return split(rows, rows.size() - rows.size() / 5);
  }

  private static Regression split(List<float[]> rows, int train) {
    List<float[]> first = rows.subList(0, train);
    List<float[]> rest = rows.subList(train, rows.size());
    return new Regression(features(first), targets(first), features(rest), targets(rest));
  }

  private static Tensor features(List<float[]> rows) {
    int columns = rows.get(0).length - 1;
    float[] values = new float[rows.size() * columns];
    for (int i = 0; i < rows.size(); i++) {
      System.arraycopy(rows.get(i), 0, values, i * columns, columns);
    }
    return Tensor.of(values, rows.size(), columns);
  }

  private static Tensor targets(List<float[]> rows) {
    float[] values = new float[rows.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = rows.get(i)[rows.get(i).length - 1];
    }
    return Tensor.of(values, values.length, 1);
  }

  @Override
  public void close() {
    trainX.close();
    trainY.close();
    testX.close();
    testY.close();
  }
}
