package org.batchnorm4j.benchmarks;

import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Operands;
import org.batchnorm4j.benchmarks.peer.Peer;
import org.jspecify.annotations.NullUnmarked;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * The same contenders under JMH, one after the other, each in JVMs of its own: a second opinion on
 * {@link Race}. Threads: {@code -jvmArgs -Dorg.batchnorm4j.threads=N} and {@code
 * OMP_NUM_THREADS=N}.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(2)
@State(Scope.Benchmark)
@NullUnmarked // JMH fills the fields before it runs anything
public class BatchNormJmh {
  @Param({"native", "Java backend", "plain Java loop", "libtorch", "oneDNN", "ONNX Runtime"})
  String contender = "";

  @Param({"INFERENCE", "TRAINING", "BACKWARD"})
  Cell.Operation operation = Cell.Operation.INFERENCE;

  @Param({"NCS", "NSC"})
  Layout layout = Layout.NCS;

  @Param({"32x64x56x56", "1x64x56x56"})
  String shape = "";

  private Operands operands;
  private Peer.Task task;

  /** Prepares the contender and checks its values. */
  @Setup
  public void prepare() throws Exception {
    long[] dims = Arrays.stream(shape.split("x")).mapToLong(Long::parseLong).toArray();
    Cell cell = Plan.cell(operation, layout, dims);
    operands = new Operands(cell, 0);
    Exact exact = new Exact(cell, operands);
    Peer peer =
        Contenders.all(Backends.threadLimit()).stream()
            .filter(p -> p.name().startsWith(contender))
            .findFirst()
            .orElseThrow();
    Peer.Task prepared = peer.prepare(cell, operands);
    if (prepared == null) {
      throw new UnsupportedOperationException(contender + " does not offer this");
    }
    task = prepared;
    exact.poison();
    task.run();
    task.publish();
    String complaint = exact.complaint();
    if (complaint != null) {
      throw new IllegalStateException(contender + " is wrong: " + complaint);
    }
  }

  /** One call. */
  @Benchmark
  public void run() {
    task.run();
  }

  /** Gives everything back. */
  @TearDown
  public void close() {
    task.close();
    operands.close();
  }
}
