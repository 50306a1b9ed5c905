package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.batchnorm4j.tensor.DType;
import org.jspecify.annotations.Nullable;

/**
 * Folds a batch norm into the weights of the layer before it, like {@code torch.nn.utils.fusion}.
 * {@link Sequential#fuse} does so for a whole network.
 *
 * <p>In evaluation mode a batch norm multiplies each channel by a number and adds another; so can
 * the layer before it, with weights {@code W * scale} and a bias {@code (b - mean) * scale + beta},
 * where {@code scale = gamma / sqrt(var + eps)}. The new values are computed in double and rounded
 * once.
 */
public final class Fusion {
  private Fusion() {}

  /**
   * A convolution that does what {@code conv} and then {@code bn} do; it has a bias, is in
   * evaluation mode and shares no memory with the two.
   *
   * @throws IllegalStateException if either is in training mode or closed
   * @throws IllegalArgumentException if {@code bn} has another number of channels, is not F32 or
   *     has no running statistics
   */
  public static Conv1d fuseConvBatchNorm(Conv1d conv, BatchNorm1d bn) {
    check("conv", conv, conv.outChannels(), bn);
    return fold(conv, bn);
  }

  /** {@link #fuseConvBatchNorm(Conv1d, BatchNorm1d)} in two dimensions. */
  public static Conv2d fuseConvBatchNorm(Conv2d conv, BatchNorm2d bn) {
    check("conv", conv, conv.outChannels(), bn);
    return fold(conv, bn);
  }

  /**
   * A Linear that does what {@code linear} and then {@code bn} do; it has a bias, is in evaluation
   * mode and shares no memory with the two.
   *
   * <p>It takes (N, inFeatures) and nothing else: of (N, C, L) a batch norm normalizes dimension 1,
   * but Linear has weights for dimension 2 alone. Where the batch norm has one channel it takes (N,
   * 1, inFeatures) too.
   *
   * @param bn with {@code linear.outFeatures()} channels, or one
   * @throws IllegalStateException if either is in training mode or closed
   * @throws IllegalArgumentException if {@code bn} has another number of channels, is not F32 or
   *     has no running statistics
   */
  public static Linear fuseLinearBatchNorm(Linear linear, BatchNorm1d bn) {
    check("linear", linear, bn.numFeatures() == 1 ? 1 : linear.outFeatures(), bn);
    return fold(linear, bn);
  }

  private static void check(String name, Module layer, long channels, BatchNorm bn) {
    checkEvaluates(name, layer);
    checkEvaluates("bn", bn);
    if (bn.numFeatures() != channels) {
      throw new IllegalArgumentException(
          "bn has " + bn.numFeatures() + " channels, but " + name + " gives " + channels);
    }
    if (bn.runningMean() == null) {
      throw new IllegalArgumentException(
          "bn has no running statistics: it normalizes with those of each batch, which no weights"
              + " can hold");
    }
    if (bn.runningMean().dtype() != DType.F32) {
      throw new IllegalArgumentException(
          "bn is " + bn.runningMean().dtype() + ", but " + name + " computes in F32");
    }
  }

  private static void checkEvaluates(String name, Module module) {
    if (module.isTraining()) {
      throw new IllegalStateException(
          name
              + " is in training mode, in which a batch norm normalizes with the statistics of each"
              + " batch, which no weights can hold: call eval() first");
    }
  }

  // ------------------------------------------------------------------------------- whole networks

  /** {@link Sequential#fuse}. */
  static Sequential fuse(Sequential net) {
    checkEvaluates("Sequential", net);
    checkAllEvaluate("", net);
    Sequential fused = fuse(net, false);
    fused.setFused();
    return fused;
  }

  private static void checkAllEvaluate(String prefix, Module module) {
    module
        .children()
        .forEach(
            (name, child) -> {
              checkEvaluates("layer " + prefix + name, child);
              checkAllEvaluate(prefix + name + ".", child);
            });
  }

  /**
   * Folds and fuses what it can, leaves out what does nothing, and copies the rest.
   *
   * @param summing whether this is the body of a {@link Residual}, for which a batch norm at the
   *     end sums and activates: the pass over memory that folding it would save is needed anyway
   */
  private static Sequential fuse(Sequential net, boolean summing) {
    List<Map.Entry<String, Module>> layers = new ArrayList<>(net.children().entrySet());
    layers.removeIf(e -> e.getValue() instanceof Dropout);
    layers.replaceAll(e -> Map.entry(e.getKey(), e.getValue().settled()));
    Sequential fused = new Sequential();
    for (int i = 0; i < layers.size(); i++) {
      Module layer = layers.get(i).getValue();
      Module next = i + 1 < layers.size() ? layers.get(i + 1).getValue() : null;
      boolean nextSums = summing && i + 2 == layers.size() && next instanceof BatchNorm;
      Module both = next == null || nextSums ? null : fusePair(layer, next);
      boolean sums = summing && i + 1 == layers.size();
      fused.add(layers.get(i).getKey(), both != null ? both : fuseOne(layer, sums));
      if (both != null) {
        i++;
      }
    }
    return fused;
  }

