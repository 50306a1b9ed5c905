package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.javacpp.FloatPointer;
import org.junit.jupiter.api.Test;

/** Names, order and loading of a batch norm's state, by PyTorch's rules. */
class BatchNormStateTest {
  private static final List<String> KEYS =
      List.of("weight", "bias", "running_mean", "running_var", "num_batches_tracked");

  /** A network of one batch norm, to have names with dots. */
  private static final class Net extends Module {
    private final BatchNorm1d bn = new BatchNorm1d(2);

    @Override
    public Tensor forward(Tensor x) {
      return bn.forward(x);
    }

    @Override
    public Tensor backward(Tensor dy) {
      return bn.backward(dy);
    }

    @Override
    protected Map<String, Module> children() {
      return Map.of("bn", bn);
    }
  }

  private static Map<String, Tensor> given() {
    Map<String, Tensor> state = new LinkedHashMap<>();
    state.put("weight", Tensor.of(new float[] {1, 2, 3}, 3));
    state.put("bias", Tensor.of(new float[] {4, 5, 6}, 3));
    state.put("running_mean", Tensor.of(new float[] {7, 8, 9}, 3));
    state.put("running_var", Tensor.of(new float[] {10, 11, 12}, 3));
    state.put("num_batches_tracked", Tensor.scalar(1L << 60 | 1));
    return state;
  }

  private static void assertLoaded(BatchNorm bn) {
    given()
        .forEach(
            (name, t) ->
                assertArrayEquals(t.toDoubleArray(), bn.stateDict().get(name).toDoubleArray()));
    assertEquals(1L << 60 | 1, bn.numBatchesTracked().getLong());
  }

  @Test
  void keysAreInPyTorchsOrder() {
    BatchNorm2d bn = new BatchNorm2d(3);
    assertEquals(KEYS, List.copyOf(bn.stateDict().keySet()));
    assertEquals(KEYS.subList(0, 2), List.copyOf(bn.namedParameters().keySet()));
    assertEquals(KEYS.subList(2, 5), List.copyOf(bn.namedBuffers().keySet()));
    assertEquals(DType.I64, bn.stateDict().get("num_batches_tracked").dtype());
    assertSame(bn.runningMean(), bn.stateDict().get("running_mean"));
    BatchNorm2d plain = BatchNorm2d.builder(3).affine(false).build();
    assertEquals(KEYS.subList(2, 5), List.copyOf(plain.stateDict().keySet()));
    BatchNorm2d stateless = BatchNorm2d.builder(3).trackRunningStats(false).build();
    assertEquals(KEYS.subList(0, 2), List.copyOf(stateless.stateDict().keySet()));
  }

  @Test
  void loadsInPlaceAndGoesOnCounting() {
    BatchNorm1d bn = BatchNorm1d.builder(3).momentum(null).build();
    Tensor mean = bn.runningMean();
    bn.loadStateDict(given());
    assertSame(mean, bn.runningMean());
    assertLoaded(bn);
    given().values().forEach(Tensor::close);
    bn.forward(Tensor.of(new float[6], 2, 3));
    assertEquals((1L << 60 | 1) + 1, bn.numBatchesTracked().getLong());
    // One batch in 2^60 no longer moves the average.
    assertArrayEquals(new float[] {7, 8, 9}, bn.runningMean().toFloatArray());
  }

  @Test
  void loadsOtherTypes() {
    BatchNorm1d bn = BatchNorm1d.builder(3).dtype(DType.F64).build();
    bn.loadStateDict(given());
    assertLoaded(bn);
    Map<String, Tensor> halves = given();
    halves.replaceAll((k, t) -> t.dtype() == DType.I64 ? t : t.to(DType.BF16));
    BatchNorm1d floats = new BatchNorm1d(3);
    floats.loadStateDict(halves);
    assertLoaded(floats);
  }

  @Test
  void filesFromBeforeTheCounterLoad() {
    Map<String, Tensor> old = given();
    old.remove("num_batches_tracked");
    BatchNorm1d bn = new BatchNorm1d(3);
    bn.forward(Tensor.of(new float[6], 2, 3));
    bn.loadStateDict(old);
    assertEquals(1, bn.numBatchesTracked().getLong(), "it keeps its own");
    assertArrayEquals(new float[] {7, 8, 9}, bn.runningMean().toFloatArray());

    Map<String, Tensor> older = given();
    Tensor one = Tensor.zeros(DType.I64, 1);
    one.setLong(1L << 60 | 1);
    older.put("num_batches_tracked", one);
    bn.loadStateDict(older);
    assertLoaded(bn);

    Net net = new Net();
    Map<String, Tensor> nested = new LinkedHashMap<>(net.stateDict());
    assertEquals(5, nested.size());
    nested.remove("bn.num_batches_tracked");
    new Net().loadStateDict(nested);
  }

