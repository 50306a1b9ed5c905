package org.batchnorm4j.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.ServiceLoader;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Isa;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.benchmarks.peer.Callers;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Cell.Fusion;
import org.batchnorm4j.benchmarks.peer.Elsewhere;
import org.batchnorm4j.benchmarks.peer.Nd4jOp;
import org.batchnorm4j.benchmarks.peer.OneDnn;
import org.batchnorm4j.benchmarks.peer.OnnxRuntime;
import org.batchnorm4j.benchmarks.peer.Ours;
import org.batchnorm4j.benchmarks.peer.Peer;
import org.batchnorm4j.benchmarks.peer.PlainLoop;
import org.batchnorm4j.benchmarks.peer.Torch;
import org.batchnorm4j.benchmarks.peer.Twin;
import org.batchnorm4j.tensor.DType;

/** Who races. */
final class Contenders {
  /** Only in a JVM that is started with it is the JDK's Vector API among them. */
  static final String VECTOR_MODULE = "jdk.incubator.vector";

  private static final int[] CALLERS = {1, 2, 8, 64};

  private Contenders() {}

  /** Our own, native on the best instruction set first. */
  static List<Peer> ours(int threads) {
    List<Peer> peers = new ArrayList<>();
    NativeBackend best = Backends.nativeBackend().withThreads(threads);
    peers.add(new Ours("native " + title(best.isa()), best));
    if (best.isa() == Isa.AVX512) {
      peers.add(new Ours("native " + title(Isa.AVX2), best.withIsa(Isa.AVX2)));
    }
    // It has one thread, whatever others may have.
    peers.add(new Ours("Java backend", Backends.javaBackend()));
    return peers;
  }

  /** Ours and all others. */
  static List<Peer> all(int threads) {
    List<Peer> peers = new ArrayList<>(ours(threads));
    peers.add(new PlainLoop());
    if (ModuleLayer.boot().findModule(VECTOR_MODULE).isPresent()) {
      ServiceLoader.load(Peer.class).forEach(peers::add);
    }
    peers.add(new Torch(true, threads));
    peers.add(new Torch(false, threads));
    peers.add(new OneDnn());
    peers.add(new OnnxRuntime(threads));
    peers.add(new Nd4jOp());
    return peers;
  }

  /** Those that a cell is for. */
  static List<Peer> of(Cell cell, int threads) {
    return switch (cell.group()) {
      case Plan.CALLERS -> callers(threads);
      case Plan.MEMORY -> memories(threads);
      default -> {
        List<Peer> peers = all(threads);
        peers.addAll(twins(cell, threads));
        yield peers;
      }
    };
  }

  /** What our own time in a cell is compared with. */
  private static List<Peer> twins(Cell cell, int threads) {
    NativeBackend best = Backends.nativeBackend().withThreads(threads);
    if (cell.dtype() != DType.F32) {
      return List.of(new Twin(new Ours(Heat.IN_F32, best), cell.in(DType.F32)));
    }
    if (cell.fusion() == Fusion.RELU) {
      return List.of(new Twin(new Ours(Heat.PLAIN, best), cell.plain()));
    }
    if (threads > 1 && cell.fusion() == Fusion.NONE) {
      return List.of(new Ours(Heat.ONE_THREAD, best.withThreads(1)));
    }
    return List.of();
  }

  /** Ours, on tensors that lie elsewhere than usual. */
  private static List<Peer> memories(int threads) {
    NativeBackend best = Backends.nativeBackend().withThreads(threads);
    return List.of(
        new Ours("native, native memory", best),
        new Elsewhere("native, direct buffer", best, Elsewhere.Memory.DIRECT_BUFFER),
        new Elsewhere("native, heap array", best, Elsewhere.Memory.HEAP_ARRAY),
        new Ours("Java backend, native memory", Backends.javaBackend()),
        new Elsewhere(
            "Java backend, heap array", Backends.javaBackend(), Elsewhere.Memory.HEAP_ARRAY));
  }

  /** Ours, called by many threads at once. */
  static List<Peer> callers(int threads) {
    List<Peer> peers = new ArrayList<>();
    NativeBackend best = Backends.nativeBackend();
    for (int callers : CALLERS) {
      peers.add(new Callers(new Ours("native", best.withThreads(threads)), callers));
      peers.add(new Callers(new Ours("native, 1 thread a call", best.withThreads(1)), callers));
      peers.add(new Callers(new Ours("Java backend", Backends.javaBackend()), callers));
    }
    return peers;
  }

  private static String title(Isa isa) {
    return switch (isa) {
      case SCALAR -> "scalar";
      case AVX2 -> "AVX2";
      case AVX512 -> "AVX-512";
      case NEON -> "NEON";
    };
  }
}
