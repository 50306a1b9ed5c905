package org.batchnorm4j.nn;

import java.util.function.UnaryOperator;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.BatchNorm1dImpl;
import org.bytedeco.pytorch.BatchNorm2dImpl;
import org.bytedeco.pytorch.BatchNorm3dImpl;
import org.bytedeco.pytorch.BatchNormOptions;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.StringTensorDict;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorArrayRefOptional;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** The oracle: a batch norm module of libtorch. Values go in and come out as row-major doubles. */
@SuppressWarnings("try") // Scopes are closed, not used.
final class TorchBatchNorm {
  /** What a forward and its backward gave. Null: the module has no such thing. */
  record Step(double[] y, double[] dx, double @Nullable [] dweight, double @Nullable [] dbias) {}

  private final org.bytedeco.pytorch.Module module;
  private final UnaryOperator<Tensor> forward;

  /**
   * A {@code torch::nn::BatchNorm<dims>d}.
   *
   * @param parameterType F32 or F64
   */
  TorchBatchNorm(
      int dims,
      long channels,
      double eps,
      @Nullable Double momentum,
      boolean affine,
      boolean track,
      DType parameterType) {
    BatchNormOptions options = new BatchNormOptions(channels);
    options.eps().put(eps);
    if (momentum == null) {
      options.momentum().reset();
    } else {
      options.momentum().put(momentum);
    }
    options.affine().put(affine);
    options.track_running_stats().put(track);
    switch (dims) {
      case 1 -> {
        BatchNorm1dImpl bn = new BatchNorm1dImpl(options);
        module = bn;
        forward = bn::forward;
      }
      case 2 -> {
        BatchNorm2dImpl bn = new BatchNorm2dImpl(options);
        module = bn;
        forward = bn::forward;
      }
      case 3 -> {
        BatchNorm3dImpl bn = new BatchNorm3dImpl(options);
        module = bn;
        forward = bn::forward;
      }
      default -> throw new IllegalArgumentException("dims " + dims);
    }
    module.to(scalarType(parameterType), false);
  }

  /** Sets weight, bias, running_mean, running_var or num_batches_tracked. */
  void set(String name, double[] values) {
    try (PointerScope scope = new PointerScope();
        AutoGradMode off = new AutoGradMode(false)) {
      Tensor own = find(name);
      own.copy_(PyTorch.tensor(values, values.length).view_as(own));
    }
  }

  /** weight, bias, running_mean, running_var or num_batches_tracked; null if there is none. */
  double @Nullable [] get(String name) {
    try (PointerScope scope = new PointerScope()) {
      Tensor t = find(name);
      return t == null ? null : PyTorch.values(t);
    }
  }

  /** Forward and backward, all tensors in the given type and formats. */
  Step step(
      boolean training,
      DType dtype,
      long[] shape,
      double[] x,
      MemoryFormat xFormat,
      double[] dy,
      MemoryFormat dyFormat) {
    try (PointerScope scope = new PointerScope()) {
      module.train(training);
      module.zero_grad(true);
      Tensor input = PyTorch.tensor(x, shape).to(scalarType(dtype));
      input = in(xFormat, input, shape.length).detach().requires_grad_(true);
      Tensor output = forward.apply(input);
      Tensor gradient = in(dyFormat, PyTorch.tensor(dy, shape).to(scalarType(dtype)), shape.length);
      output.backward(gradient, new BoolOptional(), false, new TensorArrayRefOptional());
      Tensor weight = find("weight");
      Tensor bias = find("bias");
      return new Step(
          PyTorch.values(output),
          PyTorch.values(PyTorch.grad(input)),
          weight == null ? null : PyTorch.values(PyTorch.grad(weight)),
          bias == null ? null : PyTorch.values(PyTorch.grad(bias)));
    }
  }

  private @Nullable Tensor find(String name) {
    StringTensorDict parameters = module.named_parameters();
    StringTensorDict all = parameters.contains(name) ? parameters : module.named_buffers();
    return all.contains(name) ? all.get(name) : null;
  }

  /** The same tensor, laid out channels first or last: torch's own formats are for 4 and 5 dims. */
  private static Tensor in(MemoryFormat format, Tensor t, int rank) {
    if (format == MemoryFormat.CHANNELS_FIRST || rank < 3) {
      return t.contiguous();
    }
    long[] last = new long[rank];
    long[] back = new long[rank];
    for (int i = 1; i < rank - 1; i++) {
      last[i] = i + 1;
      back[i + 1] = i;
    }
    last[rank - 1] = 1;
    back[1] = rank - 1;
    return t.permute(last).contiguous().permute(back);
  }

  private static ScalarType scalarType(DType dtype) {
    return switch (dtype) {
      case F32 -> ScalarType.Float;
      case F64 -> ScalarType.Double;
      case BF16 -> ScalarType.BFloat16;
      case F16 -> ScalarType.Half;
      case I64 -> ScalarType.Long;
    };
  }
}
