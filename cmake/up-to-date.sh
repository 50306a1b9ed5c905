#!/bin/sh
# up-to-date.sh MODULE: builds the library and examples or benchmarks, where they are missing or older than their sources.
set -eu

module=$1
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
target=$root/$module/target

need() {
  command -v "$1" >/dev/null 2>&1 || {
    echo "$module: cannot find $1; install $2" >&2
    exit 1
  }
}

# stale STAMP SOURCE...: whether a source is newer than the stamp, or there is none.
stale() {
  [ ! -e "$1" ] || [ -n "$(find "$@" -newer "$1" | head -n 1)" ]
}

# build STAMP MAVEN-ARGUMENT...: the stamp is as old as the start of a build that succeeded.
build() {
  stamp=$1
  shift
  need mvn "Maven 3.8 or later"
  mkdir -p "$target"
  : >"$stamp.started"
  mvn -q -B -Dstyle.color=never -Dmaven.test.skip=true "$@" </dev/null >&2
  mv "$stamp.started" "$stamp"
}

need "${JAVA_HOME:+$JAVA_HOME/bin/}java" "JDK 17 or later"
if stale "$target/library.built" "$root/pom.xml" "$root/src/main" "$root/cpp" "$root/cmake"; then
  echo "Building batchnorm4j; the first time takes a few minutes." >&2
  build "$target/library.built" -f "$root/pom.xml" install
  rm -f "$target/$module.built"
fi
if stale "$target/$module.built" "$root/$module/pom.xml" "$root/$module/src/main"; then
  echo "Building the $module; the first time loads what it needs, up to some 300 MB." >&2
  build "$target/$module.built" -f "$root/$module/pom.xml" package
fi
