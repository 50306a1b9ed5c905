package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

class LazyBatchNormTest {

  private static LazyBatchNorm<?> lazy(int dims) {
    return switch (dims) {
      case 1 -> new LazyBatchNorm1d();
      case 2 -> new LazyBatchNorm2d();
      default -> new LazyBatchNorm3d();
    };
  }

  private static BatchNorm plain(int dims, long channels) {
    return switch (dims) {
      case 1 -> new BatchNorm1d(channels);
      case 2 -> new BatchNorm2d(channels);
      default -> new BatchNorm3d(channels);
    };
  }

  @Test
  void becomesTheBatchNormOfItsFirstInput() {
    long[][] shapes = {{4, 5, 3}, {4, 6, 3, 2}, {4, 7, 3, 2, 2}};
    for (int dims = 1; dims <= 3; dims++) {
      long[] shape = shapes[dims - 1];
      LazyBatchNorm<?> lazy = lazy(dims);
      assertNull(lazy.batchNorm());
      assertEquals(List.of(), lazy.parameters());
      BatchNorm plain = plain(dims, shape[1]);
      Tensor x = PyTorch.random(1, shape);
      Tensor dy = PyTorch.random(2, shape);
      assertEquals(x.shape(), lazy.outputShape(x.shape()));
      assertNull(lazy.batchNorm());
      for (int step = 0; step < 3; step++) {
        // The mode goes through, whenever it is set.
        plain.train(step != 1);
        lazy.train(step != 1);
        assertArrayEquals(plain.forward(x).toFloatArray(), lazy.forward(x).toFloatArray());
        assertArrayEquals(plain.backward(dy).toFloatArray(), lazy.backward(dy).toFloatArray());
      }
      BatchNorm inner = lazy.batchNorm();
      assertInstanceOf(plain.getClass(), inner);
      assertEquals(List.copyOf(plain.stateDict().keySet()), List.copyOf(lazy.stateDict().keySet()));
      plain
          .stateDict()
          .forEach(
              (name, t) ->
                  assertArrayEquals(
                      t.toDoubleArray(), lazy.stateDict().get(name).toDoubleArray(), name));
      assertSame(inner.weight(), lazy.namedParameters().get("weight"));
      assertEquals(x.shape(), lazy.outputShape(x.shape()));
      lazy.close();
      assertThrows(IllegalStateException.class, () -> lazy.forward(x));
      assertThrows(IllegalStateException.class, () -> inner.forward(x));
    }
  }

  /** Also to who calls the batch norm itself. */
  @Test
  void theModeGoesThroughAtOnce() {
    LazyBatchNorm1d lazy = new LazyBatchNorm1d();
    Tensor x = PyTorch.random(3, 4, 2);
    lazy.forward(x);
    lazy.eval();
    assertFalse(lazy.batchNorm().isTraining());
    double mean = lazy.batchNorm().runningMean().get(0);
    lazy.batchNorm().forward(x, Tensor.zerosLike(x));
    assertEquals(mean, lazy.batchNorm().runningMean().get(0));
    assertTrue(((LazyBatchNorm1d) lazy.train()).batchNorm().isTraining());

    LazyBatchNorm1d loaded = new LazyBatchNorm1d();
    loaded.eval();
    loaded.loadStateDict(lazy.stateDict());
    assertFalse(loaded.batchNorm().isTraining());
  }

