package org.batchnorm4j.examples;

import java.io.IOException;
import java.io.PrintWriter;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.examples.cli.Require;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.examples.mnist.MnistNetwork;
import org.batchnorm4j.examples.serve.PredictionServer;
import org.batchnorm4j.examples.serve.PredictionServer.Limits;
import org.batchnorm4j.io.Safetensors;
import org.batchnorm4j.nn.InferenceModel;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** A service: the network of the main job behind HTTP. */
@Command(
    name = "serve",
    description =
        "Serves the network that the example mnist saved: POST /predict, GET /health, GET /metrics,"
            + " and a page to draw digits on. Ctrl-C ends it.")
final class Serve implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "FILE",
      defaultValue = "${sys:org.batchnorm4j.examples.out:-out}/mnist.safetensors",
      description = "What the example mnist saved (default: ${DEFAULT-VALUE}).")
  private Path file = Path.of("mnist.safetensors");

  @Option(
      names = "--host",
      paramLabel = "ADDRESS",
      defaultValue = "127.0.0.1",
      description = "Address to listen on (default: ${DEFAULT-VALUE}, this machine alone).")
  private String host = "";

  @Option(
      names = "--port",
      paramLabel = "N",
      defaultValue = "8080",
      description = "Port to listen on, 0 for any (default: ${DEFAULT-VALUE}).")
  private int port;

  @Option(
      names = "--queue",
      paramLabel = "N",
      defaultValue = "64",
      description = "Predictions that may wait; more are refused (default: ${DEFAULT-VALUE}).")
  private int queue;

  @Option(
      names = "--max-body",
      paramLabel = "BYTES",
      defaultValue = "1048576",
      description = "The largest request (default: ${DEFAULT-VALUE}).")
  private int maxBody;

  @Override
  public Integer call() throws IOException, InterruptedException {
    Require.between(spec, "--port", port, 0, 65_535);
    Require.between(spec, "--queue", queue, 0, 1000);
    Require.between(spec, "--max-body", maxBody, 1, 1 << 26);
    InetSocketAddress address = new InetSocketAddress(host, port);
    if (address.isUnresolved()) {
      throw new ParameterException(spec.commandLine(), "--host: there is no host " + host);
    }
    PrintWriter print = spec.commandLine().getOut();
    try (InferenceModel model = load(file)) {
      PredictionServer server = listen(model, address);
      CountDownLatch stopped = new CountDownLatch(1);
      Thread stop =
          new Thread(
              () -> {
                server.close();
                stopped.countDown();
              },
              "stop");
      Runtime.getRuntime().addShutdownHook(stop);
      print.println(Backends.describe());
      print.println(
          "http://" + server.address().getHostString() + ":" + server.address().getPort() + "/");
      print.flush();
      stopped.await();
    }
    return 0;
  }

  private PredictionServer listen(InferenceModel model, InetSocketAddress address)
      throws IOException {
    try {
      return new PredictionServer(
          model, address, new Limits(maxBody, Backends.threadLimit(), queue));
    } catch (BindException e) {
      throw new IOException(
          "cannot listen on "
              + host
              + ":"
              + port
              + ": "
              + e.getMessage()
              + "; choose another --port or --host",
          e);
    }
  }

  /** The network of the main job, with the values of a file. */
  static InferenceModel load(Path file) throws IOException {
    if (Files.notExists(file)) {
      throw new NoSuchFileException(
          file.toString(),
          null,
          "no such file; run the example mnist, which writes it, or name another with --model");
    }
    try (Sequential network = MnistNetwork.build(true, 1)) {
      Map<String, Tensor> state = Safetensors.read(file);
      try {
        network.loadStateDict(state);
      } catch (IllegalStateException e) {
        throw new IOException(
            file + " is not of the network that the example mnist saves: " + e.getMessage(), e);
      } finally {
        state.values().forEach(Tensor::close);
      }
      return InferenceModel.of(network, 1, MnistIdx.SIDE, MnistIdx.SIDE);
    }
  }
}
