package org.batchnorm4j.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Draws bars and curves as SVG that follows the reader's light or dark scheme. */
final class Svg {
  private static final int WIDTH = 860;
  private static final int LEFT = 300;
  private static final int RIGHT = 70;
  private static final int TOP = 64;
  private static final int BAR = 13;
  private static final int COLORS = 10;

  /**
   * Told apart with any kind of colour vision, on white and on dark. Classes and not variables: not
   * only browsers draw SVG.
   */
  private static final String STYLE =
      """
      <style>
      text{font:12px sans-serif}.title{font-weight:bold;font-size:15px}
      .line{fill:none;stroke-width:2}.one{stroke-width:1.5}
      .paper{fill:#ffffff}text{fill:#24292f}.grid{stroke:#d8dee4}.one{stroke:#24292f}
      .f0{fill:#0072b2}.s0{stroke:#0072b2}.f1{fill:#d55e00}.s1{stroke:#d55e00}.f2{fill:#009e73}.s2{stroke:#009e73}
      .f3{fill:#b07aa1}.s3{stroke:#b07aa1}.f4{fill:#8c6d00}.s4{stroke:#8c6d00}.f5{fill:#56b4e9}.s5{stroke:#56b4e9}
      .f9{fill:#5c8a1e}.s9{stroke:#5c8a1e}
      .f6{fill:#7f7f7f}.s6{stroke:#7f7f7f}.f7{fill:#e377c2}.s7{stroke:#e377c2}.f8{fill:#6b4c9a}.s8{stroke:#6b4c9a}
      @media (prefers-color-scheme:dark){
      .paper{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}.one{stroke:#e6edf3}
      .f0{fill:#4ea8de}.s0{stroke:#4ea8de}.f1{fill:#ff8c42}.s1{stroke:#ff8c42}.f2{fill:#2fd6a5}.s2{stroke:#2fd6a5}
      .f3{fill:#d7a9cb}.s3{stroke:#d7a9cb}.f4{fill:#e0b400}.s4{stroke:#e0b400}.f5{fill:#9bd5f5}.s5{stroke:#9bd5f5}
      .f9{fill:#a4d65e}.s9{stroke:#a4d65e}
      .f6{fill:#b0b0b0}.s6{stroke:#b0b0b0}.f7{fill:#f5a6dd}.s7{stroke:#f5a6dd}.f8{fill:#b497e7}.s8{stroke:#b497e7}
      }
      </style>
      """;

  private static final String DASHED = " stroke-dasharray=\"6 4\"";

  private final StringBuilder out = new StringBuilder();
  private final int height;

  private Svg(int height, String title) {
    this.height = height;
    out.append(STYLE);
    out.append("<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n");
    text(16, 24, "start", "title", title);
  }

  /** Values of one label, one for each series; NaN where there is none. */
  record Bar(String label, double[] values) {}

  /** Values of one label, some for each series. */
  record Strip(String label, List<List<Double>> values) {}

  /** A named curve. */
  record Curve(String name, List<double[]> points) {}

  /**
   * Horizontal bars from 1 to the left and to the right, on a logarithmic axis, or from 0 on a
   * linear one. Every bar has its number.
   */
  static String bars(
      String title, String axis, boolean logarithmic, List<String> series, List<Bar> bars) {
    int group = BAR * series.size() + 8;
    Svg svg = new Svg(TOP + group * bars.size() + 48, title);
    svg.legend(series);
    double low = logarithmic ? 0.5 : 0;
    double high = logarithmic ? 2 : 1.2;
    for (Bar bar : bars) {
      for (double v : bar.values) {
        if (!Double.isNaN(v)) {
          low = logarithmic ? Math.min(low, v * 0.9) : low;
          high = Math.max(high, v * 1.1);
        }
      }
    }
    int bottom = TOP + group * bars.size();
    for (double tick : logarithmic ? decades(low, high) : linear(high)) {
      double x = at(tick, low, high, logarithmic);
      svg.line(x, TOP, x, bottom, tick == 1 ? "one" : "grid");
      svg.text(x, bottom + 16, "middle", "", number(tick));
    }
    svg.text(LEFT + (WIDTH - LEFT - RIGHT) / 2.0, bottom + 36, "middle", "", axis);
    double origin = at(logarithmic ? 1 : 0, low, high, logarithmic);
    for (int i = 0; i < bars.size(); i++) {
      double y = TOP + group * i + 4;
      svg.text(LEFT - 8, y + BAR * series.size() / 2.0 + 4, "end", "", bars.get(i).label);
      for (int k = 0; k < series.size(); k++, y += BAR) {
        double value = bars.get(i).values[k];
        if (Double.isNaN(value)) {
          svg.text(origin + 4, y + 10, "start", "", "no time");
          continue;
        }
        double x = at(value, low, high, logarithmic);
        svg.out.append(
            String.format(
                Locale.ROOT,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" class=\"f%d\"/>%n",
                Math.min(x, origin),
                y,
                Math.max(1, Math.abs(x - origin)),
                BAR - 2,
                k % COLORS));
        svg.text(Math.max(x, origin) + 4, y + 10, "start", "", number(value));
      }
    }
    return svg.finish();
  }

