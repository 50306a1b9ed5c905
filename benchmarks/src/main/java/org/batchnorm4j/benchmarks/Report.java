package org.batchnorm4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import org.batchnorm4j.tensor.DType;
import org.jspecify.annotations.Nullable;

/** Tables and plots of a run. Every cell that was measured is in them. */
record Report(Results results) {
  private static final Set<String> YARDSTICKS =
      Set.of("copy", "copy, past the caches", "triad", "triad, past the caches", "read");

  /** Groups with a plot of their own: not what one would compare libraries by. */
  private static final Set<String> SPECIAL = Set.of("call", Plan.CALLERS);

  private static final String JAVA = "Java backend";
  private static final String NONE = "none";

  /** A cell and all who raced in it, by name. */
  private record Heat(Results.Row any, Map<String, Results.Row> rows) {
    String label() {
      String fusion = any.fusion().equals(NONE) ? "" : " + " + any.fusion().replace('_', ' ');
      String dtype = any.dtype().equals("f32") ? "" : " " + any.dtype();
      String cold = any.buffers() > 1 ? " cold" : "";
      return any.operation() + fusion + " " + any.format() + " " + any.shape() + dtype + cold;
    }

    /** The median of a contender, or NaN. */
    double time(String contender) {
      Results.Row row = rows.get(contender);
      return row == null || !row.isOk() ? Double.NaN : row.microseconds();
    }

    /** The native backend that users get: the first one. */
    Results.@Nullable Row ours() {
      return rows.values().stream()
          .filter(row -> row.contender().startsWith("native") && row.isOk())
          .findFirst()
          .orElse(null);
    }

    /** The fastest that is not ours, or null. */
    Results.@Nullable Row peer() {
      Results.Row best = null;
      for (Results.Row row : rows.values()) {
        boolean peer = row.isOk() && !row.isOurs() && !YARDSTICKS.contains(row.contender());
        if (peer && (best == null || row.microseconds() < best.microseconds())) {
          best = row;
        }
      }
      return best;
    }

    /** How many times as fast as the fastest peer; NaN without one. */
    double gain() {
      Results.Row ours = ours();
      Results.Row peer = peer();
      return ours == null || peer == null ? Double.NaN : peer.microseconds() / ours.microseconds();
    }

    double gainOverJava() {
      Results.Row ours = ours();
      return ours == null ? Double.NaN : time(JAVA) / ours.microseconds();
    }

    double ofLimit() {
      Results.Row ours = ours();
      return ours == null ? Double.NaN : share(ours.contender());
    }

    /** Such as "training, fused". */
    String kind() {
      return any.operation() + (any.fusion().equals(NONE) ? "" : ", fused");
    }

    boolean channelsFirst() {
      return any.format().startsWith("nc") && !any.format().equals("nc");
    }

    double share(String contender) {
      return any.limitMicroseconds() / time(contender);
    }
  }

  /** Writes NAME.md and NAME-*.svg beside the JSON file, and says which. */
  List<Path> write(Path json) throws IOException {
    String base = json.getFileName().toString().replaceFirst("\\.json$", "");
    Map<String, String> files = new LinkedHashMap<>();
    List<String> plots = new ArrayList<>();
    for (int threads : threadCounts()) {
      List<Heat> heats = heats(threads).stream().filter(h -> h.ours() != null).toList();
      List<Heat> large = heats.stream().filter(h -> !SPECIAL.contains(h.any.group())).toList();
      if (!large.isEmpty()) {
        plots.add(base + "-ratios-" + threads + ".svg");
        files.put(plots.get(plots.size() - 1), ratios(threads, large));
        plots.add(base + "-limit-" + threads + ".svg");
        files.put(plots.get(plots.size() - 1), limits(threads, large));
      }
      if (!heats.isEmpty()) {
        plots.add(base + "-roofline-" + threads + ".svg");
        files.put(plots.get(plots.size() - 1), roofline(threads, heats));
      }
      List<Heat> calls = heats.stream().filter(h -> h.any.group().equals("call")).toList();
      if (calls.size() > 1) {
        plots.add(base + "-calls-" + threads + ".svg");
        files.put(plots.get(plots.size() - 1), calls(threads, calls));
      }
    }
    files.put(base + ".md", markdown(plots));
    List<Path> written = new ArrayList<>();
    for (Map.Entry<String, String> file : files.entrySet()) {
      Path path = json.resolveSibling(file.getKey());
      Files.writeString(path, file.getValue());
      written.add(path);
    }
    return written;
  }

