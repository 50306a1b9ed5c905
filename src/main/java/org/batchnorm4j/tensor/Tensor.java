package org.batchnorm4j.tensor;

import java.nio.Buffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.util.Objects;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/**
 * An n-dimensional array, outside the Java heap unless it wraps one of the caller's: a {@link
 * Shape}, a {@link DType}, a {@link MemoryFormat} and where its data lies. Memory we allocate
 * starts at a multiple of 64 bytes. Outside the heap a tensor may have at most 2 GiB, less a few
 * bytes; as an array it may be as long as an array can.
 *
 * <p>Channels first or last, the shape is (N, C, spatial...). In memory, channels first, the values
 * of a sample are contiguous and samples are {@link #pitch} elements apart; channels last, the C
 * channels of a position are contiguous and positions are {@code pitch} elements apart. A tensor
 * whose pitch is the smallest possible is {@linkplain #isContiguous contiguous}; channel slices of
 * several samples, or channels last of several positions, are not.
 *
 * <p>{@link #close} gives the memory back at once; without it the garbage collector does in its own
 * time. Any use of a closed tensor is an {@link IllegalStateException}. A view ({@link #reshape},
 * {@link #narrow}) shares the memory of the tensor it was made from and ends with it; closing a
 * view does nothing.
 *
 * <p>Reading from many threads is safe; writing is up to the caller to order.
 */
public final class Tensor implements AutoCloseable {
  /** Channels, and positions, that are copied at a time: 4 KiB. */
  private static final int BLOCK = 32;

  private final Memory memory;
  private final boolean owner;
  private final long offset;
  private final Shape shape;
  private final DType dtype;
  private final MemoryFormat format;
  private final long pitch;

  /** Where the first element always is for native code; 0 where the memory has to be asked. */
  private final long fixedAddress;

  // Both need divisions, which every check of every call would repeat.

  /** Bytes from the first element to behind the last. */
  private final long extent;

  private final boolean contiguous;

  private Tensor(
      Memory memory,
      boolean owner,
      long offset,
      Shape shape,
      DType dtype,
      MemoryFormat format,
      long pitch) {
    this.memory = memory;
    this.owner = owner;
    this.offset = offset;
    this.shape = shape;
    this.dtype = dtype;
    this.format = format;
    long size = shape.size();
    long dense = densePitch(format, shape);
    // Of a single row, or none, it is all one where the next would begin.
    this.pitch = size <= dense ? dense : pitch;
    contiguous = this.pitch == dense;
    fixedAddress = firstElement(memory.fixedAddress());
    extent = size == 0 ? 0 : (position(size - 1) - offset + 1) * dtype.bytes();
  }

  // ------------------------------------------------------------------------------------ creation

  /**
   * An f32 tensor of zeros, channels first.
   *
   * @throws IllegalArgumentException as {@link #zeros(DType, MemoryFormat, Shape)}
   */
  public static Tensor zeros(long... shape) {
    return zeros(DType.F32, shape);
  }

  /**
   * A tensor of zeros, channels first.
   *
   * @throws IllegalArgumentException as {@link #zeros(DType, MemoryFormat, Shape)}
   */
  public static Tensor zeros(DType dtype, long... shape) {
    return zeros(dtype, MemoryFormat.CHANNELS_FIRST, Shape.of(shape));
  }

  /**
   * A tensor of zeros.
   *
   * @throws IllegalArgumentException if a dimension is negative, if it would have more than 2 GiB,
   *     or if it is to be channels last and has fewer than two dimensions
   * @throws OutOfMemoryError if there is no memory for it
   */
  public static Tensor zeros(DType dtype, MemoryFormat format, Shape shape) {
    checkFormat(format, shape);
    Memory memory = Memory.allocate(dtype, shape.size());
    return new Tensor(memory, true, 0, shape, dtype, format, densePitch(format, shape));
  }

  /** Zeros of {@code other}'s shape, type and memory format. */
  public static Tensor zerosLike(Tensor other) {
    return zeros(other.dtype, other.format, other.shape);
  }

  /**
   * An f32 tensor with a copy of these values, row-major.
   *
   * @throws IllegalArgumentException if there are not as many as the shape has elements, or as
   *     {@link #zeros(DType, MemoryFormat, Shape)}
   */
  public static Tensor of(float[] values, long... shape) {
    Tensor t = zeros(DType.F32, shape);
    t.copyFrom(values);
    return t;
  }

