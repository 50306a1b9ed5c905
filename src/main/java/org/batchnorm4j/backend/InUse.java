package org.batchnorm4j.backend;

import java.lang.ref.Reference;
import java.util.Arrays;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * Brackets a call of a backend or a layer: between the two, no tensor's memory goes away, even if
 * it is closed. Both take the same array: to make a second one cost a tenth of a small call
 * (docs/performance.md, lesson 25).
 */
public final class InUse {
  private InUse() {}

  /**
   * Acquires all, or, when one is closed, none.
   *
   * @throws IllegalStateException if one is closed
   */
  public static void acquire(@Nullable Tensor[] tensors) {
    for (int i = 0; i < tensors.length; i++) {
      Tensor t = tensors[i];
      if (t != null) {
        try {
          TensorAccess.acquire(t);
        } catch (IllegalStateException e) {
          release(Arrays.copyOf(tensors, i));
          throw e;
        }
      }
    }
  }

  /** Also keeps the tensors reachable until the call is over. */
  public static void release(@Nullable Tensor[] tensors) {
    for (Tensor t : tensors) {
      if (t != null) {
        TensorAccess.release(t);
        Reference.reachabilityFence(t);
      }
    }
  }
}
