package org.batchnorm4j.examples.mnist;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.examples.data.DataFiles;
import org.batchnorm4j.examples.data.MnistIdx;
import org.batchnorm4j.io.Safetensors;
import org.batchnorm4j.nn.Sequential;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MnistServingTest {
  @TempDir Path dir;

  /** The comparison of the main job would see a backend that is one bit off. */
  @Test
  void oneBitOfOneWeightIsSeenAndItsLayerNamed() throws IOException {
    Path right = dir.resolve("right.safetensors");
    Path wrong = dir.resolve("wrong.safetensors");
    try (Sequential network = MnistNetwork.build(true, 1)) {
      Safetensors.write(right, network.stateDict());
      network.stateDict().get("5.weight").set(Math.nextUp(1f), 3);
      Safetensors.write(wrong, network.stateDict());
    }
    MnistIdx test = MnistIdx.test(DataFiles.fromJar());
    try (MnistServing one = MnistServing.load(right, Backends.nativeBackend());
        MnistServing other = MnistServing.load(wrong, Backends.javaBackend())) {
      IllegalStateException e =
          assertThrows(
              IllegalStateException.class, () -> MnistServing.compareBits(one, other, test));
      assertTrue(e.getMessage().startsWith("layer 5: the backends differ"), e.getMessage());
    }
  }

  @Test
  void aFileOfAnotherNetworkIsRefused() throws IOException {
    Path file = dir.resolve("other.safetensors");
    Safetensors.write(file, Map.of("0.weight", Tensor.zeros(3)));
    IllegalStateException e =
        assertThrows(
            IllegalStateException.class, () -> MnistServing.load(file, Backends.javaBackend()));
    assertTrue(e.getMessage().contains("size mismatch for 0.weight"), e.getMessage());
  }
}