  /** An f64 tensor, as {@link #of(float[], long...)}. */
  public static Tensor of(double[] values, long... shape) {
    Tensor t = zeros(DType.F64, shape);
    t.copyFrom(values);
    return t;
  }

  /** A 0-dimensional i64 tensor. */
  public static Tensor scalar(long value) {
    Tensor t = zeros(DType.I64);
    t.setLong(value);
    return t;
  }

  // -------------------------------------------------------- views of what the caller holds,
  // uncopied

  /**
   * An f32 view of a buffer, from its position to its limit: {@link #wrap(Buffer, DType, long...)}.
   */
  public static Tensor wrap(FloatBuffer buffer, long... shape) {
    return wrap(buffer, DType.F32, shape);
  }

  /** {@link #wrap(FloatBuffer, long...)} in a given memory format. */
  public static Tensor wrap(FloatBuffer buffer, MemoryFormat format, Shape shape) {
    return wrapped(Wrap.buffer(buffer, DType.F32, shape), DType.F32, format, shape);
  }

  /**
   * A view, without a copy, of a buffer, from its position to its limit. Writing to one shows in
   * the other; the buffer's position stays where it is. A direct buffer is kept from the garbage
   * collector as long as the tensor is. One of an arena ends with that, as {@link #wrapSegment}
   * says; the file of a mapped one must not be cut off meanwhile, which ends the JVM.
   *
   * <p>A read-only direct buffer makes a tensor that can only be read: as an output it is refused.
   * Everything takes tensors on the heap, and gives the same bits for them. Of the native kernels
   * only inference does, in slices of well under a millisecond, between which the garbage collector
   * can run; training and gradients are computed by the Java backend, which is slower: for those,
   * copy the data once, such as with {@link #to(DType)}.
   *
   * @param buffer a {@link FloatBuffer}, {@link java.nio.DoubleBuffer} or {@link
   *     java.nio.ShortBuffer} of {@code dtype}, or a {@link java.nio.ByteBuffer}: direct, or on an
   *     array that can be reached
   * @param dtype the type of the elements; a ShortBuffer holds {@code BF16} or {@code F16}
   * @throws IllegalArgumentException if the buffer is not as said, is not in native order, or does
   *     not hold exactly the shape's elements
   */
  public static Tensor wrap(Buffer buffer, DType dtype, long... shape) {
    Shape s = Shape.of(shape);
    return wrapped(Wrap.buffer(buffer, dtype, s), dtype, MemoryFormat.CHANNELS_FIRST, s);
  }

  /**
   * An f32 view, without a copy, of a whole array; see {@link #wrap(Buffer, DType, long...)} for
   * tensors on the heap.
   *
   * @throws IllegalArgumentException if the array does not hold exactly the shape's elements
   */
  public static Tensor wrap(float[] array, long... shape) {
    return whole(FloatBuffer.wrap(array), DType.F32, shape);
  }

  /**
   * {@link #wrap(float[], long...)} of a part of an array.
   *
   * @param from the index of the first element
   * @throws IllegalArgumentException if the array ends before the shape does
   */
  public static Tensor wrap(float[] array, int from, Shape shape) {
    return part(FloatBuffer.wrap(array), from, DType.F32, shape);
  }

  /** An f64 view, as {@link #wrap(float[], long...)}. */
  public static Tensor wrap(double[] array, long... shape) {
    return whole(DoubleBuffer.wrap(array), DType.F64, shape);
  }

  /** An f64 view, as {@link #wrap(float[], int, Shape)}. */
  public static Tensor wrap(double[] array, int from, Shape shape) {
    return part(DoubleBuffer.wrap(array), from, DType.F64, shape);
  }

  /**
   * A view of 16-bit floats, as {@link #wrap(float[], long...)}.
   *
   * @param dtype {@code BF16} or {@code F16}
   */
  public static Tensor wrap(short[] array, DType dtype, long... shape) {
    return whole(ShortBuffer.wrap(array), dtype, shape);
  }

  /**
   * A view of 16-bit floats, as {@link #wrap(float[], int, Shape)}.
   *
   * @param dtype {@code BF16} or {@code F16}
   */
  public static Tensor wrap(short[] array, int from, DType dtype, Shape shape) {
    return part(ShortBuffer.wrap(array), from, dtype, shape);
  }

