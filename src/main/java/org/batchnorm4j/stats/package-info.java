/** Statistics of channels that can be merged: over batches, threads, workers, machines. */
@NullMarked
package org.batchnorm4j.stats;

import org.jspecify.annotations.NullMarked;
