/** Optimizers with PyTorch's update rules. */
@NullMarked
package org.batchnorm4j.optim;

import org.jspecify.annotations.NullMarked;
