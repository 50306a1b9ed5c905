/** Measures batchnorm4j against its peers and against memory. */
@NullMarked
package org.batchnorm4j.benchmarks;

import org.jspecify.annotations.NullMarked;