  private static Tensor whole(Buffer whole, DType dtype, long... dims) {
    Shape shape = Shape.of(dims);
    if (shape.size() != whole.capacity()) {
      throw new IllegalArgumentException(
          "the array has "
              + whole.capacity()
              + " elements, shape "
              + shape
              + " needs "
              + shape.size()
              + "; of a part of an array make a tensor by wrap(array, from, Shape.of(...))");
    }
    return part(whole, 0, dtype, shape);
  }

  private static Tensor part(Buffer whole, int from, DType dtype, Shape shape) {
    long size = shape.size();
    if (from < 0 || from > whole.capacity() - size) {
      throw new IllegalArgumentException(
          "the array has "
              + whole.capacity()
              + " elements, too few for the "
              + size
              + " from index "
              + from
              + " on");
    }
    whole.position(from).limit(from + (int) size);
    return wrapped(Wrap.buffer(whole, dtype, shape), dtype, MemoryFormat.CHANNELS_FIRST, shape);
  }

  /**
   * A view, without a copy, of what a JavaCPP pointer points to, from its position to its limit.
   * Uses of a closed pointer are an {@link IllegalStateException}; closing it <em>while</em> a call
   * uses it is up to the caller to avoid, as with anything in JavaCPP.
   *
   * @param pointer a {@code FloatPointer}, {@code DoublePointer}, {@code ShortPointer} or {@code
   *     BytePointer}
   * @throws IllegalArgumentException if the pointer is null, does not hold exactly the shape's
   *     elements, or does not point to a multiple of their size
   */
  public static Tensor wrap(Pointer pointer, DType dtype, long... shape) {
    Shape s = Shape.of(shape);
    return wrapped(Wrap.pointer(pointer, dtype, s), dtype, MemoryFormat.CHANNELS_FIRST, s);
  }

  /**
   * A view, without a copy, of a {@code java.lang.foreign.MemorySegment}, on JDK 22 and later. It
   * ends with the segment's arena: from then on uses are an {@link IllegalStateException}, and so
   * are those by a thread that the arena is not for. The native kernels take segments of confined
   * arenas and the global arena; on the heap, and in segments that another thread could close
   * meanwhile, is computed as {@link #wrap(Buffer, DType, long...)} says, on the latter always by
   * the Java backend.
   *
   * @param memorySegment an {@code Object}, because this class is for JDK 17 too
   * @throws UnsupportedOperationException on an earlier JDK
   * @throws IllegalArgumentException if it is not a MemorySegment, does not hold exactly the
   *     shape's elements, or does not begin at a multiple of their size
   */
  public static Tensor wrapSegment(Object memorySegment, DType dtype, long... shape) {
    Shape s = Shape.of(shape);
    return wrapped(Segments.memory(memorySegment, dtype, s), dtype, MemoryFormat.CHANNELS_FIRST, s);
  }

  private static Tensor wrapped(Memory memory, DType dtype, MemoryFormat format, Shape shape) {
    checkFormat(format, shape);
    return new Tensor(memory, true, 0, shape, dtype, format, densePitch(format, shape));
  }

  private static void checkFormat(MemoryFormat format, Shape shape) {
    if (format == MemoryFormat.CHANNELS_LAST && shape.rank() < 2) {
      throw new IllegalArgumentException(
          "channels last needs at least the dimensions (N, C), but got shape " + shape);
    }
  }

  private static long densePitch(MemoryFormat format, Shape shape) {
    if (shape.rank() == 0) {
      return 1;
    }
    if (format == MemoryFormat.CHANNELS_LAST) {
      return shape.dim(1);
    }
    return shape.dim(0) == 0 ? 0 : shape.size() / shape.dim(0);
  }

  // ------------------------------------------------------------------------------------ geometry

  /** The dimensions, channels first whatever the memory format. */
  public Shape shape() {
    return shape;
  }

  /** The type of the elements. */
  public DType dtype() {
    return dtype;
  }

  /** Where elements lie. */
  public MemoryFormat format() {
    return format;
  }

  /** The number of elements. */
  public long size() {
    return shape.size();
  }

  /**
   * Elements from one sample to the next (channels first), or from one position to the next
   * (channels last). Where there is no next, as many as one has.
   */
  public long pitch() {
    return pitch;
  }

