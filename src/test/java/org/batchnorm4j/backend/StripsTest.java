package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.batchnorm4j.tensor.DType;
import org.junit.jupiter.api.Test;

final class StripsTest {
  /** A row as long as an array: no index of it may overflow. */
  @Test
  void walksTheLongestRow() {
    int longest = Integer.MAX_VALUE - 8;
    Strips<float[]> strips = new Strips<>(new FloatKernels());
    strips.start(new Problem(1, 1, longest, Layout.NCS, DType.F32, Activation.NONE), 0, 1);
    long count = 0;
    while (strips.next()) {
      assertEquals(1, strips.group());
      count++;
    }
    assertTrue(count >= longest / Strips.LENGTH, "strips: " + count);
  }
}
