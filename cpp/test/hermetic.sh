#!/bin/sh
# hermetic.sh NM LIBRARY: no object of an instruction set may define an inline function, or another
# symbol of which the linker keeps any one, under a name that objects for other CPUs know too.
# Theirs could be the one that is kept, and run where its instructions do not exist.
objects=':(avx2|avx512|neon)\.cpp\.o(bj)?:'
symbols=$("$1" -A --defined-only "$2") || exit
echo "$symbols" | grep -qE "$objects" || { echo "no object of an instruction set in $2"; exit 1; }
shared=$(echo "$symbols" | grep -E "$objects" | grep ' [WVu] ' | grep -vE ' _ZZ?NK?2bn(4avx2|6avx512|4neon)')
[ -z "$shared" ] || { echo "shared with other objects:"; echo "$shared"; exit 1; }
