/** The examples, one class each; {@link org.batchnorm4j.examples.Main} starts them by name. */
@NullMarked
package org.batchnorm4j.examples;

import org.jspecify.annotations.NullMarked;
