#!/usr/bin/env python3
"""Compares the create body's tables in the code with those of docs/docker-api.md: name, what is done, and why.

    docker_fields.py ROOT           checks; exit code 1 and the differences when they disagree
    docker_fields.py ROOT --print   the rows as the document should have them
"""
import pathlib
import re
import sys

DONE = {"FIELD_ACCEPTED": "accepted", "FIELD_REFUSED": "refused", "FIELD_ONE_OF": "some values", "FIELD_CALL": "honoured"}
TABLE = re.compile(r"const struct create_field create_(\w+)_fields\[\] = \{(.*?)\n\};", re.S)
SECTIONS = {"config": "Config", "host": "HostConfig", "hyper": "Hyper"}


def entries(body):
    """The top-level {…} of a table, whitespace folded."""
    depth, start = 0, None
    for i, char in enumerate(body):
        if char == "{":
            if depth == 0:
                start = i + 1
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                yield re.sub(r"\s+", " ", body[start:i])


def rows(source):
    macros = dict(re.findall(r'#define (\w+) "([^"]*)"', source))
    words = {name: re.findall(r'"([^"]+)"', values)
             for name, values in re.findall(r"static const char \*const (\w+)\[\] = \{([^}]*)\}", source)}
    for table, body in TABLE.findall(source):
        for entry in entries(body):
            name, kind = re.match(r'\s*"(\w+)", (FIELD_\w+)', entry).groups()
            reason = re.search(r"\.reason = (?:((?:\"[^\"]*\"\s*)+)|(\w+))", entry)
            text = ""
            if reason:
                text = "".join(re.findall(r'"([^"]*)"', reason.group(1))) if reason.group(1) else macros[reason.group(2)]
            chosen = re.search(r"\.words = (\w+)", entry)
            if chosen:
                text = ", ".join(f"`{word}`" for word in words[chosen.group(1)]) + "; " + text
            yield f"| {SECTIONS[table]}.{name} | {DONE.get(kind, 'honoured')} | {text} |"


def main():
    root = pathlib.Path(sys.argv[1])
    wanted = list(rows((root / "hyperd/api/docker/create_fields.c").read_text(encoding="utf-8")))
    if "--print" in sys.argv:
        print("\n".join(wanted))
        return 0
    lines = (root / "docs/docker-api.md").read_text(encoding="utf-8").splitlines()
    have = [line for line in lines if re.match(r"\| (Config|HostConfig|Hyper)\.\w+ \|", line)]
    for line in wanted:
        if line not in have:
            print("missing in docs/docker-api.md:", line)
    for line in have:
        if line not in wanted:
            print("no longer true:", line)
    print(f"{len(wanted)} fields checked")
    return 0 if wanted and sorted(wanted) == sorted(have) else 1


sys.exit(main())
