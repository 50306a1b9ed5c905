/** Reads the data sets the examples train on. */
@NullMarked
package org.batchnorm4j.examples.data;

import org.jspecify.annotations.NullMarked;
