#!/usr/bin/env bash
# Uses what mvn -Prelease verify made as a stranger would: a project in a temporary folder takes
# batchnorm4j-platform from target/repository by its coordinates, and runs
#   - here, with the native library
#   - here, with every jar of natives taken away: on the Java backend, with one line that says so
#   - in the root folders given, on nothing but their JRE: try-release.sh [root folder ...]
#     such as one by: debootstrap --variant=minbase --include=openjdk-17-jre-headless bookworm FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's:^  <version>\(.*\)</version>:\1:p' target/platform/pom.xml)

fail() {
  echo "try-release.sh: $*" >&2
  exit 1
}

# Maven's own files and other projects' jars, but nothing of batchnorm4j.
local_repository=${MAVEN_REPOSITORY:-$HOME/.m2/repository}
if [ -d "$local_repository" ]; then
  cp -al "$local_repository" "$work/m2" 2>/dev/null || cp -a "$local_repository" "$work/m2"
fi
rm -rf "$work/m2/org/batchnorm4j"

mkdir -p "$work/app/src/main/java"
cat >"$work/app/pom.xml" <<END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId>
  <artifactId>app</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <repositories>
    <repository>
      <id>release</id>
      <url>file://$top/target/repository</url>
    </repository>
  </repositories>
  <dependencies>
    <dependency>
      <groupId>org.batchnorm4j</groupId>
      <artifactId>batchnorm4j-platform</artifactId>
      <version>$version</version>
      <type>pom</type>
    </dependency>
  </dependencies>
</project>
END
cat >"$work/app/src/main/java/App.java" <<'END'
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.tensor.Tensor;

class App {
  public static void main(String[] args) {
    System.out.println(Backends.describe());
    try (BatchNorm2d bn = new BatchNorm2d(3);
        Tensor x = Tensor.of(new float[] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 1, 3, 2, 2)) {
      System.out.println("y = " + bn.forward(x).get(0, 0, 0, 0));
    }
  }
}
END
(cd "$work/app" && mvn -q -B "-Dmaven.repo.local=$work/m2" package dependency:build-classpath \
  -Dmdep.outputFile="$work/class-path")
mkdir "$work/all" "$work/plain"
tr ':' '\n' <"$work/class-path" | while read -r jar; do cp -L "$jar" "$work/all/"; done
cp "$work"/app/target/app-1.jar "$work/all/"
for jar in "$work"/all/*; do
  case $jar in *-linux-* | *-windows-* | *-macosx-*) ;; *) cp "$jar" "$work/plain/" ;; esac
done
unzip -Z1 "$work/all/batchnorm4j-$version.jar" | grep '^META-INF/versions/22/.*class' >/dev/null ||
  fail "the jar was built without a JDK 22, and has nothing for MemorySegment"
for class in $(unzip -Z1 "$work/all/batchnorm4j-$version.jar" '*.class'); do
  major=$(unzip -p "$work/all/batchnorm4j-$version.jar" "${class//\$/\\\$}" | od -An -j6 -N2 -t u1 | awk '{ print $1 * 256 + $2 }')
  case $class in META-INF/versions/22/*) wanted=66 ;; *) wanted=61 ;; esac
  [ "$major" = $wanted ] || fail "$class is of class file version $major, not $wanted"
done

# expect <regular expression> <where> <command ...>: what it prints.
expect() {
  local wanted=$1 where=$2 printed
  shift 2
  printed=$("$@" 2>&1) || fail "$where: $printed"
  grep -qE "$wanted" <<<"$printed" || fail "$where: expected $wanted, got: $printed"
  grep -q 'y = -1.34163' <<<"$printed" || fail "$where: wrong result: $printed"
  echo "$where: $(grep -E "$wanted" <<<"$printed" | tail -n 1)"
}

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
expect "batchnorm4j $version: native backend" "here" "$java" -cp "$work/all/*" App
expect "runs on its Java backend, because" "without natives" "$java" -cp "$work/plain/*" App
for root in "$@"; do
  rm -rf "$root/opt/app"
  cp -R "$work/all" "$root/opt/app"
  expect "batchnorm4j $version: native backend" "in $root" \
    unshare -m sh -c 'mount -t proc proc "$1/proc" && chroot "$1" /usr/bin/java -cp "/opt/app/*" App' sh "$root"
done
