#!/usr/bin/env bash
# An older C library to build releases with, so that they run on older systems than the one that builds:
# sysroot.sh <folder> makes, for each Linux platform, <folder>/<platform> of Debian 11's packages (glibc
# 2.31, GCC 10's runtime libraries) by this machine's apt, and <folder>/bin with the machine's compilers
# made to use it. What is there already stays. The compiler itself and what it optimizes stay the same.
set -euo pipefail
suite=bullseye runtime=10
mkdir -p "$1"
folder=$(cd "$1" && pwd)

# Debian 11 where the machine gets its own Debian from.
apt=$folder/apt
sources() {
  apt-get indextargets --format '$(REPO_URI)|$(CODENAME)|$(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sed -nE "s/^([^|]*)\|[a-z]+\|main$/deb \1 $suite main/p" | sort -u
}
prepare_apt() {
  mkdir -p "$apt"/{lists,cache,none}
  : >"$apt/status"
  sources >"$apt/sources.list"
  if [ ! -s "$apt/sources.list" ]; then
    echo "sysroot.sh: this machine's apt has no Debian to take packages of $suite from" >&2
    exit 1
  fi
  old apt-get update -qq
}
# old <command ...>: apt, for both architectures of that Debian and none of the machine's own.
old() {
  "$@" -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/none" \
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status" -o "Dir::Cache=$apt/cache" \
    -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
}

# add <platform> <Debian's name of it> <triple> <compiler>
add() {
  local root=$folder/$1 architecture=$2 triple=$3 compiler=$4 version lib part
  [ -d "$root" ] && return 0
  [ -f "$apt/sources.list" ] || prepare_apt
  mkdir -p "$root.part/packages"
  (cd "$root.part/packages" && old apt-get download -qq \
    {libc6,libc6-dev,linux-libc-dev,libgcc-$runtime-dev,libstdc++-$runtime-dev,libgomp1,libgcc-s1}:"$architecture")
  for part in "$root.part"/packages/*.deb; do dpkg -x "$part" "$root.part"; done
  rm -r "$root.part/packages"
  # Links that start at the root of a system start at this folder.
  find "$root.part" -lname '/*' -printf '%p\t%l\n' | while IFS=$'\t' read -r link to; do
    ln -sfr "$root.part$to" "$link"
  done
  # The runtime libraries where -B finds them, and nothing of that GCC's own: its headers are not this one's.
  lib=$root.part/usr/lib/$triple
  mv "$root.part/usr/lib/gcc/$triple/$runtime"/{libgcc.a,libgcc_eh.a,libstdc++.a} "$lib/"
  ln -s libgomp.so.1 "$lib/libgomp.so"
  ln -s "../../../lib/$triple/libgcc_s.so.1" "$lib/libgcc_s.so"
  rm -r "$root.part/usr/lib/gcc"
  # The C++ headers that go with that libstdc++.a, by the name under which the compiler looks for them.
  version=$("$compiler" -dumpversion)
  ln -s "$runtime" "$root.part/usr/include/c++/$version"
  ln -s "$runtime" "$root.part/usr/include/$triple/c++/$version"
  mv "$root.part" "$root"
}

# compiler <name> <platform> <triple>: <folder>/bin/<name>
compiler() {
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\nexec "%s" "--sysroot=%s" "-B%s" "$@"\n' \
    "$(PATH=${PATH//"$folder/bin:"/} command -v "$1")" "$folder/$2" "$folder/$2/usr/lib/$3" >"$folder/bin/$1"
  chmod +x "$folder/bin/$1"
}

case $(uname -m) in
  x86_64) this=(linux-x86_64 amd64 x86_64-linux-gnu) ;;
  aarch64) this=(linux-arm64 arm64 aarch64-linux-gnu) ;;
esac
add "${this[@]}" g++
compiler g++ "${this[0]}" "${this[2]}"
compiler c++ "${this[0]}" "${this[2]}"
if command -v aarch64-linux-gnu-g++ >/dev/null; then
  add linux-arm64 arm64 aarch64-linux-gnu aarch64-linux-gnu-g++
  compiler aarch64-linux-gnu-g++ linux-arm64 aarch64-linux-gnu
fi
