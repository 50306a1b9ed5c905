#!/usr/bin/env bash
# Makes a release of the committed state again, in another folder and by a JVM with other settings, and
# fails unless every file has the same bytes as the one in target, where mvn -Prelease verify has made one:
# check-reproducible.sh <folder>. What an earlier try has built in the folder is used.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 failed=0 same=0

[ -z "$(git status --porcelain)" ] || echo "check-reproducible.sh: only what is committed is built again" >&2
[ -d "$folder" ] || git clone -q . "$folder"
(cd "$folder" && MAVEN_OPTS="-Xshare:off -XX:+UseSerialGC" mvn -q -B -Prelease -DskipTests verify)

for file in target/*.jar target/bom.* target/platform/pom.xml; do
  if cmp "$file" "$folder/$file"; then same=$((same + 1)); else failed=1; fi
done
echo "$same files the same"
exit $failed
