#!/bin/sh
# What JavaCPP calls as its compiler: sorts the functions in JavaCPP's C++ by name and has $JNI_COMPILER
# compile it. JavaCPP writes the methods of a class in the order in which the JVM lists them, which is that
# of their names' addresses in its memory; sorted, two builds give the same bytes.
set -eu

sort_functions() {
  # A function to a line, its lines parted by \001.
  awk -v functions="$1.functions" -v before="$1.before" -v after="$1.after" '
    /^JNIEXPORT .* Java_/ { inside = seen = 1 }
    inside { printf("%s%s", $0, ($0 == "}" ? "\n" : "\001")) > functions }
    !inside { print > (seen ? after : before) }
    $0 == "}" { inside = 0 }' "$1"
  { cat "$1.before"; LC_ALL=C sort "$1.functions" | tr '\001' '\n'; cat "$1.after"; } >"$1"
  rm "$1.before" "$1.functions" "$1.after"
}

for argument; do
  case $argument in *.cpp) sort_functions "$argument" ;; esac
done
exec "$JNI_COMPILER" "$@"
