package org.batchnorm4j.benchmarks;

import java.util.List;
import java.util.Map;

/** Made-up results. */
final class Rows {
  private Rows() {}

  static Results.Row ok(String contender, String shape, int threads, double microseconds) {
    return row(contender, shape, threads, Results.OK, "", microseconds);
  }

  /** Fused or of 16 bits, of so many elements. */
  static Results.Row of(
      String contender, String dtype, String fusion, long elements, double microseconds) {
    String shape = "1x1x1x" + elements;
    return steady("fused", "nchw", dtype, fusion, shape, elements, contender, microseconds);
  }

  static Results.Row call(String contender, long elements, double microseconds) {
    return steady("call", "nc", "f32", "none", "1x" + elements, elements, contender, microseconds);
  }

  /** Inference on one thread, all rounds of which took the same time. */
  private static Results.Row steady(
      String group,
      String format,
      String dtype,
      String fusion,
      String shape,
      long elements,
      String contender,
      double microseconds) {
    return new Results.Row(
        group,
        "inference",
        format,
        dtype,
        fusion,
        shape,
        elements,
        1,
        1,
        contender,
        Results.OK,
        "",
        microseconds,
        microseconds,
        microseconds,
        microseconds,
        10,
        1,
        "copy",
        1);
  }

  static Results.Row row(
      String contender,
      String shape,
      int threads,
      String status,
      String message,
      double microseconds) {
    return new Results.Row(
        "resnet50",
        "inference",
        "nchw",
        "f32",
        "none",
        shape,
        100,
        1,
        threads,
        contender,
        status,
        message,
        microseconds,
        microseconds * 0.9,
        microseconds * 0.95,
        microseconds * 1.05,
        10,
        threads,
        "copy",
        8);
  }

  /** The same with so many rounds. */
  static Results.Row rounds(int rounds, Results.Row r) {
    return new Results.Row(
        r.group(),
        r.operation(),
        r.format(),
        r.dtype(),
        r.fusion(),
        r.shape(),
        r.elements(),
        r.buffers(),
        r.threads(),
        r.contender(),
        r.status(),
        r.message(),
        r.microseconds(),
        r.best(),
        r.low(),
        r.high(),
        rounds,
        r.coresBusy(),
        r.limit(),
        r.limitMicroseconds());
  }

  static Results results(Results.Row... rows) {
    return new Results(
        "made-up",
        "quick",
        "2026-01-01T00:00:00Z",
        1,
        1,
        Map.of("cores", "2", "caches", "L3 4096K", "load before", "0.1", "load after", "1.0"),
        List.of(rows));
  }
}
