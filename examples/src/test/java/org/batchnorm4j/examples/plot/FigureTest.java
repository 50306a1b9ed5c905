package org.batchnorm4j.examples.plot;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import javax.imageio.ImageIO;
import javax.xml.parsers.DocumentBuilderFactory;
import org.batchnorm4j.examples.plot.Figure.Curve;
import org.batchnorm4j.examples.plot.Figure.Panel;
import org.junit.jupiter.api.Test;
import org.w3c.dom.Document;

class FigureTest {
  private static final Figure FIGURE =
      new Figure(
          List.of(
              panel(true, new double[] {2, 1, 0.5}, new double[] {2, 1.5, 1}),
              panel(false, new double[] {0.5, 0.9, 0.98}, new double[] {0.4, 0.8, 0.9})));

  @Test
  void thePngDecodesAndShowsEachCurveInItsColour() throws IOException {
    BufferedImage image = png(FIGURE);
    assertEquals(2240, image.getWidth());
    assertEquals(840, image.getHeight());
    assertEquals(0xffffff, image.getRGB(0, 0) & 0xffffff);
    for (int panel = 0; panel < 2; panel++) {
      assertTrue(count(image, panel, 0x0072b2) > 500);
      assertTrue(count(image, panel, 0xd55e00) > 500);
    }
  }

  @Test
  void theSvgIsXmlAndRefersToNothingOutside() throws Exception {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    FIGURE.writeSvg(out);
    Document svg =
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new ByteArrayInputStream(out.toByteArray()));
    assertEquals("svg", svg.getDocumentElement().getTagName());
    assertEquals("0 0 1120 420", svg.getDocumentElement().getAttribute("viewBox"));
    String text = out.toString(StandardCharsets.UTF_8);
    assertTrue(text.contains("rgb(0,114,178)") && text.contains("rgb(213,94,0)"));
    assertFalse(text.contains("<!DOCTYPE"));
  }

  /** A training that diverged has such values, and its plot must not fail. */
  @Test
  void valuesThatCannotBeDrawnLeaveGaps() throws IOException {
    double nan = Double.NaN;
    double infinity = Double.POSITIVE_INFINITY;
    for (boolean logarithmic : new boolean[] {true, false}) {
      Panel some = panel(logarithmic, new double[] {1, 0.5, nan}, new double[] {0.3, infinity, 2});
      assertTrue(count(png(new Figure(List.of(some))), 0, 0x0072b2) > 200);
      Panel none = panel(logarithmic, new double[] {nan, nan, nan}, new double[] {1, 2, 3});
      assertTrue(count(png(new Figure(List.of(none))), 0, 0xd55e00) > 200);
      png(new Figure(List.of(panel(logarithmic, new double[3], new double[3]))));
      png(
          new Figure(
              List.of(
                  panel(logarithmic, new double[] {nan, nan, nan}, new double[] {nan, nan, nan}))));
    }
  }

  private static Panel panel(boolean logarithmic, double[] one, double[] two) {
    double[] x = {0, 100, 200};
    return new Panel(
        "title",
        "x",
        "y",
        logarithmic,
        List.of(new Curve("one", x, one), new Curve("two", x, two)));
  }

  private static BufferedImage png(Figure figure) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    figure.writePng(out);
    return ImageIO.read(new ByteArrayInputStream(out.toByteArray()));
  }

  private static int count(BufferedImage image, int panel, int colour) {
    int found = 0;
    for (int y = 0; y < image.getHeight(); y++) {
      for (int x = panel * 1120; x < (panel + 1) * 1120; x++) {
        found += (image.getRGB(x, y) & 0xffffff) == colour ? 1 : 0;
      }
    }
    return found;
  }
}
