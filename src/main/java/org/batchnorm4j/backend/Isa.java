package org.batchnorm4j.backend;

/** Instruction sets of the native kernels. The ordinals are those of {@code bn_isa}. */
public enum Isa {
  /** Portable C++, for any CPU. */
  SCALAR,
  /** AVX2 and FMA, 256 bits. */
  AVX2,
  /** AVX-512 F, BW, DQ and VL, 512 bits. */
  AVX512,
  /** Arm NEON, 128 bits. */
  NEON
}
