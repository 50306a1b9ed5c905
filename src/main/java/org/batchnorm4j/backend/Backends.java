package org.batchnorm4j.backend;

import java.lang.System.Logger.Level;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.bytedeco.javacpp.Loader;
import org.jspecify.annotations.Nullable;

/**
 * Picks the backend and the number of threads, once, by these system properties:
 *
 * <ul>
 *   <li>{@code org.batchnorm4j.backend}: {@code auto} (default: native, or Java where the native
 *       library does not load, said in one log line), {@code native} (or an error), {@code java};
 *   <li>{@code org.batchnorm4j.isa}: {@code auto} (default), {@code avx512}, {@code avx2}, {@code
 *       neon}, {@code scalar}: the most the native kernels may use; one of another architecture is
 *       refused;
 *   <li>{@code org.batchnorm4j.threads}: the most threads a call may use; default, all cores.
 * </ul>
 */
public final class Backends {
  private static final String ISA_PROPERTY = "org.batchnorm4j.isa";
  private static final String THREADS_PROPERTY = "org.batchnorm4j.threads";

  private Backends() {}

  /**
   * The backend the properties ask for.
   *
   * @throws IllegalArgumentException if a property has an unknown value
   * @throws IllegalStateException if the native backend is asked for and cannot be loaded
   */
  public static BatchNormBackend best() {
    return Best.INSTANCE.get();
  }

  /** The Java backend, which runs anywhere. */
  public static JavaBackend javaBackend() {
    return Java.INSTANCE;
  }

  /**
   * The native backend on the best instruction set the property allows.
   *
   * @throws IllegalStateException if the native library cannot be loaded, with the cause
   */
  public static NativeBackend nativeBackend() {
    Throwable failure = NativeLibrary.failure();
    if (failure != null) {
      throw new IllegalStateException(
          "the native library of batchnorm4j cannot be used on "
              + System.getProperty("os.name")
              + " "
              + System.getProperty("os.arch")
              + ": "
              + failure.getMessage()
              + ". Add the classifier jar of this platform, or set -D"
              + NativeLibrary.BACKEND_PROPERTY
              + "=java",
          failure);
    }
    return Native.INSTANCE.get();
  }

  /** The instruction sets the native kernels can run on here; empty without the native library. */
  public static Set<Isa> supportedIsas() {
    if (!NativeLibrary.isLoaded()) {
      return EnumSet.noneOf(Isa.class);
    }
    return switch (Isa.values()[BatchNormNative.bn_detect_isa()]) {
      case SCALAR -> EnumSet.of(Isa.SCALAR);
      case AVX2 -> EnumSet.of(Isa.SCALAR, Isa.AVX2);
      case AVX512 -> EnumSet.of(Isa.SCALAR, Isa.AVX2, Isa.AVX512);
      case NEON -> EnumSet.of(Isa.SCALAR, Isa.NEON);
    };
  }

  /** One line: version, backend, instruction set, threads, and why. */
  public static String describe() {
    String version = Backends.class.getPackage().getImplementationVersion();
    String prefix = "batchnorm4j " + (version == null ? "(development)" : version) + ": ";
    if (best() instanceof NativeBackend b) {
      return prefix + "native backend, " + lower(b.isa()) + ", up to " + b.threads() + " threads";
    }
    return prefix
        + "java backend, because the native library is not used: "
        + reason(NativeLibrary.failure());
  }

  private static String reason(@Nullable Throwable failure) {
    return failure == null ? "unknown" : String.valueOf(failure.getMessage());
  }

  private static String lower(Enum<?> value) {
    return value.name().toLowerCase(Locale.ROOT);
  }

  private static BatchNormBackend choose() {
    String wanted = System.getProperty(NativeLibrary.BACKEND_PROPERTY, "auto");
    switch (wanted) {
      case "java":
        return javaBackend();
      case "native":
        return nativeBackend();
      case "auto":
        break;
      default:
        throw unknown(NativeLibrary.BACKEND_PROPERTY, wanted, "auto, native, java");
    }
    if (NativeLibrary.isLoaded()) {
      return nativeBackend();
    }
    // A logger takes longer to get than the library to load: not before there is something to say.
    System.getLogger(Backends.class.getName())
        .log(
            Level.WARNING,
            "batchnorm4j runs on its Java backend, because the native library does not load: {0}."
                + " Add batchnorm4j''s jar with the classifier {1} to the class path, or set -D{2}=java",
            reason(NativeLibrary.failure()),
            Loader.getPlatform(),
            NativeLibrary.BACKEND_PROPERTY);
    return javaBackend();
  }

  private static Isa isaCap() {
    String wanted = System.getProperty(ISA_PROPERTY, "auto");
    Isa best = Isa.values()[BatchNormNative.bn_detect_isa()];
    Isa cap =
        switch (wanted) {
          case "auto" -> best;
          case "avx512" -> Isa.AVX512;
          case "avx2" -> Isa.AVX2;
          case "neon" -> Isa.NEON;
          case "scalar" -> Isa.SCALAR;
          default -> throw unknown(ISA_PROPERTY, wanted, "auto, avx512, avx2, neon, scalar");
        };
    boolean arm = best == Isa.NEON;
    if (cap != Isa.SCALAR && arm != (cap == Isa.NEON)) {
      String here = arm ? "auto, neon, scalar" : "auto, avx512, avx2, scalar";
      throw unknown(ISA_PROPERTY, wanted, here + " on " + System.getProperty("os.arch"));
    }
    // A cap: of the sets up to it, the best this CPU has.
    return supportedIsas().contains(cap) ? cap : cap.compareTo(best) > 0 ? best : Isa.SCALAR;
  }

  /**
   * The most threads a call may use, by the property as it was at the first call.
   *
   * @throws IllegalArgumentException if the property is not a whole number from 1
   */
  public static int threadLimit() {
    return Threads.LIMIT.get();
  }

  private static int readThreadLimit() {
    String wanted = System.getProperty(THREADS_PROPERTY);
    if (wanted == null) {
      return Runtime.getRuntime().availableProcessors();
    }
    try {
      int threads = Integer.parseInt(wanted);
      if (threads >= 1) {
        return threads;
      }
    } catch (NumberFormatException e) {
      // Falls through to the same error as a number out of range.
    }
    throw unknown(THREADS_PROPERTY, wanted, "whole numbers from 1");
  }

  private static IllegalArgumentException unknown(String property, String got, String known) {
    return new IllegalArgumentException(
        "system property " + property + " must be one of: " + known + "; but got \"" + got + "\"");
  }

  /** What was chosen, or why nothing: thrown at every call, not as the initializer's error. */
  private record Choice<B>(@Nullable B choice, @Nullable RuntimeException failure) {
    static <B> Choice<B> of(Supplier<B> choose) {
      try {
        return new Choice<>(choose.get(), null);
      } catch (IllegalArgumentException | IllegalStateException e) {
        return new Choice<>(null, e);
      }
    }

    B get() {
      if (choice == null) {
        throw Objects.requireNonNull(failure);
      }
      return choice;
    }
  }

  private static final class Best {
    static final Choice<BatchNormBackend> INSTANCE = Choice.of(Backends::choose);
  }

  private static final class Threads {
    static final Choice<Integer> LIMIT = Choice.of(Backends::readThreadLimit);
  }

  private static final class Java {
    static final JavaBackend INSTANCE = new JavaBackend();
  }

  private static final class Native {
    static final Choice<NativeBackend> INSTANCE =
        Choice.of(() -> new NativeBackend(isaCap(), threadLimit()));
  }
}
