package org.batchnorm4j.examples.plot;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Dimension;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import javax.imageio.ImageIO;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import javax.xml.transform.TransformerException;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.apache.batik.svggen.SVGGraphics2D;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.AxesChartStyler;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

/**
 * Panels of curves, side by side. One drawing makes both files, so they look the same.
 *
 * @param panels from left to right
 */
public record Figure(List<Panel> panels) {
  private static final int WIDTH = 560;
  private static final int HEIGHT = 420;

  /** The PNG has this many pixels per point, enough for sharp text on any screen. */
  private static final int PNG_SCALE = 2;

  private static final double MAX_RATIO = 1e4;

  private static final Color INK = new Color(0x33, 0x33, 0x33);
  private static final Color GRID = new Color(0xe4, 0xe4, 0xe4);

  /** Told apart with any kind of colour vision. */
  private static final Color[] COLORS = {
    new Color(0x00, 0x72, 0xb2),
    new Color(0xd5, 0x5e, 0x00),
    new Color(0x00, 0x9e, 0x73),
    new Color(0xcc, 0x79, 0xa7),
    new Color(0x80, 0x80, 0x80)
  };

  /**
   * Axes with curves. Values that are not finite leave gaps, as do those that are not positive on a
   * logarithmic axis, or more than {@link #MAX_RATIO} times the smallest there: a training that
   * diverged shall not squeeze the other.
   */
  public record Panel(
      String title, String xLabel, String yLabel, boolean logarithmic, List<Curve> curves) {}

  /** A named line through the points (x, y). */
  public record Curve(String name, double[] x, double[] y) {}

  /**
   * Fails now, and not after the training, where Java finds no font to write labels with.
   *
   * @throws IOException saying what to install
   */
  public static void checkFonts() throws IOException {
    try {
      Graphics2D g = new BufferedImage(1, 1, BufferedImage.TYPE_INT_RGB).createGraphics();
      g.getFontMetrics(new Font(Font.SANS_SERIF, Font.PLAIN, 12)).stringWidth("loss");
      g.dispose();
    } catch (RuntimeException | Error e) {
      throw new IOException(
          "Java cannot draw text here, which the plots need ("
              + e.getMessage()
              + "); install fontconfig and a font, such as the package fonts-dejavu-core",
          e);
    }
  }

  /** Writes a PNG. */
  public void writePng(OutputStream out) throws IOException {
    int width = WIDTH * panels.size() * PNG_SCALE;
    BufferedImage image = new BufferedImage(width, HEIGHT * PNG_SCALE, BufferedImage.TYPE_INT_RGB);
    Graphics2D g = image.createGraphics();
    g.scale(PNG_SCALE, PNG_SCALE);
    draw(g);
    g.dispose();
    ImageIO.write(image, "png", out);
  }

  /** Writes an SVG. */
  public void writeSvg(OutputStream out) throws IOException {
    try {
      Document document =
          DocumentBuilderFactory.newInstance()
              .newDocumentBuilder()
              .getDOMImplementation()
              .createDocument("http://www.w3.org/2000/svg", "svg", null);
      SVGGraphics2D g = new SVGGraphics2D(document);
      g.setSVGCanvasSize(new Dimension(WIDTH * panels.size(), HEIGHT));
      draw(g);
      Element root = g.getRoot();
      root.setAttribute("viewBox", "0 0 " + WIDTH * panels.size() + " " + HEIGHT);
      // Not g.stream: it refers to a DTD, which some viewers then look for.
      TransformerFactory.newInstance()
          .newTransformer()
          .transform(new DOMSource(root), new StreamResult(out));
    } catch (ParserConfigurationException | TransformerException e) {
      throw new IOException("cannot write the SVG: " + e.getMessage(), e);
    }
  }

  private void draw(Graphics2D g) {
    g.setColor(Color.WHITE);
    g.fillRect(0, 0, WIDTH * panels.size(), HEIGHT);
    g.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
    for (Panel panel : panels) {
      chart(panel).paint(g, WIDTH, HEIGHT);
      g.translate(WIDTH, 0);
    }
  }

  private static XYChart chart(Panel panel) {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(panel.title)
            .xAxisTitle(panel.xLabel)
            .yAxisTitle(panel.yLabel)
            .build();
    AxesChartStyler style = chart.getStyler();
    style.setLocale(Locale.ROOT);
    style.setChartBackgroundColor(Color.WHITE);
    style.setPlotBackgroundColor(Color.WHITE);
    style.setPlotBorderColor(GRID);
    style.setPlotGridLinesColor(GRID);
    style.setPlotGridLinesStroke(new BasicStroke(1));
    style.setChartFontColor(INK);
    style.setChartTitleFont(new Font(Font.SANS_SERIF, Font.BOLD, 15));
    style.setAxisTitleFont(new Font(Font.SANS_SERIF, Font.PLAIN, 13));
    style.setAxisTickLabelsFont(new Font(Font.SANS_SERIF, Font.PLAIN, 12));
    style.setAxisTickLabelsColor(INK);
    style.setAxisTickMarksColor(INK);
    style.setLegendFont(new Font(Font.SANS_SERIF, Font.PLAIN, 13));
    style.setLegendPosition(Styler.LegendPosition.OutsideS);
    style.setLegendLayout(Styler.LegendLayout.Horizontal);
    style.setLegendBorderColor(Color.WHITE);
    style.setXAxisMin(0.0);
    if (panel.logarithmic) {
      style.setYAxisLogarithmic(true);
      style.setYAxisLogarithmicDecadeOnly(false);
      style.setYAxisTickLabelsFormattingFunction(Figure::logarithmicLabel);
    }
    for (int i = 0; i < panel.curves.size(); i++) {
      addCurve(chart, panel, panel.curves.get(i), COLORS[i % COLORS.length]);
    }
    return chart;
  }

  /** Labels only 1, 2 and 5 of each decade; there is no room for all. */
  private static String logarithmicLabel(double value) {
    String digits =
        new BigDecimal(value).round(new MathContext(3)).stripTrailingZeros().toPlainString();
    String significant = digits.replaceAll("[.0]", "");
    return Set.of("1", "2", "5").contains(significant) ? digits : "";
  }

  /** The smallest positive value. */
  private static double smallest(Panel panel) {
    return panel.curves.stream()
        .flatMapToDouble(curve -> Arrays.stream(curve.y))
        .filter(y -> y > 0)
        .min()
        .orElse(1);
  }

  private static void addCurve(XYChart chart, Panel panel, Curve curve, Color color) {
    List<Double> x = new ArrayList<>();
    List<Double> y = new ArrayList<>();
    // XChart labels every k-th of evenly spaced points, however odd; this one, which is not drawn,
    // puts them out of step, and it labels round numbers.
    x.add(curve.x[0] / 2);
    y.add(null);
    double lowest = panel.logarithmic ? Double.MIN_VALUE : -Double.MAX_VALUE;
    double highest = panel.logarithmic ? MAX_RATIO * smallest(panel) : Double.MAX_VALUE;
    for (int i = 0; i < curve.x.length; i++) {
      boolean shown = curve.y[i] >= lowest && curve.y[i] <= highest;
      x.add(curve.x[i]);
      y.add(shown ? curve.y[i] : null);
    }
    XYSeries series = chart.addSeries(curve.name, x, y);
    series.setMarker(SeriesMarkers.NONE);
    series.setLineColor(color);
    series.setLineWidth(2);
  }
}
