/** The contenders: each prepares a cell once and then runs it as often as asked. */
@NullMarked
package org.batchnorm4j.benchmarks.peer;

import org.jspecify.annotations.NullMarked;
