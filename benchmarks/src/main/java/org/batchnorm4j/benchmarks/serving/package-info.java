/** Networks as a service calls them: ours, ONNX Runtime and libtorch, under JMH. */
@NullMarked
package org.batchnorm4j.benchmarks.serving;

import org.jspecify.annotations.NullMarked;
