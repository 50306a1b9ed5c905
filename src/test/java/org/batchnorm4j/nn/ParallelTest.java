package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class ParallelTest {
  /** What is thrown must wait for the others: they use memory that the caller then gives back. */
  @Test
  void nothingRunsOnAfterAPieceThrew() {
    for (int repeat = 0; repeat < 50; repeat++) {
      AtomicInteger begun = new AtomicInteger();
      AtomicInteger running = new AtomicInteger();
      IndexOutOfBoundsException thrown =
          assertThrows(
              IndexOutOfBoundsException.class,
              () ->
                  Parallel.forEach(
                      100,
                      4,
                      (strand, piece) -> {
                        running.incrementAndGet();
                        begun.incrementAndGet();
                        try {
                          if (piece == 3) {
                            throw new IndexOutOfBoundsException("piece 3");
                          }
                          Thread.sleep(1);
                        } catch (InterruptedException e) {
                          throw new AssertionError(e);
                        } finally {
                          running.decrementAndGet();
                        }
                      }));
      assertEquals("piece 3", thrown.getMessage());
      assertEquals(0, running.get(), begun + " pieces begun");
    }
  }
}
