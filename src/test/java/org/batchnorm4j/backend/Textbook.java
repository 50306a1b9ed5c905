package org.batchnorm4j.backend;

/**
 * docs/numerics.md for one channel, sentence by sentence, without any thought of speed: what every
 * backend's bits are compared with. Values of E are held in doubles and rounded by {@link
 * Arithmetic} after every operation; what the page computes in f64 is written in plain Java.
 */
final class Textbook {
  private static final int CHUNK = 256;
  private static final int LANES = 16;
  private static final int SEGMENTS = 64;

  private final Arithmetic e;

  Textbook(boolean f64) {
    e = f64 ? new F64() : new F32();
  }

  /** The operations of E. */
  private interface Arithmetic {
    double round(double a);

    double fma(double a, double b, double c);

    /** Rounding f64's result of one operation on two f32 is rounding the exact result. */
    default double add(double a, double b) {
      return round(a + b);
    }

    default double sub(double a, double b) {
      return round(a - b);
    }

    default double mul(double a, double b) {
      return round(a * b);
    }

    default double div(double a, double b) {
      return round(a / b);
    }

    default double sqrt(double a) {
      return round(Math.sqrt(a));
    }

    boolean inRange(double s1, double s2);
  }

  private static final class F32 implements Arithmetic {
    @Override
    public double round(double a) {
      return (float) a;
    }

    @Override
    public double fma(double a, double b, double c) {
      return Math.fma((float) a, (float) b, (float) c);
    }

    @Override
    public boolean inRange(double s1, double s2) {
      return (s1 == 0 && s2 == 0) || (Math.pow(2, -80) <= s2 && s2 <= Math.pow(2, 100));
    }
  }

  private static final class F64 implements Arithmetic {
    @Override
    public double round(double a) {
      return a;
    }

    @Override
    public double fma(double a, double b, double c) {
      return Math.fma(a, b, c);
    }

    @Override
    public boolean inRange(double s1, double s2) {
      return true;
    }
  }

  // ----------------------------------------------------------------------------------- statistics

  /** A number of values, their mean less K, and their squared deviations. */
  private record Moments(double n, double mean, double m2) {
    Moments merge(Moments b) {
      double w = b.n / (n + b.n);
      double delta = b.mean - mean;
      return new Moments(
          n + b.n, Math.fma(delta, w, mean), Math.fma(delta * delta, n * w, m2 + b.m2));
    }
  }

  record Statistics(
      double mean, double meanLow, double invStd, double runningMean, double runningVar) {}

  Statistics statistics(
      double[] v, double eps, double momentum, double runningMean, double runningVar) {
    int r = v.length;
    Moments all = null;
    int q = (r + CHUNK - 1) / CHUNK;
    int g = (q + SEGMENTS - 1) / SEGMENTS;
    for (int first = 0; first < q; first += g) {
      Moments segment = null;
      for (int chunk = first; chunk < Math.min(first + g, q); chunk++) {
        int from = chunk * CHUNK;
        Moments m = chunk(v, from, Math.min(CHUNK, r - from));
        segment = segment == null ? m : segment.merge(m);
      }
      all = all == null ? segment : all.merge(segment);
    }
    double k = v[0];
    double var = all.m2 / r;
    double mean64 = k + all.mean;
    double mean = e.round(mean64);
    return new Statistics(
        mean,
        e.round((k - mean) + all.mean),
        e.round(1 / Math.sqrt(var + eps)),
        e.round(Math.fma(momentum, mean64, (1 - momentum) * runningMean)),
        e.round(Math.fma(momentum, all.m2 / (r - 1), (1 - momentum) * runningVar)));
  }

  private Moments chunk(double[] v, int from, int n) {
    int h = 1;
    while (2 * h <= Math.min(n, LANES)) {
      h *= 2;
    }
    double[] head = new double[LANES];
    System.arraycopy(v, from, head, 0, h);
    double k = e.mul(fold(e, head), 1.0 / h);
    double[] sums = shifted(e, v, from, n, k);
    if (!e.inRange(sums[0], sums[1])) {
      k = v[from];
      sums = shifted(new F64(), v, from, n, k);
    }
    double dm = sums[0] * (1.0 / n);
    double m2 = Math.fma(-sums[0], dm, sums[1]);
    if (m2 < 0) {
      m2 = 0;
    }
    return new Moments(n, (k - v[0]) + dm, m2);
  }

