package org.batchnorm4j.backend;

import java.math.BigDecimal;
import java.math.MathContext;

/**
 * Training and its backward for one channel, without activation, by the textbook formulas with 40
 * decimal digits; and the scales of the errors, as docs/numerics.md has them.
 */
final class Exact {
  private static final MathContext DIGITS = new MathContext(40);

  /** Over n - 1. */
  final double variance;

  final double meanScale;
  final double[] yScale;
  final double[] dxScale;
  final double dweightScale;
  final double dbiasScale;

  private final Wide mean;
  private final Wide unbiasedVariance;
  private final Wide[] y;
  private final Wide[] dx;
  private final Wide dweight;
  private final Wide dbias;

  /** A number with twice the digits of a double, which is enough to measure the error of one. */
  private record Wide(double high, double low) {
    static Wide of(BigDecimal value) {
      double high = value.doubleValue();
      return new Wide(high, value.subtract(new BigDecimal(high)).doubleValue());
    }

    double error(double actual) {
      return Math.abs((actual - high) - low);
    }
  }

  Exact(double[] x, double[] dy, double weight, double bias, double eps) {
    int n = x.length;
    BigDecimal r = BigDecimal.valueOf(n);
    BigDecimal sum = BigDecimal.ZERO;
    double largest = 0;
    for (double value : x) {
      sum = sum.add(new BigDecimal(value, DIGITS), DIGITS);
      largest = Math.max(largest, Math.abs(value));
    }
    meanScale = largest;
    BigDecimal mean = sum.divide(r, DIGITS);
    this.mean = Wide.of(mean);

    BigDecimal[] deviation = new BigDecimal[n];
    BigDecimal squares = BigDecimal.ZERO;
    for (int i = 0; i < n; i++) {
      deviation[i] = new BigDecimal(x[i], DIGITS).subtract(mean, DIGITS);
      squares = squares.add(deviation[i].multiply(deviation[i], DIGITS), DIGITS);
    }
    unbiasedVariance = Wide.of(squares.divide(BigDecimal.valueOf(n - 1), DIGITS));
    variance = unbiasedVariance.high;
    BigDecimal biased = squares.divide(r, DIGITS);
    double std = Math.sqrt(biased.doubleValue());
    BigDecimal invStd = BigDecimal.ONE.divide(biased.add(new BigDecimal(eps)).sqrt(DIGITS), DIGITS);
    BigDecimal scale = invStd.multiply(new BigDecimal(weight), DIGITS);
    double scaleMagnitude = Math.abs(scale.doubleValue());

    BigDecimal sumDy = BigDecimal.ZERO;
    BigDecimal dot = BigDecimal.ZERO;
    double squaresOfDy = 0;
    double magnitudesOfDy = 0;
    double magnitudesOfProducts = 0;
    for (int i = 0; i < n; i++) {
      BigDecimal g = new BigDecimal(dy[i], DIGITS);
      BigDecimal product = g.multiply(deviation[i], DIGITS);
      sumDy = sumDy.add(g, DIGITS);
      dot = dot.add(product, DIGITS);
      squaresOfDy += dy[i] * dy[i];
      magnitudesOfDy += Math.abs(dy[i]);
      magnitudesOfProducts += Math.abs(product.doubleValue());
    }
    dbias = Wide.of(sumDy);
    dbiasScale = magnitudesOfDy;
    BigDecimal dweight = dot.multiply(invStd, DIGITS);
    this.dweight = Wide.of(dweight);
    dweightScale = magnitudesOfProducts * invStd.doubleValue();

    BigDecimal c1 = sumDy.divide(r, DIGITS);
    BigDecimal c2 = dweight.multiply(invStd, DIGITS).divide(r, DIGITS);
    double rms = Math.sqrt(squaresOfDy / n);
    y = new Wide[n];
    dx = new Wide[n];
    yScale = new double[n];
    dxScale = new double[n];
    for (int i = 0; i < n; i++) {
      y[i] = Wide.of(deviation[i].multiply(scale, DIGITS).add(new BigDecimal(bias), DIGITS));
      double d = Math.abs(deviation[i].doubleValue());
      yScale[i] = Math.max(Math.abs(bias), Math.max(d, std) * scaleMagnitude);
      BigDecimal third = deviation[i].multiply(c2, DIGITS);
      BigDecimal sumOfTerms =
          new BigDecimal(dy[i], DIGITS).subtract(c1, DIGITS).subtract(third, DIGITS);
      dx[i] = Wide.of(sumOfTerms.multiply(scale, DIGITS));
      double normalized = d * invStd.doubleValue();
      dxScale[i] = scaleMagnitude * Math.max(Math.abs(dy[i]), rms * Math.max(1, normalized));
    }
  }

  double errorOfMean(double actual) {
    return mean.error(actual);
  }

  double errorOfVariance(double actual) {
    return unbiasedVariance.error(actual);
  }

  double errorOfY(double actual, int i) {
    return y[i].error(actual);
  }

  double errorOfDx(double actual, int i) {
    return dx[i].error(actual);
  }

  double errorOfDweight(double actual) {
    return dweight.error(actual);
  }

  double errorOfDbias(double actual) {
    return dbias.error(actual);
  }
}
