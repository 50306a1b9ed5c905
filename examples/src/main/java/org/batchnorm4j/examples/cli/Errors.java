package org.batchnorm4j.examples.cli;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.ArrayList;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/** Puts failures into words, one line where that says it all, and into exit codes. */
public final class Errors {
  private Errors() {}

  /** Wrong arguments exit with 2, failures with 1. */
  public static void handle(CommandLine examples) {
    examples.setParameterExceptionHandler((e, arguments) -> wrongArguments(e));
    examples.setExecutionExceptionHandler((e, command, result) -> failure(e, command));
  }

  private static int wrongArguments(ParameterException e) {
    CommandLine command = e.getCommandLine();
    String message = e.getMessage();
    if (e instanceof UnmatchedArgumentException u && command.getParent() == null) {
      message =
          "unknown example or option "
              + String.join(" ", u.getUnmatched())
              + "; the examples are "
              + String.join(", ", new ArrayList<>(command.getSubcommands().keySet()));
    }
    command.getErr().println("error: " + message);
    command.getErr().println("See " + command.getCommandSpec().qualifiedName() + " --help");
    command.getErr().flush();
    return command.getCommandSpec().exitCodeOnInvalidInput();
  }

  private static int failure(Exception e, CommandLine command) {
    command.getOut().flush();
    if (e instanceof IOException io) {
      command.getErr().println("error: " + reason(io));
    } else if (e instanceof IllegalArgumentException || e instanceof IllegalStateException) {
      // The library complains in whole sentences; a stack trace would only hide them.
      command.getErr().println("error: " + e.getMessage());
    } else {
      e.printStackTrace(command.getErr());
    }
    command.getErr().flush();
    return command.getCommandSpec().exitCodeOnExecutionException();
  }

  /** What happened; the messages of the file system's exceptions alone are only paths. */
  static String reason(IOException e) {
    if (e instanceof FileSystemException f && f.getReason() == null) {
      String what =
          e instanceof NoSuchFileException
              ? "no such file or folder"
              : e instanceof AccessDeniedException
                  ? "permission denied"
                  : e instanceof FileAlreadyExistsException
                      ? "there is a file of that name"
                      : e.getClass().getSimpleName();
      return what + ": " + f.getFile();
    }
    return String.valueOf(e.getMessage());
  }
}