  private static double[] shifted(Arithmetic e, double[] v, int from, int n, double k) {
    double[] s1 = new double[LANES];
    double[] s2 = new double[LANES];
    for (int i = 0; i < n; i++) {
      double d = e.sub(v[from + i], k);
      s1[i % LANES] = e.add(s1[i % LANES], d);
      s2[i % LANES] = e.fma(d, d, s2[i % LANES]);
    }
    return new double[] {fold(e, s1), fold(e, s2)};
  }

  private static double fold(Arithmetic e, double[] a) {
    for (int half = LANES / 2; half >= 1; half /= 2) {
      for (int l = 0; l < half; l++) {
        a[l] = e.add(a[l], a[l + half]);
      }
    }
    return a[0];
  }

  // ------------------------------------------------------------------------------------- forward

  double inferenceInvStd(double runningVar, double eps) {
    return e.div(1, e.sqrt(e.round(runningVar + eps)));
  }

  /** {@code residual} null for none, {@code bias} +0 for none. */
  double[] normalize(
      double[] x,
      double[] residual,
      double mean,
      double meanLow,
      double invStd,
      double weight,
      double bias,
      Activation activation) {
    double scale = e.mul(invStd, weight);
    double[] y = new double[x.length];
    for (int i = 0; i < x.length; i++) {
      double t = e.fma(e.sub(e.sub(x[i], mean), meanLow), scale, bias);
      if (residual != null) {
        t = e.add(t, residual[i]);
      }
      y[i] =
          switch (activation.kind()) {
            case NONE -> t;
            case RELU -> t < 0 ? +0.0 : t;
            case LEAKY_RELU -> t < 0 ? e.mul(e.round(activation.slope()), t) : t;
          };
    }
    return y;
  }

  // ------------------------------------------------------------------------------------ backward

  record Gradients(double[] dx, double[] dresidual, double dweight, double dbias) {}

  Gradients backward(
      boolean training,
      double[] dy,
      double[] x,
      double[] y,
      double mean,
      double meanLow,
      double invStd,
      double weight,
      Activation activation) {
    int r = x.length;
    double[] g = new double[r];
    double[] xm = new double[r];
    for (int i = 0; i < r; i++) {
      g[i] =
          switch (activation.kind()) {
            case NONE -> dy[i];
            case RELU -> y[i] <= 0 ? +0.0 : dy[i];
            case LEAKY_RELU -> y[i] <= 0 ? e.mul(e.round(activation.slope()), dy[i]) : dy[i];
          };
      xm[i] = e.sub(e.sub(x[i], mean), meanLow);
    }
    double sumDy = 0;
    double dot = 0;
    int chunks = (r + CHUNK - 1) / CHUNK;
    int perSegment = (chunks + SEGMENTS - 1) / SEGMENTS;
    for (int first = 0; first < chunks; first += perSegment) {
      double segmentA = 0;
      double segmentB = 0;
      for (int q = first; q < Math.min(first + perSegment, chunks); q++) {
        double[] a = new double[LANES];
        double[] b = new double[LANES];
        for (int i = q * CHUNK; i < Math.min((q + 1) * CHUNK, r); i++) {
          int l = i % CHUNK % LANES;
          a[l] = e.add(a[l], g[i]);
          b[l] = e.fma(g[i], xm[i], b[l]);
        }
        double chunkA = fold(e, a);
        double chunkB = fold(e, b);
        segmentA = q == first ? chunkA : segmentA + chunkA;
        segmentB = q == first ? chunkB : segmentB + chunkB;
      }
      sumDy = first == 0 ? segmentA : sumDy + segmentA;
      dot = first == 0 ? segmentB : dot + segmentB;
    }
    double scale = e.mul(invStd, weight);
    double c1 = e.round(sumDy / r);
    double c2 = e.round(((dot * invStd) * invStd) / r);
    double[] dx = new double[r];
    for (int i = 0; i < r; i++) {
      dx[i] = training ? e.mul(e.fma(xm[i], -c2, e.sub(g[i], c1)), scale) : e.mul(g[i], scale);
    }
    return new Gradients(dx, g, e.round(dot * invStd), e.round(sumDy));
  }
}
