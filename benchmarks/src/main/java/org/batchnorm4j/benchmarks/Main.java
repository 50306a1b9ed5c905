package org.batchnorm4j.benchmarks;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.serving.Serving;

/** {@code benchmarks/run}, {@code benchmarks/plot} and {@code benchmarks/guard}. */
public final class Main {
  private static final String HOME_PROPERTY = "org.batchnorm4j.benchmarks.home";
  private static final String SERVING = "serving.json";
  private static final String USAGE =
      """
      benchmarks/run [--quick] [--minutes M] [--forks N] [--only TEXT] [--name NAME]
          measures, into benchmarks/results/NAME.json
          --quick      a few cells in less than 5 minutes (default: all, less than 40)
          --minutes M  so long instead
          --forks N    so many JVMs for each number of threads (default 1)
          --only TEXT  cells with TEXT in "group operation format dtype fusion shape"
          --name NAME  default: quick or full
      benchmarks/run --serving
          requests to networks instead, into benchmarks/results/serving.json, in some 25 minutes
      benchmarks/plot [FILE.json]...
          tables and plots beside each file (default: all in benchmarks/results); full.json, or
          else quick.json, also becomes the plot and the table of README.md
      benchmarks/guard
          fails if native is much slower than it can be, in less than a minute
      """;

  private Main() {}

  /** How a run is asked for. */
  private record Options(boolean quick, double minutes, int forks, String only, String name) {
    List<Cell> cells() {
      List<Cell> cells = quick ? Plan.quick() : Plan.full();
      return cells.stream().filter(cell -> describe(cell).contains(only)).toList();
    }

    static Options parse(List<String> arguments) {
      boolean quick = arguments.contains("--quick");
      double minutes = quick ? 4.6 : 37;
      int forks = 1;
      String only = "";
      String name = quick ? "quick" : "full";
      for (int i = 0; i < arguments.size(); i++) {
        String option = arguments.get(i);
        if (option.equals("--quick")) {
          continue;
        }
        if (i + 1 == arguments.size()) {
          throw new IllegalArgumentException("option " + option + " is unknown or has no value");
        }
        String value = arguments.get(++i);
        switch (option) {
          case "--minutes" -> minutes = Double.parseDouble(value);
          case "--forks" -> forks = Integer.parseInt(value);
          case "--only" -> only = value;
          case "--name" -> name = value;
          default -> throw new IllegalArgumentException("unknown option " + option);
        }
      }
      if (!(minutes > 0) || forks < 1) {
        throw new IllegalArgumentException("--minutes and --forks must be positive");
      }
      return new Options(quick, minutes, forks, only, name);
    }
  }

  /** Runs a command; see the usage. */
  public static void main(String[] arguments) throws Exception {
    List<String> rest = new ArrayList<>(List.of(arguments));
    String command = rest.isEmpty() ? "help" : rest.remove(0);
    if (rest.contains("--help")) {
      System.out.print(USAGE);
      return;
    }
    try {
      switch (command) {
        case "run" -> {
          if (rest.equals(List.of("--serving"))) {
            serve();
          } else {
            run(Options.parse(rest), rest);
          }
        }
        case "fork" -> {
          fork(rest);
          // ND4J leaves threads behind that keep a JVM alive; the results are written.
          Runtime.getRuntime().halt(0);
        }
        case "plot" -> plot(rest);
        case "guard" -> System.exit(Guard.check(System.out) ? 0 : 1);
        default -> System.err.print(USAGE);
      }
    } catch (IllegalArgumentException | IOException e) {
      System.err.println("benchmarks: " + e.getMessage());
      System.exit(2);
    }
  }

  private static void serve() throws IOException {
    Map<String, String> environment = Environment.describe(repository());
    Serving serving = Serving.measure(environment, System.err);
    Path file = home().resolve("results").resolve(SERVING);
    serving.write(file);
    System.err.println("Written to " + file + "; benchmarks/plot makes tables of it.");
  }

  private static Path repository() {
    return home().toAbsolutePath().normalize().getParent();
  }

  private static Path home() {
    return Path.of(System.getProperty(HOME_PROPERTY, "benchmarks"));
  }