  /** Bytes from the first element to behind the last. */
  public long extent() {
    return extent;
  }

  /** Whether the elements lie without gaps, in the order of the memory format. */
  public boolean isContiguous() {
    return contiguous;
  }

  /** Whether the elements lie in the order of the shape, without gaps. */
  public boolean isRowMajor() {
    return isContiguous() && (format == MemoryFormat.CHANNELS_FIRST || spatial() == 1);
  }

  // --------------------------------------------------------------------------------------- views

  /**
   * A view with the same elements, in row-major order, in another shape.
   *
   * @throws IllegalArgumentException if the sizes differ, or the tensor is not contiguous and
   *     channels first
   */
  public Tensor reshape(long... newShape) {
    Shape target = Shape.of(newShape);
    if (target.size() != shape.size()) {
      throw new IllegalArgumentException(
          "shape "
              + target
              + " has "
              + target.size()
              + " elements, the tensor of shape "
              + shape
              + " has "
              + shape.size());
    }
    if (format != MemoryFormat.CHANNELS_FIRST || !isContiguous()) {
      throw new IllegalArgumentException(
          "reshape needs a contiguous channels-first tensor; call to(CHANNELS_FIRST) first");
    }
    long dense = densePitch(MemoryFormat.CHANNELS_FIRST, target);
    return new Tensor(memory, false, offset, target, dtype, MemoryFormat.CHANNELS_FIRST, dense);
  }

  /**
   * A view of the first elements in memory, in another shape and memory format.
   *
   * @throws IllegalArgumentException if the tensor is not contiguous or has fewer elements
   */
  public Tensor view(MemoryFormat newFormat, Shape newShape) {
    checkFormat(newFormat, newShape);
    if (!isContiguous() || newShape.size() > size()) {
      throw new IllegalArgumentException(
          "a view of shape "
              + newShape
              + " needs a contiguous tensor of at least "
              + newShape.size()
              + " elements, but this is "
              + this);
    }
    long dense = densePitch(newFormat, newShape);
    return new Tensor(memory, false, offset, newShape, dtype, newFormat, dense);
  }

  /**
   * A view of indices {@code from} to {@code from + length - 1} of dimension 0 (samples) or 1
   * (channels).
   *
   * @throws IllegalArgumentException if it is another dimension, or they do not lie within it
   */
  public Tensor narrow(int dim, long from, long length) {
    if (dim < 0 || dim > 1 || dim >= shape.rank()) {
      throw new IllegalArgumentException(
          "dim must be 0 (samples) or 1 (channels) of shape " + shape + ", but got " + dim);
    }
    if (from < 0 || length < 0 || from > shape.dim(dim) - length) {
      throw new IllegalArgumentException(
          "from = "
              + from
              + ", length = "
              + length
              + " does not lie within dimension "
              + dim
              + " of shape "
              + shape);
    }
    long spatial = spatial();
    long step;
    if (format == MemoryFormat.CHANNELS_LAST) {
      step = dim == 0 ? spatial * pitch : 1;
    } else {
      step = dim == 0 ? pitch : spatial;
    }
    Shape slice = shape.with(dim, length);
    // An empty slice lies nowhere: to move on could lead behind the end of the memory.
    long begin = slice.size() == 0 ? offset : offset + from * step;
    return new Tensor(memory, false, begin, slice, dtype, format, pitch);
  }

  /** The number of positions behind the first two dimensions. */
  private long spatial() {
    long spatial = 1;
    for (int i = 2; i < shape.rank(); i++) {
      spatial *= shape.dim(i);
    }
    return spatial;
  }

  /** A contiguous copy in another memory format. */
  public Tensor to(MemoryFormat newFormat) {
    Tensor copy = zeros(dtype, newFormat, shape);
    copy.copyFrom(this);
    return copy;
  }

  /** A contiguous copy in another type; narrowing rounds to nearest even. */
  public Tensor to(DType newType) {
    Tensor copy = zeros(newType, format, shape);
    copy.copyFrom(this);
    return copy;
  }

  // ------------------------------------------------------------------------------ values, checked

  /**
   * The element at this index (one number per dimension), widened.
   *
   * @throws IllegalArgumentException if the index has another number of dimensions
   * @throws IndexOutOfBoundsException if it is not within the shape
   * @throws IllegalStateException if the tensor is closed
   */
  public double get(long... index) {
    long position = position(index);
    acquire();
    try {
      return getAt(position);
    } finally {
      release();
    }
  }

