package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Map;
import org.batchnorm4j.tensor.Tensor;

/** Compares a module's gradients with differences of its outputs. */
final class GradientCheck {
  private static final int ELEMENTS = 40;

  private GradientCheck() {}

  /**
   * Checks up to 40 elements of the input and of each parameter.
   *
   * @param step how far an element is moved either way; may be large where the output is linear in
   *     each element, must not cross a kink
   */
  static void check(Module module, Tensor x, double step, double tolerance) {
    Tensor y = module.forward(x);
    Tensor dy = PyTorch.random(4711, y.dtype(), y.format(), y.shape().toArray());
    double[] weights = dy.toDoubleArray();
    double[] dx = module.backward(dy).toDoubleArray();
    check("x", module, x, x, dx, weights, step, tolerance);
    for (Map.Entry<String, Parameter> p : module.namedParameters().entrySet()) {
      // Differences run the forward only: gradients stay those of the one backward.
      double[] gradient = p.getValue().grad().toDoubleArray();
      check(p.getKey(), module, x, p.getValue().value(), gradient, weights, step, tolerance);
    }
  }

  private static void check(
      String name,
      Module module,
      Tensor x,
      Tensor moved,
      double[] gradient,
      double[] weights,
      double step,
      double tolerance) {
    double scale = 0;
    for (double g : gradient) {
      scale = Math.max(scale, Math.abs(g));
    }
    double[] values = moved.toDoubleArray();
    for (int k = 0; k < Math.min(ELEMENTS, values.length); k++) {
      int i = (int) ((long) k * values.length / Math.min(ELEMENTS, values.length));
      double[] changed = values.clone();
      changed[i] = values[i] + step;
      moved.copyFrom(changed);
      double up = weighted(module, x, weights);
      changed[i] = values[i] - step;
      moved.copyFrom(changed);
      double down = weighted(module, x, weights);
      moved.copyFrom(values);
      assertEquals(
          (up - down) / (2 * step), gradient[i], tolerance * scale, "d" + name + "[" + i + "]");
    }
  }

  private static double weighted(Module module, Tensor x, double[] weights) {
    double[] y = module.forward(x).toDoubleArray();
    double sum = 0;
    for (int i = 0; i < y.length; i++) {
      sum += y[i] * weights[i];
    }
    return sum;
  }
}
