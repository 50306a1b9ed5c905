package org.batchnorm4j.benchmarks;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import com.google.gson.JsonSerializer;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * What a run writes and {@code benchmarks/plot} reads.
 *
 * @param mode quick or full
 * @param environment what it ran on
 */
record Results(
    String name,
    String mode,
    String started,
    double minutes,
    int forks,
    Map<String, String> environment,
    List<Row> rows) {

  /**
   * Fewer rounds may all have been disturbed: such a time is shown, and nothing compared with it.
   */
  static final int ENOUGH_ROUNDS = 3;

  /** Status of a row with a time. */
  static final String OK = "ok";

  /** Status of a contender whose values were not right: it was not timed. */
  static final String WRONG = "wrong";

  /** Status of a contender that threw. */
  static final String FAILED = "failed";

  /** Status of a contender without the operation, layout or type. */
  static final String ABSENT = "not offered";

  /**
   * A contender in a cell.
   *
   * @param message why there is no time; empty where there is one
   * @param microseconds median over all rounds; of several forks, the median of theirs
   * @param best the fastest round: what is left of a number when others use the machine
   * @param low the first quartile; of several forks, the smallest
   * @param high the third quartile; of several forks, the largest
   * @param coresBusy CPU time over wall time, median over the rounds
   * @param limit what memory has to do at least, such as copy or read + copy
   * @param limitMicroseconds how long that took, in the same rounds
   */
  record Row(
      String group,
      String operation,
      String format,
      String dtype,
      String fusion,
      String shape,
      long elements,
      int buffers,
      int threads,
      String contender,
      String status,
      String message,
      double microseconds,
      double best,
      double low,
      double high,
      int rounds,
      double coresBusy,
      String limit,
      double limitMicroseconds) {

    boolean isOk() {
      return status.equals(OK);
    }

    /** Whether its time is good enough to be compared. */
    boolean isSteady() {
      return isOk() && rounds >= ENOUGH_ROUNDS;
    }

    boolean isYardstick() {
      return Results.isYardstick(contender);
    }

    boolean isOurs() {
      return contender.startsWith("native") || contender.startsWith("Java backend");
    }

    /** All but the contender: rows of one cell share it. */
    String cell() {
      return String.join(
          "|", group, operation, format, dtype, fusion, shape, "" + buffers, "" + threads);
    }
  }

  /** Whether it is what memory does, and no contender. */
  static boolean isYardstick(String name) {
    return name.startsWith("copy") || name.startsWith("triad") || name.equals("read");
  }

  /** Six digits are more than any time here is worth. */
  private static final JsonSerializer<Double> SHORT =
      (value, type, context) ->
          new JsonPrimitive(BigDecimal.valueOf(value).round(new MathContext(6)));

  private static final Gson GSON =
      new GsonBuilder()
          .disableHtmlEscaping()
          .registerTypeAdapter(double.class, SHORT)
          .registerTypeAdapter(Double.class, SHORT)
          .create();

  /** Writes a row to a line. */
  void write(Path file) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    String lines = GSON.toJson(this).replace("{\"group\":", "\n{\"group\":");
    Files.writeString(file, lines + "\n");
  }

  /**
   * Reads what {@link #write} wrote.
   *
   * @throws IOException if it is no such file
   */
  static Results read(Path file) throws IOException {
    Results results;
    try {
      results = GSON.fromJson(Files.readString(file), Results.class);
    } catch (JsonParseException e) {
      throw new IOException(file + " is not a result of benchmarks/run: " + e.getMessage(), e);
    }
    if (results == null || results.rows == null || results.environment == null) {
      throw new IOException(file + " is not a result of benchmarks/run: it has no rows");
    }
    return results;
  }
}
