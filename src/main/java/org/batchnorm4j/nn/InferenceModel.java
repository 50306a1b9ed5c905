package org.batchnorm4j.nn;

import java.lang.ref.Reference;
import java.util.List;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * A network for serving: an immutable copy of a module in evaluation mode, with its batch norms
 * folded into the layers before them, that any number of threads may call at the same time, without
 * a lock. f32, for batches of any size.
 *
 * <p>A call computes on the calling thread alone: a service gets its throughput from many callers,
 * not from splitting a request. It takes the batch in parts that fit the cache, so what it needs
 * besides the parameters does not grow with the batch. Threads that call at the same time have
 * memory of their own; it is kept for the next calls. In steady state a call allocates nothing, but
 * for some small objects where the network has an instance, group or layer norm.
 *
 * <p>Samples do not influence one another. Networks of batch norms, functions and Linears of up to
 * 16 384 weights give the same bits whatever the batch, natively and in Java; for larger Linears
 * and convolutions the number of samples may change the last bit of a result, because a few rows
 * are multiplied in another order than many.
 *
 * <p>{@link #close} gives the memory back; calls that are under way finish, later ones are an
 * {@link IllegalStateException}.
 */
public final class InferenceModel implements AutoCloseable {
  /** Numbers of the largest layer that are computed in one part, 1 MiB. */
  private static final int BUDGET = 1 << 18;

  private static final int MAX_SAMPLES = 64;

  /** Workspaces that are kept; as many callers at a time find one. */
  private static final int SLOTS = 512;

  /** Of the numbers that say whether a slot is taken: no two are in one line of the cache. */
  private static final int SPACING = 16;

  private final Shape sampleShape;
  private final Shape outputShape;
  private final int inputSize;
  private final int outputSize;
  private final List<Freezer.Op> ops;
  private final List<Integer> bufferSizes;
  private final int in;
  private final int out;
  private final int samples;

  /** 1 for a slot that a call uses, else 0. */
  private final AtomicIntegerArray taken = new AtomicIntegerArray(SLOTS * SPACING);

  /**
   * What is in a slot, for whoever has taken it. They stay where they are: to store references in
   * each call would have all callers write to one line of the garbage collector's card table.
   */
  private final @Nullable Workspace[] workspaces = new Workspace[SLOTS];

  private volatile boolean closed;

  private InferenceModel(Freezer frozen, Shape sampleShape) {
    this.sampleShape = sampleShape;
    outputShape = frozen.outputShape();
    ops = List.copyOf(frozen.ops());
    bufferSizes = List.copyOf(frozen.sizes());
    in = frozen.in();
    out = frozen.out();
    inputSize = (int) sampleShape.size();
    outputSize = (int) outputShape.size();
    int largest = 1;
    for (int size : bufferSizes) {
      largest = Math.max(largest, size);
    }
    samples = Math.max(1, Math.min(MAX_SAMPLES, BUDGET / largest));
  }

  /**
   * Copies and freezes a module, whatever its mode: what it computes in evaluation mode.
   *
   * @param module a {@link Sequential} or a single layer, such as a {@link BatchNorm1d} that scales
   *     features; it stays as it is
   * @param sampleShape the shape of one sample, without the dimension N, such as 1, 28, 28
   * @throws IllegalArgumentException if the module cannot take such samples, one at a time too; or
   *     if a layer is not one of this package, is not f32, or is a batch norm without running
   *     statistics or a lazy one that has seen no input
   * @throws IllegalStateException if the module is closed
   */
  public static InferenceModel of(Module module, long... sampleShape) {
    long[] dims = new long[sampleShape.length + 1];
    dims[0] = 1;
    System.arraycopy(sampleShape, 0, dims, 1, sampleShape.length);
    Shape one = Shape.of(dims);
    if (one.size() == 0) {
      throw new IllegalArgumentException(
          "sampleShape must have no dimension of 0, but got " + Shape.of(sampleShape));
    }
    // Refuses what does not fit, and names the layer.
    module.outputShape(one);
    return new InferenceModel(new Freezer(module, one), one);
  }

  /** The shape of the input for one sample, [1, ...]. */
  public Shape inputShape() {
    return sampleShape;
  }

  /** The shape of the output for one sample, [1, ...]. */
  public Shape outputShape() {
    return outputShape;
  }

  // --------------------------------------------------------------------------------------- forward

  /**
   * Computes {@code out} from {@code x}. Any memory will do: {@link Tensor#wrap(float[], long...)}
   * and its namesakes make tensors of what a service holds, without a copy.
   *
   * @param x (N, sample shape), contiguous and channels first, of any type but I64: what is not f32
   *     is converted, part by part
   * @param out (N, shape of one output), likewise. It may be {@code x} itself where samples and
   *     outputs have the same shape; otherwise it shares no memory with it
   * @return {@code out}
   * @throws IllegalArgumentException if one of them is not as said
   * @throws IllegalStateException if one of them or the model is closed
   */
  public Tensor forward(Tensor x, Tensor out) {
    check("x", x, sampleShape);
    check("out", out, outputShape);
    if (out.shape().dim(0) != x.shape().dim(0)) {
      throw new IllegalArgumentException(
          "out has " + out.shape().dim(0) + " samples, but x has " + x.shape().dim(0));
    }
    int n = Math.toIntExact(x.shape().dim(0));
    if (x.overlaps(out) && !(x.isSameMemory(out) || x == out)) {
      throw new IllegalArgumentException(
          "out shares memory with x, but is not the same tensor: give it memory of its own");
    }
    if (out.isReadOnly()) {
      throw new IllegalArgumentException("out wraps memory that is read-only; it must be writable");
    }
    Workspace w = take();
    try {
      TensorAccess.acquire(x);
      try {
        TensorAccess.acquire(out);
        try {
          if (isFloats(x) && isFloats(out)) {
            run(
                w,
                n,
                (float[]) TensorAccess.array(x),
                from(x),
                (float[]) TensorAccess.array(out),
                from(out));
          } else if (!runOutside(w, n, x, out)) {
            inParts(w, n, x, out);
          }
        } finally {
          TensorAccess.release(out);
        }
      } finally {
        TensorAccess.release(x);
        // What is wrapped is not counted: it must not be collected while native code is at it.
        Reference.reachabilityFence(x);
        Reference.reachabilityFence(out);
      }
    } finally {
      giveBack(w);
    }
    return out;
  }

  /** Where both lie outside the heap and something computes the whole network there. */
  private static boolean runOutside(Workspace w, int n, Tensor x, Tensor out) {
    Step.Anywhere whole = w.whole();
    return whole != null
        && x.dtype() == DType.F32
        && out.dtype() == DType.F32
        && x.address() != 0
        && out.address() != 0
        && (whole.worksInPlace() || x.address() != out.address())
        && whole.runOutside(x, out, n);
  }

  /** Part by part, by way of the workspace. */
  private void inParts(Workspace w, int n, Tensor x, Tensor out) {
    int count;
    for (int done = 0; done < n; done += count) {
      count = Math.min(samples, n - done);
      TensorAccess.read(x, (long) done * inputSize, w.input(), 0, count * inputSize);
      w.run(count);
      TensorAccess.write(out, (long) done * outputSize, w.output(), 0, count * outputSize);
    }
  }

  private static boolean isFloats(Tensor t) {
    return t.dtype() == DType.F32 && TensorAccess.array(t) instanceof float[];
  }

  /** Where a tensor begins in its array. */
  private static int from(Tensor t) {
    return (int) (TensorAccess.arrayBytes(t) / Float.BYTES);
  }

  /**
   * Computes {@code out} from {@code x}: samples one behind the other, each row-major.
   *
   * @param x a whole number of samples
   * @param out as many outputs; it may be {@code x} itself where both have the same size
   * @return {@code out}
   * @throws IllegalArgumentException if a length is wrong
   * @throws IllegalStateException if the model is closed
   */
  public float[] forward(float[] x, float[] out) {
    int n = x.length / inputSize;
    if (x.length != n * inputSize) {
      throw new IllegalArgumentException(
          "x has " + x.length + " numbers, not a multiple of the " + inputSize + " of a sample");
    }
    if (out.length != (long) n * outputSize) {
      throw new IllegalArgumentException(
          "out has "
              + out.length
              + " numbers, but the outputs of "
              + n
              + " samples are "
              + (long) n * outputSize);
    }
    forward(n, x, 0, out, 0);
    return out;
  }

  /**
   * {@link #forward(float[], float[])} of {@code n} samples that begin somewhere in an array.
   *
   * @param xFrom where they begin
   * @param outFrom where their outputs are to begin
   * @throws IllegalArgumentException if an array is too short, or the two parts overlap without
   *     being the same
   * @throws IllegalStateException if the model is closed
   */
  public void forward(int n, float[] x, int xFrom, float[] out, int outFrom) {
    if (n < 0) {
      throw new IllegalArgumentException("n must be at least 0, but got " + n);
    }
    checkPart("x", x, xFrom, (long) n * inputSize);
    checkPart("out", out, outFrom, (long) n * outputSize);
    boolean same = xFrom == outFrom && inputSize == outputSize;
    if (x == out && !same && xFrom < outFrom + n * outputSize && outFrom < xFrom + n * inputSize) {
      throw new IllegalArgumentException(
          "out overlaps x, but is not the same part: give it an array of its own");
    }
    Workspace w = take();
    try {
      run(w, n, x, xFrom, out, outFrom);
    } finally {
      giveBack(w);
    }
  }

  /** The two parts are the same or do not overlap. */
  private void run(Workspace w, int n, float[] x, int xFrom, float[] out, int outFrom) {
    Step.Anywhere whole = w.whole();
    if (whole != null && (x != out || xFrom != outFrom || whole.worksInPlace())) {
      whole.run(x, xFrom, out, outFrom, n);
      return;
    }
    int count;
    for (int done = 0; done < n; done += count) {
      count = Math.min(samples, n - done);
      System.arraycopy(x, xFrom + done * inputSize, w.input(), 0, count * inputSize);
      w.run(count);
      System.arraycopy(w.output(), 0, out, outFrom + done * outputSize, count * outputSize);
    }
  }

  private static void checkPart(String name, float[] array, int from, long length) {
    if (from < 0 || from > array.length - length) {
      throw new IllegalArgumentException(
          name
              + " has "
              + array.length
              + " numbers, too few for the "
              + length
              + " from index "
              + from
              + " on");
    }
  }

  private static void check(String name, Tensor t, Shape one) {
    if (t.isClosed()) {
      throw new IllegalStateException(name + " is closed");
    }
    if (t.dtype() == DType.I64) {
      throw new IllegalArgumentException(
          name + " must be F32, F64, BF16 or F16, but is I64: counters are no samples");
    }
    boolean fits = t.shape().rank() == one.rank();
    for (int i = 1; fits && i < one.rank(); i++) {
      fits = t.shape().dim(i) == one.dim(i);
    }
    if (!fits) {
      throw new IllegalArgumentException(
          name + " has shape " + t.shape() + ", expected " + one.toString().replace("[1", "[N"));
    }
    if (!t.isRowMajor()) {
      throw new IllegalArgumentException(
          name
              + " must be contiguous and channels first, but is "
              + t
              + "; call to(MemoryFormat.CHANNELS_FIRST) first");
    }
  }

  // ------------------------------------------------------------------------------------ workspaces

  /** What one call at a time computes with. */
  private final class Workspace {
    private final float[][] buffers = new float[bufferSizes.size()][];
    private final Step.Runner[] runners = new Step.Runner[ops.size()];

    /** Where it belongs, or -1 if it is thrown away after the call. */
    private int slot = -1;

    Workspace() {
      for (int i = 0; i < buffers.length; i++) {
        buffers[i] = new float[samples * bufferSizes.get(i)];
      }
      for (int i = 0; i < runners.length; i++) {
        runners[i] = ops.get(i).step().newRunner(samples);
      }
    }

    float[] input() {
      return buffers[in];
    }

    float[] output() {
      return buffers[out];
    }

    /** What computes the whole network in the caller's arrays, if something does. */
    Step.@Nullable Anywhere whole() {
      return runners.length == 1 && runners[0] instanceof Step.Anywhere all ? all : null;
    }

    void run(int n) {
      for (int i = 0; i < runners.length; i++) {
        Freezer.Op op = ops.get(i);
        runners[i].run(buffers[op.in()], buffers[op.out()], n);
      }
    }

    void close() {
      for (Step.Runner runner : runners) {
        runner.close();
      }
    }
  }

  /** A workspace that is the caller's until {@link #giveBack}. */
  private Workspace take() {
    if (closed) {
      throw new IllegalStateException("this InferenceModel is closed");
    }
    int slot = takeSlot();
    if (slot < 0) {
      return new Workspace();
    }
    Workspace w = workspaces[slot];
    if (w == null) {
      try {
        w = workspaceFor(slot);
      } finally {
        if (w == null) {
          giveBackSlot(slot);
        }
      }
    }
    return w;
  }

  /** The thread's own slot, or one that nobody uses now; -1 if there is none. */
  private int takeSlot() {
    int home = (int) (Thread.currentThread().getId() & SLOTS - 1);
    for (int i = 0; i < SLOTS; i++) {
      int slot = home + i & SLOTS - 1;
      if (tryTake(slot)) {
        return slot;
      }
    }
    return -1;
  }

  private boolean tryTake(int slot) {
    return taken.getPlain(slot * SPACING) == 0 && taken.compareAndSet(slot * SPACING, 0, 1);
  }

  private void giveBackSlot(int slot) {
    taken.set(slot * SPACING, 0);
  }

  /** For a slot that is taken and has none: one that lies idle elsewhere, or a new one. */
  private Workspace workspaceFor(int slot) {
    Workspace w = null;
    for (int i = 0; w == null && i < SLOTS; i++) {
      if (workspaces[i] != null && tryTake(i)) {
        w = workspaces[i];
        workspaces[i] = null;
        giveBackSlot(i);
      }
    }
    w = w == null ? new Workspace() : w;
    w.slot = slot;
    workspaces[slot] = w;
    return w;
  }

  private void giveBack(Workspace w) {
    if (w.slot < 0) {
      w.close();
      return;
    }
    giveBackSlot(w.slot);
    if (closed) {
      closeIdle();
    }
  }

  private void closeIdle() {
    for (int slot = 0; slot < SLOTS; slot++) {
      if (tryTake(slot)) {
        Workspace w = workspaces[slot];
        workspaces[slot] = null;
        giveBackSlot(slot);
        if (w != null) {
          w.close();
        }
      }
    }
  }

  /** Gives the memory back, once no call uses it. Idempotent. */
  @Override
  public void close() {
    closed = true;
    closeIdle();
    ops.forEach(op -> op.step().close());
  }
}
