package org.batchnorm4j.examples.serve;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;

class MetricsTest {
  /** Prometheus reads no other digits. */
  @Test
  void numbersAreTheSameInEveryLocale() {
    Locale before = Locale.getDefault();
    try {
      Locale.setDefault(Locale.forLanguageTag("ar-EG"));
      Metrics metrics = new Metrics("native", "avx2", () -> 3);
      metrics.answered("/predict", 200);
      metrics.predicted(5, 200_000);
      List<String> lines = metrics.text().lines().toList();
      assertTrue(lines.contains("http_requests_total{path=\"/predict\",status=\"200\"} 1"));
      assertTrue(lines.contains("predict_seconds_bucket{le=\"2.5E-4\"} 1"));
      assertTrue(lines.contains("predict_seconds_sum 0.000200000"));
    } finally {
      Locale.setDefault(before);
    }
  }
}
