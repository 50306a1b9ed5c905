package org.batchnorm4j.benchmarks.serving;

import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.batchnorm4j.nn.InferenceModel;
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
 * Requests to a network, from arrays to arrays: latency, or throughput with {@code -bm thrpt}.
 * Callers: {@code -t 1}, 2, 8, 64. Allocation: {@code -prof gc}. docs/benchmarking.md has commands.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
@NullUnmarked // JMH fills the fields before it runs anything
public class ServingJmh {

  /** The network, which all callers share. */
  @State(Scope.Benchmark)
  @NullUnmarked
  public static class Served {
    @Param({"batchnorm4j", "ONNX Runtime", "libtorch", "copy"})
    String contender = "";

    @Param({"mlp 1", "mlp 64", "mlp 1024", "cnn 1", "cnn 64", "scaler 1", "scaler 10000"})
    String work = "";

    Network network;
    Server server;
    int batch;

    /** Builds the network. */
    @Setup
    public void prepare() throws Exception {
      String[] nameAndBatch = work.split(" ");
      network = Network.of(nameAndBatch[0]);
      batch = Integer.parseInt(nameAndBatch[1]);
      server =
          switch (contender) {
            case "batchnorm4j" -> new OurServer(network);
            case "ONNX Runtime" -> new OnnxServer(network);
            case "libtorch" -> new TorchServer(network);
            case "copy" -> new CopyServer();
            default -> throw new IllegalArgumentException("there is no contender " + contender);
          };
    }

    /** Gives everything back. */
    @TearDown
    public void close() throws Exception {
      server.close();
    }
  }

  /** A thread that calls, with its own data. */
  @State(Scope.Thread)
  @NullUnmarked
  public static class Client {
    private Server.Caller caller;

    /** Makes data, and checks what the contender makes of it. */
    @Setup
    public void prepare(Served served) throws Exception {
      SplittableRandom random = new SplittableRandom(7);
      float[] input = new float[served.batch * served.network.inputSize()];
      for (int i = 0; i < input.length; i++) {
        input[i] = (float) random.nextGaussian();
      }
      caller = served.server.caller(served.batch, input);
      caller.call();
      if (!served.server.computes()) {
        return;
      }
      try (InferenceModel model =
          InferenceModel.of(served.network.module(), served.network.sample())) {
        int outputs = served.batch * (int) model.outputShape().size();
        float[] expected = model.forward(input, new float[outputs]);
        float[] got = caller.output();
        for (int i = 0; i < outputs; i++) {
          if (!(Math.abs(expected[i] - got[i]) <= 1e-4 * (1 + Math.abs(expected[i])))) {
            throw new IllegalStateException(
                "output " + i + " is " + got[i] + ", expected " + expected[i]);
          }
        }
      }
    }

    /** Gives everything back. */
    @TearDown
    public void close() throws Exception {
      caller.close();
    }
  }

  /** One request. */
  @Benchmark
  public void request(Client client) {
    client.caller.call();
  }
}