  /**
   * A dot for each value on a logarithmic axis around 1, all of the same weight, and a bar at the
   * geometric mean of a series with its number.
   */
  static String strips(String title, String axis, List<String> series, List<Strip> strips) {
    int lane = 18;
    int group = lane * series.size() + 8;
    int bottom = TOP + group * strips.size();
    Svg svg = new Svg(bottom + 48, title);
    svg.legend(series);
    double[] range = {0.5, 2};
    for (Strip strip : strips) {
      for (double v : strip.values.stream().flatMap(List::stream).toList()) {
        range[0] = Math.min(range[0], v / 1.1);
        range[1] = Math.max(range[1], v * 1.1);
      }
    }
    for (double tick : decades(range[0], range[1])) {
      double x = at(tick, range[0], range[1], true);
      svg.line(x, TOP, x, bottom, tick == 1 ? "one" : "grid");
      svg.text(x, bottom + 16, "middle", "", number(tick));
    }
    svg.text(LEFT + (WIDTH - LEFT - RIGHT) / 2.0, bottom + 36, "middle", "", axis);
    svg.text(WIDTH - 16, TOP - 10, "end", "", "mean");
    for (int i = 0; i < strips.size(); i++) {
      double top = TOP + group * i + 4;
      svg.line(16, top - 4, WIDTH - 16, top - 4, "grid");
      svg.text(LEFT - 8, top + group / 2.0, "end", "", strips.get(i).label);
      for (int k = 0; k < series.size(); k++) {
        List<Double> values = strips.get(i).values.get(k).stream().sorted().toList();
        double middle = top + lane * (k + 0.5);
        double logs = 0;
        for (int j = 0; j < values.size(); j++) {
          logs += Math.log(values.get(j));
          // Neighbours one above the other, so that all can be seen.
          svg.dot(at(values.get(j), range[0], range[1], true), middle + (j % 3 - 1) * 4, k);
        }
        if (!values.isEmpty()) {
          double mean = Math.exp(logs / values.size());
          double x = at(mean, range[0], range[1], true);
          svg.line(x, middle - lane / 2.0, x, middle + lane / 2.0, "line s" + k % COLORS);
          svg.text(WIDTH - 16, middle + 4, "end", "", number(mean));
        }
      }
    }
    return svg.finish();
  }

  /** Curves on two logarithmic axes, and a mark where one overtakes another, if that is above 0. */
  static String curves(String title, String xAxis, String yAxis, double mark, List<Curve> curves) {
    return plane(title, xAxis, yAxis, mark, curves, true);
  }

  /** Single points on two logarithmic axes. */
  static String dots(String title, String xAxis, String yAxis, List<Curve> points) {
    return plane(title, xAxis, yAxis, 0, points, false);
  }

  private static String plane(
      String title, String xAxis, String yAxis, double mark, List<Curve> curves, boolean joined) {
    // Room for a second line of names, and for what the vertical axis is.
    int top = TOP + 32;
    int bottom = 492;
    Svg svg = new Svg(bottom + 56, title);
    svg.legend(curves.stream().map(Curve::name).toList());
    double[] x = range(curves, 0);
    double[] y = range(curves, 1);
    int left = 70;
    for (double tick : powers(x)) {
      double at = left + (WIDTH - left - RIGHT) * share(tick, x);
      svg.line(at, top, at, bottom, "grid");
      svg.text(at, bottom + 16, "middle", "", power(tick));
    }
    for (double tick : powers(y)) {
      double at = bottom - (bottom - top) * share(tick, y);
      svg.line(left, at, WIDTH - RIGHT, at, "grid");
      svg.text(left - 6, at + 4, "end", "", power(tick));
    }
    svg.text(left + (WIDTH - left - RIGHT) / 2.0, bottom + 38, "middle", "", xAxis);
    svg.text(16, top - 10, "start", "", yAxis);
    if (mark > 0) {
      double at = left + (WIDTH - left - RIGHT) * share(mark, x);
      svg.line(at, top, at, bottom, "one");
      String label = "native = Java at " + Math.round(mark);
      svg.text(at + 6, bottom - 8, "start", "", label);
    }
    for (int i = 0; i < curves.size(); i++) {
      StringBuilder points = new StringBuilder();
      for (double[] p : curves.get(i).points) {
        points.append(
            String.format(
                Locale.ROOT,
                "%.1f,%.1f ",
                left + (WIDTH - left - RIGHT) * share(p[0], x),
                bottom - (bottom - top) * share(p[1], y)));
        svg.dot(
            left + (WIDTH - left - RIGHT) * share(p[0], x),
            bottom - (bottom - top) * share(p[1], y),
            i);
      }
      if (!joined) {
        continue;
      }
      svg.out.append(
          String.format(
              Locale.ROOT,
              "<polyline class=\"line s%d\"%s points=\"%s\"/>%n",
              i % COLORS,
              // The colours of the first ones again.
              i < COLORS ? "" : DASHED,
              points.toString().strip()));
    }
    return svg.finish();
  }

