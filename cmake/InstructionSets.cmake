# Compiles kernels/<isa>.cpp once per storage type, each with the flags of its instruction set and
# nothing else: what a CPU must have to run it is in src/dispatch.cpp.
# For size: it runs where nothing else does, and would be the largest of all.
set(BN_FLAGS_scalar -Os)
set(BN_FLAGS_avx2 -O3 -mavx2 -mfma -mf16c)
set(BN_FLAGS_avx512 -O3 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512)
set(BN_FLAGS_neon -O3)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # GCC's own warnings about its intrinsics (GCC bug 105593).
  list(APPEND BN_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  # A loop that copies a few vectors is not to become a call of memcpy (docs/performance.md,
  # lesson 23).
  foreach(isa IN ITEMS avx2 avx512 neon)
    list(APPEND BN_FLAGS_${isa} -fno-tree-loop-distribute-patterns)
  endforeach()
  # Elimination of partial redundancies makes these kernels 4 % larger and none faster; and with 16
  # registers, expressions put off until they are used spill what a chunk's sums need (lesson 38).
  list(APPEND BN_FLAGS_avx2 -fno-tree-pre -fno-tree-ter)
  list(APPEND BN_FLAGS_avx512 -fno-tree-pre)
endif()
if(MINGW)
  # The stack on Windows is aligned to 16 bytes only, and GCC forgets that when it spills wider
  # vectors (GCC bug 54412).
  list(APPEND BN_FLAGS_avx2 -Wa,-muse-unaligned-vector-move)
  list(APPEND BN_FLAGS_avx512 -Wa,-muse-unaligned-vector-move)
endif()

set(BN_STORAGE_f32 float)
set(BN_STORAGE_f64 double)
set(BN_STORAGE_bf16 Bf16)
set(BN_STORAGE_f16 F16)

function(bn_add_kernels target)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(isas scalar avx2 avx512)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(isas scalar neon)
  else()
    set(isas scalar)
  endif()
  # Sanitized and optimized, kernels take half an hour to compile.
  set(quick "")
  if(BN_SANITIZE)
    set(quick -O0)
  endif()
  foreach(isa IN LISTS isas)
    foreach(type IN ITEMS f32 f64 bf16 f16)
      set(name kernels_${isa}_${type})
      bn_add_objects(${target} ${name} src/kernels/${isa}.cpp ${BN_FLAGS_${isa}} ${quick})
      target_compile_definitions(${name} PRIVATE BN_STORAGE=${BN_STORAGE_${type}} BN_TABLE=${name})
    endforeach()
    # Without fma, Java is as fast.
    if(NOT isa STREQUAL scalar)
      bn_add_objects(${target} dense_${isa} src/dense/${isa}.cpp ${BN_FLAGS_${isa}} ${quick})
    endif()
  endforeach()
endfunction()

# A source that is compiled with flags of its own (the remaining arguments).
function(bn_add_objects target name source)
  add_library(${name} OBJECT ${source})
  bn_set_language(${name})
  target_compile_options(${name} PRIVATE -fno-exceptions -fno-rtti ${ARGN})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()

# The language that all of the library is written in.
function(bn_set_language target)
  target_compile_features(${target} PUBLIC cxx_std_17)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  bn_set_warnings(${target})
  # One rounding per written operation (docs/numerics.md). errno and traps are nobody's business here.
  target_compile_options(${target} PRIVATE -ffp-contract=off -fno-math-errno -fno-trapping-math)
endfunction()
