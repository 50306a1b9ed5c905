package org.batchnorm4j.examples.serve;

/** A request that is answered with an error, which says what was wrong with it. */
final class HttpError extends Exception {
  private static final long serialVersionUID = 1;

  private final int status;

  HttpError(int status, String message) {
    super(message);
    this.status = status;
  }

  int status() {
    return status;
  }
}
