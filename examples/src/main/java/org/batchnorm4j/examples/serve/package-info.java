/** A network behind HTTP: the JDK's own server around an InferenceModel. */
@NullMarked
package org.batchnorm4j.examples.serve;

import org.jspecify.annotations.NullMarked;
