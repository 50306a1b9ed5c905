package org.batchnorm4j.benchmarks.peer;

import static org.bytedeco.dnnl.global.dnnl.*;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.dnnl.dnnl_engine;
import org.bytedeco.dnnl.dnnl_exec_arg_t;
import org.bytedeco.dnnl.dnnl_memory;
import org.bytedeco.dnnl.dnnl_memory_desc;
import org.bytedeco.dnnl.dnnl_primitive;
import org.bytedeco.dnnl.dnnl_primitive_attr;
import org.bytedeco.dnnl.dnnl_primitive_desc;
import org.bytedeco.dnnl.dnnl_stream;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/**
 * oneDNN by its C functions: primitives, memory and arguments are made once. It does not keep
 * running statistics, so its training does a little less than ours. Threads: OMP_NUM_THREADS.
 */
public final class OneDnn implements Peer {
  @Override
  public String name() {
    return "oneDNN";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    // Its fused ReLU wants a workspace in training, and CPUs have no fused add.
    if (cell.residual() || cell.relu() && cell.is(Cell.Operation.BACKWARD)) {
      return null;
    }
    return new Run(cell, o);
  }

  private static void check(int status) {
    if (status != dnnl_success) {
      throw new IllegalStateException("oneDNN returned status " + status);
    }
  }

  private static final class Run implements Task {
    private final dnnl_engine engine = new dnnl_engine();
    private final dnnl_stream stream = new dnnl_stream();
    private final dnnl_primitive primitive = new dnnl_primitive();
    private final List<Runnable> cleanup = new ArrayList<>();
    private final dnnl_exec_arg_t arguments;
    private final int count;

