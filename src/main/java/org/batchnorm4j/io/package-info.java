/** Reading and writing the values of modules. */
@NullMarked
package org.batchnorm4j.io;

import org.jspecify.annotations.NullMarked;
