package org.batchnorm4j.examples.serve;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.batchnorm4j.examples.serve.PredictionServer.Limits;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.InferenceModel;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.Sequential;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PredictionServerTest {
  private static final int MAX_BODY = 4000;

  /** Only a server that hangs takes so long; a machine may stand still for half of it. */
  private static final int PATIENCE_SECONDS = 120;

  private final HttpClient client = HttpClient.newHttpClient();
  private InferenceModel model;
  private PredictionServer server;

  @BeforeEach
  void start() throws IOException {
    try (Sequential net =
        new Sequential(
            new Linear(3, 8, new SplittableRandom(1)), new BatchNorm1d(8), new Linear(8, 2))) {
      model = InferenceModel.of(net, 3);
    }
    InetSocketAddress any = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    server = new PredictionServer(model, any, new Limits(MAX_BODY, 2, 1), PATIENCE_SECONDS);
  }

  @AfterEach
  void stop() {
    server.close();
    model.close();
  }

  private HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(
        URI.create("http://127.0.0.1:" + server.address().getPort() + path));
  }

  private HttpResponse<String> send(HttpRequest.Builder request) throws Exception {
    return client.send(request.build(), BodyHandlers.ofString());
  }

  private HttpRequest.Builder post(String type, String body) {
    return request("/predict").header("Content-Type", type).POST(BodyPublishers.ofString(body));
  }

  @Test
  void answersJsonAndFloatsWithWhatTheModelComputes() throws Exception {
    float[] inputs = {1, 2, 3, -4, 0.5f, 1e-3f};
    float[] expected = model.forward(inputs, new float[4]);

    HttpResponse<String> json =
        send(post("application/json; charset=utf-8", "{\"inputs\":[[1,2,3],[-4,0.5,1e-3]]}"));
    assertEquals(200, json.statusCode(), json.body());
    JsonObject answer = JsonParser.parseString(json.body()).getAsJsonObject();
    for (int i = 0; i < 4; i++) {
      float got =
          answer.getAsJsonArray("outputs").get(i / 2).getAsJsonArray().get(i % 2).getAsFloat();
      assertEquals(expected[i], got, "output " + i);
    }
    assertEquals(
        expected[1] > expected[0] ? 1 : 0, answer.getAsJsonArray("classes").get(0).getAsInt());

    ByteBuffer floats = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN);
    floats.asFloatBuffer().put(inputs);
    HttpResponse<byte[]> raw =
        client.send(
            request("/predict")
                .header("Content-Type", "application/octet-stream")
                .POST(BodyPublishers.ofByteArray(floats.array()))
                .build(),
            BodyHandlers.ofByteArray());
    assertEquals(200, raw.statusCode());
    float[] got = new float[4];
    ByteBuffer.wrap(raw.body()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(got);
    assertArrayEquals(expected, got);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{\"inputs\":[[1,2]]}         | 400 | sample 0 has 2 numbers, expected 3",
        "{\"inputs\":[[1,2,3],[1,2,3,4]]} | 400 | sample 1 has 4 numbers, expected 3",
        "{\"inputs\":[]}              | 400 | \"inputs\" is missing or empty",
        "{}                           | 400 | \"inputs\" is missing or empty",
        "{\"input\":[[1,2,3]]}        | 400 | expected one member \"inputs\", but got \"input\"",
        "{\"inputs\":[[1,2,3]],\"inputs\":[]} | 400 | expected one member \"inputs\"",
        "{\"inputs\":[[1,2,\"3\"]]}   | 400 | but got STRING instead of NUMBER at $.inputs[0][2]",
        "{\"inputs\":[[1,2,null]]}    | 400 | expected {\"inputs\": [[number, ...], ...]}, but",
        "{\"inputs\":[1,2,3]}         | 400 | expected {\"inputs\": [[number, ...], ...]}, but",
        "{\"inputs\":[[1,2,1e39]]}    | 400 | number 2 of sample 0 is Infinity, not a finite float",
        "{\"inputs\":[[1,2,1e400]]}   | 400 | number 2 of sample 0 is Infinity, not a finite float",
        "{\"inputs\":[[1,2,NaN]]}     | 400 | not JSON: there is an error at $.inputs[0][2]",
        "{\"inputs\":[[1,2,3]]        | 400 | not JSON: it ends in the midst of $.inputs",
        "{\"inputs\":[[1,2,3]]} {}    | 400 | the body is not JSON",
        "{\"inputs\":[[3e38,3e38,-3e38],[1,2,3]]} | 400 | sample 0 has numbers too large: output",
        "[[[[[[[[                     | 400 | expected {\"inputs\"",
        "``                           | 400 | the body is not JSON",
      })
  void badJsonIsExplained(String body, int status, String message) throws Exception {
    HttpResponse<String> answer = send(post("application/json", body));
    assertEquals(status, answer.statusCode());
    assertTrue(error(answer).contains(message), answer.body());
  }

  private static String error(HttpResponse<String> answer) {
    return JsonParser.parseString(answer.body()).getAsJsonObject().get("error").getAsString();
  }

  @Test
  void badRequestsAreExplained() throws Exception {
    HttpResponse<String> answer = send(post("application/octet-stream", "12345"));
    assertEquals(400, answer.statusCode());
    assertTrue(error(answer).startsWith("the body has 5 bytes, expected a multiple of the 12"));
    // Twelve bytes of 0xff are three NaNs.
    answer =
        send(
            request("/predict")
                .header("Content-Type", "application/octet-stream")
                .POST(BodyPublishers.ofByteArray(ByteBuffer.allocate(12).putInt(-1).array())));
    assertEquals("number 0 of sample 0 is NaN, not a finite float", error(answer));
    answer = send(post("text/plain", "1,2,3"));
    assertEquals(415, answer.statusCode());
    answer = send(request("/predict").POST(BodyPublishers.ofString("{}")));
    assertTrue(error(answer).endsWith("application/octet-stream, but is missing"), answer.body());
    answer = send(post("application/json", " ".repeat(MAX_BODY + 1)));
    assertEquals(413, answer.statusCode());
    assertEquals("the body has more than " + MAX_BODY + " bytes", error(answer));
    answer = send(request("/predict").GET());
    assertEquals(405, answer.statusCode());
    assertEquals("POST", answer.headers().firstValue("Allow").orElse(""));
    answer = send(request("/health").DELETE());
    assertEquals(405, answer.statusCode());
    assertEquals("GET, HEAD", answer.headers().firstValue("Allow").orElse(""));
    assertEquals(404, send(request("/predict/../x").GET()).statusCode());
    assertEquals(200, send(post("application/json", "{\"inputs\":[[1,2,3]]}")).statusCode());
  }

  /** Much more than the server reads of a body: the client is told all the same. */
  @Test
  void farTooMuchIsAnswered() throws Exception {
    for (int i = 0; i < 5; i++) {
      HttpResponse<String> answer = send(post("application/json", " ".repeat(4_000_000)));
      assertEquals(413, answer.statusCode());
      assertEquals("the body has more than " + MAX_BODY + " bytes", error(answer));
    }
  }

  @Test
  void headIsGetWithoutABody() throws Exception {
    for (String path : List.of("/", "/health", "/metrics")) {
      HttpResponse<String> head = send(request(path).method("HEAD", BodyPublishers.noBody()));
      assertEquals(200, head.statusCode());
      assertTrue(head.headers().firstValueAsLong("Content-Length").orElse(0) > 10, path);
      assertEquals("", head.body());
    }
    assertEquals(
        405, send(request("/predict").method("HEAD", BodyPublishers.noBody())).statusCode());
    String metrics = send(request("/metrics").GET()).body();
    assertTrue(metrics.contains("{path=\"/health\",status=\"200\"} 1"), metrics);
    assertTrue(metrics.contains("{path=\"/predict\",status=\"405\"} 1"), metrics);
  }

  /**
   * An answer of two packets, of which the second waits for the first to be acknowledged, takes 40
   * ms, once a connection is no longer new. On a busy machine others do as well, but not all.
   */
  @Test
  void answersLeaveAtOnce() throws Exception {
    int soon = 0;
    for (int i = 0; i < 400 && soon < 15; i++) {
      long start = System.nanoTime();
      send(post("application/json", "{\"inputs\":[[1,2,3]]}"));
      soon += i >= 40 && System.nanoTime() - start < 30_000_000 ? 1 : 0;
    }
    assertEquals(15, soon, "answers in less than 30 ms");
  }

  @Test
  void healthPageAndMetrics() throws Exception {
    HttpResponse<String> health = send(request("/health").GET());
    assertEquals("{\"status\":\"up\"}", health.body());
    assertTrue(send(request("/").GET()).body().contains("<canvas"), "page");
    send(post("application/json", "{\"inputs\":[[1,2,3],[4,5,6]]}"));
    send(post("application/json", "{"));
    send(request("/nowhere").GET());

    HttpResponse<String> metrics = send(request("/metrics").GET());
    assertTrue(metrics.headers().firstValue("Content-Type").orElse("").startsWith("text/plain"));
    List<String> lines = metrics.body().lines().toList();
    assertTrue(
        lines.contains("http_requests_total{path=\"/predict\",status=\"200\"} 1"), metrics.body());
    assertTrue(
        lines.contains("http_requests_total{path=\"/predict\",status=\"400\"} 1"), metrics.body());
    assertTrue(
        lines.contains("http_requests_total{path=\"other\",status=\"404\"} 1"), metrics.body());
    assertTrue(lines.contains("http_errors_total 2"), metrics.body());
    assertTrue(lines.contains("predicted_samples_total 2"), metrics.body());
    assertTrue(lines.contains("predict_seconds_bucket{le=\"+Inf\"} 1"), metrics.body());
    assertTrue(lines.contains("predict_seconds_count 1"), metrics.body());
    assertTrue(metrics.body().contains("batchnorm4j_info{backend=\""), metrics.body());
    for (String line : lines) {
      assertTrue(
          line.matches("# (HELP|TYPE) \\w+ .+|\\w+(\\{[^}]*\\})? [0-9.E-]+"),
          "not a metric: " + line);
    }
  }

  // ------------------------------------------------------------------------- queue and shutdown

  /** A request whose body is still on its way. */
  private final class Slow implements AutoCloseable {
    private final Socket socket;
    private final byte[] body = "{\"inputs\":[[1,2,3]]}".getBytes(StandardCharsets.US_ASCII);

    Slow() throws IOException {
      socket = new Socket(InetAddress.getLoopbackAddress(), server.address().getPort());
      String head =
          "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
              + "Content-Length: "
              + body.length
              + "\r\nConnection: close\r\n\r\n";
      OutputStream out = socket.getOutputStream();
      out.write(head.getBytes(StandardCharsets.US_ASCII));
      out.write(body, 0, 5);
      out.flush();
    }

    String finish() throws IOException {
      socket.getOutputStream().write(body, 5, body.length - 5);
      ByteArrayOutputStream answer = new ByteArrayOutputStream();
      InputStream in = socket.getInputStream();
      in.transferTo(answer);
      return answer.toString(StandardCharsets.US_ASCII);
    }

    @Override
    public void close() throws IOException {
      socket.close();
    }
  }

  /** Two are computed and one waits; the next is refused until one of them is done. */
  @Test
  void aFullQueueIsAnswered() throws Exception {
    List<Slow> three = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      three.add(new Slow());
    }
    untilFull();
    HttpResponse<String> answer = send(post("application/json", "{\"inputs\":[[1,2,3]]}"));
    assertEquals(503, answer.statusCode(), answer.body());
    assertTrue(error(answer).startsWith("2 predictions are computed and 1 wait"), answer.body());
    assertEquals("1", answer.headers().firstValue("Retry-After").orElse(""));
    assertEquals(200, send(request("/health").GET()).statusCode(), "is answered all the same");
    for (Slow slow : three) {
      assertTrue(slow.finish().startsWith("HTTP/1.1 200"), "what was begun");
      slow.close();
    }
    assertEquals(200, send(post("application/json", "{\"inputs\":[[1,2,3]]}")).statusCode());
  }

  /** Many more than the server has threads: each is told yes or no, and none is cut off. */
  @Test
  void aBurstIsAnswered() throws Exception {
    List<CompletableFuture<HttpResponse<String>>> burst = new ArrayList<>();
    HttpRequest request = post("application/json", "{\"inputs\":[[1,2,3]]}").build();
    for (int i = 0; i < 300; i++) {
      burst.add(client.sendAsync(request, BodyHandlers.ofString()));
    }
    for (CompletableFuture<HttpResponse<String>> one : burst) {
      int status = one.get(PATIENCE_SECONDS, TimeUnit.SECONDS).statusCode();
      assertTrue(status == 200 || status == 503, "status " + status);
    }
  }

  /** Until the three have been let in; before that, another request would take the place of one. */
  private void untilFull() throws Exception {
    String metrics = "";
    for (int tries = 0; tries < 6000; tries++) {
      metrics = send(request("/metrics").GET()).body();
      if (metrics.contains("predictions_admitted 3\n")) {
        return;
      }
      Thread.sleep(10);
    }
    throw new AssertionError("three were never let in: " + metrics);
  }

  @Test
  void closingFinishesWhatWasBegunAndRefusesTheRest() throws Exception {
    InetSocketAddress address = server.address();
    try (Slow one = new Slow();
        Slow two = new Slow();
        Slow three = new Slow()) {
      untilFull();
      CompletableFuture<Void> closing = CompletableFuture.runAsync(server::close);
      HttpResponse<String> refused = send(request("/health").GET());
      while (refused.statusCode() == 200) {
        refused = send(request("/health").GET());
      }
      assertEquals("the server is shutting down", error(refused));
      assertFalse(closing.isDone());
      for (Slow slow : List.of(one, two, three)) {
        String answer = slow.finish();
        assertTrue(answer.startsWith("HTTP/1.1 200"), answer);
        assertTrue(answer.contains("\"outputs\""), answer);
      }
      closing.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    }
    // Not by the client: it would try the connections it has first.
    assertThrows(
        ConnectException.class, () -> new Socket(address.getAddress(), address.getPort()).close());
  }
}
