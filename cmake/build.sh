#!/bin/sh
# Builds the kernels for Maven: build.sh <source dir> <build dir> <platform>.
set -eu
sources=$1 build=$2 platform=$3

missing() {
  echo "batchnorm4j: $1 was not found, and the native library cannot be built without it." >&2
  echo "Install it ($2), or build without natives: mvn -Djavacpp.skip=true ..." >&2
  exit 1
}
command -v cmake >/dev/null || missing "CMake" "Debian/Ubuntu: apt-get install cmake; macOS: brew install cmake"
command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
  missing "a C++17 compiler" "Debian/Ubuntu: apt-get install g++; macOS: xcode-select --install"
command -v make >/dev/null || command -v ninja >/dev/null ||
  missing "make" "Debian/Ubuntu: apt-get install make"

mkdir -p "$build" # A fresh clone has no place for the log yet.
# A compiler for another platform; on the platform itself the file changes nothing.
toolchain=$(cd "$(dirname "$0")" && pwd)/toolchain-$platform.cmake
[ -f "$toolchain" ] && set -- "-DCMAKE_TOOLCHAIN_FILE=$toolchain" || set --
cmake -S "$sources" -B "$build" "$@" >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)" \
  >>"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }

# The OpenMP runtime goes into the jar beside the JNI library: that of the compiler CMake took.
mkdir -p "$build/runtime"
compiler=$(sed -n 's/^set(CMAKE_CXX_COMPILER "\(.*\)")$/\1/p' "$build"/CMakeFiles/*/CMakeCXXCompiler.cmake | tail -n 1)
libgomp=$("$compiler" -print-file-name=libgomp.so.1 2>/dev/null || true)
if [ -f "$libgomp" ]; then cp -L "$libgomp" "$build/runtime/libgomp.so.1"; fi
