package org.batchnorm4j.benchmarks;

import java.util.List;
import java.util.Map;

/** Made-up results. */
final class Rows {
  private Rows() {}

  static Results.Row ok(String contender, String shape, int threads, double microseconds) {
    return row(contender, shape, threads, Results.OK, "", microseconds);
  }

  /** Of a shape of so many elements, on one thread. */
  static Results.Row of(
      String contender, String dtype, String fusion, long elements, double microseconds) {
    return new Results.Row(
        "fused",
        "inference",
        "nchw",
        dtype,
        fusion,
        "1x1x1x" + elements,
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

  static Results.Row call(String contender, long elements, double microseconds) {
    return new Results.Row(
        "call",
        "inference",
        "nc",
        "f32",
        "none",
        "1x" + elements,
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
