package org.batchnorm4j.examples.serve;

import com.google.gson.JsonObject;
import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Phaser;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.nn.InferenceModel;
import org.jspecify.annotations.Nullable;

/**
 * A model behind HTTP: {@code POST /predict}, {@code GET /health}, {@code GET /metrics} and a page
 * at {@code /}. Every request is answered, and what is wrong with one is said in its answer.
 */
public final class PredictionServer implements AutoCloseable {
  private static final Logger LOG = System.getLogger(PredictionServer.class.getName());
  private static final String JSON = "application/json";
  private static final String FLOATS = "application/octet-stream";
  private static final String TEXT = "text/plain; version=0.0.4; charset=utf-8";

  /** Threads that remain to say no, to answer /health and /metrics. */
  private static final int SPARE = 8;

  /** Requests that wait for a thread that says no; more of them are cut off. */
  private static final int BACKLOG = 1000;

  /** What the JDK's server is to do; it reads this once, from system properties. */
  private static final Map<String, String> JDK_SERVER =
      Map.of(
          // An answer leaves at once. Else its second part waits for the first to be acknowledged,
          // which takes other systems 40 ms.
          "sun.net.httpserver.nodelay", "true",
          // Whoever sends slowly, or does not read, is cut off after ten seconds: threads are few.
          "sun.net.httpserver.maxReqTime", "10",
          "sun.net.httpserver.maxRspTime", "10",
          // Whoever sends too much is told, which takes reading what is on its way.
          "sun.net.httpserver.drainAmount", "16777216");

  /** How long requests under way have to end when the server is closed. */
  private static final int GRACE_SECONDS = 10;

  private static final List<String> GET = List.of("GET", "HEAD");
  private static final Map<String, List<String>> METHODS =
      Map.of("/", GET, "/health", GET, "/metrics", GET, "/predict", List.of("POST"));

  /**
   * How much the server takes on.
   *
   * @param maxBody the most bytes of a request's body
   * @param threads the most predictions that are computed at a time
   * @param queue the most predictions that wait; a request beyond is answered with 503
   */
  public record Limits(int maxBody, int threads, int queue) {}

  private final InferenceModel model;
  private final Limits limits;
  private final int graceSeconds;
  private final Metrics metrics;
  private final byte[] page;
  private final HttpServer server;
  private final ExecutorService workers;
  private final Semaphore admitted;
  private final Semaphore computing;

  /** One party for each request under way, and one for the server itself. */
  private final Phaser underWay = new Phaser(1);

  private volatile boolean closing;

  /**
   * Starts to listen. Sets the system properties of the JDK's server that are not set.
   *
   * @param model stays the caller's, who closes it after the server
   * @param address port 0 takes any that is free
   */
  public PredictionServer(InferenceModel model, InetSocketAddress address, Limits limits)
      throws IOException {
    this(model, address, limits, GRACE_SECONDS);
  }

  /** For tests on machines that stand still longer than clients may. */
  PredictionServer(InferenceModel model, InetSocketAddress address, Limits limits, int graceSeconds)
      throws IOException {
    this.model = model;
    this.limits = limits;
    this.graceSeconds = graceSeconds;
    BatchNormBackend backend = Backends.best();
    String isa =
        backend instanceof NativeBackend b ? b.isa().name().toLowerCase(Locale.ROOT) : "none";
    page = resource("index.html");
    int most = limits.threads + limits.queue;
    admitted = new Semaphore(most);
    metrics = new Metrics(backend.name(), isa, () -> most - admitted.availablePermits());
    computing = new Semaphore(limits.threads);
    ThreadPoolExecutor pool =
        new ThreadPoolExecutor(
            most + SPARE, most + SPARE, 30, TimeUnit.SECONDS, new ArrayBlockingQueue<>(BACKLOG));
    pool.allowCoreThreadTimeOut(true);
    workers = pool;
    JDK_SERVER.forEach((name, value) -> System.setProperty(name, System.getProperty(name, value)));
    server = HttpServer.create(address, BACKLOG);
    server.setExecutor(workers);
    server.createContext("/", this::handle);
    server.start();
  }

