package org.batchnorm4j.tensor;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.ref.Reference;
import java.lang.ref.WeakReference;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.CharBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.ShortBuffer;
import java.util.stream.Stream;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.InferenceModel;
import org.batchnorm4j.nn.Linear;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.ShortPointer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class WrapTest {
  private static final ByteOrder NATIVE = ByteOrder.nativeOrder();
  private static final ByteOrder OTHER =
      NATIVE == ByteOrder.BIG_ENDIAN ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN;

  private static ByteBuffer direct(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(NATIVE);
  }

  /** Twelve elements each, the first and the last three of which are not the tensor's. */
  static Stream<Arguments> wrapped() {
    float[] floats = new float[12];
    double[] doubles = new double[12];
    short[] shorts = new short[12];
    Stream.Builder<Arguments> all = Stream.builder();
    all.add(Arguments.of("float[]", Tensor.wrap(floats, 3, Shape.of(2, 3))));
    all.add(Arguments.of("double[]", Tensor.wrap(doubles, 3, Shape.of(2, 3))));
    for (DType half : new DType[] {DType.BF16, DType.F16}) {
      all.add(Arguments.of("short[] " + half, Tensor.wrap(shorts, 3, half, Shape.of(2, 3))));
      all.add(Arguments.of("direct Short", wrap(direct(24).asShortBuffer(), half, 1)));
      all.add(Arguments.of("bytes of " + half, wrap(direct(24), half, 2)));
    }
    all.add(
        Arguments.of("heap Float", wrap(FloatBuffer.wrap(floats, 1, 11).slice(), DType.F32, 1)));
    all.add(Arguments.of("heap Double", wrap(DoubleBuffer.wrap(doubles), DType.F64, 1)));
    all.add(Arguments.of("heap Short", wrap(ShortBuffer.wrap(shorts), DType.F16, 1)));
    all.add(Arguments.of("direct Float", wrap(direct(48).asFloatBuffer(), DType.F32, 1)));
    all.add(Arguments.of("direct Double", wrap(direct(96).asDoubleBuffer(), DType.F64, 1)));
    all.add(Arguments.of("direct bytes", wrap(direct(48), DType.F32, 4)));
    all.add(Arguments.of("direct bytes", wrap(direct(96), DType.F64, 8)));
    all.add(Arguments.of("heap bytes", wrap(ByteBuffer.allocate(48).order(NATIVE), DType.F32, 4)));
    if (NativeLibrary.isLoaded()) {
      all.add(Arguments.of("FloatPointer", wrap(new FloatPointer(12), DType.F32, 1)));
      all.add(Arguments.of("DoublePointer", wrap(new DoublePointer(12), DType.F64, 1)));
      all.add(Arguments.of("ShortPointer", wrap(new ShortPointer(12), DType.BF16, 1)));
      all.add(Arguments.of("BytePointer", wrap(new BytePointer(48), DType.F32, 4)));
    }
    return all.build();
  }

  private static Tensor wrap(Buffer twelve, DType dtype, int unit) {
    return Tensor.wrap(twelve.position(3 * unit).limit(9 * unit), dtype, 2, 3);
  }

  private static Tensor wrap(Pointer twelve, DType dtype, int unit) {
    return Tensor.wrap(twelve.position(3L * unit).limit(9L * unit), dtype, 2, 3);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("wrapped")
  void isReadWrittenAndComputedOnLikeAnyTensor(String name, Tensor t) {
    double[] values = {1, -2, 0.5, 4, 8, -16};
    t.copyFrom(values);
    assertArrayEquals(values, t.toDoubleArray());
    t.set(32, 1, 2);
    assertEquals(32, t.get(1, 2));
    assertEquals(4, t.narrow(0, 1, 1).get(0, 0));
    assertEquals(8, t.reshape(6).get(4));

    DType dtype = t.dtype();
    try (BatchNorm1d bn = BatchNorm1d.builder(3).dtype(dtype.parameterType()).build();
        InferenceModel model = InferenceModel.of(new Linear(3, 3), 3)) {
      bn.runningMean().set(1, 1);
      bn.runningVar().set(4, 2);
      bn.eval();
      Tensor copy = t.to(dtype);
      double[] expected = bn.forward(copy, Tensor.zerosLike(copy)).toDoubleArray();
      assertArrayEquals(expected, bn.forward(t, Tensor.zerosLike(copy)).toDoubleArray());
      assertArrayEquals(expected, bn.forward(copy, t).toDoubleArray());
      t.copyFrom(copy);
      assertArrayEquals(expected, bn.forward(t, t).toDoubleArray());

      t.copyFrom(copy);
      float[] outputs = model.forward(copy.toFloatArray(), new float[6]);
      Tensor rounded = Tensor.zerosLike(copy).copyFrom(outputs);
      assertArrayEquals(rounded.toDoubleArray(), model.forward(t, t).toDoubleArray());
    }
  }

  @Test
  void sharesTheMemory() {
    float[] array = {0, 1, 2, 3, 4, 5};
    Tensor t = Tensor.wrap(array, 1, Shape.of(2, 2));
    assertSame(array, t.array());
    t.fill(7);
    assertArrayEquals(new float[] {0, 7, 7, 7, 7, 5}, array);
    array[4] = 9;
    assertEquals(9, t.get(1, 1));
    ByteBuffer bytes = direct(24);
    bytes.position(4).limit(20);
    Tensor.wrap(bytes, DType.F32, 4).copyFrom(new float[] {1, 2, 3, 4});
    assertEquals(4, bytes.position());
    assertEquals(3, bytes.clear().getFloat(12));
    assertEquals(0, bytes.getFloat(20));
  }

  // -----------------------------------------------------------------------------------------
  // errors

  @Test
  void refusesWhatItCannotWrap() {
    refused(
        "the FloatBuffer is "
            + OTHER
            + ", expected "
            + NATIVE
            + ": call"
            + " order(ByteOrder.nativeOrder()) on the ByteBuffer it was made from",
        () -> Tensor.wrap(direct(8).order(OTHER).asFloatBuffer(), 2));
    refused(
        "the ByteBuffer is "
            + OTHER
            + ", expected "
            + NATIVE
            + ": call"
            + " order(ByteOrder.nativeOrder()) on the ByteBuffer",
        () -> Tensor.wrap(direct(8).order(OTHER), DType.F32, 2));
    refused(
        "the DoubleBuffer has 16 bytes, shape [3] in F64 needs 24",
        () -> Tensor.wrap(direct(16).asDoubleBuffer(), DType.F64, 3));
    refused(
        "expected a FloatBuffer or ByteBuffer for F32, but got a ShortBuffer",
        () -> Tensor.wrap(direct(8).asShortBuffer(), DType.F32, 4));
    refused(
        "expected a ShortBuffer or ByteBuffer for F16, but got a FloatBuffer",
        () -> Tensor.wrap(direct(8).asFloatBuffer(), DType.F16, 4));
    for (Buffer other : new Buffer[] {IntBuffer.allocate(4), CharBuffer.allocate(4)}) {
      assertThrows(IllegalArgumentException.class, () -> Tensor.wrap(other, DType.F32, 4));
    }
    refused(
        "dtype must be F32, F64, BF16 or F16, but is I64: tensors of counters wrap nothing",
        () -> Tensor.wrap(direct(8), DType.I64, 1));
    refused(
        "the FloatBuffer is on the heap, but its array cannot be reached: it is read-only, or a"
            + " view of a ByteBuffer. Wrap a direct buffer, the array or the ByteBuffer",
        () -> Tensor.wrap(FloatBuffer.allocate(2).asReadOnlyBuffer(), 2));
    // What would be a part if the first number could be an index.
    refused(
        "the array has 6 elements, shape [2, 2, 2] needs 8; of a part of an array make a tensor by"
            + " wrap(array, from, Shape.of(...))",
        () -> Tensor.wrap(new float[6], 2, 2, 2));
    assertEquals(Shape.of(2, 3), Tensor.wrap(new float[6], 2, 3).shape());
    assertEquals(Shape.of(2, 3), Tensor.wrap(new double[6], 2, 3).shape());
    assertEquals(Shape.of(2, 3), Tensor.wrap(new short[6], DType.F16, 2, 3).shape());
    refused(
        "the array has 6 elements, too few for the 4 from index 3 on",
        () -> Tensor.wrap(new float[6], 3, Shape.of(2, 2)));
    refused(
        "the array has 6 elements, too few for the 4 from index -1 on",
        () -> Tensor.wrap(new short[6], -1, DType.F16, Shape.of(4)));
    refused(
        "expected a DoubleBuffer or ByteBuffer for F64, but got a ShortBuffer",
        () -> Tensor.wrap(new short[6], DType.F64, 6));
  }

  @Test
  void refusesPointersThatAreNoMultiples() {
    assumeTrue(NativeLibrary.isLoaded(), "without the native library there are no pointers");
    BytePointer odd = new BytePointer(9).position(1);
    String message =
        assertThrows(IllegalArgumentException.class, () -> Tensor.wrap(odd, DType.F32, 2))
            .getMessage();
    assertTrue(message.contains(", expected a multiple of the 4 bytes of F32; copy"), message);
  }

  /** Of which a buffer would be a part only. */
  @Test
  void refusesPointersToMoreThanABufferHas() {
    assumeTrue(NativeLibrary.isLoaded(), "without the native library there are no pointers");
    FloatPointer large = new FloatPointer(4);
    large.limit(1L << 29);
    refused(
        "the FloatPointer has 2147483648 bytes, more than the 2 GiB that one tensor may have outside"
            + " the heap; make tensors of its parts",
        () -> Tensor.wrap(large, DType.F32, 1L << 29));
  }

  @Test
  void pointersAreCheckedAndMayBeClosed() {
    assumeTrue(NativeLibrary.isLoaded(), "without the native library there are no pointers");
    refused(
        "the FloatPointer has 16 bytes, shape [5] in F32 needs 20",
        () -> Tensor.wrap(new FloatPointer(4), DType.F32, 5));
    refused(
        "expected a FloatPointer or BytePointer for F32, but got a IntPointer",
        () -> Tensor.wrap(new IntPointer(4), DType.F32, 4));
    refused(
        "the FloatPointer has 16 bytes, shape [2305843009213693952, 2] in F32 needs"
            + " 18446744073709551616",
        () -> Tensor.wrap(new FloatPointer(4), DType.F32, 1L << 61, 2));
    refused("the FloatPointer is null", () -> Tensor.wrap(new FloatPointer(), DType.F32, 0));

    FloatPointer pointer = new FloatPointer(4);
    Tensor t = Tensor.wrap(pointer, DType.F32, 4).fill(3);
    assertEquals(3, pointer.get(2));
    pointer.close();
    assertEquals(
        "the FloatPointer that the tensor wraps is closed",
        assertThrows(IllegalStateException.class, () -> t.get(0)).getMessage());
  }

  /** Read-only, or in part the memory of the input: an error, and nothing is written. */
  @Test
  void outputsAreCheckedBeforeAnythingIsWritten() {
    try (BatchNorm1d bn = new BatchNorm1d(2);
        InferenceModel model = InferenceModel.of(bn, 2)) {
      bn.eval();
      FloatBuffer buffer = direct(32).asFloatBuffer();
      float[] array = new float[8];
      Tensor readOnly = Tensor.wrap(buffer.asReadOnlyBuffer(), 4, 2);
      assertTrue(readOnly.isReadOnly());
      assertFalse(Tensor.wrap(buffer, 4, 2).isReadOnly());
      Tensor x = Tensor.of(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 4, 2);
      String complaint = "out wraps memory that is read-only; it must be writable";
      refused(complaint, () -> bn.forward(x, readOnly));
      refused(complaint, () -> model.forward(x, readOnly));
      String refusal =
          "Tensor(F32 [4, 2], channels_first) wraps memory that is read-only; write to a copy, such"
              + " as to(dtype())";
      refused(refusal, () -> readOnly.set(1, 0, 0));
      refused(refusal, () -> readOnly.fill(1));
      refused(refusal, () -> readOnly.copyFrom(new float[8]));
      refused(refusal, () -> readOnly.copyFrom(new double[8]));
      refused(refusal, () -> readOnly.copyFrom(x));
      refused(refusal, () -> readOnly.write(0, new float[8], 0, 8));
      assertFalse(readOnly.to(readOnly.dtype()).fill(1).isReadOnly());
      bn.forward(readOnly, Tensor.zerosLike(readOnly));
      model.forward(readOnly, Tensor.zerosLike(readOnly));

      overlapping(
          bn, model, Tensor.wrap(array, 0, Shape.of(3, 2)), Tensor.wrap(array, 2, Shape.of(3, 2)));
      overlapping(
          bn, model, Tensor.wrap(array, 2, Shape.of(3, 2)), Tensor.wrap(array, 0, Shape.of(3, 2)));
      overlapping(
          bn,
          model,
          Tensor.wrap(array, 0, Shape.of(3, 2)),
          Tensor.wrap(FloatBuffer.wrap(array, 1, 6), 3, 2));
      byte[] bytes = new byte[40];
      overlapping(bn, model, inBytes(bytes, 0), inBytes(bytes, 16));
      if (NativeLibrary.isLoaded()) {
        FloatPointer pointer = new FloatPointer(8);
        overlapping(
            bn,
            model,
            Tensor.wrap(buffer.slice(0, 6), 3, 2),
            Tensor.wrap(buffer.slice(1, 6), 3, 2));
        overlapping(
            bn,
            model,
            Tensor.wrap(pointer.position(0).limit(6), DType.F32, 3, 2),
            Tensor.wrap(pointer.getPointer(2).limit(6), DType.F32, 3, 2));
      }
      // Neighbours, and the very same part, are fine.
      bn.forward(Tensor.wrap(array, 0, Shape.of(2, 2)), Tensor.wrap(array, 4, Shape.of(2, 2)));
      bn.forward(Tensor.wrap(array, 1, Shape.of(3, 2)), Tensor.wrap(array, 1, Shape.of(3, 2)));
      model.forward(Tensor.wrap(array, 1, Shape.of(3, 2)), Tensor.wrap(array, 1, Shape.of(3, 2)));
    }
  }

  private static Tensor inBytes(byte[] bytes, int from) {
    return Tensor.wrap(ByteBuffer.wrap(bytes, from, 24).order(NATIVE), DType.F32, 3, 2);
  }

  private static void overlapping(BatchNorm1d bn, InferenceModel model, Tensor x, Tensor out) {
    x.fill(5);
    out.fill(3);
    double[] before = x.toDoubleArray();
    refused(
        "out overlaps x in part; it must be exactly the same memory, or other memory",
        () -> bn.forward(x, out));
    refused(
        "out shares memory with x, but is not the same tensor: give it memory of its own",
        () -> model.forward(x, out));
    assertArrayEquals(before, x.toDoubleArray());
    assertArrayEquals(new double[] {3, 3, 3, 3, 3, 3}, out.toDoubleArray());
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  /** The buffer of a pointer's tensor, when nothing else of the two is left. */
  @Test
  void aBufferKeepsThePointer() throws InterruptedException {
    assumeTrue(NativeLibrary.isLoaded(), "without the native library there are no pointers");
    FloatPointer pointer = new FloatPointer(1 << 20);
    WeakReference<FloatPointer> seen = new WeakReference<>(pointer);
    FloatBuffer buffer = Tensor.wrap(pointer, DType.F32, 1 << 20).fill(3).asFloatBuffer();
    pointer = null;
    for (int i = 0; i < 5; i++) {
      System.gc();
      Thread.sleep(10);
    }
    assertNotNull(seen.get(), "its memory is given back with it");
    assertEquals(3, buffer.get(12345));
    Reference.reachabilityFence(buffer);
    buffer = null;
    for (int i = 0; i < 500 && seen.get() != null; i++) {
      System.gc();
      Thread.sleep(10);
    }
    assertNull(seen.get());
  }
}
