package org.batchnorm4j.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;

class TableTest {
  @Test
  void columnsAreAsWideAsTheirWidestCell() {
    StringWriter out = new StringWriter();
    new Table("", "loss", "n")
        .row("with", "0.5", "10000")
        .row("w", "12.25", "1")
        .print(new PrintWriter(out));
    assertEquals(
        List.of(
            "         loss      n",
            "  ------------------",
            "  with    0.5  10000",
            "  w     12.25      1"),
        out.toString().lines().toList());
  }
}
