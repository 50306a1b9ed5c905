package org.batchnorm4j.nn;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.batchnorm4j.backend.Backends;
import org.jspecify.annotations.Nullable;

/**
 * Spreads independent pieces of work over the common pool and the caller. What a piece computes
 * must not depend on the strand that runs it: so results do not depend on the number of threads.
 */
final class Parallel {
  private Parallel() {}

  /** A piece of work. The pieces of one strand run one after another and may share its scratch. */
  interface Body {
    void run(int strand, int piece);
  }

  /** How many strands that many pieces are worth: at least 1, at most the thread limit. */
  static int strands(int pieces) {
    return Math.max(1, Math.min(pieces, Backends.threadLimit()));
  }

  /**
   * Runs all pieces and returns when they are done. If one throws no more are begun, and what it
   * threw is thrown when those under way are done: until then they use the caller's memory.
   */
  static void forEach(int pieces, int strands, Body body) {
    if (strands == 1) {
      for (int i = 0; i < pieces; i++) {
        body.run(0, i);
      }
      return;
    }
    AtomicInteger next = new AtomicInteger();
    AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    IntStream.range(0, strands)
        .parallel()
        .forEach(
            strand -> {
              try {
                for (int i = next.getAndIncrement(); i < pieces; i = next.getAndIncrement()) {
                  body.run(strand, i);
                }
              } catch (RuntimeException | Error e) {
                failure.compareAndSet(null, e);
                next.set(pieces);
              }
            });
    Throwable thrown = failure.get();
    if (thrown instanceof Error e) {
      throw e;
    }
    if (thrown != null) {
      throw (RuntimeException) thrown;
    }
  }
}
