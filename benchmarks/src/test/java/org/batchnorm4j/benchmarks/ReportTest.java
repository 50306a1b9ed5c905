package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.xml.sax.InputSource;

class ReportTest {
  @TempDir Path folder;

  @Test
  void showsWinsLossesAndPeersThatAreWrong() {
    String markdown =
        new Report(
                Rows.results(
                    Rows.ok("copy", "32x64x56x56", 1, 8),
                    Rows.ok("native AVX-512", "32x64x56x56", 1, 10),
                    Rows.ok("Java backend", "32x64x56x56", 1, 40),
                    Rows.ok("libtorch", "32x64x56x56", 1, 25),
                    Rows.row("oneDNN", "32x64x56x56", 1, Results.WRONG, "value 3", 0),
                    Rows.ok("native AVX-512", "64x50", 1, 10),
                    Rows.ok("libtorch", "64x50", 1, 5)))
            .markdown(Map.of());
    assertTrue(markdown.contains("0.80 | 2.50 x libtorch |"), markdown);
    assertTrue(markdown.contains("0.50 x libtorch |"), markdown);
    // Two cells, geometric mean of 2.5 and 0.5, the worst, one loss, 4 times the Java backend.
    assertTrue(
        markdown.contains("| 1 | inference | nchw | 2 | 1.12 | 0.50 | 1 | 4.00 | 0.80 |"),
        markdown);
    assertTrue(markdown.contains("- oneDNN, inference nchw 32x64x56x56, f32, 1 thread: wrong"));
    assertFalse(markdown.contains("busy"), markdown);
  }

  @Test
  void fewRoundsAreShownAndDecideNothing() {
    Results results =
        Rows.results(
            // A slow peer of one round: the other one decides.
            Rows.ok("native AVX2", "32x64x56x56", 1, 10),
            Rows.ok("libtorch", "32x64x56x56", 1, 25),
            Rows.rounds(1, Rows.ok("ND4J", "32x64x56x56", 1, 900)),
            Rows.rounds(2, Rows.ok("Java backend", "32x64x56x56", 1, 44)),
            // The fastest has one round: against the next, 7.0, it would flatter.
            Rows.ok("native AVX2", "1x64x56x56", 1, 10),
            Rows.rounds(1, Rows.ok("oneDNN", "1x64x56x56", 1, 60)),
            Rows.ok("libtorch", "1x64x56x56", 1, 70),
            // Native has too few itself.
            Rows.rounds(2, Rows.ok("native AVX2", "64x50", 1, 10)),
            Rows.ok("libtorch", "64x50", 1, 80));
    Report report = new Report(results);
    String markdown = report.markdown(Map.of());
    assertTrue(markdown.contains("*In italics*: of fewer than 3 rounds"), markdown);
    assertTrue(markdown.contains("| *44.0* | 25.0 | *900* | - | 0.80 | 2.50 x libtorch |"));
    assertTrue(markdown.contains("| - | 70.0 | - | *60.0* | 0.80 | - |"), markdown);
    assertTrue(markdown.contains("| *10.0* | - | 80.0 | - | - | - | - |"), markdown);
    assertTrue(markdown.contains("| 1 | inference | nchw | 1 | 2.50 | 2.50 | 0 | - | 0.80 |"));
    assertTrue(markdown.contains("Left out: 2 of 3 cells"), markdown);
    assertEquals(2, report.overviewPlot().split("<circle", -1).length);
  }

  @Test
  void saysThatTheMachineWasBusy() {
    Results quiet = Rows.results(Rows.ok("native AVX2", "64x50", 1, 10));
    Map<String, String> environment = new HashMap<>(quiet.environment());
    environment.put("load before", "7.5");
    Results busy = new Results("busy", "quick", "", 1, 1, environment, quiet.rows());
    assertTrue(new Report(busy).markdown(Map.of()).contains("do not cite"));
    // A run before this one makes a load too; what counts is who used cores during it.
    environment.put(Environment.OTHERS, "0.04");
    assertFalse(new Report(busy).markdown(Map.of()).contains("do not cite"));
    environment.put(Environment.OTHERS, "0.40");
    assertTrue(new Report(busy).markdown(Map.of()).contains("do not cite"));
  }

