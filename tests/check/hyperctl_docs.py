#!/usr/bin/env python3
"""Checks docs/man/hyperctl.1 and completion/hyperctl.bash against the commands and options that hyperctl has."""
import pathlib
import re
import subprocess
import sys

hyperctl, root = sys.argv[1], pathlib.Path(sys.argv[2])
SHARED = "CONTAINER OPTIONS"  # the section for what run and create have in common


def output(*args):
    return subprocess.run([hyperctl, *args], capture_output=True, text=True, check=True).stdout


def options_of(command):
    """The options in a command's help, as "--name" and "-x"."""
    found = set()
    for line in output(command, "--help").splitlines():
        match = re.match(r"^  (?:(-.), |    )(--[a-z-]+)", line)
        if match:
            found.update(name for name in match.groups() if name)
    return found


def sections(manual):
    """The options that each .SH or .SS section of the manual describes in its tagged paragraphs."""
    found, name, tag = {}, None, False
    for line in manual.splitlines():
        if line.startswith((".SH", ".SS")):
            name = line[3:].strip()
            found[name] = set()
        elif tag and name:
            text = re.sub(r"\\f.", " ", line).replace("\\-", "-")
            found[name].update(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-z-]*)", text))
        tag = line == ".TP"
    return found


def main():
    wrong = []
    manual = sections((root / "docs/man/hyperctl.1").read_text(encoding="utf-8"))
    commands = re.findall(r"^  ([a-z]+)  ", output("help"), re.M)
    if len(commands) < 20:
        wrong.append(f"'hyperctl help' lists only {len(commands)} commands")
    for command in commands:
        if command not in manual:
            wrong.append(f"the manual has no section '{command}'")
            continue
        described = set(manual[command])
        if command in ("run", "create"):
            described |= manual[SHARED]
        has = options_of(command)
        wrong += [f"the manual lacks {name} of '{command}'" for name in sorted(has - described)]
        wrong += [f"the manual describes {name}, which '{command}' has not" for name in sorted(described - has)]
    if output("completion", "bash") != (root / "completion/hyperctl.bash").read_text(encoding="utf-8"):
        wrong.append("completion/hyperctl.bash is old: hyperctl completion bash > completion/hyperctl.bash")
    print("\n".join(wrong) or f"{len(commands)} commands: manual and completion agree")
    return bool(wrong)


sys.exit(main())
