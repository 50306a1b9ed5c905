package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import org.junit.jupiter.api.Test;

class GoalsTest {

  private static String goals(Results.Row... rows) {
    return new Report(Rows.results(rows)).markdown(Map.of());
  }

  @Test
  void aMissIsAsPlainAsAPass() {
    String text =
        goals(
            Rows.ok("native AVX2", "32x64x56x56", 1, 10),
            Rows.ok("libtorch", "32x64x56x56", 1, 40),
            Rows.ok("native AVX2", "1x64x56x56", 1, 10),
            Rows.ok("Java backend", "1x64x56x56", 1, 9),
            // Not a rival: no library.
            Rows.ok("plain Java loop", "32x64x56x56", 1, 1));
    assertTrue(text.contains("0 of 2 goals are reached"), text);
    assertTrue(
        text.contains(
            "| 1 | inference against the fastest rival | each \u2265 1.00 | 1.90 | 0.90 |"
                + " inference nchw 1x64x56x56 | 1 of 2 | miss |"),
        text);
    assertTrue(text.contains("| mean \u2265 2.50 | 1.90 | 0.90 |"), text);
    assertTrue(text.contains("| 0.80 | 0.10 x plain Java loop | pass |"), text);
  }

  @Test
  void fewRoundsReachNoGoal() {
    String text =
        goals(
            Rows.ok("native AVX2", "32x64x56x56", 1, 10),
            Rows.ok("libtorch", "32x64x56x56", 1, 40),
            Rows.ok("native AVX2", "1x64x56x56", 1, 10),
            Rows.rounds(1, Rows.ok("oneDNN", "1x64x56x56", 1, 15)),
            Rows.ok("libtorch", "1x64x56x56", 1, 50));
    assertTrue(text.contains("rival | each \u2265 1.00 | 4.00 | 4.00 |"), text);
    assertTrue(text.contains("inference nchw 32x64x56x56 | 1 of 1 | pass |"), text);
  }

  @Test
  void moreThreadsMustNotBeSlower() {
    String text =
        goals(
            Rows.ok("native AVX2", "32x64x56x56", 2, 11),
            Rows.ok(Heat.ONE_THREAD, "32x64x56x56", 2, 10),
            Rows.ok("native AVX2", "1x64x56x56", 2, 5),
            Rows.ok(Heat.ONE_THREAD, "1x64x56x56", 2, 10),
            // Of another race.
            Rows.ok("native AVX2", "1x64x56x56", 1, 1));
    assertTrue(
        text.contains(
            "| 2 | time on all threads against one | each \u2264 1.05 | 0.74 | 1.10 |"
                + " inference nchw 32x64x56x56 | 1 of 2 | miss |"),
        text);
  }

  @Test
  void fusionAndTypeAreComparedWithTwins() {
    String text =
        goals(
            Rows.of("native AVX2", "bf16", "none", 1 << 20, 6),
            Rows.of(Heat.IN_F32, "bf16", "none", 1 << 20, 10),
            Rows.of("native AVX2", "f32", "relu", 1 << 20, 11),
            Rows.of(Heat.PLAIN, "f32", "relu", 1 << 20, 10));
    assertTrue(text.contains("+ relu against the plain kernel | each \u2264 1.05 | 1.10 |"), text);
    assertTrue(text.contains("the time of f32 | each \u2264 0.55 | 0.60 |"), text);
  }

  @Test
  void aCallFromJavaIsComparedWithBindingsAndJava() {
    String text =
        goals(
            Rows.call("native AVX2", 64, 1),
            Rows.call("Java backend", 64, 1.5),
            Rows.call("ONNX Runtime", 64, 30),
            Rows.call("oneDNN", 64, 2));
    assertTrue(text.contains("each \u2265 20.00 | 30.00 | 30.00 | inference nc 1x64 |"), text);
    assertTrue(text.contains("Java backend | each \u2265 1.00 | 1.50 | 1.50 |"), text);
  }
}
