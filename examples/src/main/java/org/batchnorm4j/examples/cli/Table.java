package org.batchnorm4j.examples.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;

/** Prints rows in columns: the first to the left, the others, numbers, to the right. */
public final class Table {
  private final List<String[]> rows = new ArrayList<>();

  /** A table with these column names. */
  public Table(String... columns) {
    rows.add(columns);
  }

  /** Adds a row, one cell per column. */
  public Table row(String... cells) {
    rows.add(cells);
    return this;
  }

  /** Prints the table. */
  public void print(PrintWriter out) {
    int[] widths = new int[rows.get(0).length];
    for (String[] row : rows) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row[i].length());
      }
    }
    for (int r = 0; r < rows.size(); r++) {
      StringBuilder line = new StringBuilder("  ");
      StringBuilder rule = new StringBuilder("  ");
      for (int i = 0; i < widths.length; i++) {
        String cell = rows.get(r)[i];
        String space = " ".repeat(widths[i] - cell.length());
        line.append(i == 0 ? cell + space : "  " + space + cell);
        rule.append("-".repeat(widths[i] + (i == 0 ? 0 : 2)));
      }
      out.println(line.toString().stripTrailing());
      if (r == 0) {
        out.println(rule);
      }
    }
    out.flush();
  }
}
