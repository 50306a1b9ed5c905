package org.batchnorm4j.nn.functional;

import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkApart;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkLike;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkOpen;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkPerChannel;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkSameOrApart;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkSaved;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkShapeAndType;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkTracking;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.closeCopy;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.isLaidOutLike;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.zero;

import java.util.List;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The normalizations that take each sample by itself, as {@code instance_norm}, {@code group_norm}
 * and {@code layer_norm} in {@code torch.nn.functional}, forward and backward. All run on the
 * kernels of batch norm, with what is normalized together, a <em>row</em>, as a channel.
 *
 * <p><b>Instance norm</b>: a row is a channel of a sample, and the whole is batch norm of one
 * sample of N * C channels, in one pass, with weight and bias repeated.
 *
 * <p><b>Group norm, layer norm</b>: a row is a group of channels of a sample, or the trailing
 * dimensions. It is normalized first; then, in a second pass, scaled and shifted per channel or per
 * element, which is batch norm with mean 0 and variance 1. In between, the normalized value is
 * rounded to {@code x}'s type. The backward computes it again rather than that anyone keeps it.
 *
 * <p><b>Shapes.</b> {@code x} is of type F32, F64, BF16 or F16, in either memory format. {@code
 * out} and {@code dx} have its shape, type and memory format. Weights, biases, statistics and their
 * gradients are contiguous tensors in {@code x.dtype().parameterType()}; {@code saved} has one
 * element per row.
 *
 * <p><b>Memory.</b> {@code out} may be exactly the memory of {@code x}, but then there is no
 * backward. Otherwise an output shares memory with nothing. Each call allocates some numbers per
 * weight, instance norm per weight and sample. Group norm and layer norm of data that is not {@link
 * Tensor#isRowMajor} work on copies.
 *
 * <p><b>Errors.</b> A bad argument is an {@link IllegalArgumentException}, a closed tensor an
 * {@link IllegalStateException}; both name the argument. Everything is checked before anything is
 * written. Empty input is legal: forwards change nothing, backwards set the parameters' gradients
 * to 0.
 *
 * <p>Thread-safe, as long as no other call writes the same tensors.
 */
public final class SampleNormFunctions {
  private SampleNormFunctions() {}

  // ------------------------------------------------------------------------------- instance norm

  /** {@link #instanceNorm} without running statistics, on {@link Backends#best()}. */
  public static Tensor instanceNorm(
      Tensor x,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      SavedStatistics saved,
      Tensor out) {
    return instanceNorm(x, null, null, weight, bias, 0, eps, Backends.best(), saved, out);
  }

  /**
   * Normalizes each channel of each sample with its own mean and biased variance. The running
   * statistics, where given, move by {@code momentum} towards the averages, over the samples, of
   * the means and of the unbiased variances. With running statistics instead, use {@link
   * BatchNormFunctions#batchNormInference}.
   *
   * @param x (N, C, ...) with at least two spatial elements, or none
   * @param runningMean C elements; null when not tracked, like {@code runningVar}
   * @param weight C elements; null for 1
   * @param bias C elements; null for 0
   * @param momentum the weight of the new value, finite
   * @param eps &gt; 0
   * @param saved N * C elements each, overwritten: what the backward needs
   * @return {@code out}
   */
  public static Tensor instanceNorm(
      Tensor x,
      @Nullable Tensor runningMean,
      @Nullable Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double momentum,
      double eps,
      BatchNormBackend backend,
      SavedStatistics saved,
      Tensor out) {
    Problem problem = BatchNormFunctions.problem(x, Activation.NONE);
    checkInstances(x.shape());
    checkEps("instance_norm", eps);
    checkTracking(problem, momentum, runningMean, runningVar);
    checkPerChannel("weight", weight, problem);
    checkPerChannel("bias", bias, problem);
    checkSaved(saved, rows(x, problem.n() * problem.c(), problem.s()));
    checkLike("out", out, x);
    checkForwardApart(x, weight, bias, saved, out);
    // Weights are read before the running statistics, which may be their memory, are written.
    apart(
        List.of(
            new Named("x", x),
            new Named("saved.mean", saved.mean()),
            new Named("saved.meanLow", saved.meanLow()),
            new Named("saved.invStd", saved.invStd()),
            new Named("out", out)),
        List.of(new Named("running_mean", runningMean), new Named("running_var", runningVar)));
    if (x.size() == 0) {
      return out;
    }
    int n = (int) problem.n();
    boolean whole = x.isRowMajor() && out.isRowMajor();
    try (Repeated weights = Repeated.of(weight, n);
        Repeated biases = Repeated.of(bias, n);
        Repeated means = Repeated.of(runningMean, n);
        Repeated vars = Repeated.of(runningVar, n)) {
      for (int i = 0; i < (whole ? 1 : n); i++) {
        Tensor xPart = part(x, i, whole);
        backend.training(
            Problem.of(xPart, Activation.NONE),
            xPart,
            null,
            part(out, i, whole),
            weights.part(i, whole),
            biases.part(i, whole),
            eps,
            part(saved, i, whole ? 1 : n),
            means.part(i, whole),
            vars.part(i, whole),
            momentum);
      }
      if (runningMean != null && runningVar != null) {
        means.reduce(1.0 / n, runningMean);
        vars.reduce(1.0 / n, runningVar);
      }
    }
    return out;
  }

  /**
   * The gradients of {@link #instanceNorm}.
   *
   * @param dy the gradient of {@code out}. In another memory format than {@code x} it is first
   *     copied into {@code x}'s
   * @param x the forward's input, unchanged
   * @param weight as in the forward
   * @param saved what the forward left
   * @param dx null when not wanted, like {@code dweight} and {@code dbias}; may be exactly the
   *     memory of {@code dy} or {@code x}
   */
  public static void instanceNormBackward(
      Tensor dy,
      Tensor x,
      @Nullable Tensor weight,
      SavedStatistics saved,
      BatchNormBackend backend,
      @Nullable Tensor dx,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Problem problem = BatchNormFunctions.problem(x, Activation.NONE);
    checkShapeAndType("dy", dy, x);
    checkPerChannel("weight", weight, problem);
    checkSaved(saved, rows(x, problem.n() * problem.c(), problem.s()));
    checkLike("dx", dx, x);
    checkPerChannel("dweight", dweight, problem);
    checkPerChannel("dbias", dbias, problem);
    checkSameOrApart("dx", dx, "dy", dy);
    checkSameOrApart("dx", dx, "x", x);
    checkBackwardApart(dy, x, weight, saved, dx, dweight, dbias);
    if (x.size() == 0) {
      zero(dweight, dbias);
      return;
    }
    int n = (int) problem.n();
    Tensor gradient = isLaidOutLike(x, dy, problem) ? dy : dy.to(x.format());
    boolean whole = x.isRowMajor() && gradient.isRowMajor() && (dx == null || dx.isRowMajor());
    try (Repeated weights = Repeated.of(weight, n);
        Repeated dweights = Repeated.of(dweight, n);
        Repeated dbiases = Repeated.of(dbias, n)) {
      for (int i = 0; i < (whole ? 1 : n); i++) {
        Tensor xPart = part(x, i, whole);
        backend.backwardTraining(
            Problem.of(xPart, Activation.NONE),
            part(gradient, i, whole),
            xPart,
            null,
            weights.part(i, whole),
            null,
            part(saved, i, whole ? 1 : n),
            dx == null ? null : part(dx, i, whole),
            null,
            dweights.part(i, whole),
            dbiases.part(i, whole));
      }
      if (dweight != null) {
        dweights.reduce(1, dweight);
      }
      if (dbias != null) {
        dbiases.reduce(1, dbias);
      }
    } finally {
      closeCopy(gradient, dy);
    }
  }

  /** Sample {@code i}; or, if whole, all samples, as one with all their channels. */
  private static Tensor part(Tensor t, int i, boolean whole) {
    if (!whole) {
      return t.narrow(0, i, 1);
    }
    long channels = t.shape().dim(0) * t.shape().dim(1);
    return t.view(MemoryFormat.CHANNELS_FIRST, Shape.of(1, channels, t.size() / channels));
  }

  /** The {@code i}-th of {@code parts} equal parts. */
  private static SavedStatistics part(SavedStatistics saved, int i, int parts) {
    return new SavedStatistics(
        part(saved.mean(), i, parts),
        part(saved.meanLow(), i, parts),
        part(saved.invStd(), i, parts));
  }

  private static Tensor part(Tensor t, int i, int parts) {
    long length = t.size() / parts;
    return t.view(MemoryFormat.CHANNELS_FIRST, Shape.of(t.size())).narrow(0, i * length, length);
  }

  /** Per-channel values, once for every sample. */
  private record Repeated(@Nullable Tensor all, int samples) implements AutoCloseable {
    static Repeated of(@Nullable Tensor t, int samples) {
      if (t == null) {
        return new Repeated(null, samples);
      }
      Tensor all = Tensor.zeros(t.dtype(), samples * t.size());
      for (int i = 0; i < samples; i++) {
        SampleNormFunctions.part(all, i, samples)
            .copyFrom(t.view(MemoryFormat.CHANNELS_FIRST, Shape.of(t.size())));
      }
      return new Repeated(all, samples);
    }

    @Nullable Tensor part(int i, boolean whole) {
      Tensor t = all;
      return t == null || whole ? t : SampleNormFunctions.part(t, i, samples);
    }

    /** Writes {@code factor} times the sums over the samples. */
    void reduce(double factor, Tensor to) {
      if (all == null) {
        return;
      }
      double[] values = all.toDoubleArray();
      double[] sums = new double[values.length / samples];
      for (int i = 0; i < values.length; i++) {
        sums[i % sums.length] += values[i];
      }
      for (int c = 0; c < sums.length; c++) {
        sums[c] *= factor;
      }
      to.copyFrom(sums);
    }

    @Override
    public void close() {
      if (all != null) {
        all.close();
      }
    }
  }

  // ----------------------------------------------------------------------------------- group norm

  /** {@link #groupNorm} on {@link Backends#best()}. */
  public static Tensor groupNorm(
      Tensor x,
      long numGroups,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      SavedStatistics saved,
      Tensor out) {
    return groupNorm(x, numGroups, weight, bias, eps, Backends.best(), saved, out);
  }

  /**
   * Normalizes each group of C / numGroups neighbouring channels of each sample with its own mean
   * and biased variance.
   *
   * @param x (N, C, ...)
   * @param numGroups a divisor of C
   * @param weight C elements; null for 1
   * @param bias C elements; null for 0
   * @param eps &gt; 0
   * @param saved N * numGroups elements each, overwritten: what the backward needs
   * @return {@code out}
   */
  public static Tensor groupNorm(
      Tensor x,
      long numGroups,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      BatchNormBackend backend,
      SavedStatistics saved,
      Tensor out) {
    Problem rows = groups(x, numGroups);
    checkGroups(x.shape(), numGroups);
    checkEps("group_norm", eps);
    forward(x, rows, Problem.of(x, Activation.NONE), weight, bias, eps, backend, saved, out);
    return out;
  }

  /**
   * The gradients of {@link #groupNorm}.
   *
   * @param dy the gradient of {@code out}, in either memory format
   * @param x the forward's input, unchanged
   * @param numGroups as in the forward, like {@code weight}
   * @param saved what the forward left
   * @param dx with memory of its own, shared with neither {@code dy} nor {@code x}
   * @param dweight null when not wanted, like {@code dbias}
   */
  public static void groupNormBackward(
      Tensor dy,
      Tensor x,
      long numGroups,
      @Nullable Tensor weight,
      SavedStatistics saved,
      BatchNormBackend backend,
      Tensor dx,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Problem rows = groups(x, numGroups);
    Problem columns = Problem.of(x, Activation.NONE);
    backward(dy, x, rows, columns, weight, saved, backend, dx, dweight, dbias);
  }

  private static Problem groups(Tensor x, long numGroups) {
    checkData(x, "group_norm");
    Shape shape = x.shape();
    if (shape.rank() < 2) {
      throw new IllegalArgumentException(
          "Expected at least 2 dimensions for input tensor but received "
              + shape.rank()
              + ": x must be (N, C, ...), but has shape "
              + shape);
    }
    if (numGroups < 1 || shape.dim(1) % numGroups != 0) {
      throw new IllegalArgumentException(
          "Expected number of channels in input to be divisible by num_groups, but got input of"
              + " shape "
              + shape
              + " and num_groups="
              + numGroups);
    }
    long groups = shape.dim(0) * numGroups;
    return rows(x, groups, groups == 0 ? 0 : shape.size() / groups);
  }

  // ----------------------------------------------------------------------------------- layer norm

  /** {@link #layerNorm} on {@link Backends#best()}. */
  public static Tensor layerNorm(
      Tensor x,
      Shape normalizedShape,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      SavedStatistics saved,
      Tensor out) {
    return layerNorm(x, normalizedShape, weight, bias, eps, Backends.best(), saved, out);
  }

  /**
   * Normalizes the trailing dimensions together, with their own mean and biased variance for every
   * index of the leading ones.
   *
   * @param x any shape that ends with {@code normalizedShape}
   * @param normalizedShape at least one dimension
   * @param weight as many elements as {@code normalizedShape}; null for 1
   * @param bias likewise; null for 0
   * @param eps &gt; 0
   * @param saved one element for every index of the leading dimensions each, overwritten: what the
   *     backward needs
   * @return {@code out}
   */
  public static Tensor layerNorm(
      Tensor x,
      Shape normalizedShape,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      BatchNormBackend backend,
      SavedStatistics saved,
      Tensor out) {
    Problem rows = trailing(x, normalizedShape);
    checkEps("layer_norm", eps);
    forward(x, rows, elements(rows), weight, bias, eps, backend, saved, out);
    return out;
  }

  /** The gradients of {@link #layerNorm}; otherwise as {@link #groupNormBackward}. */
  public static void layerNormBackward(
      Tensor dy,
      Tensor x,
      Shape normalizedShape,
      @Nullable Tensor weight,
      SavedStatistics saved,
      BatchNormBackend backend,
      Tensor dx,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Problem rows = trailing(x, normalizedShape);
    backward(dy, x, rows, elements(rows), weight, saved, backend, dx, dweight, dbias);
  }

  private static Problem trailing(Tensor x, Shape normalizedShape) {
    checkData(x, "layer_norm");
    if (normalizedShape.rank() == 0) {
      throw new IllegalArgumentException(
          "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
              + " element, but got normalized_shape = []");
    }
    checkTrailing(x.shape(), normalizedShape);
    long length = normalizedShape.size();
    return rows(x, length == 0 ? 0 : x.size() / length, length);
  }

  /**
   * Throws unless {@code x} ends in {@code normalizedShape}, in PyTorch's words.
   *
   * @throws IllegalArgumentException if it does not
   */
  public static void checkTrailing(Shape x, Shape normalizedShape) {
    if (!x.endsWith(normalizedShape)) {
      String expected = normalizedShape.toString();
      throw new IllegalArgumentException(
          "Given normalized_shape="
              + expected
              + ", expected input with shape [*, "
              + expected.substring(1)
              + ", but got input of size"
              + x);
    }
  }

  /** The elements of the rows as channels. */
  private static Problem elements(Problem rows) {
    return new Problem(rows.c(), rows.s(), 1, Layout.NSC, rows.dtype(), Activation.NONE);
  }

  // --------------------------------------------------------------------- what the two have in
  // common

  /** Rows as the channels of one sample. */
  private static Problem rows(Tensor x, long count, long length) {
    return new Problem(1, count, length, Layout.NCS, x.dtype(), Activation.NONE);
  }

  /** Normalizes the rows, then scales and shifts the channels of {@code columns}. */
  private static void forward(
      Tensor x,
      Problem rows,
      Problem columns,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      BatchNormBackend backend,
      SavedStatistics saved,
      Tensor out) {
    checkPerChannel("weight", weight, columns);
    checkPerChannel("bias", bias, columns);
    checkSaved(saved, rows);
    checkLike("out", out, x);
    checkForwardApart(x, weight, bias, saved, out);
    if (x.size() == 0) {
      return;
    }
    Tensor from = rowMajor(x);
    Tensor to = out.isRowMajor() ? out : rowMajorLike(out);
    try {
      backend.training(
          rows, view(from, rows), null, view(to, rows), null, null, eps, saved, null, null, 0);
      if (weight != null || bias != null) {
        try (Identity identity = Identity.of(columns)) {
          Tensor y = view(to, columns);
          backend.inference(
              rowMajor(columns), y, null, y, identity.mean, identity.var, weight, bias, 0);
        }
      }
      if (to != out) {
        out.copyFrom(to);
      }
    } finally {
      closeCopy(from, x);
      closeCopy(to, out);
    }
  }

  private static void backward(
      Tensor dy,
      Tensor x,
      Problem rows,
      Problem columns,
      @Nullable Tensor weight,
      SavedStatistics saved,
      BatchNormBackend backend,
      Tensor dx,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    checkShapeAndType("dy", dy, x);
    checkPerChannel("weight", weight, columns);
    checkSaved(saved, rows);
    checkLike("dx", dx, x);
    checkPerChannel("dweight", dweight, columns);
    checkPerChannel("dbias", dbias, columns);
    checkApart("dx", dx, "dy", dy);
    checkApart("dx", dx, "x", x);
    checkBackwardApart(dy, x, weight, saved, dx, dweight, dbias);
    if (x.size() == 0) {
      zero(dweight, dbias);
      return;
    }
    Tensor from = rowMajor(x);
    Tensor gradient = rowMajor(dy);
    Tensor to = dx.isRowMajor() ? dx : rowMajorLike(dx);
    try {
      Tensor ofNormalized = gradient;
      if (weight != null || dweight != null || dbias != null) {
        // dx first holds the normalized values, then their gradients.
        backend.normalize(rows, view(from, rows), null, view(to, rows), saved, null, null);
        try (Identity identity = Identity.of(columns)) {
          Tensor normalized = view(to, columns);
          backend.backwardInference(
              rowMajor(columns),
              view(gradient, columns),
              normalized,
              null,
              weight,
              null,
              identity.mean,
              identity.var,
              0,
              normalized,
              null,
              dweight,
              dbias);
        }
        ofNormalized = to;
      }
      backend.backwardTraining(
          rows,
          view(ofNormalized, rows),
          view(from, rows),
          null,
          null,
          null,
          saved,
          view(to, rows),
          null,
          null,
          null);
      if (to != dx) {
        dx.copyFrom(to);
      }
    } finally {
      closeCopy(from, x);
      closeCopy(gradient, dy);
      closeCopy(to, dx);
    }
  }

  private static Tensor rowMajor(Tensor t) {
    return t.isRowMajor() ? t : rowMajorLike(t).copyFrom(t);
  }

  private static Tensor rowMajorLike(Tensor t) {
    return Tensor.zeros(t.dtype(), MemoryFormat.CHANNELS_FIRST, t.shape());
  }

  /** The values of a row-major tensor as those of a problem. */
  private static Tensor view(Tensor t, Problem problem) {
    return t.view(MemoryFormat.CHANNELS_FIRST, Shape.of(problem.n(), problem.c(), problem.s()));
  }

  /** The problem with its values where {@link #view} has them. */
  private static Problem rowMajor(Problem problem) {
    return new Problem(
        problem.n(), problem.c(), problem.s(), Layout.NCS, problem.dtype(), Activation.NONE);
  }

  /** Statistics that normalize every value to itself. */
  private record Identity(Tensor mean, Tensor var) implements AutoCloseable {
    static Identity of(Problem problem) {
      DType type = problem.dtype().parameterType();
      return new Identity(Tensor.zeros(type, problem.c()), Tensor.zeros(type, problem.c()).fill(1));
    }

    @Override
    public void close() {
      mean.close();
      var.close();
    }
  }

  // -------------------------------------------------------------------------------------- checks

  /**
   * Checks that the channels of such a sample can be normalized by themselves.
   *
   * @param x (N, C, ...)
   * @throws IllegalArgumentException if they have one value each
   */
  public static void checkInstances(Shape x) {
    for (int i = 2; i < x.rank(); i++) {
      if (x.dim(i) != 1) {
        return;
      }
    }
    throw new IllegalArgumentException(
        "Expected more than 1 spatial element when training, got input size torch.Size(" + x + ")");
  }

  /**
   * Checks that groups of the channels of such samples can be normalized by themselves. As in
   * PyTorch, which asks for two values of all samples' first groups, not of each group.
   *
   * @param x (N, C, ...)
   * @throws IllegalArgumentException if the groups of all samples have one value together
   */
  public static void checkGroups(Shape x, long numGroups) {
    if (x.size() == numGroups) {
      long[] size = x.toArray();
      size[0] = 1;
      size[1] = numGroups;
      throw new IllegalArgumentException(
          "Expected more than 1 value per channel when training, got input size " + Shape.of(size));
    }
  }

  private static void checkData(Tensor x, String function) {
    checkOpen("x", x);
    if (x.dtype() == DType.I64) {
      throw new IllegalArgumentException(
          "\""
              + function
              + "\" not implemented for 'Long': x must be F32, F64, BF16 or F16, but is"
              + " I64");
    }
  }

  private static void checkEps(String function, double eps) {
    if (!(eps > 0)) {
      throw new IllegalArgumentException(function + " eps must be positive, but got " + eps);
    }
  }

  private static void checkForwardApart(
      Tensor x, @Nullable Tensor weight, @Nullable Tensor bias, SavedStatistics saved, Tensor out) {
    checkSameOrApart("out", out, "x", x);
    List<Named> statistics =
        List.of(
            new Named("saved.mean", saved.mean()),
            new Named("saved.meanLow", saved.meanLow()),
            new Named("saved.invStd", saved.invStd()));
    List<Named> parameters = List.of(new Named("weight", weight), new Named("bias", bias));
    apart(parameters, List.of(new Named("out", out)));
    apart(parameters, statistics);
    apart(List.of(new Named("x", x), new Named("out", out)), statistics);
  }

  private static void checkBackwardApart(
      Tensor dy,
      Tensor x,
      @Nullable Tensor weight,
      SavedStatistics saved,
      @Nullable Tensor dx,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    apart(
        List.of(
            new Named("weight", weight),
            new Named("saved.mean", saved.mean()),
            new Named("saved.meanLow", saved.meanLow()),
            new Named("saved.invStd", saved.invStd())),
        List.of(new Named("dx", dx), new Named("dweight", dweight), new Named("dbias", dbias)));
    apart(
        List.of(new Named("dy", dy), new Named("x", x)),
        List.of(new Named("dweight", dweight), new Named("dbias", dbias)));
  }

  private record Named(String name, @Nullable Tensor tensor) {}

  /** Throws if an output shares memory with an input or with another output. */
  private static void apart(List<Named> inputs, List<Named> outputs) {
    for (int i = 0; i < outputs.size(); i++) {
      Named output = outputs.get(i);
      for (Named input : inputs) {
        checkApart(output.name, output.tensor, input.name, input.tensor);
      }
      for (Named other : outputs.subList(0, i)) {
        checkApart(output.name, output.tensor, other.name, other.tensor);
      }
    }
  }
}