    Run(Cell cell, Operands o) {
      check(dnnl_engine_create(engine, dnnl_cpu, 0));
      check(dnnl_stream_create(stream, engine, dnnl_stream_default_flags));
      boolean flat = cell.dims().length == 2;
      long[] dims =
          flat ? new long[] {cell.n(), cell.c()} : new long[] {cell.n(), cell.c(), cell.s()};
      int tag = flat ? dnnl_ab : cell.layout() == Layout.NSC ? dnnl_acb : dnnl_abc;
      int type = cell.dtype() == DType.BF16 ? dnnl_bf16 : dnnl_f32;
      dnnl_memory_desc data = new dnnl_memory_desc();
      dnnl_memory_desc channel = new dnnl_memory_desc();
      check(dnnl_memory_desc_create_with_tag(data, dims.length, dims, type, tag));
      check(dnnl_memory_desc_create_with_tag(channel, 1, new long[] {cell.c()}, dnnl_f32, dnnl_a));
      cleanup.add(() -> dnnl_memory_desc_destroy(data));
      cleanup.add(() -> dnnl_memory_desc_destroy(channel));

      int affine = dnnl_use_scale | dnnl_use_shift;
      Map<Integer, dnnl_memory> map = new LinkedHashMap<>();
      map.put(DNNL_ARG_SRC, memory(data, o.x));
      map.put(DNNL_ARG_SCALE, memory(channel, o.weight));
      dnnl_primitive_desc forward = new dnnl_primitive_desc();
      switch (cell.operation()) {
        case INFERENCE -> {
          int flags = affine | dnnl_use_global_stats | (cell.relu() ? dnnl_fuse_norm_relu : 0);
          forward(forward, dnnl_forward_inference, data, flags);
          check(dnnl_primitive_create(primitive, forward));
          map.put(DNNL_ARG_DST, memory(data, o.y));
          map.put(DNNL_ARG_SHIFT, memory(channel, o.bias));
          map.put(DNNL_ARG_MEAN, memory(channel, o.runningMean));
          map.put(DNNL_ARG_VARIANCE, memory(channel, o.runningVar));
        }
        case TRAINING -> {
          forward(
              forward,
              dnnl_forward_training,
              data,
              affine | (cell.relu() ? dnnl_fuse_norm_relu : 0));
          check(dnnl_primitive_create(primitive, forward));
          map.put(DNNL_ARG_DST, memory(data, o.y));
          map.put(DNNL_ARG_SHIFT, memory(channel, o.bias));
          map.put(DNNL_ARG_MEAN, memory(channel, null));
          map.put(DNNL_ARG_VARIANCE, memory(channel, null));
          if (cell.relu()) {
            dnnl_memory_desc workspace =
                dnnl_primitive_desc_query_md(forward, dnnl_query_workspace_md, 0);
            map.put(DNNL_ARG_WORKSPACE, memory(workspace, null));
          }
        }
        case BACKWARD -> {
          forward(forward, dnnl_forward_training, data, affine);
          dnnl_primitive_desc backward = new dnnl_primitive_desc();
          check(
              dnnl_batch_normalization_backward_primitive_desc_create(
                  backward,
                  engine,
                  dnnl_backward,
                  data,
                  data,
                  data,
                  (float) Operands.EPS,
                  affine,
                  forward,
                  new dnnl_primitive_attr()));
          cleanup.add(() -> dnnl_primitive_desc_destroy(backward));
          map.put(DNNL_ARG_DIFF_DST, memory(data, o.dy));
          map.put(DNNL_ARG_DIFF_SRC, memory(data, o.dx));
          map.put(DNNL_ARG_DIFF_SCALE, memory(channel, o.dweight));
          map.put(DNNL_ARG_DIFF_SHIFT, memory(channel, o.dbias));
          // The statistics come from a forward of its own, into memory of its own.
          Map<Integer, dnnl_memory> forwardMap = new LinkedHashMap<>();
          dnnl_memory mean = memory(channel, null);
          dnnl_memory variance = memory(channel, null);
          forwardMap.put(DNNL_ARG_SRC, map.get(DNNL_ARG_SRC));
          forwardMap.put(DNNL_ARG_DST, map.get(DNNL_ARG_DIFF_SRC));
          forwardMap.put(DNNL_ARG_SCALE, map.get(DNNL_ARG_SCALE));
          forwardMap.put(DNNL_ARG_SHIFT, memory(channel, o.bias));
          forwardMap.put(DNNL_ARG_MEAN, mean);
          forwardMap.put(DNNL_ARG_VARIANCE, variance);
          dnnl_primitive once = new dnnl_primitive();
          check(dnnl_primitive_create(once, forward));
          try (dnnl_exec_arg_t list = list(forwardMap)) {
            check(dnnl_primitive_execute(once, stream, forwardMap.size(), list));
            check(dnnl_stream_wait(stream));
          }
          check(dnnl_primitive_destroy(once));
          map.put(DNNL_ARG_MEAN, mean);
          map.put(DNNL_ARG_VARIANCE, variance);
          check(dnnl_primitive_create(primitive, backward));
        }
      }
      cleanup.add(() -> dnnl_primitive_desc_destroy(forward));
      arguments = list(map);
      count = map.size();
    }

    private void forward(dnnl_primitive_desc to, int kind, dnnl_memory_desc data, int flags) {
      check(
          dnnl_batch_normalization_forward_primitive_desc_create(
              to,
              engine,
              kind,
              data,
              data,
              (float) Operands.EPS,
              flags,
              new dnnl_primitive_attr()));
    }

    private dnnl_memory memory(dnnl_memory_desc description, @Nullable Tensor t) {
      dnnl_memory memory = new dnnl_memory();
      Pointer at = new Torch.Address(t == null ? -1 : t.address()); // -1: allocate it
      check(dnnl_memory_create(memory, description, engine, at));
      cleanup.add(0, () -> dnnl_memory_destroy(memory));
      return memory;
    }

    private static dnnl_exec_arg_t list(Map<Integer, dnnl_memory> map) {
      dnnl_exec_arg_t list = new dnnl_exec_arg_t(map.size());
      int i = 0;
      for (Map.Entry<Integer, dnnl_memory> e : map.entrySet()) {
        list.getPointer(i++).arg(e.getKey()).memory(e.getValue());
      }
      return list;
    }

    @Override
    public void run() {
      check(dnnl_primitive_execute(primitive, stream, count, arguments));
      check(dnnl_stream_wait(stream));
    }

    @Override
    public void close() {
      check(dnnl_primitive_destroy(primitive));
      cleanup.forEach(Runnable::run);
      check(dnnl_stream_destroy(stream));
      check(dnnl_engine_destroy(engine));
      arguments.close();
    }
  }
}
