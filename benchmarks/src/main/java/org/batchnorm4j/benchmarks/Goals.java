package org.batchnorm4j.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** How fast native is meant to be, and what of it was reached. */
final class Goals {
  /** The libraries to be beaten, and the other way to get the same bits. */
  private static final Set<String> RIVALS = Set.of("oneDNN", "libtorch", "ONNX Runtime", Heat.JAVA);

  /** Whose best way to the same result a fused kernel is measured against. */
  private static final Set<String> LIBRARIES = Set.of("oneDNN", "libtorch", "ONNX Runtime");

  private static final Set<String> GROUPS = Set.of("resnet50", "tabular", "3d");
  private static final Pattern CACHE = Pattern.compile("L([23]) (\\d+)K");

  private final String caches;
  private final List<Goal> goals = new ArrayList<>();

  /**
   * @param ofOne the cells on one thread
   * @param ofMany those on all threads; empty if there is only one
   */
  Goals(Results results, List<Heat> ofOne, List<Heat> ofMany) {
    caches = results.environment().getOrDefault("caches", "");
    add(ofOne);
    add(ofMany);
    scaling(ofMany);
    goals.removeIf(goal -> goal.values.isEmpty());
  }

  /** What one cell has to do with a goal. */
  private record Value(String cell, double ratio) {}

  /** How the values have to be. */
  private enum Kind {
    EACH_AT_LEAST,
    EACH_AT_MOST,
    MEAN_AT_LEAST
  }

  private record Goal(int threads, String what, Kind kind, double bound, List<Value> values) {
    boolean reached(double ratio) {
      return kind == Kind.EACH_AT_MOST ? ratio <= bound : ratio >= bound;
    }

    long reached() {
      return values.stream().filter(v -> reached(v.ratio)).count();
    }

    double mean() {
      return Math.exp(values.stream().mapToDouble(v -> Math.log(v.ratio)).average().orElse(0));
    }

    /** How many reach it, where it is one of each cell. */
    String cells() {
      return (kind == Kind.MEAN_AT_LEAST ? "" : reached() + " of ") + values.size();
    }

    boolean passes() {
      return kind == Kind.MEAN_AT_LEAST ? reached(mean()) : reached() == values.size();
    }

    Value worst() {
      double sign = kind == Kind.EACH_AT_MOST ? -1 : 1;
      return values.stream()
          .min((a, b) -> Double.compare(sign * a.ratio, sign * b.ratio))
          .orElseThrow();
    }

    String wanted() {
      return switch (kind) {
        case EACH_AT_LEAST -> String.format(Locale.ROOT, "each ≥ %.2f", bound);
        case EACH_AT_MOST -> String.format(Locale.ROOT, "each ≤ %.2f", bound);
        case MEAN_AT_LEAST -> String.format(Locale.ROOT, "mean ≥ %.2f", bound);
      };
    }
  }

  /** Whether a cell is as fast as it should be against others: "pass", "miss", or "-". */
  static String mark(Heat heat) {
    boolean fused = heat.isFused();
    double gain = heat.gainOver(fused ? LIBRARIES : RIVALS);
    return Double.isNaN(gain) ? "-" : gain >= (fused ? 2 : 1) ? "pass" : "miss";
  }

  /** Such as "12 of 30 goals". */
  String count() {
    return goals.stream().filter(Goal::passes).count() + " of " + goals.size() + " goals";
  }

  /** The table; empty without a goal that anything was measured for. */
  String markdown() {
    if (goals.isEmpty()) {
      return "";
    }
    StringBuilder out = new StringBuilder("## Goals\n\n");
    out.append(count()).append(" are reached. *Rivals* are oneDNN, libtorch with given outputs, ");
    out.append("ONNX Runtime and our Java backend; a ratio to them is their time by that of ");
    out.append(
        "native. *Of limit*: the time of the necessary reads and writes by that of native. ");
    out.append(
        "Means are geometric. *Library goal*, the last column of the tables below, marks every cell: no slower than any rival; fused, twice as fast as the libraries; a hand-written loop may still be faster.\n\n");
    out.append("| threads | goal | wanted | mean | worst | in | cells | |\n");
    out.append("|---|---|---|---:|---:|---|---:|---|\n");
    for (Goal goal : goals) {
      Value worst = goal.worst();
      out.append(
          String.format(
              Locale.ROOT,
              "| %d | %s | %s | %.2f | %.2f | %s | %s | %s |%n",
              goal.threads,
              goal.what,
              goal.wanted(),
              goal.mean(),
              worst.ratio,
              worst.cell,
              goal.cells(),
              goal.passes() ? "pass" : "miss"));
    }
    return out.append('\n').toString();
  }