  private Set<Integer> threadCounts() {
    Set<Integer> counts = new TreeSet<>();
    results.rows().forEach(row -> counts.add(row.threads()));
    return counts;
  }

  private List<Heat> heats(int threads) {
    Map<String, Heat> heats = new LinkedHashMap<>();
    for (Results.Row row : results.rows()) {
      if (row.threads() == threads) {
        Heat heat = heats.computeIfAbsent(row.cell(), key -> new Heat(row, new LinkedHashMap<>()));
        heat.rows.put(row.contender(), row);
        if (heat.any.limitMicroseconds() == 0 && row.isOk()) {
          heats.put(row.cell(), new Heat(row, heat.rows));
        }
      }
    }
    return List.copyOf(heats.values());
  }

  // ------------------------------------------------------------------------------------- tables

  String markdown(List<String> plots) {
    StringBuilder out = new StringBuilder();
    out.append("# Benchmark results: ").append(results.name()).append("\n\n");
    out.append("Generated by `benchmarks/plot` from what `benchmarks/run` measured; not edited. ");
    out.append("[docs/benchmarking.md](../../docs/benchmarking.md) says how.\n\n");
    busyWarning(out);
    out.append("| | |\n|---|---|\n");
    out.append(
        String.format(
            Locale.ROOT,
            "| run | %s, %s, %.1f minutes, JVMs per number of threads: %d |%n",
            results.mode(),
            results.started(),
            results.minutes(),
            results.forks()));
    results.environment().forEach((k, v) -> out.append("| " + k + " | " + v + " |\n"));
    out.append('\n');
    summary(out);
    resnet50(out);
    threads(out);
    crossovers(out);
    callers(out);
    for (String plot : plots) {
      out.append("![").append(plot).append("](").append(plot).append(")\n\n");
    }
    for (int threads : threadCounts()) {
      List<Heat> heats = heats(threads);
      out.append("## ").append(title(threads)).append("\n\n");
      out.append("Microseconds, medians. *Limit*: what the named reads and writes of the same");
      out.append(" memory took. *Of limit* and *against the fastest peer* are those of ");
      out.append(
          heats.stream()
              .map(Heat::ours)
              .filter(r -> r != null)
              .findFirst()
              .map(Results.Row::contender)
              .orElse("native"));
      out.append("; below 1 the peer is faster.\n\n");
      Set<String> groups = new LinkedHashSet<>();
      heats.forEach(h -> groups.add(h.any.group()));
      groups.remove(Plan.CALLERS);
      for (String group : groups) {
        table(out, group, heats.stream().filter(h -> h.any.group().equals(group)).toList());
      }
    }
    complaints(out);
    return out.toString();
  }

  private void busyWarning(StringBuilder out) {
    if (disturbed()) {
      out.append("\n> **The machine was busy with other work** (load ")
          .append(results.environment().get("load before"))
          .append(" before, ")
          .append(results.environment().get("load after"))
          .append(" after, on ")
          .append(results.environment().get("cores"))
          .append(" cores). Times are too long and rows with several threads are unfair;")
          .append(" do not cite them.\n\n");
    }
  }

  private boolean disturbed() {
    try {
      double cores = Double.parseDouble(results.environment().getOrDefault("cores", "1"));
      double before = Double.parseDouble(results.environment().getOrDefault("load before", "0"));
      double after = Double.parseDouble(results.environment().getOrDefault("load after", "0"));
      // The run itself is a load of up to one per core when it ends.
      return before > 0.3 * cores || after > 1.3 * cores;
    } catch (NumberFormatException e) {
      return false;
    }
  }

