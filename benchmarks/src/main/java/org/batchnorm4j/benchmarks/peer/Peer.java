package org.batchnorm4j.benchmarks.peer;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A contender. */
public interface Peer {
  /** How the report calls it. */
  String name();

  /** What it computes in the race of a cell, and is checked for: that cell. */
  default Cell computes(Cell cell) {
    return cell;
  }

  /**
   * Sets up all that can be set up once, for what it computes. Null: it has no such operation,
   * layout or type.
   *
   * @throws Exception anything; the cell is then reported as failed for this peer
   */
  @Nullable Task prepare(Cell cell, Operands operands) throws Exception;

  /**
   * Tasks to be run in turn, here one for each set of tensors; empty if there is no such operation.
   *
   * @throws Exception anything; the cell is then reported as failed for this peer
   */
  default List<Task> prepare(Cell cell, List<Operands> sets) throws Exception {
    List<Task> tasks = new ArrayList<>();
    try {
      for (Operands operands : sets) {
        Task task = prepare(cell, operands);
        if (task == null) {
          break;
        }
        tasks.add(task);
      }
    } catch (Exception | LinkageError e) {
      tasks.forEach(Task::close);
      throw e;
    }
    return tasks;
  }

  /** One cell of one contender, ready to run. */
  @FunctionalInterface
  interface Task extends AutoCloseable {
    /** The measured part. */
    void run();

    /** How many calls of the operation a run is; a time is that of one. */
    default int calls() {
      return 1;
    }

    /** Copies results that lie elsewhere into the operands, to be checked. */
    default void publish() {}

    @Override
    default void close() {}
  }
}
