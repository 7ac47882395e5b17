"""The images that are measured with: one busybox root for everybody, and a big one made of pseudo-random files."""
import hashlib
import io
import json
import pathlib
import random
import subprocess
import tarfile

BUILD_DEMO = pathlib.Path(__file__).resolve().parents[3] / "images/build-demo"
LINE = b"%098d\n" % 0
LINES_FILE = "lines"            # 1 MiB of lines in the root, for the log measurements
LINES_FILE_BYTES = 1 << 20


def lines_content():
    """1 MiB of lines, the last one made shorter so that the size is exact."""
    content = LINE * (LINES_FILE_BYTES // len(LINE) + 1)
    return content[:LINES_FILE_BYTES - 1] + b"\n"


def make_root(directory):
    """
    What images/build-demo makes, and the lines: as DIRECTORY/busybox.tar, for `import`, and unpacked in DIRECTORY/root.
    """
    directory = pathlib.Path(directory)
    subprocess.run([BUILD_DEMO, directory, "busybox"], check=True, stdout=subprocess.DEVNULL)
    archive, root = directory / "busybox.tar", directory / "root"
    content = lines_content()
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo(LINES_FILE)
        info.size, info.mode = len(content), 0o644
        tar.addfile(info, io.BytesIO(content))
    root.mkdir(mode=0o755)
    subprocess.run(["tar", "-x", "--numeric-owner", "-C", root, "-f", archive], check=True)
    return archive, root


def make_big(root, path, size_bytes, tag):
    """
    ROOT and SIZE_BYTES of further files as a docker-archive with one layer: half of each file is incompressible, half
    compresses well, as with programs. Always the same bytes.
    """
    chance = random.Random(20150612)
    layer_path = pathlib.Path(f"{path}.layer")
    with tarfile.open(layer_path, "w", format=tarfile.GNU_FORMAT) as tar:
        for entry in sorted(pathlib.Path(root).iterdir()):
            tar.add(entry, arcname=entry.name)
        left, number = size_bytes, 0
        while left > 0:
            size = min(left, chance.choice((4096, 16384, 65536, 1 << 20)))
            content = chance.randbytes(size // 2) + bytes(size - size // 2)
            info = tarfile.TarInfo(f"data/{number % 50:02}/file{number}")
            info.size, info.mode = size, 0o644
            tar.addfile(info, io.BytesIO(content))
            left, number = left - size, number + 1
    digest = hashlib.sha256()
    with open(layer_path, "rb") as layer:
        while chunk := layer.read(1 << 20):
            digest.update(chunk)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest.hexdigest()]},
        "history": [{"created": "2020-01-01T00:00:00Z"}], "created": "2020-01-01T00:00:00Z",
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag],
                            "Layers": ["layer/layer.tar"]}]).encode()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in ((config_name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.add(layer_path, arcname="layer/layer.tar")
    layer_path.unlink()