  private static byte[] resource(String name) throws IOException {
    try (InputStream in = PredictionServer.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IOException("the jar has no " + name);
      }
      return in.readAllBytes();
    }
  }

  /** Where it listens. */
  public InetSocketAddress address() {
    return server.getAddress();
  }

  // ---------------------------------------------------------------------------------------
  // requests

  private record Answer(int status, String type, byte[] body) {}

  private void handle(HttpExchange exchange) throws IOException {
    underWay.register();
    String path = "other";
    try (exchange) {
      long start = System.nanoTime();
      Answer answer;
      int samples = 0;
      try {
        path = known(exchange);
        checkMethod(exchange, path);
        if (closing) {
          throw new HttpError(503, "the server is shutting down");
        }
        if (path.equals("/predict")) {
          Samples outputs = predict(exchange);
          answer =
              isJson(exchange)
                  ? new Answer(200, JSON, outputs.toJson())
                  : new Answer(200, FLOATS, outputs.toBytes());
          samples = outputs.count();
        } else {
          answer = get(path);
        }
      } catch (HttpError e) {
        answer = error(e.status(), e.getMessage());
      } catch (RuntimeException e) {
        LOG.log(Level.ERROR, "a request to " + path + " failed", e);
        answer = error(500, "the server failed; its log says why");
      }
      // Counted first: whoever has the answer finds it in the metrics.
      metrics.answered(path, answer.status);
      if (samples > 0) {
        metrics.predicted(samples, System.nanoTime() - start);
      }
      send(exchange, answer);
    } finally {
      underWay.arriveAndDeregister();
    }
  }

  private static Answer error(int status, @Nullable String message) {
    JsonObject error = new JsonObject();
    error.addProperty("error", message);
    return new Answer(status, JSON, error.toString().getBytes(StandardCharsets.UTF_8));
  }

  private static String known(HttpExchange exchange) throws HttpError {
    String path = exchange.getRequestURI().getPath();
    if (!METHODS.containsKey(path)) {
      throw new HttpError(404, "there is /, /predict, /health and /metrics, but not " + path);
    }
    return path;
  }

  private static void checkMethod(HttpExchange exchange, String path) throws HttpError {
    List<String> methods = METHODS.get(path);
    if (!methods.contains(exchange.getRequestMethod())) {
      exchange.getResponseHeaders().set("Allow", String.join(", ", methods));
      throw new HttpError(405, path + " takes " + String.join(" and ", methods) + " only");
    }
  }

  private Answer get(String path) {
    return switch (path) {
      case "/" -> new Answer(200, "text/html; charset=utf-8", page);
      case "/health" ->
          new Answer(200, JSON, "{\"status\":\"up\"}".getBytes(StandardCharsets.UTF_8));
      default -> new Answer(200, TEXT, metrics.text().getBytes(StandardCharsets.UTF_8));
    };
  }

  private Samples predict(HttpExchange exchange) throws HttpError, IOException {
    if (!admitted.tryAcquire()) {
      exchange.getResponseHeaders().set("Retry-After", "1");
      throw new HttpError(
          503,
          limits.threads + " predictions are computed and " + limits.queue + " wait; try later");
    }
    try {
      boolean json = isJson(exchange);
      byte[] body = body(exchange);
      int size = (int) model.inputShape().size();
      Samples inputs = json ? Samples.fromJson(body, size) : Samples.fromBytes(body, size);
      float[] outputs = new float[inputs.count() * (int) model.outputShape().size()];
      computing.acquireUninterruptibly();
      try {
        model.forward(inputs.values(), outputs);
      } finally {
        computing.release();
      }
      return new Samples(inputs.count(), outputs);
    } finally {
      admitted.release();
    }
  }

  private static boolean isJson(HttpExchange exchange) throws HttpError {
    String header = exchange.getRequestHeaders().getFirst("Content-Type");
    String type = header == null ? "" : header.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
    if (type.equals(JSON) || type.equals(FLOATS)) {
      return type.equals(JSON);
    }
    throw new HttpError(
        415,
        "Content-Type must be "
            + JSON
            + " or "
            + FLOATS
            + ", but is "
            + (header == null ? "missing" : header));
  }

  private byte[] body(HttpExchange exchange) throws HttpError, IOException {
    byte[] body = exchange.getRequestBody().readNBytes(limits.maxBody + 1);
    if (body.length > limits.maxBody) {
      throw new HttpError(413, "the body has more than " + limits.maxBody + " bytes");
    }
    return body;
  }

  private static void send(HttpExchange exchange, Answer answer) throws IOException {
    Headers headers = exchange.getResponseHeaders();
    headers.set("Content-Type", answer.type);
    headers.set("X-Content-Type-Options", "nosniff");
    if (exchange.getRequestMethod().equals("HEAD")) {
      headers.set("Content-Length", Integer.toString(answer.body.length));
      exchange.sendResponseHeaders(answer.status, -1);
    } else {
      exchange.sendResponseHeaders(answer.status, answer.body.length);
      exchange.getResponseBody().write(answer.body);
    }
  }

  // ---------------------------------------------------------------------------------------
  // shutdown

  /** Refuses new requests, finishes those under way, for at most ten seconds, and stops. */
  @Override
  public void close() {
    if (closing) {
      return;
    }
    closing = true;
    try {
      underWay.awaitAdvanceInterruptibly(underWay.arrive(), graceSeconds, TimeUnit.SECONDS);
    } catch (TimeoutException e) {
      LOG.log(Level.WARNING, "requests are still under way after {0} s", graceSeconds);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    server.stop(0);
    workers.shutdown();
  }
}