  /**
   * Sets the element at this index (one number per dimension), rounding to the tensor's type.
   *
   * @throws IllegalArgumentException if the index has another number of dimensions, or the memory
   *     can only be read
   * @throws IndexOutOfBoundsException if it is not within the shape
   * @throws IllegalStateException if the tensor is closed
   */
  public void set(double value, long... index) {
    long position = position(index);
    checkWritable();
    acquire();
    try {
      setAt(position, value);
    } finally {
      release();
    }
  }

  /**
   * The only element of an i64 tensor.
   *
   * @throws IllegalArgumentException if it is not such a tensor
   * @throws IllegalStateException if it is closed
   */
  public long getLong() {
    checkCounter();
    acquire();
    try {
      return ((LongBuffer) memory.elements()).get((int) offset);
    } finally {
      release();
    }
  }

  /** Sets the only element of an i64 tensor; errors as for {@link #getLong}. */
  public void setLong(long value) {
    checkCounter();
    checkWritable();
    acquire();
    try {
      ((LongBuffer) memory.elements()).put((int) offset, value);
    } finally {
      release();
    }
  }

  private void checkCounter() {
    if (dtype != DType.I64 || shape.size() != 1) {
      throw new IllegalArgumentException("expected one I64 element, but this is " + this);
    }
  }

  /** A copy of the elements, row-major, as floats; narrower than f64 loses precision. */
  public float[] toFloatArray() {
    float[] out = new float[heapSize()];
    acquire();
    try {
      if (isOfFloats() && isRowMajor()) {
        read(offset, out, 0, out.length);
      } else {
        for (int i = 0; i < out.length; i++) {
          out[i] = (float) getAt(position(i));
        }
      }
    } finally {
      release();
    }
    return out;
  }

  /** A copy of the elements, row-major, as doubles. */
  public double[] toDoubleArray() {
    double[] out = new double[heapSize()];
    acquire();
    try {
      for (int i = 0; i < out.length; i++) {
        out[i] = getAt(position(i));
      }
    } finally {
      release();
    }
    return out;
  }

  /**
   * Sets all elements, row-major, rounding to the tensor's type.
   *
   * @throws IllegalArgumentException if there are not as many values, or the memory can only be
   *     read
   * @throws IllegalStateException if the tensor is closed
   */
  public Tensor copyFrom(float[] values) {
    checkLength(values.length);
    checkWritable();
    acquire();
    try {
      if (dtype != DType.F64 && dtype != DType.I64 && isRowMajor()) {
        write(offset, values, 0, values.length);
      } else {
        for (int i = 0; i < values.length; i++) {
          setAt(position(i), values[i]);
        }
      }
    } finally {
      release();
    }
    return this;
  }

  /** {@link #copyFrom(float[])} of doubles. */
  public Tensor copyFrom(double[] values) {
    checkLength(values.length);
    checkWritable();
    acquire();
    try {
      for (int i = 0; i < values.length; i++) {
        setAt(position(i), values[i]);
      }
    } finally {
      release();
    }
    return this;
  }

  /**
   * Sets all elements to those of a tensor of the same shape, rounding to this tensor's type. Of a
   * source that overlaps this tensor, other than element by element, a copy is made first.
   *
   * @throws IllegalArgumentException if the shapes differ, or the memory can only be read
   * @throws IllegalStateException if one of them is closed
   */
  public Tensor copyFrom(Tensor source) {
    if (!source.shape.equals(shape)) {
      throw new IllegalArgumentException(
          "source has shape " + source.shape + ", expected " + shape);
    }
    checkWritable();
    if (overlaps(source) && !isSameMemory(source)) {
      try (Tensor copy = zerosLike(source).copyFrom(source)) {
        return copyFrom(copy);
      }
    }
    acquire();
    try {
      source.acquire();
      try {
        if (isRowMajor() && source.isRowMajor() && dtype == source.dtype) {
          put((int) offset, source.memory.elements(), (int) source.offset, (int) size());
        } else if (dtype == DType.I64 && source.dtype == DType.I64) {
          copyLongs(source);
        } else if (isOfFloats() && source.isOfFloats()) {
          copyBlocks(source);
        } else {
          for (long i = 0; i < size(); i++) {
            setAt(position(i), source.getAt(source.position(i)));
          }
        }
      } finally {
        source.release();
      }
    } finally {
      release();
    }
    return this;
  }

