#!/usr/bin/env python3
"""Checks that no two of our libraries define the same global name: in one program the linker would take either.

    symbols.py BUILD-DIR
"""
import collections
import pathlib
import subprocess
import sys

# One library links the other's objects anew, on purpose.
SAME = {"libpod_core.a"}


def names(library):
    out = subprocess.run(["nm", "--defined-only", "--extern-only", str(library)], capture_output=True, text=True, check=False)
    for line in out.stdout.splitlines():
        fields = line.split()
        # Weak definitions and sanitizers' own are meant to be many.
        if len(fields) == 3 and fields[1] in "TDBRC" and not fields[2].startswith(("__", "hyper__")):
            yield fields[2]


def main():
    where = collections.defaultdict(set)
    build = pathlib.Path(sys.argv[1])
    libraries = [path for top in ("base", "wire", "hyperd") for path in (build / top).rglob("lib*.a") if path.name not in SAME]
    for library in libraries:
        for name in names(library):
            where[name].add(library.name)
    twice = {name: libs for name, libs in where.items() if len(libs) > 1}
    for name, libs in sorted(twice.items()):
        print(f"{name}: defined in {', '.join(sorted(libs))}")
    print(f"{len(libraries)} libraries, {len(where)} names, {len(twice)} defined twice")
    return 1 if twice or not where else 0


sys.exit(main())
