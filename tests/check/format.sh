#!/bin/bash
# Checks that every C file that git knows is formatted as .clang-format says.
set -euo pipefail
cd "$1"
mapfile -t files < <(git ls-files '*.c' '*.h')
[[ ${#files[@]} -gt 0 ]] || { echo "no C files found" >&2; exit 1; }
clang-format --dry-run -Werror "${files[@]}"
echo "${#files[@]} files checked"
