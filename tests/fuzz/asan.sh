#!/usr/bin/env bash
# Run the operators, built with AddressSanitizer, on seeded tensors, many of shapes that do not fit:
# tests/fuzz/asan.sh PYTHON --cases 1000
set -euo pipefail
python=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#!/bin/sh\nexec env -u LD_PRELOAD g++ -fsanitize=address -fno-omit-frame-pointer -g "$@"\n' >"$folder/c++"
chmod +x "$folder/c++"
export CXX="$folder/c++" TORCH_EXTENSIONS_DIR="$folder" PYTHONPATH=.:tests
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)"
# Python keeps its memory to the end.
export ASAN_OPTIONS=detect_leaks=0:handle_segv=1:allocator_may_return_null=1
"$python" -m fuzz operators "$@"

built=$(find "$folder" -name '*.so')
if ! nm -D $built | grep -q __asan_report; then
    echo "error: the operators were not built with AddressSanitizer" >&2
    exit 1
fi
