/** The one seam between modules and arithmetic, and its two implementations. */
@NullMarked
package org.batchnorm4j.backend;

import org.jspecify.annotations.NullMarked;
