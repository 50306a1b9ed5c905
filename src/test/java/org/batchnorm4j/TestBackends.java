package org.batchnorm4j;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Isa;
import org.junit.jupiter.api.Named;

/**
 * Every backend this machine has, for {@code @MethodSource("org.batchnorm4j.TestBackends#all")}:
 * Java, and native on each instruction set.
 */
public final class TestBackends {
  private TestBackends() {}

  /** The backends, named such as {@code native-avx2}. */
  public static Stream<Named<BatchNormBackend>> all() {
    List<Named<BatchNormBackend>> backends = new ArrayList<>();
    backends.add(Named.of("java", Backends.javaBackend()));
    for (Isa isa : Backends.supportedIsas()) {
      backends.add(
          Named.of(
              "native-" + isa.name().toLowerCase(Locale.ROOT),
              Backends.nativeBackend().withIsa(isa)));
    }
    if ("native".equals(System.getProperty("org.batchnorm4j.backend")) && backends.size() == 1) {
      // Asked for and not there: the reason, rather than a run that silently tests Java alone.
      Backends.nativeBackend();
    }
    return backends.stream();
  }
}