  /** Not as doubles, which have not all of a large one's bits. */
  private void copyLongs(Tensor source) {
    LongBuffer to = (LongBuffer) memory.elements();
    LongBuffer from = (LongBuffer) source.memory.elements();
    for (long i = 0; i < size(); i++) {
      to.put((int) position(i), from.get((int) source.position(i)));
    }
  }

  /** Whether {@link #read(long, float[], int, int)} reads it. */
  private boolean isOfFloats() {
    return dtype != DType.F64 && dtype != DType.I64;
  }

  /** Copies in blocks of channels and positions, which stay in the cache while they are turned. */
  private void copyBlocks(Tensor source) {
    boolean flat = isRowMajor() && source.isRowMajor();
    long samples = flat ? 1 : shape.dim(0);
    long channels = flat ? 1 : shape.dim(1);
    long positions = flat ? size() : spatial();
    float[] block = new float[BLOCK * BLOCK];
    float[] run = new float[BLOCK];
    for (long n = 0; n < samples; n++) {
      for (long c = 0; c < channels; c += BLOCK) {
        int rows = (int) Math.min(BLOCK, channels - c);
        for (long s = 0; s < positions; s += BLOCK) {
          int columns = (int) Math.min(BLOCK, positions - s);
          source.moveBlock(true, flat, n, c, s, rows, columns, block, run);
          moveBlock(false, flat, n, c, s, rows, columns, block, run);
        }
      }
    }
  }

  /** Reads or writes a block; in {@code block} a channel's values are neighbours. */
  private void moveBlock(
      boolean read,
      boolean flat,
      long n,
      long c,
      long s,
      int rows,
      int columns,
      float[] block,
      float[] run) {
    long spatial = spatial();
    if (flat || format == MemoryFormat.CHANNELS_FIRST && spatial > 1) {
      for (int row = 0; row < rows; row++) {
        long position = offset + n * pitch + (c + row) * spatial + s;
        if (read) {
          read(position, block, row * BLOCK, columns);
        } else {
          write(position, block, row * BLOCK, columns);
        }
      }
      return;
    }
    for (int column = 0; column < columns; column++) {
      long position = offset + (n * spatial + s + column) * pitch + c;
      if (read) {
        read(position, run, 0, rows);
        for (int row = 0; row < rows; row++) {
          block[row * BLOCK + column] = run[row];
        }
      } else {
        for (int row = 0; row < rows; row++) {
          run[row] = block[row * BLOCK + column];
        }
        write(position, run, 0, rows);
      }
    }
  }

  /**
   * Sets all elements to one value.
   *
   * @throws IllegalArgumentException if the memory can only be read
   * @throws IllegalStateException if the tensor is closed
   */
  public Tensor fill(double value) {
    checkWritable();
    acquire();
    try {
      for (long i = 0; i < size(); i++) {
        setAt(position(i), value);
      }
    } finally {
      release();
    }
    return this;
  }

  private void checkWritable() {
    if (isReadOnly()) {
      throw new IllegalArgumentException(
          this + " wraps memory that is read-only; write to a copy, such as to(dtype())");
    }
  }

  private void checkLength(int length) {
    if (length != size()) {
      throw new IllegalArgumentException(
          "got " + length + " values for shape " + shape + " with " + size() + " elements");
    }
  }

  private int heapSize() {
    return Math.toIntExact(size());
  }

  private long position(long[] index) {
    if (index.length != shape.rank()) {
      throw new IllegalArgumentException(
          "the index has " + index.length + " numbers, shape " + shape + " needs " + shape.rank());
    }
    long flat = 0;
    for (int i = 0; i < index.length; i++) {
      Objects.checkIndex(index[i], shape.dim(i));
      flat = flat * shape.dim(i) + index[i];
    }
    return position(flat);
  }

  /** The position in memory of the element with this row-major index. */
  private long position(long flat) {
    if (shape.rank() == 0) {
      return offset;
    }
    long perSample = shape.size() / shape.dim(0);
    long sample = flat / perSample;
    long rest = flat % perSample;
    if (format == MemoryFormat.CHANNELS_FIRST) {
      return offset + sample * pitch + rest;
    }
    long spatial = perSample / shape.dim(1);
    return offset + (sample * spatial + rest % spatial) * pitch + rest / spatial;
  }