  private void table(StringBuilder out, String group, List<Heat> heats) {
    Set<String> contenders = new LinkedHashSet<>();
    for (Heat heat : heats) {
      heat.rows.values().stream()
          .filter(row -> row.isOurs())
          .forEach(row -> contenders.add(row.contender()));
    }
    for (Heat heat : heats) {
      heat.rows.values().stream()
          .filter(row -> row.isOk() && !YARDSTICKS.contains(row.contender()))
          .forEach(row -> contenders.add(row.contender()));
    }
    out.append("### ").append(group).append("\n\n| cell | limit |");
    contenders.forEach(c -> out.append(' ').append(c).append(" |"));
    out.append(" of limit | against the fastest peer |\n|---|---|");
    out.append("---:|".repeat(contenders.size())).append("---:|---:|\n");
    for (Heat heat : heats) {
      out.append("| ").append(heat.label()).append(" | ").append(heat.any.limit()).append(' ');
      out.append(micros(heat.any.limitMicroseconds())).append(" |");
      for (String contender : contenders) {
        Results.Row row = heat.rows.get(contender);
        boolean absent = row == null || row.status().equals(Results.ABSENT);
        out.append(' ')
            .append(absent ? "-" : row.isOk() ? micros(row.microseconds()) : row.status())
            .append(" |");
      }
      Results.Row ours = heat.ours();
      Results.Row peer = heat.peer();
      out.append(' ')
          .append(ours == null ? "-" : ratio(heat.share(ours.contender())))
          .append(" | ")
          .append(
              peer == null || ours == null ? "-" : ratio(heat.gain()) + " x " + peer.contender())
          .append(" |\n");
    }
    out.append('\n');
  }

  private void summary(StringBuilder out) {
    out.append("## In short\n\n");
    kinds(out, "operation | format", h -> h.kind() + " | " + h.any.format());
  }

  /** Geometric means over all cells of a kind. */
  private void kinds(StringBuilder out, String header, Function<Heat, String> kindOf) {
    out.append(
        "Geometric means over all cells of a kind, and the worst of them. *Of limit*: share");
    out.append(" of the speed at which the same memory can be read and written.\n\n");
    out.append("| threads | ").append(header);
    out.append(" | cells | against the fastest peer | worst | slower than a peer");
    out.append(" | against the Java backend | of limit |\n|---|");
    out.append("---|".repeat(header.split("\\|").length)).append("---:|".repeat(6)).append('\n');
    for (int threads : threadCounts()) {
      Map<String, List<Heat>> kinds = new LinkedHashMap<>();
      for (Heat heat : raced(threads)) {
        kinds.computeIfAbsent(kindOf.apply(heat), key -> new ArrayList<>()).add(heat);
      }
      kinds.forEach(
          (kind, heats) -> {
            double[] gains = heats.stream().mapToDouble(Heat::gain).toArray();
            out.append(
                String.format(
                    Locale.ROOT,
                    "| %d | %s | %d | %s | %s | %d | %s | %s |%n",
                    threads,
                    kind,
                    heats.size(),
                    ratio(geometricMean(gains)),
                    ratio(Arrays.stream(gains).min().orElseThrow()),
                    Arrays.stream(gains).filter(gain -> gain < 1).count(),
                    ratio(geometricMean(heats.stream().mapToDouble(Heat::gainOverJava).toArray())),
                    ratio(geometricMean(heats.stream().mapToDouble(Heat::ofLimit).toArray()))));
          });
    }
    out.append('\n');
  }

  /** The cells in which native and a peer were timed. */
  private List<Heat> raced(int threads) {
    return heats(threads).stream()
        .filter(h -> !SPECIAL.contains(h.any.group()) && !Double.isNaN(h.gain()))
        .toList();
  }

  /** The table of the README, and what it is of. */
  String overview() {
    StringBuilder out = new StringBuilder();
    kinds(out, "operation", Heat::kind);
    out.append("Written by `benchmarks/plot`, measured by `benchmarks/run");
    out.append(results.mode().equals("quick") ? " --quick" : "").append("` at ");
    out.append(results.environment().get("commit")).append(" on ");
    out.append(results.environment().get("cores")).append(" cores of ");
    out.append(results.environment().get("cpu")).append(", ");
    out.append(results.environment().get("jdk")).append(", ");
    out.append(results.environment().get("compiler")).append(". Peers: ");
    out.append(String.join(", ", peers())).append(".\n");
    busyWarning(out);
    out.append("Every cell: [benchmarks/results/").append(results.name());
    out.append(".md](benchmarks/results/").append(results.name()).append(".md).\n");
    return out.toString();
  }

