package org.batchnorm4j.examples.serve;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** A headless Chromium with one page, driven through its DevTools protocol. */
final class Browser implements AutoCloseable {
  /** Only a browser that hangs takes so long; a machine may stand still for half of it. */
  private static final int PATIENCE_SECONDS = 120;

  private final Process process;
  private final WebSocket socket;
  private final Map<Integer, CompletableFuture<JsonObject>> waiting = new ConcurrentHashMap<>();
  private int last;

  static Optional<Path> find() {
    return Stream.of(System.getenv("PATH").split(java.io.File.pathSeparator))
        .flatMap(
            folder ->
                Stream.of("chromium", "chromium-browser", "google-chrome")
                    .map(name -> Path.of(folder, name)))
        .filter(Files::isExecutable)
        .findFirst();
  }

  Browser(Path program, Path profile) throws Exception {
    process =
        new ProcessBuilder(
                program.toString(),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                "--window-size=800,600",
                "--user-data-dir=" + profile,
                "about:blank")
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    HttpClient client = HttpClient.newHttpClient();
    int port = port(profile);
    HttpRequest pages =
        HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/json/list")).build();
    String page = null;
    long end = end();
    while (page == null && System.nanoTime() < end) {
      for (JsonElement e :
          JsonParser.parseString(client.send(pages, BodyHandlers.ofString()).body())
              .getAsJsonArray()) {
        if (e.getAsJsonObject().get("type").getAsString().equals("page")) {
          page = e.getAsJsonObject().get("webSocketDebuggerUrl").getAsString();
        }
      }
      Thread.sleep(50);
    }
    if (page == null) {
      throw new IOException("the browser has no page");
    }
    socket = client.newWebSocketBuilder().buildAsync(URI.create(page), new Answers()).join();
  }

  private static long end() {
    return System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
  }

  /** Which the browser writes into its profile. */
  private static int port(Path profile) throws IOException, InterruptedException {
    Path file = profile.resolve("DevToolsActivePort");
    for (long end = end(); System.nanoTime() < end; ) {
      if (Files.exists(file)) {
        String text = Files.readString(file);
        if (text.contains("\n")) {
          return Integer.parseInt(text.lines().findFirst().orElseThrow());
        }
      }
      Thread.sleep(50);
    }
    throw new IOException("the browser did not start");
  }

  private final class Answers implements WebSocket.Listener {
    private final StringBuilder text = new StringBuilder();

    @Override
    public CompletionStage<?> onText(WebSocket from, CharSequence part, boolean isLast) {
      text.append(part);
      if (isLast) {
        JsonObject message = JsonParser.parseString(text.toString()).getAsJsonObject();
        text.setLength(0);
        JsonElement id = message.get("id");
        if (id != null) {
          waiting.remove(id.getAsInt()).complete(message);
        }
      }
      from.request(1);
      return null;
    }
  }

  private JsonObject call(String method, JsonObject parameters) throws Exception {
    JsonObject message = new JsonObject();
    int id = ++last;
    message.addProperty("id", id);
    message.addProperty("method", method);
    message.add("params", parameters);
    CompletableFuture<JsonObject> answer = new CompletableFuture<>();
    waiting.put(id, answer);
    socket.sendText(message.toString(), true).join();
    JsonObject got = answer.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    if (got.has("error")) {
      throw new IOException(method + ": " + got.get("error"));
    }
    return got.getAsJsonObject("result");
  }

  void open(String url) throws Exception {
    JsonObject parameters = new JsonObject();
    parameters.addProperty("url", url);
    call("Page.navigate", parameters);
    await("document.readyState === 'complete' && location.href === '" + url + "'");
  }

  /** What an expression of the page's JavaScript gives, as text. */
  String evaluate(String expression) throws Exception {
    JsonObject parameters = new JsonObject();
    parameters.addProperty("expression", "String(" + expression + ")");
    return call("Runtime.evaluate", parameters)
        .getAsJsonObject("result")
        .get("value")
        .getAsString();
  }

  void await(String condition) throws Exception {
    for (long end = end(); System.nanoTime() < end; Thread.sleep(25)) {
      try {
        if (evaluate(condition).equals("true")) {
          return;
        }
      } catch (IOException e) {
        // There is no page to ask while one takes the place of another.
      }
    }
    throw new AssertionError(
        "never true: " + condition + "; page: " + evaluate("document.body.innerText"));
  }

  /** A mouse button: mousePressed, mouseMoved with it held, mouseReleased. */
  void mouse(String type, double x, double y) throws Exception {
    JsonObject parameters = new JsonObject();
    parameters.addProperty("type", type);
    parameters.addProperty("x", x);
    parameters.addProperty("y", y);
    parameters.addProperty("button", "left");
    parameters.addProperty("buttons", type.equals("mouseReleased") ? 0 : 1);
    parameters.addProperty("clickCount", 1);
    call("Input.dispatchMouseEvent", parameters);
  }

  byte[] screenshot() throws Exception {
    String data = call("Page.captureScreenshot", new JsonObject()).get("data").getAsString();
    return Base64.getDecoder().decode(data);
  }

  @Override
  public void close() {
    process.descendants().forEach(ProcessHandle::destroy);
    process.destroy();
    process.onExit().orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS).join();
  }
}
