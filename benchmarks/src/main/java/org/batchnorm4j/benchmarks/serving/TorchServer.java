package org.batchnorm4j.benchmarks.serving;

import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.nn.BatchNorm;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.Flatten;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MaxPool2d;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.ReLU;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * libtorch's operators one after another in inference mode, one thread to a call, on memory of its
 * own. The copies between heap arrays and that are a part of a call, as they are for a service.
 */
final class TorchServer implements Server {
  private final Network network;
  private final List<Layer> layers = new ArrayList<>();

  private interface Layer {
    Tensor apply(Tensor x);
  }

  TorchServer(Network network) {
    this.network = network;
    torch.set_num_threads(1);
    network.folded().forEach(layer -> layers.add(layer(layer)));
  }

  private static Layer layer(Module layer) {
    if (layer instanceof Linear linear) {
      Tensor weight = copy(linear.weight().value());
      TensorOptional bias = new TensorOptional(copy(linear.bias().value()));
      return x -> torch.linear(x, weight, bias);
    }
    if (layer instanceof Conv2d conv) {
      Tensor weight = copy(conv.weight().value());
      TensorOptional bias = new TensorOptional(copy(conv.bias().value()));
      long padding = conv.convOptions().padding().height();
      long[] ones = {1, 1};
      long[] paddings = {padding, padding};
      return x -> torch.conv2d(x, weight, bias, ones, paddings, ones, 1);
    }
    if (layer instanceof MaxPool2d pool) {
      long[] kernel = {pool.kernel(), pool.kernel()};
      return x -> torch.max_pool2d(x, kernel);
    }
    if (layer instanceof BatchNorm bn) {
      TensorOptional weight = new TensorOptional(copy(bn.weight().value()));
      TensorOptional bias = new TensorOptional(copy(bn.bias().value()));
      TensorOptional mean = new TensorOptional(copy(bn.runningMean()));
      TensorOptional var = new TensorOptional(copy(bn.runningVar()));
      return x -> torch.batch_norm(x, weight, bias, mean, var, false, 0.1, bn.eps(), false);
    }
    if (layer instanceof Flatten) {
      return x -> x.flatten(1, -1);
    }
    if (layer instanceof ReLU) {
      return torch::relu_;
    }
    throw new IllegalArgumentException("no libtorch for " + layer);
  }

  private static Tensor copy(org.batchnorm4j.tensor.Tensor t) {
    float[] values = t.toFloatArray();
    try (FloatPointer pointer = new FloatPointer(values)) {
      return torch
          .from_blob(pointer, t.shape().toArray(), new TensorOptions(ScalarType.Float))
          .clone();
    }
  }

  @Override
  public Caller caller(int batch, float[] input) {
    return new Call(batch, input);
  }

  private final class Call implements Caller {
    private final float[] input;
    private final FloatPointer in;
    private final Tensor x;
    private float[] output = new float[0];
    private boolean inferring;

    Call(int batch, float[] input) {
      this.input = input;
      in = new FloatPointer(input.length);
      x = torch.from_blob(in, network.batch(batch), new TensorOptions(ScalarType.Float));
    }

    @Override
    public void call() {
      if (!inferring) {
        // For the thread, until its end.
        new InferenceMode(true);
        inferring = true;
      }
      in.put(input);
      // What is allocated in between ends with it.
      PointerScope scope = new PointerScope();
      try {
        Tensor y = x;
        for (Layer layer : layers) {
          y = layer.apply(y);
        }
        if (output.length == 0) {
          output = new float[(int) y.numel()];
        }
        y.data_ptr_float().get(output);
      } finally {
        scope.close();
      }
    }

    @Override
    public float[] output() {
      return output;
    }

    @Override
    public void close() {
      in.close();
    }
  }

  @Override
  public void close() {}
}
