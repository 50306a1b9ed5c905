package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Cell.Fusion;
import org.batchnorm4j.benchmarks.peer.Cell.Operation;
import org.batchnorm4j.benchmarks.peer.Operands;
import org.batchnorm4j.benchmarks.peer.Ours;
import org.batchnorm4j.benchmarks.peer.Peer;
import org.batchnorm4j.tensor.DType;
import org.junit.jupiter.api.Test;

class RaceTest {
  private static final double SECONDS = 0.01;

  /** The whole way with every peer: values right, a time for each that offers the cell. */
  @Test
  void everyPeerIsRightInEveryKindOfCell() {
    List<Peer> all = Contenders.all(2);
    assertTrue(all.stream().anyMatch(p -> p.name().equals("JDK Vector API")));
    Race race = new Race(all, 2);
    List<Cell> cells = new ArrayList<>();
    for (Operation operation : Operation.values()) {
      for (Layout layout : Layout.values()) {
        cells.add(Plan.cell(operation, layout, 3, 5, 4, 6));
        cells.add(
            new Cell("t", operation, layout, DType.BF16, Fusion.NONE, new long[] {2, 16, 8, 8}, 1));
        cells.add(
            new Cell("t", operation, layout, DType.F32, Fusion.RELU, new long[] {2, 4, 3, 3}, 3));
      }
      cells.add(Plan.cell(operation, Layout.NSC, 150, 50));
      cells.add(Plan.cell(operation, Layout.NCS, 2, 3, 10, 13));
      cells.add(Plan.cell(operation, Layout.NCS, 2, 3, 2, 4, 4));
    }
    cells.add(
        new Cell(
            "t",
            Operation.INFERENCE,
            Layout.NCS,
            DType.F32,
            Fusion.ADD_RELU,
            new long[] {2, 4, 3, 3},
            1));
    cells.add(Plan.cell(Operation.INFERENCE, Layout.NSC, 1, 1));
    int timed = 0;
    for (Cell cell : cells) {
      for (Results.Row row : race.measure(cell, SECONDS)) {
        // How many cores a noisy machine counts for microseconds is not the matter here.
        boolean right = !row.status().equals(Results.FAILED) && !row.message().contains("value");
        assertTrue(right, () -> Main.describe(cell) + ": " + row);
        timed += row.microseconds() > 0 ? 1 : 0;
      }
    }
    assertTrue(timed > 5 * cells.size(), "too few were timed: " + timed);
  }

  @Test
  void manyCallersAreRightAndTimedByTheCall() {
    List<Results.Row> rows =
        new Race(Contenders.callers(2), 2)
            .measure(Plan.cell(Operation.INFERENCE, Layout.NCS, 1, 8, 5, 5), SECONDS);
    List<Results.Row> ours = rows.stream().filter(Results.Row::isOurs).toList();
    assertEquals(12, ours.size(), () -> "" + rows);
    assertTrue(ours.stream().allMatch(row -> row.microseconds() > 0), () -> "" + ours);
  }

  @Test
  void aWrongPeerIsReportedAndNotRaced() {
    AtomicInteger runs = new AtomicInteger();
    List<Results.Row> rows =
        new Race(List.of(peer("lazy", runs::incrementAndGet)), 1)
            .measure(Plan.cell(Operation.INFERENCE, Layout.NCS, 2, 3, 4, 4), SECONDS);
    Results.Row lazy = rows.get(0);
    assertEquals(Results.WRONG, lazy.status());
    assertTrue(lazy.message().startsWith("did not write element 0"), lazy.message());
    assertEquals(0, lazy.microseconds());
    assertEquals(1, runs.get());
  }

  @Test
  void aPeerThatThrowsIsReported() {
    Runnable broken =
        () -> {
          throw new IllegalStateException("broken");
        };
    List<Results.Row> rows =
        new Race(List.of(peer("broken", broken)), 1)
            .measure(Plan.cell(Operation.TRAINING, Layout.NSC, 8, 3), SECONDS);
    assertEquals(Results.FAILED, rows.get(0).status());
    assertTrue(rows.get(0).message().contains("broken"));
  }

  @Test
  void oneWrongValueIsFound() {
    for (Operation operation : Operation.values()) {
      for (Layout layout : Layout.values()) {
        Cell cell = Plan.cell(operation, layout, 2, 3, 4, 4);
        try (Operands operands = new Operands(cell, 0)) {
          Exact exact = new Exact(cell, operands);
          exact.poison();
          new Ours("native", Backends.nativeBackend()).prepare(cell, operands).run();
          assertNull(exact.complaint());
          double right = operands.output(cell).get(1, 2, 3, 1);
          operands.output(cell).set(right + 1e-3, 1, 2, 3, 1);
          assertTrue(String.valueOf(exact.complaint()).startsWith("channel 2, value 29"));
        }
      }
    }
  }

  @Test
  void limitsCountReadsAndWrites() {
    assertEquals("copy", limit(Operation.INFERENCE, Layout.NSC, Fusion.NONE));
    assertEquals("triad", limit(Operation.INFERENCE, Layout.NSC, Fusion.ADD_RELU));
    assertEquals("copy", limit(Operation.TRAINING, Layout.NCS, Fusion.NONE));
    assertEquals("read + copy", limit(Operation.TRAINING, Layout.NSC, Fusion.NONE));
    assertEquals("triad", limit(Operation.BACKWARD, Layout.NCS, Fusion.NONE));
    assertEquals("2 reads + triad", limit(Operation.BACKWARD, Layout.NSC, Fusion.NONE));
    assertEquals("read + triad", limit(Operation.BACKWARD, Layout.NCS, Fusion.RELU));
  }

  private static String limit(Operation operation, Layout layout, Fusion fusion) {
    long[] dims = {2, 3, 4, 4};
    return Race.Limit.of(new Cell("t", operation, layout, DType.F32, fusion, dims, 1)).toString();
  }

  private static Peer peer(String name, Runnable run) {
    return new Peer() {
      @Override
      public String name() {
        return name;
      }

      @Override
      public Task prepare(Cell cell, Operands operands) {
        return run::run;
      }
    };
  }
}