  private Set<String> peers() {
    Set<String> names = new LinkedHashSet<>();
    for (Results.Row row : results.rows()) {
      boolean yardstick = YARDSTICKS.contains(row.contender());
      if (row.isOk() && !row.isOurs() && !yardstick && !SPECIAL.contains(row.group())) {
        names.add(row.contender());
      }
    }
    return names;
  }

  /** The 53 batch norms of ResNet-50 as one sum, where all were measured. */
  private void resnet50(StringBuilder out) {
    StringBuilder rows = new StringBuilder();
    for (int threads : threadCounts()) {
      List<Heat> heats = heats(threads);
      Set<String> contenders = new LinkedHashSet<>();
      heats.forEach(h -> contenders.addAll(h.rows.keySet()));
      contenders.removeAll(YARDSTICKS);
      for (int n : new int[] {1, 32}) {
        for (String format : new String[] {"nchw", "nhwc"}) {
          for (String contender : contenders) {
            double inference = sum(heats, n, format, contender, "inference");
            double training =
                sum(heats, n, format, contender, "training")
                    + sum(heats, n, format, contender, "backward");
            if (!Double.isNaN(inference) || !Double.isNaN(training)) {
              rows.append(
                  String.format(
                      Locale.ROOT,
                      "| %d | %d | %s | %s | %s | %s |%n",
                      threads,
                      n,
                      format,
                      contender,
                      Double.isNaN(inference) ? "-" : micros(inference),
                      Double.isNaN(training) ? "-" : micros(training)));
            }
          }
        }
      }
    }
    if (!rows.isEmpty()) {
      out.append("## ResNet-50's 53 batch norms\n\n");
      out.append("Sums of the single measurements, microseconds.\n\n");
      out.append("| threads | N | format | | inference | training step |\n");
      out.append("|---|---|---|---|---:|---:|\n").append(rows).append('\n');
    }
  }

  private static double sum(
      List<Heat> heats, int n, String format, String contender, String operation) {
    double sum = 0;
    for (int[] layer : Plan.RESNET50) {
      String shape = n + "x" + layer[0] + "x" + layer[1] + "x" + layer[1];
      double time =
          heats.stream()
              .filter(h -> h.any.group().equals("resnet50") && h.any.shape().equals(shape))
              .filter(h -> h.any.operation().equals(operation) && h.any.format().equals(format))
              .mapToDouble(h -> h.time(contender))
              .findFirst()
              .orElse(Double.NaN);
      sum += layer[2] * time;
    }
    return sum;
  }

  /** What all threads make of the time of one. */
  private void threads(StringBuilder out) {
    Set<Integer> counts = threadCounts();
    if (counts.size() < 2) {
      return;
    }
    int all = counts.stream().mapToInt(Integer::intValue).max().orElseThrow();
    Map<String, Map<String, List<Double>>> gains = new LinkedHashMap<>();
    List<Heat> many = heats(all);
    for (Heat one : heats(1)) {
      if (SPECIAL.contains(one.any.group())) {
        continue;
      }
      many.stream()
          .filter(h -> h.label().equals(one.label()) && h.any.group().equals(one.any.group()))
          .forEach(
              h ->
                  one.rows.forEach(
                      (name, row) ->
                          gains
                              .computeIfAbsent(name, key -> new LinkedHashMap<>())
                              .computeIfAbsent(one.any.operation(), key -> new ArrayList<>())
                              .add(one.time(name) / h.time(name))));
    }
    out.append("## Scaling with threads\n\nHow many times as fast on ").append(title(all));
    out.append(" as on one, geometric means.\n\n");
    out.append("| | inference | training | backward |\n|---|---:|---:|---:|\n");
    gains.forEach(
        (name, operations) -> {
          out.append("| ").append(name).append(" |");
          for (String operation : List.of("inference", "training", "backward")) {
            List<Double> values = operations.getOrDefault(operation, List.of());
            double[] array = values.stream().mapToDouble(Double::doubleValue).toArray();
            out.append(' ').append(ratio(geometricMean(array))).append(" |");
          }
          out.append('\n');
        });
    out.append('\n');
  }

  private void crossovers(StringBuilder out) {
    StringBuilder lines = new StringBuilder();
    for (int threads : threadCounts()) {
      List<Heat> calls = calls(threads);
      if (calls.size() > 1) {
        lines.append("- ").append(title(threads)).append(": ").append(crossing(calls)).append('\n');
      }
    }
    if (!lines.isEmpty()) {
      out.append("## Native or Java, by size\n\n").append(lines).append('\n');
    }
  }