  private void add(List<Heat> all) {
    List<Heat> cells =
        all.stream().filter(h -> GROUPS.contains(h.any().group()) && isPlain(h)).toList();
    for (String operation : List.of("inference", "training", "backward")) {
      each(cells, operation + " against the fastest rival", 1, is(operation), Goals::rivals);
    }
    mean(cells, "channels first against the fastest rival", 2.5, Heat::channelsFirst);
    mean(
        cells,
        "channels last against the fastest rival",
        1.3,
        h -> h.any().format().endsWith("wc"));
    mean(cells, "(N, C) against the fastest rival", 1.3, h -> h.any().format().equals("nc"));

    each(
        cells,
        "inference beyond L2, of limit",
        0.95,
        is("inference").and(h -> h.bytes() > cache(2) * h.any().threads()),
        Heat::ofLimit);
    each(
        cells,
        "training beyond L3, of limit",
        0.90,
        is("training").and(this::large),
        Heat::ofLimit);
    each(
        cells,
        "backward beyond L3, of limit",
        0.85,
        is("backward").and(this::large),
        Heat::ofLimit);

    each(
        all, "fused against the libraries' best way", 2, Heat::isFused, h -> h.gainOver(LIBRARIES));
    at(
        all,
        "+ relu against the plain kernel",
        Kind.EACH_AT_MOST,
        1.05,
        h -> h.any().fusion().equals("relu"),
        h -> h.ourTime() / h.steadyTime(Heat.PLAIN));
    each(
        all,
        "inference + add relu, of limit",
        0.90,
        is("inference").and(h -> h.any().fusion().equals("add_relu")),
        Heat::ofLimit);
    at(
        all,
        "bf16 beyond L3 against the time of f32",
        Kind.EACH_AT_MOST,
        0.55,
        h -> h.any().dtype().equals("bf16") && large(h, 2 * h.bytes()),
        h -> h.ourTime() / h.steadyTime(Heat.IN_F32));
    at(
        cells,
        "time with AVX2 against AVX-512 beyond L2",
        Kind.EACH_AT_MOST,
        1.15,
        h -> h.bytes() > cache(2) * h.any().threads(),
        h -> h.steadyTime("native AVX2") / h.steadyTime("native AVX-512"));

    Predicate<Heat> small = h -> h.any().group().equals("call") && h.any().shape().equals("1x64");
    each(
        all,
        "a call from Java against the fastest of libtorch and ONNX Runtime",
        20,
        small,
        h -> h.gainOver(Set.of("libtorch", "libtorch, plain call", "ONNX Runtime")));
    each(all, "a call from Java against the Java backend", 1, small, Heat::gainOverJava);
    each(
        all,
        "throughput of 64 callers against one, large tensors",
        0.9,
        h -> h.any().group().equals(Plan.CALLERS) && h.any().elements() > 100_000,
        h -> h.steadyTime("native, 1 caller") / h.steadyTime("native, 64 callers"));
  }

  /** More threads must not be slower; a twentieth is noise. */
  private void scaling(List<Heat> ofMany) {
    at(
        ofMany,
        "time on all threads against one",
        Kind.EACH_AT_MOST,
        1.05,
        h -> isPlain(h) && GROUPS.contains(h.any().group()),
        h -> h.ourTime() / h.steadyTime(Heat.ONE_THREAD));
  }

  private void each(
      List<Heat> heats, String what, double wanted, Predicate<Heat> of, ToDoubleFunction<Heat> by) {
    at(heats, what, Kind.EACH_AT_LEAST, wanted, of, by);
  }

  private void mean(List<Heat> heats, String what, double wanted, Predicate<Heat> of) {
    at(heats, what, Kind.MEAN_AT_LEAST, wanted, of, Goals::rivals);
  }

  private void at(
      List<Heat> heats,
      String what,
      Kind kind,
      double wanted,
      Predicate<Heat> of,
      ToDoubleFunction<Heat> by) {
    List<Value> values =
        heats.stream()
            .filter(of)
            .map(h -> new Value(h.label(), by.applyAsDouble(h)))
            .filter(v -> !Double.isNaN(v.ratio))
            .toList();
    int threads = heats.isEmpty() ? 0 : heats.get(0).any().threads();
    goals.add(new Goal(threads, what, kind, wanted, values));
  }

  private static Predicate<Heat> is(String operation) {
    return h -> h.any().operation().equals(operation);
  }

  private static boolean isPlain(Heat h) {
    return !h.isFused() && h.any().dtype().equals("f32");
  }

  private static double rivals(Heat h) {
    return h.gainOver(RIVALS);
  }

  /** Whether what the operation reads and writes exceeds the last cache. */
  private boolean large(Heat h) {
    return large(h, h.bytes());
  }

  private boolean large(Heat h, double bytes) {
    return bytes * (h.any().operation().equals("backward") ? 3 : 2) > cache(3);
  }

  /** Bytes of a cache of the machine that ran; 1 GiB if it did not say. */
  private double cache(int level) {
    Matcher m = CACHE.matcher(caches);
    while (m.find()) {
      if (m.group(1).equals("" + level)) {
        return 1024.0 * Integer.parseInt(m.group(2));
      }
    }
    return 1 << 30;
  }
}