  /** It would have become one of a guessed number of channels. */
  @Test
  void aNullInAStateIsRefused() {
    LazyBatchNorm1d lazy = new LazyBatchNorm1d();
    Map<String, Tensor> state = new LinkedHashMap<>();
    state.put("weight", null);
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> lazy.loadStateDict(state, false));
    assertTrue(e.getMessage().contains("null instead of a tensor for weight."), e.getMessage());
    assertNull(lazy.batchNorm());
    assertEquals(Shape.of(3, 5, 2), lazy.forward(PyTorch.random(4, 3, 5, 2)).shape());
  }

  @Test
  void optionsAndBackendGoThrough() {
    LazyBatchNorm1d lazy =
        LazyBatchNorm1d.builder()
            .eps(0.5)
            .momentum(null)
            .affine(false)
            .trackRunningStats(true)
            .dtype(DType.F64)
            .build();
    lazy.backend(Backends.javaBackend());
    assertEquals(
        "LazyBatchNorm1d(0, eps=0.5, momentum=None, affine=False, track_running_stats=True)",
        lazy.toString());
    lazy.forward(Tensor.zeros(DType.F64, 3, 2));
    assertEquals(
        "BatchNorm1d(2, eps=0.5, momentum=None, affine=False, track_running_stats=True)",
        lazy.toString());
    assertEquals(DType.F64, lazy.batchNorm().runningMean().dtype());
    assertEquals(
        "eps must be >= 0, but got -1.0",
        assertThrows(
                IllegalArgumentException.class, () -> LazyBatchNorm2d.builder().eps(-1).build())
            .getMessage());
  }

  @Test
  void aRefusedInputDecidesNothing() {
    LazyBatchNorm2d lazy = new LazyBatchNorm2d();
    refused("expected 4D input (got 2D input): x has shape [3, 4]", lazy, Tensor.zeros(3, 4));
    refused("expected 4D input (got 0D input): x has shape []", lazy, Tensor.zeros());
    refused(
        "x has no channels (shape [3, 0, 2, 2]), so that this LazyBatchNorm2d cannot take their"
            + " number from it",
        lazy,
        Tensor.zeros(3, 0, 2, 2));
    refused(
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 9, 1,"
            + " 1])",
        lazy,
        Tensor.zeros(1, 9, 1, 1));
    assertNull(lazy.batchNorm());
    assertEquals(
        "backward(dy) needs a forward before it: call forward(x)",
        assertThrows(IllegalStateException.class, () -> lazy.backward(Tensor.zeros(1)))
            .getMessage());
    lazy.forward(Tensor.zeros(1, 2, 1, 3));
    refused("x has 3 channels, this BatchNorm2d was built for 2", lazy, Tensor.zeros(2, 3, 2, 2));
    LazyBatchNorm2d closed = new LazyBatchNorm2d();
    closed.close();
    assertEquals(
        "this LazyBatchNorm2d is closed",
        assertThrows(IllegalStateException.class, () -> closed.forward(Tensor.zeros(1, 2, 1, 3)))
            .getMessage());
  }

  private static void refused(String message, LazyBatchNorm2d lazy, Tensor x) {
    assertEquals(
        message, assertThrows(IllegalArgumentException.class, () -> lazy.forward(x)).getMessage());
  }

  // --------------------------------------------------------------------------------------- state

  private static Map<String, Tensor> state() {
    BatchNorm1d bn = new BatchNorm1d(3);
    bn.weight().value().copyFrom(new float[] {1, 2, 3});
    bn.runningMean().copyFrom(new float[] {4, 5, 6});
    return new LinkedHashMap<>(bn.stateDict());
  }

  @Test
  void stateThatIsLoadedDecidesToo() {
    LazyBatchNorm1d lazy = new LazyBatchNorm1d();
    lazy.eval();
    lazy.loadStateDict(state());
    assertEquals(3, lazy.batchNorm().numFeatures());
    assertArrayEquals(new float[] {1, 2, 3}, lazy.batchNorm().weight().value().toFloatArray());
    assertArrayEquals(new float[] {4, 5, 6}, lazy.batchNorm().runningMean().toFloatArray());
    lazy.forward(Tensor.zeros(2, 3));
    assertEquals(0, lazy.batchNorm().numBatchesTracked().getLong());

    // Within a network, and only in part.
    Sequential net = new Sequential(new ReLU(), new LazyBatchNorm1d());
    Map<String, Tensor> nested = new LinkedHashMap<>();
    nested.put("1.weight", state().get("weight"));
    assertEquals(
        List.of("1.bias", "1.running_mean", "1.running_var"),
        net.loadStateDict(nested, false).missingKeys());
    assertEquals(3, ((LazyBatchNorm1d) net.get(1)).batchNorm().numFeatures());
  }

  @Test
  void aRefusedLoadDecidesNothing() {
    LazyBatchNorm1d lazy = new LazyBatchNorm1d();
    Map<String, Tensor> partly = state();
    partly.remove("bias");
    partly.put("running_mean", Tensor.zeros(4));
    assertEquals(
        "Error(s) in loading state_dict for LazyBatchNorm1d:\n"
            + "\tMissing key(s) in state_dict: \"bias\". \n"
            + "\tsize mismatch for running_mean: copying a param with shape torch.Size([4]) from"
            + " checkpoint, the shape in current model is torch.Size([3]).",
        assertThrows(IllegalStateException.class, () -> lazy.loadStateDict(partly)).getMessage());
    assertNull(lazy.batchNorm());
    assertEquals(
        "Error(s) in loading state_dict for LazyBatchNorm1d:\n"
            + "\tMissing key(s) in state_dict: \"weight\", \"bias\", \"running_mean\","
            + " \"running_var\". ",
        assertThrows(IllegalStateException.class, () -> lazy.loadStateDict(Map.of())).getMessage());
    assertNull(lazy.batchNorm());
    // Nothing there to decide by.
    assertEquals(4, lazy.loadStateDict(Map.of(), false).missingKeys().size());
    assertNull(lazy.batchNorm());
    lazy.forward(Tensor.zeros(2, 5));
    assertEquals(5, lazy.batchNorm().numFeatures());
  }

  // ------------------------------------------------------------------------------ copies and
  // fusing

  @Test
  void copies() {
    LazyBatchNorm1d lazy = LazyBatchNorm1d.builder().eps(0.25).build();
    lazy.eval();
    LazyBatchNorm1d blank = assertInstanceOf(LazyBatchNorm1d.class, lazy.copy());
    assertFalse(blank.isTraining());
    blank.forward(Tensor.zeros(2, 3));
    assertNull(lazy.batchNorm());
    assertEquals(0.25, blank.batchNorm().eps());
    blank.train();
    BatchNorm1d copy = assertInstanceOf(BatchNorm1d.class, blank.copy());
    assertEquals(3, copy.numFeatures());
    assertEquals(true, copy.isTraining());
  }

  @Test
  void fusesAsWhatItHasBecome() {
    Sequential net = new Sequential(new Linear(4, 3), new LazyBatchNorm1d(), new ReLU());
    Tensor x = PyTorch.random(1, 5, 4);
    net.forward(x);
    net.eval();
    Sequential fused = net.fuse();
    assertEquals(2, fused.size());
    assertNotNull(fused.get("0"));
    PyTorch.assertClose(
        "fused", net.forward(x).toDoubleArray(), fused.forward(x).toDoubleArray(), 1e-6);
    assertEquals(Shape.of(5, 3), fused.outputShape(x.shape()));
  }
}
