#!/usr/bin/env bash
# Builds the native library for every platform this machine has a compiler for, those for Linux against
# an older C library (cmake/sysroot.sh), and puts them where the release profile makes classifier jars
# of them: target/natives/<platform>. What another machine built, such as a Mac, is put there by hand or
# by CI, and stays.
set -euo pipefail
cd "$(dirname "$0")/.."
package=org/batchnorm4j/backend/jni

# build <platform> <what becomes of it in target/classes: cp -R, where the tests load it, or mv>
build() {
  mvn -q -B -Djavacpp.platform="$1" -Dnative.build="$PWD/target/release/$1" process-classes
  rm -rf "target/natives/$1"
  mkdir -p "target/natives/$1/$package"
  $2 "target/classes/$package/$1" "target/natives/$1/$package/"
}

if [ "$(uname -s)" = Linux ]; then
  cmake/sysroot.sh target/sysroot
  export PATH=$PWD/target/sysroot/bin:$PATH
fi
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    build linux-x86_64 "cp -R"
    if command -v aarch64-linux-gnu-g++ >/dev/null; then build linux-arm64 mv; fi
    if command -v x86_64-w64-mingw32-g++-posix >/dev/null; then build windows-x86_64 mv; fi
    ;;
  Linux-aarch64) build linux-arm64 "cp -R" ;;
  Darwin-x86_64) build macosx-x86_64 "cp -R" ;;
  Darwin-arm64) build macosx-arm64 "cp -R" ;;
  *)
    echo "natives.sh: nothing is known of $(uname -s) on $(uname -m)" >&2
    exit 1
    ;;
esac