  private static Module fuseOne(Module module, boolean summing) {
    if (module instanceof Sequential s) {
      return fuse(s, summing);
    }
    if (module instanceof Residual r) {
      Module shortcut = r.shortcut();
      return new Residual(
          fuseOne(r.body(), true),
          shortcut == null ? null : fuseOne(shortcut, false),
          r.activation());
    }
    return module.copy();
  }

  /** One module that does what the two do, or null. */
  private static @Nullable Module fusePair(Module layer, Module next) {
    if (layer instanceof BatchNorm bn) {
      boolean fusable =
          next instanceof ReLU || next instanceof LeakyReLU leaky && leaky.negativeSlope() > 0;
      return fusable ? new FusedBatchNorm(bn.copy(), (Elementwise) next.copy()) : null;
    }
    return foldPair(layer, next);
  }

  /** One layer that does what the layer and the batch norm behind it do, or null. */
  static @Nullable Module foldPair(Module layer, Module next) {
    if (!(next instanceof BatchNorm bn) || !isFoldable(bn)) {
      return null;
    }
    long channels = bn.numFeatures();
    if (layer instanceof Conv1d conv && bn instanceof BatchNorm1d) {
      return channels == conv.outChannels() ? fold(conv, bn) : null;
    }
    if (layer instanceof Conv2d conv && bn instanceof BatchNorm2d) {
      return channels == conv.outChannels() ? fold(conv, bn) : null;
    }
    if (layer instanceof Linear linear && bn instanceof BatchNorm1d) {
      return channels == linear.outFeatures() || channels == 1 ? fold(linear, bn) : null;
    }
    return null;
  }

  private static boolean isFoldable(BatchNorm bn) {
    return bn.runningMean() != null && bn.runningMean().dtype() == DType.F32;
  }

  // ----------------------------------------------------------------------------------- arithmetic

  private static Conv1d fold(Conv1d conv, BatchNorm bn) {
    ConvOptions options = conv.convOptions().bias(true);
    Conv1d folded = new Conv1d(conv.inChannels(), conv.outChannels(), options);
    return fold(conv.weight(), conv.bias(), bn, folded);
  }

  private static Conv2d fold(Conv2d conv, BatchNorm bn) {
    ConvOptions options = conv.convOptions().bias(true);
    Conv2d folded = new Conv2d(conv.inChannels(), conv.outChannels(), options);
    return fold(conv.weight(), conv.bias(), bn, folded);
  }

  private static Linear fold(Linear linear, BatchNorm bn) {
    Linear folded = linear.forFolding((int) bn.numFeatures());
    return fold(linear.weight(), linear.bias(), bn, folded);
  }

  /** Sets weight and bias of {@code folded}; the first dimension of the weight is the channels'. */
  private static <M extends Module> M fold(
      Parameter weight, @Nullable Parameter bias, BatchNorm bn, M folded) {
    double[] w = weight.value().toDoubleArray();
    int channels = (int) weight.value().shape().dim(0);
    double[] b = bias == null ? new double[channels] : bias.value().toDoubleArray();
    double[] mean = Objects.requireNonNull(bn.runningMean()).toDoubleArray();
    double[] var = Objects.requireNonNull(bn.runningVar()).toDoubleArray();
    Parameter gamma = bn.weight();
    Parameter beta = bn.bias();
    double[] g = gamma == null ? null : gamma.value().toDoubleArray();
    double[] shift = beta == null ? null : beta.value().toDoubleArray();
    int perChannel = w.length / channels;
    for (int i = 0; i < channels; i++) {
      int c = mean.length == 1 ? 0 : i;
      double scale = (g == null ? 1 : g[c]) / Math.sqrt(var[c] + bn.eps());
      for (int k = i * perChannel; k < (i + 1) * perChannel; k++) {
        w[k] *= scale;
      }
      b[i] = (b[i] - mean[c]) * scale + (shift == null ? 0 : shift[c]);
    }
    folded.ownParameters().get("weight").value().copyFrom(w);
    folded.ownParameters().get("bias").value().copyFrom(b);
    folded.eval();
    return folded;
  }
}
