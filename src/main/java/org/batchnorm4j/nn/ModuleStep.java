package org.batchnorm4j.nn;

import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/** Any module that can be copied: each runner has one of its own. */
final class ModuleStep implements Step {
  private final Module module;
  private final Shape sample;

  /**
   * Takes over the module, which is in evaluation mode.
   *
   * @param sample the shape of one sample, with a first dimension of 1
   */
  ModuleStep(Module module, Shape sample) {
    this.module = module;
    this.sample = sample;
    // A call of an InferenceModel computes on the calling thread alone.
    if (Backends.best() instanceof NativeBackend b) {
      module.backend(b.withThreads(1));
    }
  }

  @Override
  public Runner newRunner(int samples) {
    return new Copy();
  }

  @Override
  public void close() {
    module.close();
  }

  private final class Copy implements Runner {
    private final Module copy = module.copy();
    private final Slot input = new Slot();
    private Shape shape = sample;

    @Override
    public void run(float[] x, float[] y, int n) {
      if (shape.dim(0) != n) {
        shape = sample.with(0, n);
      }
      Tensor in = input.get(DType.F32, MemoryFormat.CHANNELS_FIRST, shape);
      TensorAccess.write(in, 0, x, 0, (int) in.size());
      Tensor out = copy.forward(in);
      TensorAccess.read(out, 0, y, 0, (int) out.size());
    }

    @Override
    public void close() {
      copy.close();
      input.close();
    }
  }
}
