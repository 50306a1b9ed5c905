package org.batchnorm4j.benchmarks;

import java.util.Comparator;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import org.batchnorm4j.tensor.DType;
import org.jspecify.annotations.Nullable;

/** A cell and all who raced in it, by name. */
record Heat(Results.Row any, Map<String, Results.Row> rows) {
  /** Our backend in Java. */
  static final String JAVA = "Java backend";

  /** Native on one thread, where it has more. */
  static final String ONE_THREAD = "native, 1 thread";

  /** Native without what comes behind the normalization. */
  static final String PLAIN = "native, plain";

  /** Native on f32, where the cell's data are of 16 bits. */
  static final String IN_F32 = "native, f32";

  String label() {
    String fusion = isFused() ? " + " + any.fusion().replace('_', ' ') : "";
    String dtype = any.dtype().equals("f32") ? "" : " " + any.dtype();
    boolean rotates = any.buffers() > 1 && !any.group().equals(Plan.CALLERS);
    String cold = rotates ? " cold" : isWarmTwin() ? " warm" : "";
    return any.operation() + fusion + " " + any.format() + " " + any.shape() + dtype + cold;
  }

  /** The median of a contender, or NaN; of however few rounds. */
  double time(String contender) {
    Results.Row row = rows.get(contender);
    return row == null || !row.isOk() ? Double.NaN : row.microseconds();
  }

  /** The median of a contender, or NaN if it had too few rounds to be compared. */
  double steadyTime(String contender) {
    return steadyTime(rows.get(contender));
  }

  private static double steadyTime(Results.@Nullable Row row) {
    return row == null || !row.isSteady() ? Double.NaN : row.microseconds();
  }

  /** The native backend that users get: the first one. */
  Results.@Nullable Row ours() {
    return rows.values().stream()
        .filter(row -> row.contender().startsWith("native"))
        .findFirst()
        .filter(Results.Row::isOk)
        .orElse(null);
  }

  /** The fastest that is not ours, or null. */
  Results.@Nullable Row peer() {
    return fastest(row -> !row.isOurs() && !row.isYardstick());
  }

  /** The fastest of some, or null if none of them was timed. */
  Results.@Nullable Row fastest(Predicate<Results.Row> of) {
    return rows.values().stream()
        .filter(row -> row.isOk() && of.test(row))
        .min(Comparator.comparingDouble(Results.Row::microseconds))
        .orElse(null);
  }

  /**
   * How many times as fast as the fastest of some; NaN without one, or if it had too few rounds:
   * the next one is not taken for the fastest.
   */
  double gainOver(Set<String> names) {
    return gainOver(fastest(row -> names.contains(row.contender())));
  }

  /** How many times as fast as the fastest peer; NaN without one. */
  double gain() {
    return gainOver(peer());
  }

  private double gainOver(Results.@Nullable Row other) {
    return steadyTime(other) / ourTime();
  }

  /** The median of native, or NaN if it had too few rounds to be compared. */
  double ourTime() {
    return steadyTime(ours());
  }

  double gainOverJava() {
    return steadyTime(JAVA) / ourTime();
  }

  double ofLimit() {
    Results.Row ours = ours();
    return ours == null ? Double.NaN : share(ours.contender());
  }

  /** Such as "training, fused". */
  String kind() {
    return any.operation() + (isFused() ? ", fused" : "");
  }

  boolean isFused() {
    return !any.fusion().equals("none");
  }

  /** Bytes of a tensor. */
  double bytes() {
    return (double) any.elements() * DType.valueOf(any.dtype().toUpperCase(Locale.ROOT)).bytes();
  }

  /** Whether it is only there to be compared with a cold one. */
  boolean isWarmTwin() {
    return any.group().equals(Plan.COLD) && any.buffers() == 1;
  }

  boolean channelsFirst() {
    return any.format().startsWith("nc") && !any.format().equals("nc");
  }

  double share(String contender) {
    return any.limitMicroseconds() / steadyTime(contender);
  }
}
