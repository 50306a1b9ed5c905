package org.batchnorm4j.examples.cli;

import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/** Checks numbers from the command line. */
public final class Require {
  private Require() {}

  /** Refuses numbers out of range. */
  public static int between(CommandSpec spec, String option, int value, int from, int to) {
    if (value < from || value > to) {
      throw new ParameterException(
          spec.commandLine(),
          option + " must be a whole number from " + from + " to " + to + ", but got " + value);
    }
    return value;
  }

  /** Refuses what is not finite and greater than 0. */
  public static double positive(CommandSpec spec, String option, double value) {
    if (!(value > 0 && value < Double.POSITIVE_INFINITY)) {
      throw new ParameterException(
          spec.commandLine(), option + " must be greater than 0 and finite, but got " + value);
    }
    return value;
  }
}
