#!/bin/sh
# Writes the pom of batchnorm4j-platform: the library and the natives of every platform in
# target/natives. platform-pom.sh <version> <javacpp version> <openblas version>
set -eu
cd "$(dirname "$0")/.."
version=$1 javacpp=$2 openblas=$3

dependency() {
  echo "    <dependency>"
  echo "      <groupId>$1</groupId>"
  echo "      <artifactId>$2</artifactId>"
  echo "      <version>$3</version>"
  [ -z "${4:-}" ] || echo "      <classifier>$4</classifier>"
  echo "    </dependency>"
}

mkdir -p target/platform
exec >target/platform/pom.xml
cat <<END
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0"
         xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
         xsi:schemaLocation="http://maven.apache.org/POM/4.0.0 http://maven.apache.org/xsd/maven-4.0.0.xsd">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.batchnorm4j</groupId>
  <artifactId>batchnorm4j-platform</artifactId>
  <version>$version</version>
  <packaging>pom</packaging>
  <name>batchnorm4j-platform</name>
  <description>batchnorm4j with the natives of every platform it was released for.</description>
  <licenses>
    <license>
      <name>Apache-2.0</name>
    </license>
  </licenses>
  <dependencies>
END
dependency org.batchnorm4j batchnorm4j "$version"
for folder in target/natives/*/; do
  platform=$(basename "$folder")
  dependency org.batchnorm4j batchnorm4j "$version" "$platform"
  dependency org.bytedeco javacpp "$javacpp" "$platform"
  dependency org.bytedeco openblas "$openblas" "$platform"
done
echo "  </dependencies>"
echo "</project>"
