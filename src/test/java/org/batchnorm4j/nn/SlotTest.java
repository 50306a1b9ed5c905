package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

class SlotTest {
  private final Slot slot = new Slot();

  @Test
  void theSameShapeIsTheSameTensor() {
    Tensor first = slot.get(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(2, 3));
    assertSame(first, slot.get(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(2, 3)));
  }

  @Test
  void aSmallerOneIsInTheSameMemoryAndALargerOneClosesIt() {
    Tensor first = get(6);
    assertEquals(first.address(), get(4).address());
    Tensor larger = get(9);
    assertTrue(first.isClosed());
    assertFalse(larger.isClosed());
  }

  @Test
  void whatIsProposedAndNotAdoptedIsClosedByTheNextOne() {
    Tensor held = get(6);
    Tensor refused = propose(20);
    assertFalse(held.isClosed());
    Tensor next = propose(30);
    assertTrue(refused.isClosed());
    slot.close();
    assertTrue(next.isClosed());
    assertTrue(held.isClosed());
  }

  @Test
  void whatIsHeldStaysWhenAProposalIsRefused() {
    Tensor held = get(6);
    propose(20);
    propose(4);
    assertFalse(held.isClosed());
    assertSame(held, get(6));
  }

  private Tensor get(long size) {
    return slot.get(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(size));
  }

  private Tensor propose(long size) {
    return slot.propose(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(size));
  }
}
