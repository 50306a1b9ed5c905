/** Draws curves into PNG and SVG files. */
@NullMarked
package org.batchnorm4j.examples.plot;

import org.jspecify.annotations.NullMarked;
