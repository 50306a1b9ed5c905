package org.batchnorm4j.benchmarks;

import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Callers;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Cell.Fusion;
import org.batchnorm4j.benchmarks.peer.Cell.Operation;
import org.batchnorm4j.tensor.DType;

/** Which cells are measured. */
final class Plan {
  /** A cold run is one behind so many bytes of other tensors; few caches are larger. */
  private static final long COLD_BYTES = 256L << 20;

  private static final int COLD_SETS = 48;

  /** The batch norms of ResNet-50: channels, height and width, and how many layers have them. */
  static final int[][] RESNET50 = {
    {64, 112, 1}, {64, 56, 6}, {256, 56, 4}, {128, 56, 1}, {128, 28, 7}, {512, 28, 5},
    {256, 28, 1}, {256, 14, 11}, {1024, 14, 7}, {512, 14, 1}, {512, 7, 5}, {2048, 7, 4},
  };

  private Plan() {}

  /** A few of the cells, enough for a look. */
  static List<Cell> quick() {
    List<Cell> cells = new ArrayList<>();
    both(cells, "resnet50", 32, 64, 56, 56);
    both(cells, "resnet50", 32, 2048, 7, 7);
    both(cells, "resnet50", 1, 64, 56, 56);
    all(cells, "tabular", Layout.NSC, DType.F32, 1, 4096, 512);
    all(cells, "bf16", Layout.NCS, DType.BF16, 1, 32, 512, 28, 28);
    fused(cells, 32, 512, 28, 28);
    cold(cells, 1, 256, 56, 56);
    for (long size = 1; size <= 1 << 24; size *= 64) {
      call(cells, size);
    }
    memory(cells, 256, 1024);
    memory(cells, 32, 64, 56, 56);
    callers(cells, 1, 64, 14, 14);
    callers(cells, 2, 64, 56, 56);
    return cells;
  }

  /** All cells. */
  static List<Cell> full() {
    List<Cell> cells = new ArrayList<>();
    for (int n : new int[] {1, 32}) {
      for (int[] layer : RESNET50) {
        both(cells, "resnet50", n, layer[0], layer[1], layer[1]);
      }
    }
    both(cells, "mobilenet", 32, 96, 14, 14);
    both(cells, "mobilenet", 32, 960, 7, 7);
    both(cells, "3d", 4, 64, 16, 56, 56);
    for (long[] dims : new long[][] {{64, 50}, {256, 1024}, {4096, 512}, {65536, 256}}) {
      all(cells, "tabular", Layout.NSC, DType.F32, 1, dims);
    }
    for (Layout layout : Layout.values()) {
      all(cells, "bf16", layout, DType.BF16, 1, 32, 256, 56, 56);
      all(cells, "bf16", layout, DType.BF16, 1, 32, 512, 28, 28);
    }
    fused(cells, 32, 256, 56, 56);
    fused(cells, 32, 512, 28, 28);
    cold(cells, 1, 256, 56, 56);
    cold(cells, 1, 512, 28, 28);
    for (long size = 1; size <= 1 << 26; size *= 4) {
      call(cells, size);
    }
    call(cells, 100_000_000);
    memory(cells, 1, 64);
    memory(cells, 256, 1024);
    memory(cells, 1, 64, 56, 56);
    memory(cells, 32, 64, 56, 56);
    callers(cells, 1, 64, 14, 14);
    callers(cells, 1, 64, 56, 56);
    callers(cells, 8, 64, 56, 56);
    return cells;
  }

  /** The group of cells in which many call at once. */
  static final String CALLERS = "callers";

  /** The group of cells that compare heap arrays, direct buffers and native memory. */
  static final String MEMORY = "memory";

  /** The group of cells with the same shape from caches and from memory. */
  static final String COLD = "warm and cold";

  /** Cells that only a JVM with all cores measures: many callers use them, whatever a call may. */
  static List<Cell> of(List<Cell> cells, int threads, int cores) {
    return cells.stream().filter(c -> threads == cores || !c.group().equals(CALLERS)).toList();
  }

  /** How much of the time of a run a cell should have; 1 for a small one. */
  static double weight(Cell cell) {
    double passes =
        switch (cell.operation()) {
          case INFERENCE -> 1;
          case TRAINING -> 1.5;
          case BACKWARD -> 2;
        };
    double elements = (double) cell.size() * cell.buffers();
    if (cell.group().equals(CALLERS)) {
      return 3 + 1e-8 * elements;
    }
    return 1 + (cell.buffers() > 1 ? 0.8e-7 : 1.2e-7) * passes * elements;
  }

  /** One cell, for the guard and for tests. */
  static Cell cell(Operation operation, Layout layout, long... dims) {
    return new Cell("one", operation, layout, DType.F32, Fusion.NONE, dims, 1);
  }

  private static void both(List<Cell> cells, String group, long... dims) {
    for (Layout layout : Layout.values()) {
      all(cells, group, layout, DType.F32, 1, dims);
    }
  }

  private static void all(
      List<Cell> cells, String group, Layout layout, DType dtype, int buffers, long... dims) {
    for (Operation operation : Operation.values()) {
      cells.add(new Cell(group, operation, layout, dtype, Fusion.NONE, dims, buffers));
    }
  }

  private static void fused(List<Cell> cells, long... dims) {
    for (Layout layout : Layout.values()) {
      for (Fusion fusion : List.of(Fusion.RELU, Fusion.ADD_RELU)) {
        cells.add(new Cell("fused", Operation.INFERENCE, layout, DType.F32, fusion, dims, 1));
        cells.add(new Cell("fused", Operation.TRAINING, layout, DType.F32, fusion, dims, 1));
      }
      cells.add(new Cell("fused", Operation.BACKWARD, layout, DType.F32, Fusion.RELU, dims, 1));
    }
  }

  private static void cold(List<Cell> cells, long... dims) {
    long bytes = 8;
    for (long dim : dims) {
      bytes *= dim;
    }
    int buffers = (int) Math.min(COLD_SETS, (COLD_BYTES + bytes - 1) / bytes);
    all(cells, COLD, Layout.NCS, DType.F32, 1, dims);
    all(cells, COLD, Layout.NCS, DType.F32, buffers, dims);
  }

  private static void memory(List<Cell> cells, long... dims) {
    inference(cells, MEMORY, dims.length == 2 ? Layout.NSC : Layout.NCS, 1, dims);
  }

  private static void callers(List<Cell> cells, long... dims) {
    inference(cells, CALLERS, Layout.NCS, Callers.SETS, dims);
  }

  /** Inference of one sample of so many values: what a call costs. */
  private static void call(List<Cell> cells, long size) {
    long[] dims = size <= 64 ? new long[] {1, size} : new long[] {1, 64, 1, size / 64};
    Layout layout = size <= 64 ? Layout.NSC : Layout.NCS;
    inference(cells, "call", layout, 1, dims);
  }

  private static void inference(
      List<Cell> cells, String group, Layout layout, int buffers, long... dims) {
    cells.add(new Cell(group, Operation.INFERENCE, layout, DType.F32, Fusion.NONE, dims, buffers));
  }
}
