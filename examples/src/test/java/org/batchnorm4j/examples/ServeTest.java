package org.batchnorm4j.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.batchnorm4j.examples.mnist.MnistNetwork;
import org.batchnorm4j.io.Safetensors;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** {@code examples/run serve}: what keeps it from starting, and how it ends. */
class ServeTest {
  /** Only a service that hangs takes so long; a machine may stand still for half of it. */
  private static final int PATIENCE_SECONDS = 120;

  @TempDir Path dir;

  private Path saved() throws IOException {
    Path file = dir.resolve("mnist.safetensors");
    try (Sequential network = MnistNetwork.build(true, 1)) {
      Safetensors.write(file, network.stateDict());
    }
    return file;
  }

  private static void fails(int code, String message, String... options) {
    StringWriter err = new StringWriter();
    CommandLine examples = Main.commandLine().setErr(new PrintWriter(err));
    String[] args = new String[options.length + 1];
    args[0] = "serve";
    System.arraycopy(options, 0, args, 1, options.length);
    assertEquals(code, examples.execute(args));
    assertTrue(err.toString().startsWith("error: " + message), err.toString());
  }

  @Test
  void filesThatAreNoModelAreNamed() throws IOException {
    Path missing = dir.resolve("missing.safetensors");
    fails(
        1,
        missing + ": no such file; run the example mnist, which writes it, or name another",
        "--model",
        missing.toString());
    Path other = dir.resolve("other.safetensors");
    Safetensors.write(other, Map.of("0.weight", Tensor.zeros(2, 2)));
    fails(
        1,
        other + " is not of the network that the example mnist saves: ",
        "--model",
        other.toString());
    Path cut = Files.write(dir.resolve("cut"), new byte[] {1, 2, 3});
    fails(1, cut + ": not a whole safetensors file", "--model", cut.toString());
  }

  @Test
  void addressesThatAreNotFreeAreNamed() throws IOException {
    String model = saved().toString();
    try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      String port = Integer.toString(taken.getLocalPort());
      fails(1, "cannot listen on 127.0.0.1:" + port + ": ", "--model", model, "--port", port);
    }
    fails(2, "--host: there is no host a b", "--model", model, "--host", "a b");
  }

  /** A service in a JVM of its own. */
  private final class Service implements AutoCloseable {
    private final Process process;
    private final BufferedReader said;
    private final int port;

    Service(String... options) throws IOException {
      List<String> command = new ArrayList<>();
      command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
      command.addAll(List.of(options));
      command.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
      command.addAll(List.of("serve", "--port", "0", "--model", saved().toString()));
      process = new ProcessBuilder(command).redirectErrorStream(true).start();
      said = process.inputReader(StandardCharsets.UTF_8);
      assertTrue(said.readLine().startsWith("batchnorm4j "), "what computes");
      port = URI.create(said.readLine()).getPort();
    }

    Socket connect() throws IOException {
      Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
      socket.setSoTimeout(PATIENCE_SECONDS * 1000);
      return socket;
    }

    /** Until what the service answers to a GET has this in it. */
    void await(String path, String expected) throws Exception {
      String answer = "";
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
      do {
        assertTrue(System.nanoTime() < end, path + " never said " + expected + ": " + answer);
        Thread.sleep(10);
        try (Socket socket = connect()) {
          String head = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
          socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
          answer = text(socket);
        }
      } while (!answer.contains(expected));
    }

    @Override
    public void close() throws IOException {
      process.destroyForcibly();
      said.close();
    }
  }

  /** A request whose body is still on its way. */
  private static void begin(Socket socket) throws IOException {
    String head =
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
            + "Content-Length: "
            + 784 * 4
            + "\r\nConnection: close\r\n\r\n";
    socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
    socket.getOutputStream().write(new byte[5]);
  }

  private static String text(Socket socket) throws IOException {
    return new String(socket.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
  }

  @Test
  void slowClientsAreCutOff() throws Exception {
    try (Service service = new Service("-Dsun.net.httpserver.maxReqTime=1");
        Socket slow = service.connect()) {
      String answer = "";
      try {
        begin(slow);
        answer = text(slow);
      } catch (SocketException e) {
        // Cut off too: before the service had read what was sent.
      }
      assertEquals("", answer);
    }
  }

  /**
   * SIGTERM lets those whose requests are under way have their answers. They have ten seconds for
   * it, which a machine that stands still may miss: then once more.
   */
  @Test
  void sigtermFinishesWhatWasBegun() throws Exception {
    assumeFalse(System.getProperty("os.name").startsWith("Windows"), "there is no SIGTERM");
    for (int tries = 1; ; tries++) {
      try (Service service = new Service("-Dsun.net.httpserver.maxReqTime=600");
          Socket begun = service.connect()) {
        begin(begun);
        service.await("/metrics", "predictions_admitted 1\n");
        long start = System.nanoTime();
        service.process.destroy();
        String answer = afterSigterm(service, begun);
        assertTrue(service.process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "ends");
        assertEquals(128 + 15, service.process.exitValue());
        if (answer.startsWith("HTTP/1.1 200")) {
          return;
        }
        boolean late = System.nanoTime() - start > 9_000_000_000L;
        assertTrue(late && tries < 5, answer);
      }
    }
  }

  /** The answer to what is finished once the service refuses the rest, or why there is none. */
  private static String afterSigterm(Service service, Socket begun) throws Exception {
    try {
      service.await("/health", "the server is shutting down");
      begun.getOutputStream().write(new byte[784 * 4 - 5]);
      return text(begun);
    } catch (IOException e) {
      return e.toString();
    }
  }
}
