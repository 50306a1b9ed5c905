/** Modules that behave like their namesakes in torch.nn. */
@NullMarked
package org.batchnorm4j.nn;

import org.jspecify.annotations.NullMarked;
