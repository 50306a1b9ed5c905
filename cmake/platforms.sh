#!/usr/bin/env bash
# Builds the kernels for every platform this machine has a compiler for, and tests them here or under
# an emulator: platforms.sh [name ...], names as in the first column of the table it prints.
# Installs the Debian packages it needs. docs/platforms.md says what each line proves.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/platforms
rows=() failed=0

# Tests that take minutes under an emulator, and measure or hammer rather than compute.
quick=--gtest_filter=-Conformance.Streaming:Conformance.Threads
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
  cmake -S cpp -B "$out/$1" "${options[@]}" && nice cmake --build "$out/$1" --parallel 2
}

# row <name> <platform> <how it is run> <command ...>: builds, runs the tests, notes both.
row() {
  local name=$1 platform=$2 how=$3 log=$out/$1.log built=no tested=no
  shift 3
  mkdir -p "$out"
  echo "== $name: $how"
  if build "$platform" >"$log" 2>&1; then
    built=yes
    if "$@" >>"$log" 2>&1; then
      tested="yes, $(sed -n 's/^\[  PASSED  \] \([0-9]*\) .*/\1/p' "$log") tests"
    fi
  fi
  if [ "${tested%%,*}" != yes ]; then
    failed=1
    tail -n 40 "$log"
  fi
  rows+=("$name|$built|$tested|$how")
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
    linux-arm64 | windows-x86_64) ;;
    *)
      echo "platforms.sh: no platform '$name'" >&2
      exit 2
      ;;
  esac
done

packages cmake g++ libgtest-dev qemu-user-static
x86=$out/linux-x86_64/test/kernels_test
want linux-x86_64 && row linux-x86_64 linux-x86_64 "here, all tests" "$x86"
emulate_x86() {
  want "$1" && row "$1" linux-x86_64 "qemu-user, $2" \
    env BN_EXPECT_ISA="$3" qemu-x86_64-static -cpu "$2" "$x86" "$quick"
}
emulate_x86 linux-x86_64-sse Nehalem $scalar || true
emulate_x86 linux-x86_64-avx SandyBridge $scalar || true
emulate_x86 linux-x86_64-no-fma Haswell,-fma $scalar || true
emulate_x86 linux-x86_64-avx2 Haswell $avx2 || true

if want linux-arm64; then
  packages g++-aarch64-linux-gnu
  row linux-arm64 linux-arm64 "qemu-user" \
    env BN_EXPECT_ISA=$neon qemu-aarch64-static -L /usr/aarch64-linux-gnu \
    "$out/linux-arm64/test/kernels_test" "$quick"
fi

if want windows-x86_64; then
  packages g++-mingw-w64-x86-64-posix wine64
  wine=$(command -v wine64 || echo /usr/lib/wine/wine64)
  row windows-x86_64 windows-x86_64 "wine" \
    env WINEPREFIX="$PWD/$out/wine" WINEDEBUG=-all "$wine" \
    "$out/windows-x86_64/test/kernels_test.exe" "$quick"
fi

echo
printf '%-18s %-6s %-14s %s\n' platform built "kernels tested" how
for line in "${rows[@]}"; do
  IFS='|' read -r name built tested how <<<"$line"
  printf '%-18s %-6s %-14s %s\n' "$name" "$built" "$tested" "$how"
done
exit $failed
