"""The guest's initramfs: what is in it, the same bytes each time, refusal of what could not run.

Reads the archive with a parser of its own, written from the kernel's description of the format
(Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import os
import subprocess
import sys
import tempfile

BUILD = os.path.join(sys.argv[1], "images", "build-initramfs")


def static_elf(payload=b"", interpreter=False):
    """A 64-bit ELF file with one program header, PT_LOAD or PT_INTERP."""
    header = b"\x7fELF\x02\x01\x01" + bytes(25) + (64).to_bytes(8, "little") + bytes(14)
    header += (56).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(6)
    return header + (3 if interpreter else 1).to_bytes(4, "little") + bytes(52) + payload


def entries(archive):
    """Yields (name, mode, device, data) of a newc archive up to its trailer."""
    position = 0
    while True:
        assert archive[position : position + 6] == b"070701", f"no header at {position}"
        fields = [
            int(archive[position + 6 + i * 8 : position + 14 + i * 8], 16) for i in range(13)
        ]
        mode, size, major, minor, name_size = (fields[i] for i in (1, 6, 9, 10, 11))
        start = position + 110
        name = archive[start : start + name_size - 1].decode()
        start = (start + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return
        yield name, mode, (major, minor), archive[start : start + size]
        position = (start + size + 3) & ~3


def build(init, output):
    return subprocess.run([BUILD, init, output], capture_output=True, text=True, check=False)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        init = os.path.join(scratch, "init")
        output = os.path.join(scratch, "initramfs.cpio")

        # Sizes that need each amount of padding.
        for size in range(4):
            program = static_elf(b"x" * size)
            with open(init, "wb") as file:
                file.write(program)
            result = build(init, output)
            assert result.returncode == 0, result.stderr
            with open(output, "rb") as file:
                archive = file.read()
            found = {name: (mode, device, data) for name, mode, device, data in entries(archive)}
            assert found["init"] == (0o100755, (0, 0), program), "init differs"
            assert found["dev/console"] == (0o020600, (5, 1), b""), "no console"
            for name in ("dev", "proc", "sys", "run", "tmp"):
                assert found[name][0] & 0o170000 == 0o040000, f"{name} is not a directory"
            assert len(found) == 7, sorted(found)

        # The time and mode of the program do not show in the archive.
        os.utime(init, (1, 1))
        os.chmod(init, 0o600)
        assert build(init, output).returncode == 0
        with open(output, "rb") as file:
            assert file.read() == archive, "not reproducible"

        for what, program in (
            ("a dynamic program", static_elf(interpreter=True)),
            ("a script", b"#!/bin/sh\n"),
            ("an empty file", b""),
        ):
            with open(init, "wb") as file:
                file.write(program)
            result = build(init, output)
            assert result.returncode == 1, f"{what} was accepted"
            assert "not a static 64-bit ELF" in result.stderr, result.stderr
        with open(output, "rb") as file:
            assert file.read() == archive, "a refused program changed the archive"

        result = build(os.path.join(scratch, "missing"), output)
        assert result.returncode == 1 and "No such file" in result.stderr, result.stderr


main()
