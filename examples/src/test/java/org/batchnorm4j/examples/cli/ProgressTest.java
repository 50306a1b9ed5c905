package org.batchnorm4j.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;

class ProgressTest {
  @Test
  void withoutATerminalAPlainLinePerTenth() {
    StringWriter out = new StringWriter();
    long took = Long.MAX_VALUE;
    // After 15 seconds there would be a line in between: not if the machine stood still.
    for (int tries = 0; tries < 5 && took > 15_000_000_000L; tries++) {
      out.getBuffer().setLength(0);
      long start = System.nanoTime();
      try (Progress progress = new Progress(new PrintWriter(out), false, "training", 1000)) {
        for (int i = 0; i < 100; i++) {
          progress.step(10, 0.5);
        }
      }
      took = System.nanoTime() - start;
    }
    List<String> lines = out.toString().lines().toList();
    assertEquals(10, lines.size());
    assertTrue(
        lines
            .get(0)
            .matches("training {2}10 % {2}100/1,000 images {2}loss 0\\.5000 {2}[0-9,]+ images/s"),
        lines.get(0));
    assertTrue(lines.get(9).startsWith("training 100 %  1,000/1,000 images"), lines.get(9));
    assertFalse(out.toString().contains("\r") || out.toString().contains("\u001b"));
  }

  @Test
  void testsHaveNoTerminal() {
    assertFalse(Progress.isTerminal());
  }
}
