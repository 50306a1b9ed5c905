package org.batchnorm4j.tensor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Whoever gets the order of acquire, release and close wrong is told so. */
class TensorLifetimeTest {
  @ParameterizedTest
  @ValueSource(ints = {10, 5000})
  void readingAndWritingAfterClose(int size) {
    Tensor t = Tensor.zeros(size);
    t.close();
    float[] values = new float[4];
    if (size > 1024) { // smaller ones are left to the collector
      assertThrows(IllegalStateException.class, () -> t.read(0, values, 0, 4));
      assertThrows(IllegalStateException.class, () -> t.write(0, values, 0, 4));
    }
    assertThrows(IllegalStateException.class, t::acquire);
    assertThrows(IllegalStateException.class, t::checkUsable);
    assertTrue(t.isClosed());
  }

  @Test
  void oneReleaseTooMany() {
    Tensor t = Tensor.zeros(5000);
    assertEquals(
        "release without acquire",
        assertThrows(IllegalStateException.class, t::release).getMessage());
    t.acquire();
    t.close();
    t.write(0, new float[] {7}, 0, 1); // still there for who has acquired it
    t.release();
    assertThrows(IllegalStateException.class, t::release);
    assertTrue(t.isClosed());
    assertThrows(IllegalStateException.class, () -> t.get(0));
  }
}
