package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Cell.Operation;
import org.junit.jupiter.api.Test;

class GuardTest {
  private static final List<Results.Row> ROWS =
      List.of(
          Rows.ok("copy", "1x1", 1, 20),
          Rows.ok("copy, past the caches", "1x1", 1, 10),
          Rows.ok("native AVX-512", "1x1", 1, 20),
          Rows.ok("native AVX2", "1x1", 1, 5),
          Rows.ok("Java backend", "1x1", 1, 60));

  @Test
  void comparesTheNativeThatUsersGet() {
    assertEquals(0.5, Guard.share(ROWS), 1e-12);
    assertEquals(3, Guard.gain(ROWS), 1e-12);
  }

  @Test
  void oneTriesDisturbanceIsMadeGoodByAnother() {
    List<Results.Row> tries = new ArrayList<>(ROWS);
    tries.set(2, Rows.ok("native AVX-512", "1x1", 1, 100));
    assertEquals(0.1, Guard.share(tries), 1e-12);
    tries.addAll(ROWS);
    tries.add(Rows.ok("copy", "1x1", 1, 30));
    assertEquals(0.5, Guard.share(tries), 1e-12);
    assertEquals(3, Guard.gain(tries), 1e-12);
  }

  @Test
  void failsFarBelowWhatIsExpected() {
    Cell inference = Plan.cell(Operation.INFERENCE, Layout.NCS, 2, 2);
    Cell training = Plan.cell(Operation.TRAINING, Layout.NCS, 2, 2);
    assertTrue(Guard.passes(inference, 0.5, 2));
    assertFalse(Guard.passes(inference, 0.2, 2), "scalar code reaches a fifth of copy");
    assertFalse(Guard.passes(inference, 0.9, 0.8), "slower than Java");
    assertTrue(Guard.passes(training, 0.2, 2), "has passes that copy does not have");
    assertFalse(Guard.passes(training, 0.9, 0.8));
  }

  @Test
  void needsAllRows() {
    assertThrows(IllegalStateException.class, () -> Guard.gain(ROWS.subList(0, 4)));
    assertThrows(IllegalStateException.class, () -> Guard.share(ROWS.subList(2, 5)));
  }
}
