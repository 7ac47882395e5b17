"""Registries for the tests: Debian's docker-registry on loopback, a token server beside it, and a registry that lies."""
import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
import time
import urllib.parse
import urllib.request

PROGRAM = "/usr/bin/docker-registry"
SERVICE = "hyper-test"
USER, PASSWORD = "alice", "wonder land:1"
START_S = 60

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_tar(files):
    """An uncompressed layer of {name: bytes}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class ImageParts:
    """What a registry holds of one image: layers (as stored), configuration, manifest."""

    def __init__(self, layers, architecture="amd64", oci=False, os_name="linux", config=None):
        tars = [layer if isinstance(layer, bytes) else layer_tar(layer) for layer in layers]
        self.layers = [gzip.compress(tar, mtime=0) for tar in tars]
        self.config = json.dumps({
            "os": os_name, "architecture": architecture, "config": config or {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]}}).encode()
        self.type = OCI_MANIFEST if oci else DOCKER_MANIFEST
        self.document = {
            "schemaVersion": 2, "mediaType": self.type,
            "config": {"mediaType": OCI_CONFIG if oci else DOCKER_CONFIG, "digest": digest_of(self.config),
                       "size": len(self.config)},
            "layers": [{"mediaType": OCI_LAYER if oci else DOCKER_LAYER, "digest": digest_of(layer), "size": len(layer)}
                       for layer in self.layers]}
        self.platform = {"os": os_name, "architecture": architecture}

    @property
    def id(self):
        return digest_of(self.config)

    @property
    def manifest(self):
        return json.dumps(self.document).encode()

    @property
    def blobs(self):
        return {digest_of(blob): blob for blob in [*self.layers, self.config]}

    def entry(self):
        return {"mediaType": self.type, "digest": digest_of(self.manifest), "size": len(self.manifest),
                "platform": self.platform}


def index_of(parts, kind=DOCKER_INDEX):
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [part.entry() for part in parts]}).encode()


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def make_certificate(directory, address, name="server"):
    """A self-signed certificate for an IP address: (certificate, key)."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={address}",
                    "-addext", f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(certificate)],
                   check=True, capture_output=True)
    return certificate, key


class Registry:
    """The real one. AUTH: None, "basic" or a TokenServer."""

    def __init__(self, directory, address="127.0.0.1", auth=None, certificate=None):
        self.directory, self.address, self.auth, self.certificate = directory, address, auth, certificate
        directory.mkdir(exist_ok=True)
        self.storage = directory / "storage"
        self.process = None

    def config(self):
        config = {"version": 0.1, "log": {"level": "error"},
                  "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
                  "http": {"addr": f"{self.address}:{self.port}", "headers": {"X-Content-Type-Options": ["nosniff"]}}}
        if self.certificate:
            config["http"]["tls"] = {"certificate": str(self.certificate[0]), "key": str(self.certificate[1])}
        if self.auth == "basic":
            file = self.directory / "htpasswd"
            file.write_text(subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True,
                                           text=True).stdout)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(file)}}
        elif self.auth:
            config["auth"] = {"token": {"realm": self.auth.url, "service": SERVICE, "issuer": "tests",
                                        "rootcertbundle": str(self.auth.certificate)}}
        return config

    def start(self):
        self.port = free_port(self.address)
        self.host = f"{self.address}:{self.port}"
        self.url = f"{'https' if self.certificate else 'http'}://{self.host}"
        file = self.directory / "config.yml"
        file.write_text(json.dumps(self.config()))  # JSON is YAML
        self.log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen([PROGRAM, "serve", str(file)], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 5):
                return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("docker-registry did not start:\n" + (self.directory / "log").read_text()[-2000:])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(START_S)
            self.process = None
            self.log.close()
        shutil.rmtree(self.storage, ignore_errors=True)

    def request(self, method, path, data=None, headers=()):
        context = ssl._create_unverified_context() if self.certificate else None
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data=data, method=method, headers=dict(headers))
        if self.auth == "basic":
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", "Basic " + pair)
        with urllib.request.urlopen(request, timeout=START_S, context=context) as answer:
            return answer.status, dict(answer.headers), answer.read()

    def put_blob(self, name, blob):
        location = self.request("POST", f"/v2/{name}/blobs/uploads/", b"")[1]["Location"]
        self.request("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest_of(blob)}", blob,
                     {"Content-Type": "application/octet-stream"})

    def put_manifest(self, name, tag, manifest, kind):
        self.request("PUT", f"/v2/{name}/manifests/{tag}", manifest, {"Content-Type": kind})

    def put(self, name, tag, parts):
        for blob in parts.blobs.values():
            self.put_blob(name, blob)
        self.put_manifest(name, tag, parts.manifest, parts.type)
        return parts

    def put_index(self, name, tag, parts, kind=DOCKER_INDEX):
        for part in parts:
            self.put(name, digest_of(part.manifest), part)
        index = index_of(parts, kind)
        self.put_manifest(name, tag, index, kind)
        return index

    def manifest(self, name, tag):
        accept = ", ".join((DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX))
        return self.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": accept})[2]