  private double getAt(long position) {
    int i = (int) position;
    Buffer b = memory.elements();
    return switch (dtype) {
      case F32 -> ((FloatBuffer) b).get(i);
      case F64 -> ((DoubleBuffer) b).get(i);
      case BF16 -> Half.fromBf16(((ShortBuffer) b).get(i));
      case F16 -> Half.fromF16(((ShortBuffer) b).get(i));
      case I64 -> ((LongBuffer) b).get(i);
    };
  }

  private void setAt(long position, double value) {
    int i = (int) position;
    Buffer b = memory.elements();
    switch (dtype) {
      case F32 -> ((FloatBuffer) b).put(i, (float) value);
      case F64 -> ((DoubleBuffer) b).put(i, value);
      case BF16 -> ((ShortBuffer) b).put(i, Half.toBf16((float) value));
      case F16 -> ((ShortBuffer) b).put(i, Half.toF16((float) value));
      case I64 -> ((LongBuffer) b).put(i, (long) value);
    }
  }

  private void put(int at, Buffer source, int from, int length) {
    Buffer b = memory.elements();
    switch (dtype) {
      case F32 -> ((FloatBuffer) b).put(at, (FloatBuffer) source, from, length);
      case F64 -> ((DoubleBuffer) b).put(at, (DoubleBuffer) source, from, length);
      case BF16, F16 -> ((ShortBuffer) b).put(at, (ShortBuffer) source, from, length);
      case I64 -> ((LongBuffer) b).put(at, (LongBuffer) source, from, length);
    }
  }

  /**
   * The elements of a contiguous f32 tensor as a buffer that shares their memory, in the order in
   * which they lie there: channels last, the channels of a position follow each other. The memory
   * then lives as long as any buffer on it, closed or not; unless the tensor wraps a JavaCPP
   * pointer and someone closes that.
   *
   * @throws IllegalArgumentException if the tensor is not contiguous or not f32
   */
  public FloatBuffer asFloatBuffer() {
    if (dtype != DType.F32 || !isContiguous()) {
      throw new IllegalArgumentException(
          "expected a contiguous F32 tensor, but this is " + this + "; copy it with to(DType.F32)");
    }
    return ((FloatBuffer) memory.export()).slice((int) offset, heapSize());
  }

  // --------------------------------------------------------------------------------------- memory
  // What is not public other packages reach by TensorAccess.

  /** Announces a use of the memory; it stays valid until {@link #release}. */
  void acquire() {
    memory.acquire();
  }

  /** Ends what {@link #acquire} began. */
  void release() {
    memory.release();
  }

  /**
   * The address of the first element, for other native libraries; 0 where native code cannot or
   * must not go. It is good as long as the tensor: which must stay open and reachable meanwhile.
   */
  public long address() {
    return fixedAddress != 0 ? fixedAddress : firstElement(memory.address());
  }

  /** The address of the first element in memory that begins there; 0 for 0. */
  private long firstElement(long start) {
    return start == 0 ? 0 : start + offset * dtype.bytes();
  }

  /** The array on the heap that the elements lie in, or null where they do not. */
  @Nullable Object array() {
    return memory.array();
  }

  /** Bytes from the beginning of the {@link #array} to the first element. */
  long arrayBytes() {
    return place();
  }

  /** Whether the memory can only be read. */
  public boolean isReadOnly() {
    return memory.isReadOnly();
  }

  private long place() {
    return memory.place() + offset * dtype.bytes();
  }

  /** The position of the first element within {@link #read} and {@link #write}. */
  long offset() {
    return offset;
  }

  /**
   * Whether the two share any memory, or might: ranges are compared, not single elements. Of two
   * direct buffers that were wrapped, this is known with the native library or on JDK 22 and later.
   */
  public boolean overlaps(Tensor other) {
    if (size() == 0 || other.size() == 0) {
      return false;
    }
    if (memory != other.memory && !memory.isComparable(other.memory)) {
      return false;
    }
    return place() < other.place() + other.extent && other.place() < place() + extent;
  }

  /** Whether both are the same elements of the same memory, in the same order. */
  public boolean isSameMemory(Tensor other) {
    return (memory == other.memory || memory.isComparable(other.memory))
        && place() == other.place()
        && shape.equals(other.shape)
        && dtype == other.dtype
        && format == other.format
        && pitch == other.pitch;
  }

