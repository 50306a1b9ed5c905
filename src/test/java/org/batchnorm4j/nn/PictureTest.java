package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

/** Summaries and Graphviz pictures of networks. */
class PictureTest {

  private static Sequential network() {
    Sequential block =
        new Sequential(new Conv2d(8, 8, kernel(3).padding(1).bias(false)), new BatchNorm2d(8));
    return new Sequential()
        .add("stem", new Conv2d(1, 8, kernel(3).padding(1).stride(2)))
        .add("norm", new BatchNorm2d(8))
        .add(new ReLU())
        .add("block", new Residual(block, new Conv2d(8, 8, kernel(1)), Activation.RELU))
        .add(new MaxPool2d(2))
        .add(new Sequential(new Flatten(), new Dropout(0.25)))
        .add("fc", new Linear(8 * 7 * 7, 150));
  }

  @Test
  void summaryCountsWhatIsThere() {
    assertEquals(
        """
        layer              output          parameters
        input              [5, 1, 28, 28]
        stem Conv2d        [5, 8, 14, 14]          80
        norm BatchNorm2d   [5, 8, 14, 14]          16
        2 ReLU             [5, 8, 14, 14]           0
        block Residual     [5, 8, 14, 14]
          body Sequential  [5, 8, 14, 14]
            0 Conv2d       [5, 8, 14, 14]         576
            1 BatchNorm2d  [5, 8, 14, 14]          16
          shortcut Conv2d  [5, 8, 14, 14]          72
        4 MaxPool2d        [5, 8, 7, 7]             0
        5 Sequential       [5, 392]
          0 Flatten        [5, 392]                 0
          1 Dropout        [5, 392]                 0
        fc Linear          [5, 150]            58,950
        total                                  59,710
        """,
        network().summary(5, 1, 28, 28));
    Sequential net = new Sequential(new BatchNorm1d(2), new ReLU());
    net.eval();
    assertTrue(net.fuse().summary(1, 2).contains("0 BatchNorm1d + ReLU  [1, 2]"));
  }

  /** The shapes are those that forward gives, layer by layer. */
  @Test
  void shapesAreThoseOfAForward() {
    Sequential net = network();
    Tensor x = PyTorch.random(1, 3, 1, 28, 28);
    Shape shape = x.shape();
    Tensor y = x;
    for (Module layer : net.children().values()) {
      shape = layer.outputShape(shape);
      y = layer.forward(y);
      assertEquals(y.shape(), shape, layer.toString());
    }
  }

  @Test
  void summaryRefusesWhatForwardRefuses() {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> network().summary(5, 1, 32, 32));
    assertEquals(
        "layer fc: x has 512 features in its last dimension (shape [5, 512]), but this Linear was"
            + " built for 392",
        e.getMessage());
    Sequential unknown = new Sequential(new PassThrough());
    assertThrows(UnsupportedOperationException.class, () -> unknown.summary(5));
  }

  private static final String STRING = "\"(?:[^\"\\\\\\n]|\\\\.)*\"";

  /** What dot's grammar asks of each line, braces that match, and edges between known nodes. */
  @Test
  void dotIsWellFormed() {
    for (Sequential net : List.of(network(), fused(), new Sequential())) {
      List<String> lines = net.toDot().lines().toList();
      assertEquals("digraph network {", lines.get(0));
      assertEquals("}", lines.get(lines.size() - 1));
      Set<String> nodes = new HashSet<>();
      List<String> ends = new ArrayList<>();
      int depth = 0;
      for (String line : lines.subList(1, lines.size() - 1)) {
        String statement = line.strip();
        Matcher node =
            Pattern.compile("(\\w+) \\[(shape=\\w+|label=" + STRING + ")\\];").matcher(statement);
        Matcher edge = Pattern.compile("(\\w+) -> (\\w+);").matcher(statement);
        if (node.matches()) {
          assertTrue(nodes.add(node.group(1)), statement);
        } else if (edge.matches()) {
          ends.add(edge.group(1));
          ends.add(edge.group(2));
        } else if (statement.matches("subgraph cluster_\\d+ \\{")) {
          depth++;
        } else if (statement.equals("}")) {
          assertTrue(--depth >= 0);
        } else {
          assertTrue(statement.matches("label=" + STRING + ";"), statement);
        }
      }
      assertEquals(0, depth);
      nodes.remove("node");
      assertEquals(nodes, new HashSet<>(ends));
    }
  }

  private static Sequential fused() {
    Sequential net = network();
    net.eval();
    return net.fuse();
  }

  /** Every layer is a node; a residual block has two ways in and one out. */
  @Test
  void dotHasTheLayersAndTheForks() {
    String dot = network().toDot();
    Map<String, String> labels = new TreeMap<>();
    Matcher m = Pattern.compile("(n\\d+) \\[label=\"(.*)\"\\];").matcher(dot);
    while (m.find()) {
      labels.put(m.group(1), m.group(2).replaceAll("\\(.*", ""));
    }
    StringBuilder edges = new StringBuilder();
    m = Pattern.compile("(\\w+) -> (\\w+);").matcher(dot);
    while (m.find()) {
      edges.append(labels.getOrDefault(m.group(1), m.group(1))).append(" > ");
      edges.append(labels.getOrDefault(m.group(2), m.group(2))).append('\n');
    }
    assertEquals(
        """
        input > stem\\nConv2d
        stem\\nConv2d > norm\\nBatchNorm2d
        norm\\nBatchNorm2d > 2\\nReLU
        2\\nReLU > 0\\nConv2d
        0\\nConv2d > 1\\nBatchNorm2d
        2\\nReLU > shortcut\\nConv2d
        1\\nBatchNorm2d > +\\nReLU
        shortcut\\nConv2d > +\\nReLU
        +\\nReLU > 4\\nMaxPool2d
        4\\nMaxPool2d > 0\\nFlatten
        0\\nFlatten > 1\\nDropout
        1\\nDropout > fc\\nLinear
        fc\\nLinear > output
        """,
        edges.toString());
  }

  @Test
  void dotEscapesNames() {
    String dot = new Sequential().add("a \"b\" \\ \n c", new ReLU()).toDot();
    assertTrue(dot.contains("[label=\"a \\\"b\\\" \\\\ \\n c\\nReLU()\"];"), dot);
  }
}
