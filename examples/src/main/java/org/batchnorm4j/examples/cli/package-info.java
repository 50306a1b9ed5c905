/** What the examples share on the command line: options, errors, output. */
@NullMarked
package org.batchnorm4j.examples.cli;

import org.jspecify.annotations.NullMarked;
