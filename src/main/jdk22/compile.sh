#!/bin/sh
# compile.sh CLASSES: adds to the library what needs JDK 22, as a part of its multi-release jar. Where
# no such JDK is found, in JDK22_HOME, JAVA_HOME or /usr/lib/jvm, the library is built without.
set -eu
classes=$1
sources=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
to=$classes/META-INF/versions/22

for home in "${JDK22_HOME:-}" "${JAVA_HOME:-}" /usr/lib/jvm/*; do
  [ -x "$home/bin/javac" ] || continue
  # "javac 25.0.3", "javac 17.0.1"
  version=$("$home/bin/javac" -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 22 ] || continue
  mkdir -p "$to"
  "$home/bin/javac" --release 22 -Xlint:all,-processing -Werror -proc:none -cp "$classes" -d "$to" \
    $(find "$sources" -name '*.java')
  # The tests start it.
  echo "$home" >"$to/built-with"
  exit 0
done
rm -rf "$to"
echo "no JDK 22 or later in JDK22_HOME, JAVA_HOME or /usr/lib/jvm: built without MemorySegment"
