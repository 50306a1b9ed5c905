/** The JavaCPP binding of the C library: addresses in, status out. */
@NullMarked
package org.batchnorm4j.backend.jni;

import org.jspecify.annotations.NullMarked;
