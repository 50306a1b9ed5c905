package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.junit.jupiter.api.Test;

class PlanTest {

  /** Rows of two cells must not become one. */
  @Test
  void noTwoCellsAreTheSame() {
    for (List<Cell> cells : List.of(Plan.quick(), Plan.full())) {
      Set<String> names = new HashSet<>();
      for (Cell cell : cells) {
        assertTrue(names.add(Main.describe(cell) + " " + cell.buffers()), () -> cell + " twice");
      }
    }
  }

  @Test
  void everyGroupIsInTheQuickRunToo() {
    Set<String> quick = Plan.quick().stream().map(Cell::group).collect(Collectors.toSet());
    Set<String> full = Plan.full().stream().map(Cell::group).collect(Collectors.toSet());
    full.removeAll(Set.of("mobilenet", "3d"));
    assertEquals(full, quick);
  }

  /** Fifteen contenders warm up for 20 ms or more and race. */
  @Test
  void theTimeIsEnoughForSmallCells() {
    for (boolean quick : new boolean[] {true, false}) {
      List<Cell> cells = quick ? Plan.quick() : Plan.full();
      double seconds = (quick ? 4.6 : 37) * 60 / 2;
      double small = seconds / cells.stream().mapToDouble(Plan::weight).sum();
      assertTrue(small > 1, "a cell of weight 1 has " + small + " seconds");
    }
  }

  @Test
  void callersNeedAllCores() {
    List<Cell> cells = Plan.full();
    long callers = cells.stream().filter(c -> c.group().equals(Plan.CALLERS)).count();
    assertEquals(cells.size() - callers, Plan.of(cells, 1, 2).size());
    assertEquals(cells, Plan.of(cells, 2, 2));
  }
}
