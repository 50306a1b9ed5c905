package org.batchnorm4j.examples;

import java.io.PrintWriter;
import java.util.Map;
import org.batchnorm4j.examples.cli.Table;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;

/** Runs a network layer by layer and prints what each layer makes of its input. */
final class Trace {
  private Trace() {}

  /** Prints one line per layer and returns the output. */
  static Tensor forward(PrintWriter out, Sequential network, Tensor x) {
    Table table = new Table("layer", "output shape", "mean per channel", "std per channel");
    addRow(table, "(input)", x);
    Tensor y = x;
    for (Map.Entry<String, Module> layer : network.children().entrySet()) {
      y = layer.getValue().forward(y);
      addRow(table, layer.getKey() + " " + layer.getValue().getClass().getSimpleName(), y);
    }
    table.print(out);
    return y;
  }

  private static void addRow(Table table, String name, Tensor t) {
    ChannelStats stats = ChannelStats.of(t);
    table.row(
        name,
        t.shape().toString(),
        ChannelStats.range(stats.mean()),
        ChannelStats.range(stats.std()));
  }
}
