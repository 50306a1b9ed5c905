package org.batchnorm4j.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
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

  /** Whoever sends nothing more is cut off; SIGTERM lets the rest have their answers. */
  @Test
  void slowClientsAreCutOffAndSigtermFinishesWhatWasBegun() throws Exception {
    assumeFalse(System.getProperty("os.name").startsWith("Windows"), "there is no SIGTERM");
    Process service =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dsun.net.httpserver.maxReqTime=1",
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName(),
                "serve",
                "--port",
                "0",
                "--model",
                saved().toString())
            .redirectErrorStream(true)
            .start();
    try (BufferedReader said = service.inputReader(StandardCharsets.UTF_8)) {
      assertTrue(said.readLine().startsWith("batchnorm4j "), "what computes");
      int port = URI.create(said.readLine()).getPort();
      try (Socket slow = begin(port)) {
        assertEquals(-1, slow.getInputStream().read(), "cut off");
      }
      try (Socket begun = begin(port)) {
        Thread.sleep(100);
        service.destroy();
        begun.getOutputStream().write(new byte[784 * 4 - 5]);
        InputStream in = begun.getInputStream();
        String answer = new String(in.readAllBytes(), StandardCharsets.ISO_8859_1);
        assertTrue(answer.startsWith("HTTP/1.1 200"), answer);
      }
      assertTrue(service.waitFor(10, TimeUnit.SECONDS), "ends");
      assertEquals(128 + 15, service.exitValue());
    } finally {
      service.destroyForcibly();
    }
  }

  /** A request whose body is still on its way. */
  private static Socket begin(int port) throws IOException {
    Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
    socket.setSoTimeout(20_000);
    String head =
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
            + "Content-Length: "
            + 784 * 4
            + "\r\nConnection: close\r\n\r\n";
    socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
    socket.getOutputStream().write(new byte[5]);
    return socket;
  }
}
