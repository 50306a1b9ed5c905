package org.batchnorm4j.nn;

import java.util.Map;

/** The text that {@link Sequential#toDot} makes. */
final class Graphviz {
  private final StringBuilder nodes = new StringBuilder();
  private final StringBuilder edges = new StringBuilder();
  private int count;

  private Graphviz() {}

  static String of(Sequential net) {
    Graphviz g = new Graphviz();
    String last = g.drawChildren("  ", net, "input");
    g.connect(last, "output");
    return "digraph network {\n"
        + "  node [shape=box];\n"
        + "  input [shape=ellipse];\n"
        + "  output [shape=ellipse];\n"
        + g.nodes
        + g.edges
        + "}\n";
  }

  /** Draws the layers one after another behind the node {@code from}, and returns the last. */
  private String drawChildren(String indent, Sequential net, String from) {
    String last = from;
    for (Map.Entry<String, Module> e : net.children().entrySet()) {
      last = draw(indent, e.getKey(), e.getValue(), last);
    }
    return last;
  }

  private String draw(String indent, String name, Module module, String from) {
    if (module instanceof Sequential s) {
      open(indent, name + ": Sequential");
      String last = drawChildren(indent + "  ", s, from);
      nodes.append(indent).append("}\n");
      return last;
    }
    if (module instanceof Residual r) {
      open(indent, name + ": Residual");
      String inner = indent + "  ";
      String body = draw(inner, "body", r.body(), from);
      Module around = r.shortcut();
      String shortcut = around == null ? from : draw(inner, "shortcut", around, from);
      Module activation = r.activationLayer();
      String sum = node(inner, activation == null ? "+" : "+\n" + activation);
      nodes.append(indent).append("}\n");
      connect(body, sum);
      connect(shortcut, sum);
      return sum;
    }
    String node = node(indent, name + "\n" + module);
    connect(from, node);
    return node;
  }

  private void open(String indent, String label) {
    nodes.append(indent).append("subgraph cluster_").append(count++).append(" {\n");
    nodes.append(indent).append("  label=").append(quoted(label)).append(";\n");
  }

  private String node(String indent, String label) {
    String id = "n" + count++;
    nodes.append(indent).append(id).append(" [label=").append(quoted(label)).append("];\n");
    return id;
  }

  private void connect(String from, String to) {
    edges.append("  ").append(from).append(" -> ").append(to).append(";\n");
  }

  private static String quoted(String text) {
    return '"'
        + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n").replace("\r", "")
        + '"';
  }
}
