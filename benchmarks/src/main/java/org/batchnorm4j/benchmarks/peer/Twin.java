package org.batchnorm4j.benchmarks.peer;

import org.jspecify.annotations.Nullable;

/**
 * A backend of batchnorm4j on another cell than the one it races in, to say what that cell's own
 * time is to be compared with: in turns, since a few minutes later a machine is another one.
 *
 * @param computes the other cell
 */
public record Twin(Ours ours, Cell computes) implements Peer {
  @Override
  public String name() {
    return ours.name();
  }

  @Override
  public Cell computes(Cell cell) {
    return computes;
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands operands) {
    return ours.prepare(cell, operands);
  }
}
