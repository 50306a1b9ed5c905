#!/usr/bin/env bash
# Opens the classifier jars in a folder and checks what is in them: check-natives.sh <folder> [glibc].
# For each native library: machine type, what it exports and needs, where it looks for libraries, the
# glibc it asks for (at most the one given; without, what releases promise), that its stack is not
# executable, and that it stays where its threads run when a class loader goes.
set -euo pipefail
folder=$1 most_glibc=${2:-2.18}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 checked=0

complain() {
  echo "check-natives.sh: $library: $*" >&2
  failed=1
}

# The words of standard input that do not match a whole regular expression.
others() { grep -vxE "$1" || true; }

check_elf() {
  local machine=$1 need='libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2|libgomp\.so\.1|ld-linux.*' bad glibc
  readelf -hW "$library" | grep -q "Machine: *$machine\$" || complain "is not for $machine"
  bad=$(readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | others "$need")
  [ -z "$bad" ] || complain "needs" $bad
  bad=$(readelf -dW "$library" | sed -n 's/.*(R\(UN\)*PATH).*\[\(.*\)\]/\2/p' | others '\$ORIGIN/?')
  [ -z "$bad" ] || complain "looks for libraries in $bad"
  readelf -lW "$library" | grep -q 'GNU_STACK.* RW  *0x' || complain "has an executable stack"
  glibc=$(readelf -VW "$library" | { grep -oE 'GLIBC_[0-9.]+' || true; } | sed 's/GLIBC_//' | sort -V | tail -n 1)
  [ "$(printf '%s\n' "$glibc" "$most_glibc" | sort -V | tail -n 1)" = "$most_glibc" ] ||
    complain "asks for glibc $glibc, more than $most_glibc"
  note="glibc ${glibc:-any}"
  case $library in */libgomp.so.1) return ;; esac
  readelf -dW "$library" | grep -q 'FLAGS_1.*NODELETE' || complain "can be unloaded while its threads run"
  bad=$(nm -D --defined-only "$library" | awk '{ print $3 }' | others 'Java_org_batchnorm4j_.*')
  [ -z "$bad" ] || complain "exports" $bad
}

check_pe() {
  local bad
  objdump -f "$library" | grep -q 'file format pei-x86-64' || complain "is not for x86-64 Windows"
  bad=$(objdump -p "$library" | sed -n 's/.*DLL Name: //p' | others 'KERNEL32\.dll|msvcrt\.dll|PSAPI\.DLL|psapi\.dll')
  [ -z "$bad" ] || complain "needs" $bad
  bad=$(objdump -p "$library" | sed -n '/^\[Ordinal\/Name Pointer\]/,/^$/p' | sed -n 's/.*\] \(.*\)/\1/p' |
    awk '{ print $NF }' | others "$jni|Table")
  [ -z "$bad" ] || complain "exports" $bad
  note="Windows"
}

check_macho() {
  local machine=$1 bad
  note="macOS, to be checked on a Mac"
  command -v lipo >/dev/null || return 0
  lipo -archs "$library" | grep -qx "$machine" || complain "is not for $machine"
  bad=$(otool -L "$library" | awk 'NR > 1 { print $1 }' | others '@rpath/.*|/usr/lib/lib(System\.B|c\+\+\.1)\.dylib')
  [ -z "$bad" ] || complain "needs" $bad
  bad=$(nm -gU "$library" | awk '{ print $3 }' | sed 's/^_//' | others "$jni")
  [ -z "$bad" ] || complain "exports" $bad
  note="macOS"
}

jni='(JNI_On(Unl|L)oad(_jnijavacpp)?|Java_org_(batchnorm4j|bytedeco_javacpp)_.*)'
for jar in "$folder"/*-{linux,windows,macosx}-*.jar; do
  [ -f "$jar" ] || continue
  platform=$(basename "$jar" .jar | sed -E 's/.*-((linux|windows|macosx)-.*)/\1/')
  unzip -q "$jar" -d "$work/$platform"
  main=no
  for library in "$work/$platform/org/batchnorm4j/backend/jni/$platform"/*; do
    case $(basename "$library") in
      *jnibatchnorm4j.*) main=yes ;;
      libgomp.so.1) ;;
      *) complain "should not be there" ;;
    esac
    case $platform in
      linux-x86_64) check_elf 'Advanced Micro Devices X86-64' ;;
      linux-arm64) check_elf AArch64 ;;
      windows-x86_64) check_pe ;;
      macosx-x86_64) check_macho x86_64 ;;
      macosx-arm64) check_macho arm64 ;;
    esac
    echo "$platform: $(basename "$library"): $(wc -c <"$library") bytes, $note"
  done
  [ $main = yes ] || complain "no JNI library in $jar"
  checked=$((checked + 1))
done
if ((checked == 0)); then
  echo "check-natives.sh: no classifier jar in $folder" >&2
  exit 1
fi
exit $failed
