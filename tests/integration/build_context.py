"""Build contexts for the tests of builds, and what a build gave: said, configured, layered."""
import io
import json
import re
import tarfile
import urllib.parse

MTIME = 1700000000


def context(dockerfile, files=None):
    """A tar of DOCKERFILE and FILES: {name: bytes | text | ("link", target) | ("dir", mode) | ("mode", mode, data)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entries = dict(files or {})
        if dockerfile is not None:
            entries["Dockerfile"] = dockerfile
        for name, what in entries.items():
            info = tarfile.TarInfo(name)
            info.mtime, info.mode, data = MTIME, 0o644, None
            if isinstance(what, tuple) and what[0] == "link":
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, what[1], 0o777
            elif isinstance(what, tuple) and what[0] == "hard":
                info.type, info.linkname = tarfile.LNKTYPE, what[1]
            elif isinstance(what, tuple) and what[0] == "dir":
                info.type, info.mode = tarfile.DIRTYPE, what[1]
            elif isinstance(what, tuple):
                info.mode, data = what[1], what[2]
            else:
                data = what
            if data is not None:
                data = data.encode() if isinstance(data, str) else data
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
        end = tar.offset + 2 * tarfile.BLOCKSIZE
    # Without padding to whole records, which dockerd leaves unread: it would reset the connection.
    return out.getvalue()[:end]


def query(**options):
    """The query string: lists are repeated, dictionaries become JSON."""
    pairs = []
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            pairs.append((key, json.dumps(item) if isinstance(item, dict) else item))
    return urllib.parse.urlencode(pairs)


class Build:
    """POST /build: the answer's status, its lines, and what people read of it."""

    def __init__(self, daemon, body, **options):
        self.daemon = daemon
        answer = daemon.request("POST", "/v1.41/build?" + query(**options), body, ["X-Registry-Config: e30="])
        self.status = answer.status
        self.lines = [json.loads(line) for line in answer.body.decode().splitlines() if line.strip()]
        self.text = "".join(line.get("stream", "") for line in self.lines)
        self.error = next((line.get("error") or line.get("message") for line in self.lines
                           if "error" in line or "message" in line), None)
        self.error_detail = next((line["errorDetail"] for line in self.lines if "errorDetail" in line), None)
        self.ids = [line["aux"]["ID"] for line in self.lines if "aux" in line]

    @property
    def id(self):
        return self.ids[-1] if self.ids else None

    def plain(self):
        """What was said, without what differs from run to run."""
        return plain(self.text)

    def inspect(self):
        return self.daemon.request("GET", f"/v1.41/images/{self.id}/json").json()

    def config(self):
        """The image's configuration, without the ids in it."""
        config = self.inspect()["Config"]
        config.pop("Image", None)
        return config

    def history(self):
        """[(how it was made, empty or not)], the newest first, those of the base image left out."""
        history = self.daemon.request("GET", f"/v1.41/images/{self.id}/history").json()
        return [(plain(entry["CreatedBy"]), entry["Size"] > 0) for entry in history if entry["CreatedBy"]
                and "Imported" not in entry["Comment"]]

    def layers(self):
        """The layers that the build has added: {name: (type, mode, uid, gid, link, content)} each."""
        archive = tarfile.open(fileobj=io.BytesIO(self.daemon.request("GET", f"/images/{self.id}/get").body))
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        layers = []
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(read_member(archive, name))) as layer:
                entries = {}
                for info in layer:
                    data = layer.extractfile(info).read() if info.isreg() else b""
                    entries[info.name.removeprefix("./").rstrip("/")] = (
                        info.type, oct(info.mode & 0o7777), info.uid, info.gid, info.linkname, data,
                        int(info.mtime) if info.isreg() else None)
                layers.append(entries)
        return [layer for layer in layers if "bin/busybox" not in layer]


def read_member(archive, name):
    member = archive.getmember(name)
    if member.issym():
        # Older daemons share layers between the directories of an archive by links.
        name = (name.rsplit("/", 1)[0] + "/" if "/" in name else "") + member.linkname
        parts = []
        for part in name.split("/"):
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        name = "/".join(parts)
    return archive.extractfile(name).read()


def plain(text):
    text = re.sub(r"\b(file|dir|multi):[0-9a-f]{64}", r"\1:HASH", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    return re.sub(r"\b[0-9a-f]{12}\b", "ID", text)
