package org.batchnorm4j.examples.data;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * A table of numbers: a header line with names, then lines of as many numbers, separated by commas.
 *
 * @param columns the names
 * @param rows the numbers, line by line
 */
public record CsvTable(List<String> columns, List<float[]> rows) {

  /** 506 districts of Boston: 13 features of very different scales and the median home value. */
  public static CsvTable housing(DataFiles files) throws IOException {
    return load(files, "housing.csv");
  }

  private static CsvTable load(DataFiles files, String name) throws IOException {
    try (InputStream in = files.open("", name)) {
      return read(name, new InputStreamReader(in, StandardCharsets.UTF_8));
    }
  }

  /**
   * Parses a table.
   *
   * @param name of the file, for errors
   */
  static CsvTable read(String name, Reader in) throws IOException {
    BufferedReader lines = new BufferedReader(in);
    String header = lines.readLine();
    if (header == null || header.isBlank()) {
      throw new IOException(name + ": is empty, expected a line of column names");
    }
    List<String> columns = List.of(header.split(",", -1));
    List<float[]> rows = new ArrayList<>();
    int number = 1;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      number++;
      String[] cells = line.split(",", -1);
      if (cells.length != columns.size()) {
        throw new IOException(
            name
                + ", line "
                + number
                + ": "
                + cells.length
                + " columns, expected "
                + columns.size());
      }
      float[] row = new float[cells.length];
      for (int i = 0; i < row.length; i++) {
        row[i] = number(name, number, columns.get(i), cells[i]);
      }
      rows.add(row);
    }
    if (rows.isEmpty()) {
      throw new IOException(name + ": has no rows");
    }
    return new CsvTable(columns, rows);
  }

  private static float number(String name, int line, String column, String cell)
      throws IOException {
    float value;
    try {
      value = Float.parseFloat(cell);
    } catch (NumberFormatException e) {
      value = Float.NaN;
    }
    if (!Float.isFinite(value)) {
      throw new IOException(
          name + ", line " + line + ", column " + column + ": \"" + cell + "\" is not a number");
    }
    return value;
  }
}
