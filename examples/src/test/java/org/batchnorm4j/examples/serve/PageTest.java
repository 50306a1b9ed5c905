package org.batchnorm4j.examples.serve;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.batchnorm4j.examples.cli.Progress;
import org.batchnorm4j.examples.data.DataFiles;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.examples.mnist.MnistNetwork;
import org.batchnorm4j.examples.mnist.MnistTraining;
import org.batchnorm4j.examples.serve.PredictionServer.Limits;
import org.batchnorm4j.nn.InferenceModel;
import org.batchnorm4j.nn.Sequential;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/** A digit is drawn with the mouse in a real browser, and the page says which one it is. */
class PageTest {
  @TempDir(cleanup = CleanupMode.NEVER)
  Path dir;

  @Test
  @SuppressWarnings("try") // closed early, to see what the page says then
  void drawnDigitsAreRecognized() throws Exception {
    Optional<Path> program = Browser.find();
    assumeTrue(program.isPresent(), "no Chromium on the PATH");
    InetSocketAddress any = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    try (InferenceModel model = trained();
        PredictionServer server = new PredictionServer(model, any, new Limits(1 << 16, 2, 8));
        Browser browser = new Browser(program.get(), dir.resolve("profile"))) {
      browser.open("http://127.0.0.1:" + server.address().getPort() + "/");
      double left = position(browser, "canvas", "left");
      double top = position(browser, "canvas", "top");

      stroke(browser, left, top, t -> 140 + 8 * t, t -> 40 + 200 * t);
      answer(browser, "1");
      assertEquals("10", browser.evaluate("document.querySelectorAll('.row').length"));
      click(browser, "clear");
      answer(browser, "");
      stroke(
          browser, left, top, t -> 140 + 65 * Math.sin(6.3 * t), t -> 140 - 95 * Math.cos(6.3 * t));
      answer(browser, "0");
      Files.write(Path.of("target", "page.png"), browser.screenshot());
      click(browser, "clear");
      stroke(
          browser,
          left,
          top,
          t -> t < 0.4 ? 70 + 350 * t : 210 - 150 * (t - 0.4),
          t -> t < 0.4 ? 60 : 60 + 280 * (t - 0.4));
      answer(browser, "7");

      server.close();
      stroke(browser, left, top, t -> 20 + t, t -> 20);
      answer(browser, "?");
    }
  }

  private static InferenceModel trained() throws Exception {
    MnistIdx images = MnistIdx.train(DataFiles.fromJar());
    MnistTraining.Settings settings = new MnistTraining.Settings(6000, 1, 32, 0.01, 1);
    try (Sequential network = MnistNetwork.build(true, 1);
        Progress quiet =
            new Progress(new PrintWriter(new StringWriter()), false, "", settings.total())) {
      new MnistTraining(images, images, settings).train("", network, quiet);
      assertTrue(MnistTraining.accuracy(network.eval(), images, 1000) > 90, "not trained");
      return InferenceModel.of(network, 1, MnistIdx.SIDE, MnistIdx.SIDE);
    }
  }

  private interface Path2d {
    double at(double t);
  }

  private static double position(Browser browser, String id, String side) throws Exception {
    return Double.parseDouble(
        browser.evaluate("document.getElementById('" + id + "').getBoundingClientRect()." + side));
  }

  /** A line with the button held down, from t = 0 to t = 1. */
  private static void stroke(Browser browser, double left, double top, Path2d x, Path2d y)
      throws Exception {
    browser.mouse("mousePressed", left + x.at(0), top + y.at(0));
    for (int i = 1; i <= 30; i++) {
      browser.mouse("mouseMoved", left + x.at(i / 30.0), top + y.at(i / 30.0));
    }
    browser.mouse("mouseReleased", left + x.at(1), top + y.at(1));
  }

  private static void click(Browser browser, String id) throws Exception {
    double x = position(browser, id, "left") + 5;
    double y = position(browser, id, "top") + 5;
    browser.mouse("mousePressed", x, y);
    browser.mouse("mouseReleased", x, y);
  }

  private static void answer(Browser browser, String expected) throws Exception {
    browser.await("document.getElementById('answer').textContent === '" + expected + "'");
  }
}