  private static void refused(String message, BatchNorm bn, Map<String, Tensor> state) {
    Map<String, double[]> before = new LinkedHashMap<>();
    bn.stateDict().forEach((name, t) -> before.put(name, t.toDoubleArray()));
    Exception e = assertThrows(IllegalStateException.class, () -> bn.loadStateDict(state));
    assertEquals(message, e.getMessage());
    bn.stateDict().forEach((name, t) -> assertArrayEquals(before.get(name), t.toDoubleArray()));
  }

  @Test
  void errorsAreAllInOneAndNothingIsLoaded() {
    Map<String, Tensor> state = given();
    state.remove("running_mean");
    state.put("x", Tensor.zeros(1));
    state.put("weight", Tensor.zeros(4));
    refused(
        "Error(s) in loading state_dict for BatchNorm2d:\n"
            + "\tMissing key(s) in state_dict: \"running_mean\". \n"
            + "\tUnexpected key(s) in state_dict: \"x\". \n"
            + "\tsize mismatch for weight: copying a param with shape torch.Size([4]) from"
            + " checkpoint, the shape in current model is torch.Size([3]).",
        new BatchNorm2d(3),
        state);
    // What a module does not have is unexpected.
    refused(
        "Error(s) in loading state_dict for BatchNorm3d:\n"
            + "\tUnexpected key(s) in state_dict: \"weight\", \"bias\". ",
        BatchNorm3d.builder(3).affine(false).build(),
        given());
    Map<String, Tensor> two = given();
    two.put("num_batches_tracked", Tensor.zeros(DType.I64, 2));
    refused(
        "Error(s) in loading state_dict for BatchNorm1d:\n"
            + "\tsize mismatch for num_batches_tracked: copying a param with shape torch.Size([2])"
            + " from checkpoint, the shape in current model is torch.Size([]).",
        new BatchNorm1d(3),
        two);
    Map<String, Tensor> closed = given();
    closed.get("running_var").close();
    refused(
        "Error(s) in loading state_dict for BatchNorm1d:\n\tclosed tensor for running_var.",
        new BatchNorm1d(3),
        closed);
    if (NativeLibrary.isLoaded()) {
      Map<String, Tensor> wrapped = given();
      FloatPointer pointer = new FloatPointer(3);
      wrapped.put("running_var", Tensor.wrap(pointer, DType.F32, 3));
      pointer.close();
      refused(
          "Error(s) in loading state_dict for BatchNorm1d:\n\tclosed tensor for running_var.",
          new BatchNorm1d(3),
          wrapped);
    }
  }

  @Test
  void missingKeysAreNamedInTheModulesOrder() {
    refused(
        "Error(s) in loading state_dict for BatchNorm2d:\n"
            + "\tMissing key(s) in state_dict: \"weight\", \"bias\", \"running_mean\","
            + " \"running_var\". ",
        new BatchNorm2d(3),
        Map.of());
  }

  @Test
  void notStrictLoadsWhatBothSidesHave() {
    BatchNorm2d bn = new BatchNorm2d(3);
    bn.forward(Tensor.of(new float[24], 2, 3, 2, 2));
    Map<String, Tensor> state = given();
    state.remove("running_mean");
    state.remove("num_batches_tracked");
    state.put("y", Tensor.zeros(1));
    state.put("x", Tensor.zeros(1));
    IncompatibleKeys keys = bn.loadStateDict(state, false);
    // As in PyTorch, a missing counter is no missing key where the state has no version.
    assertEquals(new IncompatibleKeys(List.of("running_mean"), List.of("y", "x")), keys);
    assertArrayEquals(new float[] {1, 2, 3}, bn.weight().value().toFloatArray());
    assertArrayEquals(new float[] {10, 11, 12}, bn.runningVar().toFloatArray());
    assertArrayEquals(new float[3], bn.runningMean().toFloatArray());
    assertEquals(1, bn.numBatchesTracked().getLong());

    assertEquals(
        new IncompatibleKeys(KEYS.subList(0, 4), List.of()), bn.loadStateDict(Map.of(), false));
    assertEquals(1, bn.numBatchesTracked().getLong());
    assertEquals(
        new IncompatibleKeys(List.of(), List.of()),
        new BatchNorm2d(3).loadStateDict(given(), true));
  }

  @Test
  void aSizeMismatchIsAnErrorEvenIfNotStrict() {
    Map<String, Tensor> state = given();
    state.remove("running_mean");
    state.put("x", Tensor.zeros(1));
    state.put("bias", Tensor.zeros(3, 1));
    BatchNorm1d bn = new BatchNorm1d(3);
    Exception e = assertThrows(IllegalStateException.class, () -> bn.loadStateDict(state, false));
    assertEquals(
        "Error(s) in loading state_dict for BatchNorm1d:\n"
            + "\tsize mismatch for bias: copying a param with shape torch.Size([3, 1]) from"
            + " checkpoint, the shape in current model is torch.Size([3]).",
        e.getMessage());
    assertArrayEquals(new float[] {1, 1, 1}, bn.weight().value().toFloatArray());
  }
}