  private List<Heat> calls(int threads) {
    return heats(threads).stream()
        .filter(h -> h.any.group().equals("call") && !Double.isNaN(h.gainOverJava()))
        .toList();
  }

  private static String crossing(List<Heat> calls) {
    double at = crossover(calls);
    if (at == 0) {
      return "native is the faster one at every size measured.";
    }
    return Double.isNaN(at)
        ? "the Java backend is the faster one at the largest size measured."
        : "native is the faster one from about "
            + Math.round(at)
            + " elements on, the Java backend below.";
  }

  /** From so many elements on native is faster; 0 for all sizes, NaN for none. */
  private static double crossover(List<Heat> calls) {
    double at = 0;
    for (int i = 0; i < calls.size(); i++) {
      double gain = calls.get(i).gainOverJava();
      if (gain >= 1) {
        continue;
      }
      if (i + 1 == calls.size()) {
        return Double.NaN;
      }
      double next = calls.get(i + 1).gainOverJava();
      if (next >= 1) {
        // A straight line between the two on logarithmic axes.
        double share = -Math.log(gain) / (Math.log(next) - Math.log(gain));
        double low = calls.get(i).any.elements();
        at = low * Math.pow(calls.get(i + 1).any.elements() / low, share);
      }
    }
    return at;
  }

  /** Microseconds a call where many call at once. */
  private void callers(StringBuilder out) {
    for (int threads : threadCounts()) {
      for (Heat heat : heats(threads)) {
        if (!heat.any.group().equals(Plan.CALLERS)) {
          continue;
        }
        out.append("## Many callers at once, ").append(heat.label()).append("\n\n");
        out.append("Microseconds by calls: of all calls together, whoever made them. A copy on ");
        out.append(title(threads)).append(", by one caller, took ");
        out.append(micros(heat.any.limitMicroseconds())).append(".\n\n");
        out.append("| | microseconds | cores busy |\n|---|---:|---:|\n");
        for (Results.Row row : heat.rows.values()) {
          if (row.isOk() && row.isOurs()) {
            out.append("| ").append(row.contender()).append(" | ");
            out.append(micros(row.microseconds())).append(" | ");
            out.append(ratio(row.coresBusy())).append(" |\n");
          }
        }
        out.append('\n');
      }
    }
  }

  private void complaints(StringBuilder out) {
    List<Results.Row> bad =
        results.rows().stream()
            .filter(row -> !row.isOk() && !row.status().equals(Results.ABSENT))
            .toList();
    if (!bad.isEmpty()) {
      out.append("## Not raced\n\n");
      for (Results.Row row : bad) {
        out.append("- ").append(row.contender()).append(", ").append(row.operation());
        out.append(' ').append(row.format()).append(' ').append(row.shape()).append(", ");
        out.append(row.dtype()).append(", ").append(title(row.threads())).append(": ");
        out.append(row.status()).append(", ").append(row.message()).append('\n');
      }
      out.append('\n');
    }
  }

  // -------------------------------------------------------------------------------------- plots

  private String ratios(int threads, List<Heat> heats) {
    List<Svg.Bar> bars =
        heats.stream()
            .map(h -> new Svg.Bar(h.label(), new double[] {h.gain(), h.gainOverJava()}))
            .toList();
    return Svg.bars(
        "How many times as fast as others native is, " + title(threads) + busyNote(),
        "times as fast; left of 1 native loses",
        true,
        List.of("against the fastest peer", "against our Java backend"),
        bars);
  }

  /** The plot of the README: all cells of all kinds, a dot each. */
  String overviewPlot() {
    List<Svg.Strip> strips = new ArrayList<>();
    for (int threads : threadCounts()) {
      Map<String, List<List<Double>>> kinds = new LinkedHashMap<>();
      for (Heat heat : raced(threads)) {
        kinds
            .computeIfAbsent(heat.kind(), key -> List.of(new ArrayList<>(), new ArrayList<>()))
            .get(heat.channelsFirst() ? 0 : 1)
            .add(heat.gain());
      }
      kinds.forEach(
          (kind, gains) -> strips.add(new Svg.Strip(kind + ", " + title(threads), gains)));
    }
    return Svg.strips(
        "How many times as fast as the fastest other library native is" + busyNote(),
        "slower than the fastest peer  <  1  <  faster; a dot for each cell, a bar at their mean",
        List.of("channels first", "channels last, and (N, C)"),
        strips);
  }

