/** Tensors: shape, element type, and where the data lies. */
@NullMarked
package org.batchnorm4j.tensor;

import org.jspecify.annotations.NullMarked;
