package org.batchnorm4j.examples;

import org.batchnorm4j.examples.cli.Errors;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/** The command line: lists the examples, or runs one. */
@Command(
    name = "examples/run",
    header = "Networks that show what batch norm does.",
    synopsisSubcommandLabel = "EXAMPLE",
    commandListHeading = "%nExamples:%n",
    footer = {"", "examples/run EXAMPLE --help lists the options of an example."},
    subcommands = {
      Mnist.class,
      Serve.class,
      Mlp.class,
      Compare.class,
      CompareNorms.class,
      SimpleCnn.class,
      Temporal.class,
      Volume.class,
      Order.class
    })
public final class Main implements Runnable {
  @Spec private CommandSpec spec;

  @Option(
      names = {"-h", "--help"},
      usageHelp = true,
      scope = ScopeType.INHERIT,
      description = "Show this help.")
  private boolean help;

  /** Runs and exits. */
  public static void main(String[] args) {
    System.exit(commandLine().execute(args));
  }

  /** The whole command line, for main and for tests. */
  static CommandLine commandLine() {
    CommandLine examples = new CommandLine(new Main());
    Errors.handle(examples);
    return examples;
  }

  @Override
  public void run() {
    spec.commandLine().usage(spec.commandLine().getOut());
  }
}
