package org.batchnorm4j.benchmarks;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.bytedeco.javacpp.Loader;

/** What a run ran on. */
final class Environment {
  /** How many cores others used while a run went on. */
  static final String OTHERS = "cores used by others";

  private static final Pattern COMPILER =
      Pattern.compile("(GCC: \\([^)]*\\) [\\d.]+|clang version [\\d.]+)");

  private Environment() {}

  static Map<String, String> describe(Path repository) {
    Map<String, String> map = new LinkedHashMap<>();
    map.put("cpu", cpu());
    map.put("cores", "" + Runtime.getRuntime().availableProcessors());
    map.put("caches", caches());
    map.put("load before", load());
    map.put("os", System.getProperty("os.name") + " " + System.getProperty("os.version"));
    map.put(
        "jdk", System.getProperty("java.vm.name") + " " + System.getProperty("java.vm.version"));
    map.put("compiler", compiler());
    map.put("commit", commit(repository));
    map.put("batchnorm4j", Backends.describe());
    map.put(
        "peers",
        "libtorch 2.10.0 and oneDNN 3.11 (bytedeco 1.5.13), ONNX Runtime 1.29.0,"
            + " ND4J 1.0.0-M2.1");
    return map;
  }

  private static String cpu() {
    for (String line : lines(Path.of("/proc/cpuinfo"))) {
      if (line.startsWith("model name")) {
        return line.substring(line.indexOf(':') + 1).strip();
      }
    }
    return System.getProperty("os.arch");
  }

  private static String caches() {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 4; i++) {
      Path index = Path.of("/sys/devices/system/cpu/cpu0/cache/index" + i);
      List<String> level = lines(index.resolve("level"));
      List<String> type = lines(index.resolve("type"));
      List<String> size = lines(index.resolve("size"));
      if (!size.isEmpty() && !type.isEmpty() && !type.get(0).equals("Instruction")) {
        text.append(text.isEmpty() ? "" : ", ");
        text.append('L').append(level.get(0)).append(' ').append(size.get(0));
      }
    }
    return text.isEmpty() ? "unknown" : text.toString();
  }

  /**
   * CPU seconds of all but this process since the machine started, other virtual machines on its
   * cores included; NaN where the system does not tell. Others make every number a worse one.
   */
  static double othersSeconds() {
    List<String> lines = lines(Path.of("/proc/stat"));
    if (lines.isEmpty()
        || !(ManagementFactory.getOperatingSystemMXBean() instanceof OperatingSystemMXBean own)) {
      return Double.NaN;
    }
    // cpu user nice system idle iowait irq softirq steal, in hundredths
    String[] times = lines.get(0).trim().split("\\s+");
    double busy = 0;
    for (int i : new int[] {1, 2, 3, 6, 7, 8}) {
      busy += Double.parseDouble(times[i]);
    }
    return busy * 0.01 - own.getProcessCpuTime() * 1e-9;
  }

  /** Of the last minute. */
  static String load() {
    List<String> lines = lines(Path.of("/proc/loadavg"));
    return lines.isEmpty() ? "unknown" : lines.get(0).split(" ")[0];
  }

  /** The compiler says so itself in the library that runs. */
  private static String compiler() {
    String library = Loader.load(BatchNormNative.class);
    try (InputStream in = Files.newInputStream(Path.of(library))) {
      Matcher m = COMPILER.matcher(new String(in.readAllBytes(), StandardCharsets.ISO_8859_1));
      return m.find() ? m.group() : "unknown";
    } catch (IOException e) {
      return "unknown";
    }
  }

  private static String commit(Path repository) {
    String head = git(repository, "rev-parse", "--short=12", "HEAD");
    // Results are not what is measured.
    String changes = git(repository, "status", "--porcelain", "--", "src", "cpp", "benchmarks/src");
    return changes.isEmpty() ? head : head + " with changes";
  }

  private static String git(Path repository, String... arguments) {
    try {
      String[] command = new String[arguments.length + 3];
      command[0] = "git";
      command[1] = "-C";
      command[2] = repository.toString();
      System.arraycopy(arguments, 0, command, 3, arguments.length);
      Process process =
          new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
      String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      return process.waitFor() == 0 ? out.strip() : "unknown";
    } catch (IOException e) {
      return "unknown";
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return "unknown";
    }
  }

  private static List<String> lines(Path file) {
    try {
      return Files.readAllLines(file);
    } catch (IOException e) {
      return List.of();
    }
  }
}
