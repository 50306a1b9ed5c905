import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.InferenceModel;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;

/** MemorySegments in and out, on JDK 22 and later. Ends with status 0 if all is well. */
class SegmentCheck {
  private static final float[] VALUES = {1, -2, 3, 4, 5, -6};

  private static BatchNorm1d bn;
  private static InferenceModel model;
  private static float[] expected;

  public static void main(String[] args) throws Exception {
    bn = new BatchNorm1d(3);
    bn.runningMean().set(1, 1);
    bn.runningVar().set(4, 2);
    bn.eval();
    model = InferenceModel.of(bn, 3);
    expected = bn.forward(Tensor.of(VALUES, 2, 3), Tensor.zeros(2, 3)).toFloatArray();

    check("heap", MemorySegment.ofArray(new float[8]).asSlice(4, 24), false);
    check("global", Arena.global().allocate(24, 4), true);
    check("auto", Arena.ofAuto().allocate(24, 4), false);
    Arena shared = Arena.ofShared();
    MemorySegment segment = shared.allocate(24, 4);
    check("shared", segment, false);
    Tensor tensor = Tensor.wrapSegment(segment, DType.F32, 2, 3);
    shared.close();
    expect("the arena of the MemorySegment is closed", () -> tensor.get(0, 0));
    expect("x is closed", () -> bn.forward(tensor, tensor));
    expect("x is closed", () -> model.forward(tensor, tensor));

    try (Arena confined = Arena.ofConfined()) {
      MemorySegment own = confined.allocate(24, 4);
      check("confined", own, true);
      Tensor mine = Tensor.wrapSegment(own, DType.F32, 2, 3);
      try {
        CompletableFuture.runAsync(() -> bn.forward(mine, Tensor.zeros(2, 3))).get();
        throw new AssertionError("another thread used a confined segment");
      } catch (ExecutionException e) {
        require(e.getCause().getMessage(), "is confined to another thread");
      }
      Tensor half = Tensor.wrapSegment(confined.allocate(24, 8), DType.F64, 3);
      half.copyFrom(new double[] {1, 2, 3});
      if (half.get(2) != 3) {
        throw new AssertionError("F64: " + half.get(2));
      }
      expect(
          "out overlaps x in part",
          () ->
              bn.forward(
                  Tensor.wrapSegment(own.asSlice(0, 12), DType.F32, 1, 3),
                  Tensor.wrapSegment(own.asSlice(4, 12), DType.F32, 1, 3)));
      expect(
          "out wraps memory that is read-only",
          () -> bn.forward(mine, Tensor.wrapSegment(own.asReadOnly(), DType.F32, 2, 3)));
      expect(
          "the MemorySegment has 24 bytes, shape [7] in F32 needs 28",
          () -> Tensor.wrapSegment(own, DType.F32, 7));
      expect(
          "expected a multiple of the 4 bytes",
          () -> Tensor.wrapSegment(own.asSlice(1, 4), DType.F32, 1));
    }
    // A buffer of an arena ends with it, and layers, which use several threads, take none of one's.
    Arena ending = Arena.ofShared();
    Tensor ends = Tensor.wrap(buffer(ending.allocate(24, 4)), 2, 3);
    bn.forward(ends, ends);
    ending.close();
    expect("x is closed", () -> bn.forward(ends, ends));
    try (Arena confined = Arena.ofConfined()) {
      Tensor mine = Tensor.wrap(buffer(confined.allocate(24, 4)), 2, 3);
      bn.forward(mine, mine);
      expect("is confined to one thread, but ReLU may use several", () -> new ReLU().forward(mine));
      if (Tensor.zeros(2, 3).isConfined()) {
        throw new AssertionError("a tensor of its own is for any thread");
      }
    }
    // Their addresses are known without native code too.
    FloatBuffer buffer = ByteBuffer.allocateDirect(40).order(ByteOrder.nativeOrder()).asFloatBuffer();
    Tensor first = Tensor.wrap(buffer.slice(0, 6), 2, 3);
    Tensor second = Tensor.wrap(buffer.slice(1, 6), 2, 3);
    expect("out overlaps x in part", () -> bn.forward(first, second));
    expect("out shares memory with x", () -> model.forward(second, first));
    bn.forward(first, Tensor.wrap(buffer.slice(0, 6), 2, 3));
    expect(
        "expected a MemorySegment, but got a java.lang.String",
        () -> Tensor.wrapSegment("", DType.F32, 1));
    expect(
        "on the heap and read-only",
        () ->
            Tensor.wrapSegment(
                MemorySegment.ofArray(new float[1]).asReadOnly(), DType.F32, 1));
    System.out.println("segments: all is well on Java " + Runtime.version().feature());
  }

  private static void check(String name, MemorySegment segment, boolean addressable) {
    Tensor tensor = Tensor.wrapSegment(segment, DType.F32, 2, 3);
    if (tensor.address() != 0 != addressable) {
      throw new AssertionError(name + ": address " + tensor.address());
    }
    Tensor out = Tensor.zeros(2, 3);
    tensor.copyFrom(VALUES);
    same(name, bn.forward(tensor, out));
    same(name, model.forward(tensor, out.fill(0)));
    bn.forward(tensor, tensor);
    float[] got = segment.toArray(ValueLayout.JAVA_FLOAT);
    if (!Arrays.equals(got, expected)) {
      throw new AssertionError(name + ", in place: " + Arrays.toString(got));
    }
  }

  private static FloatBuffer buffer(MemorySegment segment) {
    return segment.asByteBuffer().order(ByteOrder.nativeOrder()).asFloatBuffer();
  }

  private static void same(String name, Tensor got) {
    if (!Arrays.equals(got.toFloatArray(), expected)) {
      throw new AssertionError(name + ": " + Arrays.toString(got.toFloatArray()));
    }
  }

  private static void expect(String message, Runnable call) {
    try {
      call.run();
    } catch (IllegalArgumentException | IllegalStateException e) {
      require(e.getMessage(), message);
      return;
    }
    throw new AssertionError("nothing was thrown, expected: " + message);
  }

  private static void require(String got, String part) {
    if (!got.contains(part)) {
      throw new AssertionError(got + " does not contain: " + part);
    }
  }
}
