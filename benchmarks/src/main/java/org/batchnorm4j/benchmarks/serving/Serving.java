package org.batchnorm4j.benchmarks.serving;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.batchnorm4j.benchmarks.Text;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;
import org.openjdk.jmh.util.Statistics;

/**
 * {@link ServingJmh} with every number of callers: what {@code benchmarks/run --serving} writes.
 *
 * @param environment what it ran on
 */
public record Serving(Map<String, String> environment, double minutes, List<Row> rows) {
  private static final int[] CALLERS = {1, 2, 8, 64};
  private static final int WARMUP_SECONDS = 2;
  private static final int SECONDS = 3;
  private static final Gson GSON = new GsonBuilder().setPrettyPrinting().create();

  /**
   * A contender with some callers; times in microseconds, 0 if it failed.
   *
   * @param median of a request
   * @param p99 what one request in a hundred takes longer than
   * @param perSecond requests of all callers, counted
   */
  public record Row(
      String work, String contender, int callers, double median, double p99, double perSecond) {}

  /** Runs everything, some 25 minutes. */
  public static Serving measure(Map<String, String> environment, PrintStream progress) {
    long start = System.nanoTime();
    List<Row> rows = new ArrayList<>();
    List<String> works = parameters("work");
    int all = CALLERS.length * works.stream().mapToInt(work -> contenders(work).size()).sum();
    for (int callers : CALLERS) {
      for (String work : works) {
        for (String contender : contenders(work)) {
          // Two JVMs, each of which takes a second or two to start and to stop.
          int left = (all - rows.size()) * 2 * (WARMUP_SECONDS + SECONDS + 2);
          String what = contender + ", " + work + ", callers: " + callers;
          Text.progress(progress, rows.size() + 1, all, left, what);
          rows.add(measure(work, contender, callers));
        }
      }
    }
    progress.println();
    double minutes = Math.round((System.nanoTime() - start) / 6e9) / 10.0;
    return new Serving(environment, minutes, rows);
  }

  private static Row measure(String work, String contender, int callers) {
    Result<?> latency = run(work, contender, callers, Mode.SampleTime);
    // Counted in a run of its own: most samples miss the waits for a core, and all read the clock.
    Result<?> throughput = latency == null ? null : run(work, contender, callers, Mode.Throughput);
    if (latency == null || throughput == null) {
      return new Row(work, contender, callers, 0, 0, 0);
    }
    Statistics s = latency.getStatistics();
    double perSecond = throughput.getScore() * 1e6;
    return new Row(work, contender, callers, s.getPercentile(50), s.getPercentile(99), perSecond);
  }

  /** In microseconds; null if it failed. */
  private static @Nullable Result<?> run(String work, String contender, int callers, Mode mode) {
    try {
      Collection<RunResult> results =
          new Runner(
                  new OptionsBuilder()
                      .include(ServingJmh.class.getName())
                      .mode(mode)
                      .param("work", work)
                      .param("contender", contender)
                      .threads(callers)
                      .forks(1)
                      .warmupIterations(WARMUP_SECONDS)
                      .warmupTime(TimeValue.seconds(1))
                      .measurementIterations(SECONDS)
                      .measurementTime(TimeValue.seconds(1))
                      .verbosity(VerboseMode.SILENT)
                      .build())
              .run();
      return results.isEmpty() ? null : results.iterator().next().getPrimaryResult();
    } catch (RunnerException e) {
      return null;
    }
  }

  private static List<String> contenders(String work) {
    List<String> all = new ArrayList<>(parameters("contender"));
    all.removeIf(contender -> contender.equals("copy") && !work.startsWith("scaler"));
    return all;
  }

  /** The values that JMH would run {@link ServingJmh} with. */
  private static List<String> parameters(String field) {
    try {
      return Arrays.asList(
          ServingJmh.Served.class.getDeclaredField(field).getAnnotation(Param.class).value());
    } catch (NoSuchFieldException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Writes what {@link #read} reads. */
  public void write(Path file) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    Files.writeString(file, GSON.toJson(this) + "\n");
  }

  /**
   * Reads what {@link #write} wrote.
   *
   * @throws IOException if it is no such file
   */
  public static Serving read(Path file) throws IOException {
    try {
      Serving serving = GSON.fromJson(Files.readString(file), Serving.class);
      if (serving != null && serving.rows != null && serving.environment != null) {
        return serving;
      }
    } catch (JsonParseException e) {
      throw new IOException(file + " is not a result of benchmarks/run --serving", e);
    }
    throw new IOException(file + " is not a result of benchmarks/run --serving: it has no rows");
  }

  /** Tables. */
  public String markdown() {
    StringBuilder out = new StringBuilder("# Benchmark results: serving\n\n");
    out.append(
        "Generated by `benchmarks/plot` from what `benchmarks/run --serving` measured; not ");
    out.append("edited. [docs/benchmarking.md](../../docs/benchmarking.md) says how.\n\n| | |\n");
    out.append("|---|---|\n").append("| minutes | ").append(minutes).append(" |\n");
    environment.forEach((k, v) -> out.append("| " + k + " | " + v + " |\n"));
    out.append("\nMicroseconds of a request: median and 99th percentile, and thousands of ");
    out.append("requests a second of all callers. The number behind the work is its batch. Copy: ");
    out.append("`System.arraycopy` of the same arrays, which is as fast as a scaler can be.\n\n");
    Set<String> works = new LinkedHashSet<>();
    Set<String> contenders = new LinkedHashSet<>();
    for (Row row : rows) {
      works.add(row.work);
      contenders.add(row.contender);
    }
    for (int callers : CALLERS) {
      out.append("## Callers: ").append(callers).append("\n\n| work |");
      contenders.forEach(c -> out.append(' ').append(c).append(" | p99 | k/s |"));
      out.append("\n|---|").append("---:|".repeat(3 * contenders.size())).append('\n');
      for (String work : works) {
        out.append("| ").append(work).append(" |");
        for (String contender : contenders) {
          Row row = row(work, contender, callers);
          if (row == null) {
            out.append(" - | | |");
          } else if (row.median == 0) {
            out.append(" failed | | |");
          } else {
            out.append(' ')
                .append(Text.number(row.median))
                .append(" | ")
                .append(Text.number(row.p99));
            out.append(" | ").append(Text.number(row.perSecond * 1e-3)).append(" |");
          }
        }
        out.append('\n');
      }
      out.append('\n');
    }
    return out.toString();
  }

  private @Nullable Row row(String work, String contender, int callers) {
    return rows.stream()
        .filter(r -> r.work.equals(work) && r.contender.equals(contender))
        .filter(r -> r.callers == callers)
        .findFirst()
        .orElse(null);
  }
}
