#!/usr/bin/env bash
# Builds the kernels for every platform this machine has a compiler for, and tests them here or under
# an emulator, and the packed JNI library too where there is something to load it: platforms.sh
# [name ...], names as in the first column of the table it prints. Installs the Debian packages it
# needs. docs/platforms.md says what each line proves.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/platforms
rows=() failed=0
declare -A java_says=([java_arm64]="quick part" [windows_dll]="DLL only")

# Tests that take minutes under an emulator, and measure or hammer rather than compute; and one that
# starts itself again, which an emulator does not do.
quick=--gtest_filter=-Conformance.Streaming:Conformance.Threads:Parallel.GoesOnWhereNoThreadCanBeStarted
# The values of bn_isa.
scalar=0 avx2=1 neon=3

packages() {
  local missing=()
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# build <platform>: the C++ library and its tests in $out/<platform>.
build() {
  local toolchain=$PWD/cmake/toolchain-$1.cmake options=(-DBN_BUILD_TESTS=ON)
  [ -f "$toolchain" ] && options+=("-DCMAKE_TOOLCHAIN_FILE=$toolchain")
  [ "$1" = linux-x86_64-clang ] && options+=(-DCMAKE_CXX_COMPILER=clang++)
  cmake -S cpp -B "$out/$1" "${options[@]}" && nice cmake --build "$out/$1" --parallel 2
}

# row <name> <platform> <how it is run> <function or -> <command ...>: builds, runs the C++ tests and
# then the function, which tests what is packed for Java; notes all three.
row() {
  local name=$1 platform=$2 how=$3 java=$4 log=$out/$1.log built=no tested=no java_tested=no
  shift 4
  mkdir -p "$out"
  echo "== $name: $how"
  if build "$platform" >"$log" 2>&1; then
    built=yes
    if "$@" >>"$log" 2>&1; then
      tested="yes, $(sed -n 's/^\[  PASSED  \] \([0-9]*\) .*/\1/p' "$log") tests"
      if [ "$java" = - ]; then
        java_tested="not here"
      elif "$java" >>"$log" 2>&1; then
        java_tested=${java_says[$java]:-yes}
      fi
    fi
  fi
  if [ "${tested%%,*}" != yes ] || [ "$java_tested" = no ]; then
    failed=1
    tail -n 40 "$log"
  fi
  rows+=("$name|$built|$tested|$java_tested|$how")
}

# natives <platform>: the JNI library in target/classes, and the Java tests. Other tests of this machine expect
# no natives there but its own.
trap 'rm -rf target/classes/org/batchnorm4j/backend/jni/{linux-arm64,windows-x86_64}' EXIT
natives() { mvn -q -B "-Djavacpp.platform=$1" test-compile; }

java_here() { mvn -q -B test -Dtest=ConformanceTest,BackendsTest -Dtest.jvm=-Dorg.batchnorm4j.backend=native; }

# The quick part of the conformance suite on Debian's arm64 JRE, unpacked into a folder.
java_arm64() {
  local root=$PWD/$out/arm64-jre java test=org.batchnorm4j.backend.ConformanceTest
  natives linux-arm64 || return
  if [ ! -d "$root" ]; then
    dpkg --print-foreign-architectures | grep -qx arm64 || dpkg --add-architecture arm64
    apt-get update -qq
    mkdir -p "$root/packages"
    (cd "$root/packages" && apt-get download -qq {openjdk-17-jre-headless,libc6,libgcc-s1,libstdc++6,zlib1g}:arm64)
    for package in "$root"/packages/*.deb; do dpkg -x "$package" "$root"; done
  fi
  java=$root/usr/lib/jvm/java-17-openjdk-arm64/bin/java
  mvn -q -B dependency:build-classpath -DincludeScope=test "-Dmdep.outputFile=$PWD/$out/class-path" || return
  mvn -q -B dependency:copy -Dartifact=org.junit.platform:junit-platform-console-standalone:6.1.3 \
    "-DoutputDirectory=$PWD/$out" || return
  # Compiled quickly rather than well: most of its code runs once.
  qemu-aarch64-static -L "$root" "$java" -XX:TieredStopAtLevel=1 -Dorg.batchnorm4j.backend=native \
    -cp "$out/junit-platform-console-standalone-6.1.3.jar:target/test-classes:target/classes:$(cat "$out/class-path")" \
    org.junit.platform.console.ConsoleLauncher execute --disable-banner --details=summary \
    -m "$test#allInstructionSetsOfThisCpuAreTested" -m "$test#extremeValues" \
    -m "$test#typesAndFusionsInAndOutOfPlace($test\$Task)"
}

# No JVM for Windows here: the DLL is loaded by a small program, and tests itself.
windows_dll() {
  natives windows-x86_64 || return
  x86_64-w64-mingw32-gcc-posix -O1 -Wall -Werror cmake/load-dll.c -o "$out/load-dll.exe" || return
  on_wine "$out/load-dll.exe" target/classes/org/batchnorm4j/backend/jni/windows-x86_64/jnibatchnorm4j.dll
}
on_wine() {
  env WINEPREFIX="$PWD/$out/wine" WINEDEBUG=-all "$(command -v wine64 || echo /usr/lib/wine/wine64)" "$@"
}

want() {
  ((${#wanted[@]} == 0)) && return 0
  for name in "${wanted[@]}"; do [ "$name" = "$1" ] && return 0; done
  return 1
}
wanted=("$@")
for name in "$@"; do
  case $name in
    linux-x86_64 | linux-x86_64-sse | linux-x86_64-avx | linux-x86_64-avx2 | linux-x86_64-no-fma) ;;
    linux-x86_64-clang | linux-arm64 | windows-x86_64) ;;
    *)
      echo "platforms.sh: no platform '$name'" >&2
      exit 2
      ;;
  esac
done

packages cmake g++ libgtest-dev qemu-user-static
x86=$out/linux-x86_64/test/kernels_test
want linux-x86_64 && row linux-x86_64 linux-x86_64 "here, all tests" java_here "$x86"
emulate_x86() {
  want "$1" && row "$1" linux-x86_64 "qemu-user, $2" - \
    env BN_EXPECT_ISA="$3" qemu-x86_64-static -cpu "$2" "$x86" "$quick"
}
emulate_x86 linux-x86_64-sse Nehalem $scalar || true
emulate_x86 linux-x86_64-avx SandyBridge $scalar || true
emulate_x86 linux-x86_64-no-fma Haswell,-fma $scalar || true
emulate_x86 linux-x86_64-avx2 Haswell $avx2 || true

# The compiler of macOS, and the same bits by another one.
if want linux-x86_64-clang; then
  packages clang libomp-dev
  row linux-x86_64-clang linux-x86_64-clang "here, by clang" - \
    "$out/linux-x86_64-clang/test/kernels_test" "$quick"
fi

if want linux-arm64; then
  packages g++-aarch64-linux-gnu
  row linux-arm64 linux-arm64 "qemu-user" java_arm64 \
    env BN_EXPECT_ISA=$neon qemu-aarch64-static -L /usr/aarch64-linux-gnu \
    "$out/linux-arm64/test/kernels_test" "$quick"
fi

if want windows-x86_64; then
  packages g++-mingw-w64-x86-64-posix wine64
  row windows-x86_64 windows-x86_64 "wine" windows_dll \
    on_wine "$out/windows-x86_64/test/kernels_test.exe" "$quick"
fi

echo
printf '%-20s %-6s %-14s %-12s %s\n' platform built "kernels tested" "Java tested" how
for line in "${rows[@]}"; do
  IFS='|' read -r name built tested java_tested how <<<"$line"
  printf '%-20s %-6s %-14s %-12s %s\n' "$name" "$built" "$tested" "$java_tested" "$how"
done
exit $failed
