package org.batchnorm4j.nn;

import java.util.List;

/**
 * What a load left out because only one side has it.
 *
 * @param missingKeys keys of the module that the state lacks, in the module's order
 * @param unexpectedKeys keys of the state that the module lacks, in the state's order
 */
public record IncompatibleKeys(List<String> missingKeys, List<String> unexpectedKeys) {}
