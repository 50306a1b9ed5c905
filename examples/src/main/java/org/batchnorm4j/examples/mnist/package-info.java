/** The steps of the main job: build the networks, train them, serve the one with batch norm. */
@NullMarked
package org.batchnorm4j.examples.mnist;

import org.jspecify.annotations.NullMarked;
