package org.batchnorm4j.backend.jni;

import java.io.File;
import java.io.IOException;
import java.net.JarURLConnection;
import java.net.URL;
import java.nio.file.Files;
import java.util.zip.CRC32;
import org.bytedeco.javacpp.Loader;
import org.jspecify.annotations.Nullable;

/**
 * Loads the native library, once, on first use. A library that does not load, speaks another ABI or
 * fails its self-test is not used; {@link #failure} says why.
 */
public final class NativeLibrary {
  /** The ABI this Java code was written for, {@code BN_ABI_VERSION} in the C header. */
  public static final int ABI_VERSION = 3;

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
        link();
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

    /**
     * Unpacks the library from its jar and loads it. {@link Loader#load} would read annotations and
     * load JavaCPP's own library, and take three times as long; here it is for all other cases: no
     * jar, another system, a library that another class loader has loaded.
     */
    private static void link() {
      String platform = Loader.getPlatform();
      if (platform.startsWith("linux-")) {
        try {
          File library = unpack(platform.concat("/libjnibatchnorm4j.so"));
          // It looks for it where it lies itself.
          File openMp = unpack(platform.concat("/libgomp.so.1"));
          if (library != null && openMp != null) {
            System.load(library.getAbsolutePath());
            return;
          }
        } catch (IOException | UnsatisfiedLinkError e) {
          // Loader.load finds a way, or says what is wrong.
        }
      }
      Loader.load(BatchNormNative.class);
    }

    /** The file in JavaCPP's cache, or null where it does not come from a jar. */
    private static @Nullable File unpack(String name) throws IOException {
      URL url = BatchNormNative.class.getResource(name);
      if (url == null || !(url.openConnection() instanceof JarURLConnection jar)) {
        return null;
      }
      File file = Loader.cacheResource(url);
      // JavaCPP knows it by name, size and date, which two builds of a snapshot have in common.
      if (file != null && checksum(file) != jar.getJarEntry().getCrc()) {
        Files.delete(file.toPath());
        file = Loader.cacheResource(url);
      }
      return file;
    }

    private static long checksum(File file) throws IOException {
      CRC32 crc = new CRC32();
      crc.update(Files.readAllBytes(file.toPath()));
      return crc.getValue();
    }
  }
}