  @Test
  void sumsResNet50() {
    List<Results.Row> rows = new ArrayList<>();
    for (int[] layer : Plan.RESNET50) {
      String shape = "1x" + layer[0] + "x" + layer[1] + "x" + layer[1];
      rows.add(Rows.ok("native AVX2", shape, 1, 2));
    }
    Results results = Rows.results(rows.toArray(new Results.Row[0]));
    String markdown = new Report(results).markdown(Map.of());
    assertTrue(markdown.contains("| 1 | 1 | nchw | native AVX2 | 106 | - |"), markdown);
  }

  @Test
  void plotsAreWellFormedAndHaveABarForEveryCell() throws Exception {
    Path json = folder.resolve("some.json");
    List<Path> written =
        new Report(
                Rows.results(
                    Rows.ok("native <&>", "32x64x56x56", 2, 10),
                    Rows.ok("libtorch", "32x64x56x56", 2, 25),
                    Rows.ok("native <&>", "64x50", 2, 10),
                    Rows.ok("libtorch", "64x50", 2, 5)))
            .write(json);
    assertEquals(4, written.size());
    for (Path file : written) {
      String text = Files.readString(file);
      if (file.toString().endsWith(".svg")) {
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new InputSource(new StringReader(text)));
        boolean labels = text.contains("32x64x56x56") && text.contains("64x50");
        boolean dots = text.split("<circle", -1).length - 1 == 4;
        assertTrue(labels || dots, text);
        assertTrue(text.contains("prefers-color-scheme:dark"), text);
      }
    }
    String ratios = Files.readString(folder.resolve("some-ratios-2.svg"));
    assertTrue(ratios.contains(">2.5<") && ratios.contains(">0.5<"), ratios);
  }

  @Test
  void curvesAreWellFormed() throws Exception {
    String svg =
        Svg.curves(
            "calls",
            "x & y",
            "us",
            1000,
            List.of(new Svg.Curve("a", List.of(new double[] {1, 0.1}, new double[] {1e6, 2000}))));
    DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new InputSource(new StringReader(svg)));
    assertTrue(svg.contains("polyline"), svg);
    assertTrue(svg.contains(">native = Java at 1000<"), svg);
  }

  @Test
  void anEleventhCurveIsDashed() {
    List<Svg.Curve> curves = new ArrayList<>();
    for (int i = 0; i < 11; i++) {
      curves.add(new Svg.Curve("c" + i, List.of(new double[] {1, 1}, new double[] {10, 1 + i})));
    }
    String svg = Svg.curves("calls", "x", "us", 0, curves);
    assertEquals(2, svg.split("stroke-dasharray", -1).length, svg);
  }

  @Test
  void plotsComeBehindTheTables() {
    Results results = Rows.results(Rows.ok("native AVX2", "64x50", 1, 10));
    String text = new Report(results).markdown(Map.of("a.svg", "what it shows"));
    assertTrue(text.indexOf("![what it shows](a.svg)") > text.indexOf("| cell |"), text);
  }

  @Test
  void findsWhereNativeOvertakesJava() {
    // Twice as slow at 100 elements, twice as fast at 10000: even in the middle of the logarithms.
    String text =
        new Report(
                Rows.results(
                    Rows.call("native AVX2", 100, 2),
                    Rows.call("Java backend", 100, 1),
                    Rows.call("native AVX2", 10000, 2),
                    Rows.call("Java backend", 10000, 4)))
            .markdown(Map.of());
    assertTrue(
        text.contains("1 thread: native is faster than our Java backend from about 1000"), text);
  }

  @Test
  void countsTheTensorsOfALimit() {
    assertEquals(2, Report.tensors("copy"));
    assertEquals(3, Report.tensors("read + copy"));
    assertEquals(3, Report.tensors("triad"));
    assertEquals(5, Report.tensors("2 reads + triad"));
  }
}
