package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.batchnorm4j.tensor.Shape;

/** The table that {@link Sequential#summary} prints. */
final class Summary {
  private static final String GAP = "  ";

  private record Row(String layer, String output, String parameters) {}

  private final List<Row> rows = new ArrayList<>();

  private Summary() {}

  static String of(Sequential net, Shape input) {
    // Refuses what does not fit, and names the layer.
    net.outputShape(input);
    Summary summary = new Summary();
    summary.rows.add(new Row("layer", "output", "parameters"));
    summary.rows.add(new Row("input", input.toString(), ""));
    summary.addChildren("", net, input);
    summary.rows.add(new Row("total", "", count(net.parameters())));
    return summary.toString();
  }

  private static String count(List<Parameter> parameters) {
    long count = 0;
    for (Parameter p : parameters) {
      count += p.value().size();
    }
    return String.format(Locale.ROOT, "%,d", count);
  }

  /** Adds the layers one after another, and says what comes out of the last. */
  private Shape addChildren(String indent, Sequential net, Shape input) {
    Shape shape = input;
    for (Map.Entry<String, Module> e : net.children().entrySet()) {
      shape = add(indent, e.getKey(), e.getValue(), shape);
    }
    return shape;
  }

  private Shape add(String indent, String name, Module module, Shape input) {
    Shape output = module.outputShape(input);
    boolean container = module instanceof Sequential || module instanceof Residual;
    rows.add(
        new Row(
            indent + name + " " + module.label(),
            output.toString(),
            container ? "" : count(module.parameters())));
    if (module instanceof Sequential s) {
      addChildren(indent + GAP, s, input);
    } else if (module instanceof Residual r) {
      r.children().forEach((part, child) -> add(indent + GAP, part, child, input));
    }
    return output;
  }

  @Override
  public String toString() {
    int layer = 0;
    int output = 0;
    int parameters = 0;
    for (Row row : rows) {
      layer = Math.max(layer, row.layer.length());
      output = Math.max(output, row.output.length());
      parameters = Math.max(parameters, row.parameters.length());
    }
    String format = "%-" + layer + "s" + GAP + "%-" + output + "s" + GAP + "%" + parameters + "s";
    StringBuilder text = new StringBuilder();
    for (Row row : rows) {
      String line = String.format(format, row.layer, row.output, row.parameters);
      text.append(line.stripTrailing()).append('\n');
    }
    return text.toString();
  }
}