class Server:
    """An HTTP server of our own on a thread. With CLIENT_CA it wants a certificate of its clients'."""

    def __init__(self, handler, certificate=None, address="127.0.0.1", client_ca=None):
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        self.server.daemon_threads = True
        self.server.owner = self
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, certificate))
            if client_ca:
                context.load_verify_locations(str(client_ca))
                context.verify_mode = ssl.CERT_REQUIRED
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.host = f"{address}:{self.server.server_address[1]}"
        self.url = f"{scheme}://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class TokenHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        owner = self.server.owner
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        user = None
        authorization = self.headers.get("Authorization")
        owner.requests.append(("GET", query, authorization))
        if authorization:
            given = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            if given != f"{USER}:{PASSWORD}":
                return self.answer(401, {"details": "incorrect username or password"})
            user = USER
        body = {"token": owner.token(user, query.get("scope", [])), "expires_in": owner.lifetime_s}
        if "offline_token" in query and user:
            body["refresh_token"] = owner.refresh_token
        return self.answer(200, body)

    def do_POST(self):
        owner = self.server.owner
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        owner.requests.append(("POST", form, self.headers.get("Authorization")))
        if form.get("refresh_token") != [owner.refresh_token] or form.get("grant_type") != ["refresh_token"]:
            return self.answer(401, {"details": "unknown refresh token"})
        scopes = " ".join(form.get("scope", [])).split()
        return self.answer(200, {"access_token": owner.token(USER, scopes), "expires_in": owner.lifetime_s})


class TokenServer(Server):
    """Everybody may pull what is in public/, USER may do everything."""

    def __init__(self, directory):
        self.certificate, self.key = make_certificate(directory, "127.0.0.1", "token")
        self.requests, self.refresh_token, self.lifetime_s = [], "refresh/me+1=", 300
        super().__init__(TokenHandler)
        self.url += "/token"

    def token(self, user, scopes):
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = [a for a in actions.split(",") if user or (a == "pull" and name.startswith("public/"))]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        der = subprocess.run(["openssl", "x509", "-in", str(self.certificate), "-outform", "DER"], check=True,
                             capture_output=True).stdout
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": "tests", "sub": user or "", "aud": SERVICE, "exp": now + self.lifetime_s, "nbf": now - 60,
                  "iat": now, "jti": os.urandom(8).hex(), "access": access}
        text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(self.key)], input=text, check=True,
                                   capture_output=True).stdout
        return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class FaultHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def error(self, status, code, message=""):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.reply(status, body, Content_Type="application/json")

    def cut(self):
        """Ends the connection in the middle."""
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def serve(self):
        owner = self.server.owner
        owner.requests.append((self.command, self.path, dict(self.headers)))
        hook = owner.hook
        if hook and hook(self) is not False:
            return
        self.serve_well()

    do_GET = do_HEAD = do_POST = do_PUT = serve

    def serve_well(self):
        owner = self.server.owner
        path = urllib.parse.urlsplit(self.path).path
        if path == "/v2/":
            return self.reply(200, b"{}")
        kind, _, name = path.rpartition("/")
        if kind.endswith("/manifests") and name in owner.manifests:
            body, content_type = owner.manifests[name]
            return self.reply(200, body, Content_Type=content_type)
        if kind.endswith("/blobs") and name in owner.blobs:
            return self.send_blob(owner.blobs[name])
        return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")

    def send_blob(self, blob):
        wanted = self.headers.get("Range")
        if wanted and self.server.owner.ranges:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            return self.reply(206, blob[first:], Content_Range=f"bytes {first}-{len(blob) - 1}/{len(blob)}")
        return self.reply(200, blob)


class FaultRegistry(Server):
    """Serves images from memory; HOOK(handler) does something else instead, or returns False."""

    def __init__(self, **options):
        self.manifests, self.blobs, self.requests, self.hook, self.ranges = {}, {}, [], None, True
        super().__init__(FaultHandler, **options)

    def put(self, tag, parts):
        self.manifests[tag] = self.manifests[digest_of(parts.manifest)] = (parts.manifest, parts.type)
        self.blobs.update(parts.blobs)
        return parts