  static String describe(Cell cell) {
    return String.join(
            " ",
            cell.group(),
            cell.operation().name(),
            cell.format(),
            cell.dtype().name(),
            cell.fusion().name(),
            cell.shape())
        .toLowerCase(Locale.ROOT);
  }

  private static void run(Options options, List<String> arguments)
      throws IOException, InterruptedException {
    if (options.cells().isEmpty()) {
      throw new IllegalArgumentException("no cell has \"" + options.only + "\" in it");
    }
    Map<String, String> environment = Environment.describe(repository());
    long start = System.nanoTime();
    String started = Instant.now().truncatedTo(ChronoUnit.SECONDS).toString();
    Set<Integer> threadCounts =
        new LinkedHashSet<>(List.of(1, Runtime.getRuntime().availableProcessors()));
    int forks = threadCounts.size() * options.forks;
    List<Results> parts = new ArrayList<>();
    for (int fork = 0; fork < options.forks; fork++) {
      for (int threads : threadCounts) {
        double left = options.minutes * 60 - (System.nanoTime() - start) * 1e-9;
        Path part = Files.createTempFile("batchnorm4j", ".json");
        double share = left / (forks - parts.size());
        try {
          start(part, threads, share, left - share, arguments);
          parts.add(Results.read(part));
        } finally {
          Files.deleteIfExists(part);
        }
      }
    }
    List<Results.Row> rows = merge(parts);
    parts.stream()
        .map(part -> part.environment().get(Environment.OTHERS))
        .max(Comparator.comparingDouble(Double::parseDouble))
        .ifPresent(most -> environment.put(Environment.OTHERS, most));
    int cores = Runtime.getRuntime().availableProcessors();
    long planned =
        threadCounts.stream().mapToInt(t -> Plan.of(options.cells(), t, cores).size()).sum();
    long measured = rows.stream().map(Results.Row::cell).distinct().count();
    environment.put("cells", measured + " measured of " + planned);
    double minutes = Math.round((System.nanoTime() - start) / 6e9) / 10.0;
    String mode = options.quick ? "quick" : "full";
    Path file = home().resolve("results").resolve(options.name + ".json");
    new Results(options.name, mode, started, minutes, options.forks, environment, rows).write(file);
    System.err.println();
    report(System.err, rows);
    System.err.println("Written to " + file + "; benchmarks/plot makes tables and plots of it.");
  }