  /**
   * Whether both are slices of the rows of one tensor, samples or channels last positions, side by
   * side: they {@link #overlaps overlap} by their ranges, but have no element in common.
   */
  public boolean isBeside(Tensor other) {
    if (!overlaps(other)
        || dtype != other.dtype
        || format != other.format
        || pitch != other.pitch) {
      return false;
    }
    long row = pitch * dtype.bytes();
    long ahead = Math.floorMod(other.place() - place(), row);
    return ahead >= densePitch(format, shape) * dtype.bytes()
        && ahead + densePitch(format, other.shape) * dtype.bytes() <= row;
  }

  /** Copies {@code length} neighbouring elements, as floats, between acquire and release. */
  void read(long position, float[] to, int at, int length) {
    int from = (int) position;
    Buffer b = memory.elements();
    switch (dtype) {
      case F32 -> ((FloatBuffer) b).get(from, to, at, length);
      case BF16 -> {
        ShortBuffer shorts = (ShortBuffer) b;
        for (int i = 0; i < length; i++) {
          to[at + i] = Half.fromBf16(shorts.get(from + i));
        }
      }
      case F16 -> {
        ShortBuffer shorts = (ShortBuffer) b;
        for (int i = 0; i < length; i++) {
          to[at + i] = Half.fromF16(shorts.get(from + i));
        }
      }
      case F64 -> {
        DoubleBuffer doubles = (DoubleBuffer) b;
        for (int i = 0; i < length; i++) {
          to[at + i] = (float) doubles.get(from + i);
        }
      }
      case I64 -> throw new IllegalStateException(dtype + " is not made of floats");
    }
  }

  /** {@link #read(long, float[], int, int)} for f64. */
  void read(long position, double[] to, int at, int length) {
    ((DoubleBuffer) memory.elements()).get((int) position, to, at, length);
  }

  /** Writes {@code length} neighbouring elements, in the tensor's type, as {@code read} reads. */
  void write(long position, float[] from, int at, int length) {
    checkWritable();
    int to = (int) position;
    Buffer b = memory.elements();
    switch (dtype) {
      case F32 -> ((FloatBuffer) b).put(to, from, at, length);
      case BF16 -> {
        ShortBuffer shorts = (ShortBuffer) b;
        for (int i = 0; i < length; i++) {
          shorts.put(to + i, Half.toBf16(from[at + i]));
        }
      }
      case F16 -> {
        ShortBuffer shorts = (ShortBuffer) b;
        for (int i = 0; i < length; i++) {
          shorts.put(to + i, Half.toF16(from[at + i]));
        }
      }
      case F64 -> {
        DoubleBuffer doubles = (DoubleBuffer) b;
        for (int i = 0; i < length; i++) {
          doubles.put(to + i, from[at + i]);
        }
      }
      case I64 -> throw new IllegalStateException(dtype + " is not made of floats");
    }
  }

  /** {@link #write(long, float[], int, int)} for f64. */
  void write(long position, double[] from, int at, int length) {
    checkWritable();
    ((DoubleBuffer) memory.elements()).put((int) position, from, at, length);
  }

  // ------------------------------------------------------------------------------------ lifetime

  /** Whether the tensor, or the one it is a view of, is closed. */
  public boolean isClosed() {
    return memory.isClosed();
  }

  /**
   * Throws what a use of the tensor by this thread would.
   *
   * @throws IllegalStateException if it is closed, or lies in an arena that is for another thread
   */
  public void checkUsable() {
    memory.checkUsable();
  }

  /** Whether only the calling thread may use the memory: it is of a confined arena. */
  public boolean isConfined() {
    return memory.isConfined();
  }

  /** Gives the memory back. Idempotent; does nothing on a view. */
  @Override
  public void close() {
    if (owner) {
      memory.close();
    }
  }

  /** Such as {@code Tensor(F32 [2, 3, 4], channels_first)}; never the values. */
  @Override
  public String toString() {
    String order = format == MemoryFormat.CHANNELS_FIRST ? "channels_first" : "channels_last";
    String gaps = isContiguous() ? "" : ", with gaps";
    return "Tensor(" + dtype + " " + shape + ", " + order + gaps + (isClosed() ? ", closed)" : ")");
  }
}