  /** Five names to a line, at most two lines. */
  private void legend(List<String> series) {
    double x = 16;
    int y = 36;
    for (int i = 0; i < series.size(); i++) {
      if (i == 5) {
        x = 16;
        y += 15;
      }
      out.append(
          i < COLORS
              ? String.format(
                  Locale.ROOT,
                  "<rect x=\"%.1f\" y=\"%d\" width=\"10\" height=\"10\" class=\"f%d\"/>%n",
                  x,
                  y,
                  i)
              : String.format(
                  Locale.ROOT,
                  "<path d=\"M%.1f %dh6m3 0h3\" class=\"line s%d\"/>%n",
                  x - 1,
                  y + 5,
                  i % COLORS));
      text(x + 14, y + 9, "start", "", series.get(i));
      x += 34 + 6.6 * series.get(i).length();
    }
  }

  private String finish() {
    return String.format(
        Locale.ROOT,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\""
            + " height=\"%d\" role=\"img\">%n%s</svg>%n",
        WIDTH,
        height,
        WIDTH,
        height,
        out);
  }

  private void text(double x, double y, String anchor, String type, String text) {
    String escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
    out.append(
        String.format(
            Locale.ROOT,
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>%n",
            x,
            y,
            anchor,
            type.isEmpty() ? "" : " class=\"" + type + "\"",
            escaped));
  }

  private void dot(double x, double y, int series) {
    out.append(
        String.format(
            Locale.ROOT,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" class=\"f%d\"/>%n",
            x,
            y,
            series % COLORS));
  }

  private void line(double x, double y, double x2, double y2, String type) {
    out.append(
        String.format(
            Locale.ROOT,
            "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>%n",
            x,
            y,
            x2,
            y2,
            type));
  }

  private static double at(double value, double low, double high, boolean logarithmic) {
    double share =
        logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return LEFT + (WIDTH - LEFT - RIGHT) * share;
  }

  private static double share(double value, double[] range) {
    return Math.log(value / range[0]) / Math.log(range[1] / range[0]);
  }

  private static double[] range(List<Curve> curves, int coordinate) {
    double[] range = {Double.MAX_VALUE, 0};
    for (Curve curve : curves) {
      for (double[] p : curve.points) {
        range[0] = Math.min(range[0], p[coordinate]);
        range[1] = Math.max(range[1], p[coordinate]);
      }
    }
    return new double[] {range[0] / 1.2, range[1] * 1.2};
  }

  private static List<Double> decades(double low, double high) {
    List<Double> ticks = new ArrayList<>();
    double[] all = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
    for (double tick : all) {
      if (tick >= low && tick <= high) {
        ticks.add(tick);
      }
    }
    return ticks;
  }

  private static List<Double> linear(double high) {
    List<Double> ticks = new ArrayList<>();
    double step = high > 4 ? Math.ceil(high / 8) : 0.2;
    for (int i = 0; i * step <= high; i++) {
      ticks.add(Math.round(i * step * 10) / 10.0);
    }
    return ticks;
  }

  private static List<Double> powers(double[] range) {
    List<Double> ticks = new ArrayList<>();
    for (int e = -3; e <= 9; e++) {
      double tick = Math.pow(10, e);
      if (tick >= range[0] && tick <= range[1]) {
        ticks.add(tick);
      }
    }
    return ticks;
  }

  private static String power(double tick) {
    return tick >= 1 && tick < 1e4
        ? String.valueOf((int) tick)
        : tick < 1 ? String.valueOf(tick) : "1e" + Math.round(Math.log10(tick));
  }

  private static String number(double value) {
    if (value >= 9.95 || value == Math.rint(value)) {
      return String.format(Locale.ROOT, "%.0f", value);
    }
    return String.format(
        Locale.ROOT,
        value >= 0.095 && Math.abs(value * 10 - Math.rint(value * 10)) < 1e-9 ? "%.1f" : "%.2f",
        value);
  }
}
