#!/usr/bin/env python3
"""Checks the rule of docs/architecture.md: a folder includes only from itself and from folders it stands on."""
import pathlib
import re
import sys

# Folder: the folders it may include from, beside itself. "All below" is spelled out, so that the table is the rule.
BASE = ["base"]
WIRE = BASE + ["wire"]
STORE = BASE + ["hyperd/store"]
DOMAIN = WIRE + ["hyperd/store", "hyperd/image", "hyperd/network", "hyperd/volume", "hyperd/logdriver",
                 "hyperd/cgroup", "hyperd/hypervisor", "hyperd/sandbox"]
ALLOWED = {
    "base": [],
    "wire": BASE,
    "hyperstart": WIRE,
    "hyperd/store": BASE,
    "hyperd/image": STORE,
    "hyperd/network": STORE,
    "hyperd/volume": STORE,
    "hyperd/logdriver": BASE,
    "hyperd/cgroup": BASE,
    "hyperd/hypervisor": BASE + ["hyperd/cgroup"],
    "hyperd/sandbox": WIRE + ["hyperd/cgroup", "hyperd/hypervisor"],
    "hyperd/pod": DOMAIN,
    "hyperd/build": DOMAIN + ["hyperd/pod"],
    "hyperd/http": BASE,
    "hyperd/api": DOMAIN + ["hyperd/pod", "hyperd/build", "hyperd/http"],
    "hyperd": DOMAIN + ["hyperd/pod", "hyperd/build", "hyperd/http", "hyperd/api"],
    "hyperctl": BASE,
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def folder_of(path):
    """The longest row of the table that PATH stands in."""
    parts = path.split("/")[:-1]
    for end in range(len(parts), 0, -1):
        if "/".join(parts[:end]) in ALLOWED:
            return "/".join(parts[:end])
    return None


def check(root):
    wrong, seen = [], 0
    for source in sorted(root.rglob("*.[ch]")):
        name = source.relative_to(root).as_posix()
        folder = folder_of(name)
        if folder is None:
            continue
        seen += 1
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            to = folder_of(target)
            if to is None:
                # Headers of libraries that are built from source use "" too; ours always name their folder.
                if "/" not in target and (source.parent / target).exists():
                    wrong.append(f'{name}:{number}: "{target}": name the folder')
                continue
            if to != folder and to not in ALLOWED[folder]:
                wrong.append(f"{name}:{number}: {folder} may not include {target}")
    return wrong, seen


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    wrong, seen = check(root)
    if not seen:
        sys.exit("no source files found: the check looked in the wrong place")
    for line in wrong:
        print(line)
    print(f"{seen} files checked, {len(wrong)} wrong includes")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