  private String limits(int threads, List<Heat> heats) {
    List<Svg.Bar> bars = new ArrayList<>();
    for (Heat h : heats) {
      Results.Row ours = h.ours();
      Results.Row peer = h.peer();
      double native_ = ours == null ? Double.NaN : h.share(ours.contender());
      double other = peer == null ? Double.NaN : h.share(peer.contender());
      bars.add(new Svg.Bar(h.label(), new double[] {native_, other, h.share(JAVA)}));
    }
    return Svg.bars(
        "Share of what memory allows, " + title(threads) + busyNote(),
        "time of the necessary reads and writes / time; 1 is the limit of memory",
        false,
        List.of("native", "fastest peer", JAVA),
        bars);
  }

  /** Bytes a second over bytes, native against what memory allows. */
  private String roofline(int threads, List<Heat> heats) {
    Map<String, List<double[]>> series = new LinkedHashMap<>();
    for (String name : List.of("limit", "inference", "training", "backward", JAVA)) {
      series.put(name, new ArrayList<>());
    }
    for (Heat heat : heats) {
      if (heat.any.group().equals(Plan.CALLERS)) {
        continue;
      }
      double tensor =
          heat.any.elements() * DType.valueOf(heat.any.dtype().toUpperCase(Locale.ROOT)).bytes();
      double gigabytes = tensor * tensors(heat.any.limit()) * 1e-3;
      double ours = heat.time(Objects.requireNonNull(heat.ours()).contender());
      point(series, "limit", tensor, gigabytes / heat.any.limitMicroseconds());
      point(series, heat.any.operation(), tensor, gigabytes / ours);
      point(series, JAVA, tensor, gigabytes / heat.time(JAVA));
    }
    series.values().removeIf(List::isEmpty);
    return Svg.dots(
        "Necessary reads and writes a second, native, " + title(threads) + busyNote(),
        "bytes of a tensor",
        "GB/s",
        series.entrySet().stream().map(e -> new Svg.Curve(e.getKey(), e.getValue())).toList());
  }

  private static void point(Map<String, List<double[]>> series, String name, double x, double y) {
    if (!Double.isNaN(y)) {
      series.get(name).add(new double[] {x, y});
    }
  }

  /** How many tensors a limit such as "2 reads + triad" reads and writes. */
  static int tensors(String limit) {
    int reads =
        limit.startsWith("read ") ? 1 : limit.contains(" reads ") ? limit.charAt(0) - '0' : 0;
    return reads + (limit.endsWith("triad") ? 3 : 2);
  }

  private String calls(int threads, List<Heat> heats) {
    Map<String, List<double[]>> curves = new LinkedHashMap<>();
    for (Heat heat : heats) {
      for (Results.Row row : heat.rows.values()) {
        if (row.isOk() && !YARDSTICKS.contains(row.contender())) {
          curves
              .computeIfAbsent(row.contender(), key -> new ArrayList<>())
              .add(new double[] {row.elements(), row.microseconds()});
        }
      }
    }
    return Svg.curves(
        "Inference, by size, " + title(threads) + busyNote(),
        "elements",
        "microseconds",
        crossover(calls(threads)),
        curves.entrySet().stream().map(e -> new Svg.Curve(e.getKey(), e.getValue())).toList());
  }

  private String busyNote() {
    return disturbed() ? " (busy machine: do not cite)" : "";
  }

  // ---------------------------------------------------------------------------------- formatting

  private static String title(int threads) {
    return threads + (threads == 1 ? " thread" : " threads");
  }

  private static double geometricMean(double[] values) {
    double sum = 0;
    int count = 0;
    for (double v : values) {
      if (!Double.isNaN(v)) {
        sum += Math.log(v);
        count++;
      }
    }
    return count == 0 ? Double.NaN : Math.exp(sum / count);
  }

  private static String micros(double value) {
    String format = value < 1 ? "%.3f" : value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f";
    return String.format(Locale.ROOT, format, value);
  }

  private static String ratio(double value) {
    return Double.isNaN(value) ? "-" : String.format(Locale.ROOT, "%.2f", value);
  }
}
