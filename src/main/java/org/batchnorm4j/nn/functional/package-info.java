/** Stateless functions with caller-given outputs. All argument checks live here, once. */
@NullMarked
package org.batchnorm4j.nn.functional;

import org.jspecify.annotations.NullMarked;
