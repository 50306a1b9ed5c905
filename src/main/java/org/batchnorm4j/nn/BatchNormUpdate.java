package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.batchnorm4j.stats.ChannelStatistics;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Sets the running statistics of a model's batch norms to those of a data set: after weights were
 * averaged, which leaves them meaningless, or to have more exact ones than a training leaves.
 *
 * <p>Both ways change the running statistics and {@code num_batches_tracked} of every batch norm
 * that tracks them: frozen ones stay as they are, and every module gets its mode back, every batch
 * norm its momentum. If anything throws, the data included, all buffers of the model are what they
 * were. Without a batch norm that tracks, nothing happens.
 *
 * <p>They differ in whose statistics these are:
 *
 * <ul>
 *   <li>{@link #population} gives exactly the mean and the variance that the inputs of each batch
 *       norm have in evaluation mode. It takes as many passes over the data as there are batch
 *       norms.
 *   <li>{@link #cumulativeAverage} does what PyTorch's {@code torch.optim.swa_utils.update_bn}
 *       does: one pass in training mode, and the plain averages of the batches' means and
 *       variances. The variance of the batches' means is lost, a small batch counts as much as a
 *       large one, the inputs are those behind batch norms that normalize by batch, and dropout
 *       drops.
 * </ul>
 */
public final class BatchNormUpdate {
  private BatchNormUpdate() {}

  /**
   * Sets running statistics to mean and unbiased variance over all data.
   *
   * <p>Batch norm by batch norm, in the order of the forward: the input of one depends on how those
   * before it normalize, so each gets its statistics, merged from those of the batches by Chan's
   * formula, before the next. {@code num_batches_tracked} becomes the number of batches. Batch
   * norms that the forward does not reach stay as they are.
   *
   * @param data batches of any sizes; iterated once more than there are batch norms, the same
   *     batches each time. The forward's {@code backward} is not called
   * @throws IllegalArgumentException if there is no batch, or not the same number each time; if a
   *     batch norm sees less than two values per channel; if a {@link LazyBatchNorm} has not seen
   *     any; or if the model refuses a batch
   * @throws IllegalStateException if the model was made by {@link Sequential#fuse}
   */
  public static void population(Module model, Iterable<Tensor> data) {
    update(
        model,
        batchNorms -> {
          model.eval();
          Set<BatchNorm> order = new LinkedHashSet<>();
          batchNorms.forEach(bn -> bn.observeInputs(x -> order.add(bn)));
          int batches = forward(model, data);
          batchNorms.forEach(bn -> bn.observeInputs(null));
          for (BatchNorm bn : order) {
            ChannelStatistics statistics = new ChannelStatistics(Math.toIntExact(bn.numFeatures()));
            bn.observeInputs(statistics::add);
            int again = forward(model, data);
            bn.observeInputs(null);
            if (again != batches) {
              throw new IllegalArgumentException(
                  "data had "
                      + batches
                      + " batches first and then "
                      + again
                      + ", but must have the same ones each time it is iterated");
            }
            if (statistics.count() < 2) {
              throw new IllegalArgumentException(
                  "data must have more than 1 value per channel, but "
                      + bn
                      + " has seen "
                      + statistics.count());
            }
            bn.setRunningStats(statistics, batches);
          }
        });
  }

  /**
   * Sets running statistics to the averages of the batches' means and unbiased variances, as after
   * a training with momentum null that began with {@link BatchNorm#resetRunningStats}. To all other
   * modules these are training forwards, too: as in PyTorch, instance norms that track move their
   * statistics.
   *
   * @param data batches that a forward in training mode takes; iterated once
   * @throws IllegalArgumentException if there is no batch; if a {@link LazyBatchNorm} has not seen
   *     any; or if the model refuses a batch
   * @throws IllegalStateException if the model was made by {@link Sequential#fuse}
   */
  public static void cumulativeAverage(Module model, Iterable<Tensor> data) {
    update(
        model,
        batchNorms -> {
          model.train();
          for (BatchNorm bn : batchNorms) {
            bn.resetRunningStats();
            bn.setMomentum(null);
          }
          forward(model, data);
        });
  }

  private static int forward(Module model, Iterable<Tensor> data) {
    int batches = 0;
    for (Tensor x : data) {
      model.forward(x);
      batches++;
    }
    if (batches == 0) {
      throw new IllegalArgumentException("data has no batches");
    }
    return batches;
  }

  private interface Update {
    void run(List<BatchNorm> batchNorms);
  }

  /** Runs an update between keeping and giving back all that it may not change. */
  private static void update(Module model, Update update) {
    List<BatchNorm> batchNorms = new ArrayList<>();
    Map<Module, Boolean> modes = new IdentityHashMap<>();
    for (Module module : model.modules()) {
      module.checkTrainable();
      modes.put(module, module.isTraining());
      Module settled = module.settled();
      if (settled instanceof LazyBatchNorm) {
        throw new IllegalArgumentException(
            module + " has seen no input yet and has no running statistics: call forward first");
      }
      if (settled instanceof BatchNorm bn && bn.runningMean() != null && bn.trackRunningStats()) {
        batchNorms.add(bn);
      }
    }
    if (batchNorms.isEmpty()) {
      return;
    }
    Map<BatchNorm, @Nullable Double> momenta = new HashMap<>();
    batchNorms.forEach(bn -> momenta.put(bn, bn.momentum()));
    Map<Tensor, Tensor> buffers = new IdentityHashMap<>();
    model.namedBuffers().values().forEach(t -> buffers.put(t, Tensor.zerosLike(t).copyFrom(t)));
    boolean done = false;
    try {
      update.run(batchNorms);
      done = true;
    } finally {
      for (BatchNorm bn : batchNorms) {
        bn.observeInputs(null);
        bn.setMomentum(momenta.get(bn));
      }
      modes.forEach(Module::setMode);
      if (!done) {
        buffers.forEach(Tensor::copyFrom);
      }
      buffers.values().forEach(Tensor::close);
    }
  }
}
