package org.batchnorm4j.backend.jni;

import org.bytedeco.javacpp.Loader;
import org.jspecify.annotations.Nullable;

/**
 * Loads the native library, once, on first use. A library that does not load, speaks another ABI or
 * fails its self-test is not used; {@link #failure} says why.
 */
public final class NativeLibrary {
  /** The ABI this Java code was written for, {@code BN_ABI_VERSION} in the C header. */
  public static final int ABI_VERSION = 1;

  /** The switch that, set to {@code java}, keeps the library from being loaded at all. */
  public static final String BACKEND_PROPERTY = "org.batchnorm4j.backend";

  private NativeLibrary() {}

  /** Whether the native functions may be called. */
  public static boolean isLoaded() {
    return Holder.FAILURE == null;
  }

  /** Why the library is not loaded, or null when it is. */
  public static @Nullable Throwable failure() {
    return Holder.FAILURE;
  }

  /** Initialized on first use, so that merely naming this class loads nothing. */
  private static final class Holder {
    static final @Nullable Throwable FAILURE = load();

    private static @Nullable Throwable load() {
      if ("java".equals(System.getProperty(BACKEND_PROPERTY))) {
        return new UnsupportedOperationException("switched off by -D" + BACKEND_PROPERTY + "=java");
      }
      try {
        Loader.load(BatchNormNative.class);
        int abi = BatchNormNative.bn_abi_version();
        if (abi != ABI_VERSION) {
          return new UnsatisfiedLinkError(
              "the native library has ABI "
                  + abi
                  + ", this jar needs ABI "
                  + ABI_VERSION
                  + ": jar and classifier jar are of different versions");
        }
        int isa = BatchNormNative.bn_detect_isa();
        int status = BatchNormNative.bn_self_test(isa);
        if (status != 0) {
          return new UnsatisfiedLinkError(
              "the native library's self-test gave wrong bits (instruction set "
                  + isa
                  + ", status "
                  + status
                  + ")");
        }
        return null;
      } catch (LinkageError | RuntimeException e) {
        return e;
      }
    }
  }
}
