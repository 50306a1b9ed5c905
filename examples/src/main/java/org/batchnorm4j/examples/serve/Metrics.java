package org.batchnorm4j.examples.serve;

import java.util.Locale;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.IntSupplier;

/** What the service counts, in the text format that Prometheus reads. Thread-safe. */
final class Metrics {
  /** Upper bounds in seconds: from one sample to a full queue. */
  private static final double[] BUCKETS = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1
  };

  private record Answer(String path, int status) implements Comparable<Answer> {
    @Override
    public int compareTo(Answer other) {
      int order = path.compareTo(other.path);
      return order != 0 ? order : Integer.compare(status, other.status);
    }
  }

  private final ConcurrentSkipListMap<Answer, LongAdder> answers = new ConcurrentSkipListMap<>();
  private final LongAdder errors = new LongAdder();
  private final LongAdder samples = new LongAdder();
  private final LongAdder[] buckets = new LongAdder[BUCKETS.length + 1];
  private final LongAdder nanos = new LongAdder();
  private final String info;
  private final IntSupplier admitted;

  /**
   * Starts at 0.
   *
   * @param backend such as native
   * @param isa such as avx512
   * @param admitted how many predictions are computed or wait, now
   */
  Metrics(String backend, String isa, IntSupplier admitted) {
    this.admitted = admitted;
    info =
        String.format(Locale.ROOT, "batchnorm4j_info{backend=\"%s\",isa=\"%s\"} 1%n", backend, isa);
    for (int i = 0; i < buckets.length; i++) {
      buckets[i] = new LongAdder();
    }
  }

  /**
   * A request that was answered; the path must be one of ours, or there would be no end of them.
   */
  void answered(String path, int status) {
    answers.computeIfAbsent(new Answer(path, status), a -> new LongAdder()).increment();
    if (status >= 400) {
      errors.increment();
    }
  }

  /** A prediction that was made, from the request's headers to an answer that is ready to leave. */
  void predicted(int count, long took) {
    samples.add(count);
    nanos.add(took);
    int i = 0;
    while (i < BUCKETS.length && took > BUCKETS[i] * 1e9) {
      i++;
    }
    buckets[i].increment();
  }

  String text() {
    StringBuilder text = new StringBuilder();
    head(text, "batchnorm4j_info", "gauge", "What computes.");
    text.append(info);
    head(text, "http_requests_total", "counter", "Requests answered.");
    answers.forEach(
        (a, count) ->
            text.append(
                String.format(
                    Locale.ROOT,
                    "http_requests_total{path=\"%s\",status=\"%d\"} %d%n",
                    a.path,
                    a.status,
                    count.sum())));
    head(text, "http_errors_total", "counter", "Requests answered with a status of 400 or more.");
    text.append("http_errors_total ").append(errors.sum()).append('\n');
    head(text, "predictions_admitted", "gauge", "Predictions that are computed or wait.");
    text.append("predictions_admitted ").append(admitted.getAsInt()).append('\n');
    head(text, "predicted_samples_total", "counter", "Samples computed.");
    text.append("predicted_samples_total ").append(samples.sum()).append('\n');
    head(
        text,
        "predict_seconds",
        "histogram",
        "Time of a prediction, from request to answer, without sending it.");
    long below = 0;
    for (int i = 0; i < buckets.length; i++) {
      below += buckets[i].sum();
      String bound = i == BUCKETS.length ? "+Inf" : Double.toString(BUCKETS[i]);
      text.append(
          String.format(Locale.ROOT, "predict_seconds_bucket{le=\"%s\"} %d%n", bound, below));
    }
    text.append(String.format(Locale.ROOT, "predict_seconds_sum %.9f%n", nanos.sum() / 1e9));
    text.append("predict_seconds_count ").append(below).append('\n');
    return text.toString().replace(System.lineSeparator(), "\n");
  }

  private static void head(StringBuilder text, String name, String type, String help) {
    text.append("# HELP ").append(name).append(' ').append(help).append('\n');
    text.append("# TYPE ").append(name).append(' ').append(type).append('\n');
  }
}