  /** A JVM of its own for a number of threads: some peers can be told only when they start. */
  private static void start(
      Path part, int threads, double seconds, double after, List<String> arguments)
      throws IOException, InterruptedException {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xms2g",
                "-Xmx6g",
                "-XX:+UseParallelGC",
                // So that their times can be told from the contenders' until the end.
                "-XX:-UseDynamicNumberOfCompilerThreads",
                "-XX:-UseDynamicNumberOfGCThreads",
                "-Dorg.batchnorm4j.threads=" + threads,
                "--add-modules",
                Contenders.VECTOR_MODULE,
                "-D" + HOME_PROPERTY + "=" + home(),
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName(),
                "fork",
                part.toString(),
                "" + threads,
                "" + seconds,
                "" + after));
    command.addAll(arguments);
    ProcessBuilder builder = new ProcessBuilder(command).inheritIO();
    Map<String, String> environment = builder.environment();
    environment.put("OMP_NUM_THREADS", "" + threads);
    // glibc gives large blocks back to the system at once, and libtorch's plain calls then wait for
    // new pages. PyTorch's tuning guide says to use an allocator that keeps them; so does this.
    environment.put("MALLOC_MMAP_MAX_", "0");
    environment.put("MALLOC_TRIM_THRESHOLD_", "17179869184");
    int status = builder.start().waitFor();
    if (status != 0) {
      throw new IOException("the JVM with " + threads + " threads ended with status " + status);
    }
  }

  private static void fork(List<String> arguments) throws IOException {
    Path part = Path.of(arguments.get(0));
    int threads = Integer.parseInt(arguments.get(1));
    double seconds = Double.parseDouble(arguments.get(2));
    double after = Double.parseDouble(arguments.get(3));
    Options options = Options.parse(arguments.subList(4, arguments.size()));
    List<Cell> cells =
        Plan.of(options.cells(), threads, Runtime.getRuntime().availableProcessors());
    double others = Environment.othersSeconds();
    long start = System.nanoTime();
    long end = start + (long) (seconds * 1e9);
    double weights = cells.stream().mapToDouble(Plan::weight).sum();
    List<Results.Row> rows = new ArrayList<>();
    for (int i = 0; i < cells.size(); i++) {
      Cell cell = cells.get(i);
      double left = Math.max(0, (end - System.nanoTime()) * 1e-9);
      Text.progress(
          System.err,
          i + 1,
          cells.size(),
          Math.round(left + after),
          describe(cell) + ", threads: " + threads);
      // Every cell is measured; the later ones have less time where the earlier took too much.
      double budget = left * Plan.weight(cell) / weights;
      weights -= Plan.weight(cell);
      rows.addAll(new Race(Contenders.of(cell, threads), threads).measure(cell, budget));
    }
    others = (Environment.othersSeconds() - others) / ((System.nanoTime() - start) * 1e-9);
    Map<String, String> environment =
        Map.of(Environment.OTHERS, String.format(Locale.ROOT, "%.2f", others));
    new Results("part", "part", "", 0, 1, environment, rows).write(part);
  }

  /** Rows of several forks into one each. */
  static List<Results.Row> merge(List<Results> parts) {
    Map<String, List<Results.Row>> groups = new LinkedHashMap<>();
    for (Results part : parts) {
      for (Results.Row row : part.rows()) {
        groups
            .computeIfAbsent(row.cell() + "|" + row.contender(), key -> new ArrayList<>())
            .add(row);
      }
    }
    return groups.values().stream().map(Main::mergeRows).toList();
  }

  private static Results.Row mergeRows(List<Results.Row> rows) {
    // One fork in which a contender was wrong is enough.
    for (Results.Row row : rows) {
      if (!row.isOk()) {
        return row;
      }
    }
    Results.Row first = rows.get(0);
    return new Results.Row(
        first.group(),
        first.operation(),
        first.format(),
        first.dtype(),
        first.fusion(),
        first.shape(),
        first.elements(),
        first.buffers(),
        first.threads(),
        first.contender(),
        first.status(),
        first.message(),
        median(rows.stream().mapToDouble(Results.Row::microseconds).toArray()),
        rows.stream().mapToDouble(Results.Row::best).min().orElseThrow(),
        rows.stream().mapToDouble(Results.Row::low).min().orElseThrow(),
        rows.stream().mapToDouble(Results.Row::high).max().orElseThrow(),
        rows.stream().mapToInt(Results.Row::rounds).sum(),
        median(rows.stream().mapToDouble(Results.Row::coresBusy).toArray()),
        first.limit(),
        median(rows.stream().mapToDouble(Results.Row::limitMicroseconds).toArray()));
  }

  private static double median(double[] values) {
    Arrays.sort(values);
    int middle = values.length / 2;
    return values.length % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  }

  /** Who was wrong or failed. */
  private static void report(PrintStream out, List<Results.Row> rows) {
    for (Results.Row row : rows) {
      if (!row.isOk() && !row.status().equals(Results.ABSENT)) {
        out.println(
            row.contender() + " " + row.status() + ", " + row.cell() + ": " + row.message());
      }
    }
  }

  private static void plot(List<String> files) throws IOException {
    List<Path> paths = new ArrayList<>();
    for (String file : files) {
      paths.add(Path.of(file));
    }
    if (paths.isEmpty()) {
      try (var list = Files.list(home().resolve("results"))) {
        list.filter(p -> p.toString().endsWith(".json")).sorted().forEach(paths::add);
      }
    }
    if (paths.isEmpty()) {
      throw new IOException("no results in " + home().resolve("results") + "; see benchmarks/run");
    }
    Results shown = null;
    for (Path path : paths) {
      String name = path.getFileName().toString();
      if (name.equals(SERVING)) {
        Path tables = path.resolveSibling(SERVING.replace(".json", ".md"));
        Files.writeString(tables, Serving.read(path).markdown());
        System.out.println(tables);
        continue;
      }
      Results results = Results.read(path);
      if (name.equals("full.json") || name.equals("quick.json") && shown == null) {
        shown = results;
      }
      for (Path written : new Report(results).write(path)) {
        System.out.println(written);
      }
    }
    if (shown != null) {
      Readme.write(repository(), new Report(shown));
      System.out.println(repository().resolve("README.md"));
    }
  }
}
