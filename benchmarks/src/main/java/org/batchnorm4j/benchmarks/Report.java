package org.batchnorm4j.benchmarks;
import java.nio.file.Path; import java.util.List; import java.io.IOException;
record Report(Results r) { List<Path> write(Path p) throws IOException { return List.of(); } }
