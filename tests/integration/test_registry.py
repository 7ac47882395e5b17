"""Images to and from registries: Debian's docker-registry on loopback, and a registry that lies."""
import base64
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

import registry_servers as servers
from conftest import TIMEOUT_S
from registry_servers import PASSWORD, USER, ImageParts, digest_of

pytestmark = pytest.mark.skipif(not os.access(servers.PROGRAM, os.X_OK), reason="docker-registry is not installed")

WRONG = "wrong password"


def auth_header(**fields):
    return "X-Registry-Auth: " + base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def credentials(password=PASSWORD):
    return auth_header(username=USER, password=password)


def stream_of(answer):
    """The objects of a progress stream."""
    return [json.loads(line) for line in answer.body.splitlines() if line.strip()]


def pull(daemon, reference, *headers, query=""):
    answer = daemon.request("POST", f"/images/create?fromImage={reference}{query}", b"", headers)
    return answer, stream_of(answer)


def pull_error(daemon, reference, *headers, query=""):
    """Why a pull failed, whether it was said with the status or in the stream."""
    answer, lines = pull(daemon, reference, *headers, query=query)
    if answer.status != 200:
        return answer.message
    assert "error" in lines[-1] and lines[-1]["errorDetail"]["message"] == lines[-1]["error"], lines
    return lines[-1]["error"]


def pulled(daemon, reference, *headers, query=""):
    """Pulls, and returns what inspect says then."""
    answer, lines = pull(daemon, reference, *headers, query=query)
    assert answer.status == 200 and "error" not in lines[-1], answer.body
    return daemon.request("GET", f"/images/{reference}/json").json()


def push(daemon, name, tag, *headers):
    answer = daemon.request("POST", f"/images/{name}/push?tag={tag}", b"", headers)
    return answer, stream_of(answer)


def busybox_layer(daemon):
    """What the hello image of these tests runs."""
    return {"bin/busybox": open("/bin/busybox", "rb").read()}


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory):
    return tmp_path_factory.mktemp("registries")


@contextlib.contextmanager
def running(registry):
    try:
        yield registry.start()
    finally:
        registry.stop()


@pytest.fixture(scope="module")
def plain(module_directory):
    with running(servers.Registry(module_directory / "plain")) as registry:
        yield registry


@pytest.fixture(scope="module")
def basic(module_directory):
    """TLS with a CA of our own, user and password."""
    certificate = servers.make_certificate(module_directory, "127.0.0.1")
    with running(servers.Registry(module_directory / "basic", auth="basic", certificate=certificate)) as registry:
        yield registry


@pytest.fixture(scope="module")
def token_server(module_directory):
    server = servers.TokenServer(module_directory)
    yield server
    server.close()


@pytest.fixture(scope="module")
def token(module_directory, token_server):
    with running(servers.Registry(module_directory / "token", auth=token_server)) as registry:
        yield registry


@pytest.fixture
def liar():
    registry = servers.FaultRegistry()
    yield registry
    registry.close()


@pytest.fixture
def clean(daemon):
    """The daemon, without the images that a test brings."""
    before = {image["Id"] for image in daemon.request("GET", "/images/json?all=1").json()}
    files = stored_files(daemon)
    yield daemon
    daemon.clear()
    for image in daemon.request("GET", "/images/json?all=1").json():
        if image["Id"] not in before:
            assert daemon.request("DELETE", f"/images/{image['Id']}?force=1").status == 200
    for name in daemon.request("GET", "/images/busybox/json").json()["RepoTags"]:
        if name != "busybox:latest":
            daemon.request("DELETE", f"/images/{name}")
    wait_for_files(daemon, files)


def stored_files(daemon):
    """What the image store holds, less what it caches of layers that have a right to be there."""
    return {str(path) for name in ("image", "image/l", "image/tmp", "layer")
            for path in (daemon.data / name).glob("*")}


def wait_for_files(daemon, files):
    """Until the store is as it was: a container's end may hold its image for a moment."""
    deadline = time.monotonic() + TIMEOUT_S
    while stored_files(daemon) != files:
        assert time.monotonic() < deadline, stored_files(daemon) ^ files
        time.sleep(0.05)


# ---------------------------------------------------------------- pull


def test_a_pull_brings_what_runs(clean, plain):
    parts = plain.put("public/box", "1", ImageParts(
        [busybox_layer(clean), {"hello.txt": b"from the registry\n"}], config={"Cmd": ["/bin/busybox", "cat", "/hello.txt"]}))
    name = f"{plain.host}/public/box:1"
    answer, lines = pull(clean, f"{plain.host}/public/box", query="&tag=1")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert lines[0] == {"status": "Pulling from public/box", "id": "1"}
    assert lines[-2:] == [{"status": f"Digest: {digest_of(parts.manifest)}"},
                          {"status": f"Status: Downloaded newer image for {name}"}]
    layers = [digest_of(layer)[7:19] for layer in parts.layers]
    for layer in layers:
        told = [line["status"] for line in lines if line.get("id") == layer]
        assert told[0] == "Pulling fs layer" and told[-1] == "Pull complete", told
        assert {"Download complete", "Extracting"} <= set(told)
    image = clean.request("GET", f"/images/{name}/json").json()
    assert image["Id"] == parts.id and image["RepoTags"] == [name]
    assert image["RepoDigests"] == [f"{plain.host}/public/box@{digest_of(parts.manifest)}"]
    result = clean.docker("run", "--rm", "--isolation", "namespace", name)
    assert result.stdout == "from the registry\n"
    # Again: nothing is brought.
    _, lines = pull(clean, name)
    assert lines[-1] == {"status": f"Status: Image is up to date for {name}"} and len(lines) == 3
    # A second image shares the layer.
    plain.put("public/box", "2", ImageParts([busybox_layer(clean), {"other": b"x"}]))
    _, lines = pull(clean, f"{plain.host}/public/box:2")
    assert {"status": "Already exists", "progressDetail": {}, "id": layers[0]} in lines


def test_all_tags_and_digests(clean, plain):
    first = plain.put("public/many", "1", ImageParts([{"a": b"1"}]))
    second = plain.put("public/many", "2", ImageParts([{"a": b"2"}]))
    name = f"{plain.host}/public/many"
    answer, lines = pull(clean, name)
    assert answer.status == 200 and "error" not in lines[-1]
    assert clean.request("GET", f"/images/{name}:2/json").json()["Id"] == second.id
    clean.request("DELETE", f"/images/{name}:1")
    by_digest = f"{name}@{digest_of(first.manifest)}"
    image = pulled(clean, by_digest)
    assert image["Id"] == first.id and image["RepoTags"] == [] and image["RepoDigests"] == [by_digest]
    # Both as Docker's clients write it: in the tag.
    answer, _ = pull(clean, name, query=f"&tag={digest_of(second.manifest)}")
    assert answer.status == 200
    wrong = digest_of(b"nothing")
    assert "not found" in pull_error(clean, f"{name}@{wrong}")


@pytest.mark.parametrize("kind", (servers.DOCKER_INDEX, servers.OCI_INDEX))
def test_an_index_is_chosen_from_by_platform(clean, plain, kind):
    oci = kind == servers.OCI_INDEX
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    other = "s390x"
    parts = {arch: ImageParts([{"arch": arch.encode()}], architecture=arch, oci=oci) for arch in (other, machine)}
    index = plain.put_index("public/index", f"oci{oci}", list(parts.values()), kind)
    name = f"{plain.host}/public/index:oci{oci}"
    image = pulled(clean, name)
    assert image["Id"] == parts[machine].id and image["Architecture"] == machine
    assert image["RepoDigests"] == [f"{plain.host}/public/index@{digest_of(index)}"]
    image = pulled(clean, name, query=f"&platform=linux/{other}")
    assert image["Id"] == parts[other].id
    message = pull_error(clean, name, query="&platform=linux/mips")
    assert "no matching manifest for linux/mips" in message
    answer = clean.request("GET", f"/distribution/{name}/json")
    assert answer.status == 200
    assert answer.json()["Descriptor"] == {"mediaType": kind, "digest": digest_of(index), "size": len(index)}
    assert {platform["architecture"] for platform in answer.json()["Platforms"]} == {other, machine}


@pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
def test_layers_in_zstd_and_uncompressed(clean, plain):
    tars = [servers.layer_tar({"zstd": b"z" * 5000}), servers.layer_tar({"plain": b"p" * 5000})]
    parts = ImageParts(tars, oci=True)
    parts.layers = [subprocess.run(["zstd", "-q"], input=tars[0], capture_output=True, check=True).stdout, tars[1]]
    for item, layer, suffix in zip(parts.document["layers"], parts.layers, ("+zstd", "")):
        item.update(mediaType="application/vnd.oci.image.layer.v1.tar" + suffix, digest=digest_of(layer), size=len(layer))
    plain.put("public/kinds", "1", parts)
    name = f"{plain.host}/public/kinds:1"
    image = pulled(clean, name)
    assert image["RootFS"]["Layers"] == [digest_of(tar) for tar in tars]
    # It goes back as it came.
    clean.request("POST", f"/images/{name}/tag?repo={plain.host}/public/kinds2&tag=1")
    _, lines = push(clean, f"{plain.host}/public/kinds2", "1")
    assert lines[-1]["aux"]["Digest"] == digest_of(parts.manifest), lines


def test_what_is_missing_is_said_in_dockers_words(clean, plain):
    answer, _ = pull(clean, f"{plain.host}/public/none:1")
    assert answer.status == 404
    assert answer.message.startswith(f"manifest for {plain.host}/public/none:1 not found") or "repository" in answer.message
    refused = clean.docker("pull", f"{plain.host}/public/none:1", check=False)
    assert refused.returncode == 1 and "not found" in refused.stderr
    nowhere = f"127.0.0.1:{servers.free_port()}/x:1"
    assert "connect to server" in pull_error(clean, nowhere)
    for wrong in ("UPPER/case", "a//b", "x:" + "t" * 200, "127.0.0.1:99999999/x", "../../etc/passwd", "a@sha256:12"):
        answer, _ = pull(clean, wrong)
        assert answer.status in (400, 500), (wrong, answer.body)


# ---------------------------------------------------------------- push


def test_a_push_goes_out_and_comes_back(clean, plain, images):
    clean.import_image(images / "bash.tar", "pushed:1")
    name = f"{plain.host}/public/pushed"
    image = clean.request("GET", "/images/pushed:1/json").json()
    clean.docker("tag", "pushed:1", f"{name}:1")
    answer, lines = push(clean, name, "1")
    assert answer.status == 200
    assert lines[0] == {"status": f"The push refers to repository [{name}]"}
    digest, size = lines[-1]["aux"]["Digest"], lines[-1]["aux"]["Size"]
    assert lines[-1]["aux"]["Tag"] == "1"
    assert {"status": f"1: digest: {digest} size: {size}"} in lines
    layer = image["RootFS"]["Layers"][0][7:19]
    told = [line["status"] for line in lines if line.get("id") == layer]
    assert told[0] == "Preparing" and told[-1] == "Pushed" and "Pushing" in told
    manifest = plain.manifest("public/pushed", "1")
    assert digest_of(manifest) == digest and len(manifest) == size
    assert json.loads(manifest)["config"]["digest"] == image["Id"]
    # Away with it, and back.
    for reference in ("pushed:1", f"{name}:1"):
        clean.docker("rmi", reference)
    again = pulled(clean, f"{name}:1")
    assert again["Id"] == image["Id"] and again["RepoDigests"] == [f"{name}@{digest}"]
    result = clean.docker("run", "--rm", "--isolation", "namespace", f"{name}:1", "/bin/bash", "-c", "echo from the registry")
    assert result.stdout == "from the registry\n"
    # What is there is not sent again; what another repository has is mounted from it.
    _, lines = push(clean, name, "1")
    assert {"status": "Layer already exists", "progressDetail": {}, "id": layer} in lines
    clean.docker("tag", f"{name}:1", f"{plain.host}/public/elsewhere:1")
    _, lines = push(clean, f"{plain.host}/public/elsewhere", "1")
    assert [line for line in lines if line.get("status") == "Mounted from public/pushed"], lines


def test_pushing_what_is_not_there(clean, plain):
    answer, lines = push(clean, f"{plain.host}/public/nothing", "1")
    assert answer.status == 200
    assert lines[-1]["error"] == f"An image does not exist locally with the tag: {plain.host}/public/nothing"
    refused = clean.docker("push", f"{plain.host}/public/nothing:1", check=False)
    assert refused.returncode == 1 and "does not exist locally" in refused.stderr


def test_all_tags_are_pushed(clean, plain):
    name = f"{plain.host}/public/alltags"
    for tag in ("a", "b"):
        clean.docker("tag", "busybox", f"{name}:{tag}")
    answer = clean.docker("push", "-a", name)
    assert "a: digest: sha256:" in answer.stdout and "b: digest: sha256:" in answer.stdout
    assert plain.manifest("public/alltags", "a") == plain.manifest("public/alltags", "b")


# ---------------------------------------------------------------- who


def test_basic_authentication_over_tls(clean, basic, cli):
    name = f"{basic.host}/private/box"
    clean.docker("tag", "busybox", f"{name}:1", cli=cli)
    assert "no basic auth credentials" in clean.docker("push", f"{name}:1", check=False, cli=cli).stderr
    wrong = clean.docker("login", "-u", USER, "--password-stdin", basic.host, input=WRONG, check=False, cli=cli)
    assert wrong.returncode == 1 and "unauthorized" in wrong.stderr
    login = clean.docker("login", "-u", USER, "--password-stdin", basic.host, input=PASSWORD, cli=cli)
    assert "Login Succeeded" in login.stdout
    try:
        pushed = clean.docker("push", f"{name}:1", cli=cli)
        assert "1: digest: sha256:" in pushed.stdout
        clean.docker("rmi", f"{name}:1", cli=cli)
        assert f"Status: Downloaded newer image for {name}:1" in clean.docker("pull", f"{name}:1", cli=cli).stdout
        assert clean.request("GET", f"/distribution/{name}:1/json", headers=[credentials()]).status == 200
        assert clean.request("GET", f"/distribution/{name}:1/json").status in (401, 403)
    finally:
        clean.docker("logout", basic.host, cli=cli)
    assert clean.docker("pull", f"{name}:1", check=False, cli=cli).returncode == 1


def test_auth_endpoint(clean, basic):
    body = {"username": USER, "password": PASSWORD, "serveraddress": basic.host}
    answer = clean.request("POST", "/auth", body)
    assert answer.status == 200 and answer.json() == {"IdentityToken": "", "Status": "Login Succeeded"}
    answer = clean.request("POST", "/auth", {**body, "password": WRONG})
    assert answer.status == 401 and "unauthorized" in answer.message
    assert clean.request("POST", "/auth", {**body, "serveraddress": f"127.0.0.1:{servers.free_port()}"}).status == 500
    for wrong in (b"", b"[]", b"{", {"username": 7}):
        assert clean.request("POST", "/auth", wrong).status in (400, 500)


def test_token_authentication(clean, token, token_server):
    name = f"{token.host}/private/box"
    public = f"{token.host}/public/box"
    for target in (name, public):
        clean.docker("tag", "busybox", f"{target}:1")
    _, lines = push(clean, public, "1")
    assert "unauthorized" in lines[-1]["error"], "nobody may push what everybody may pull"
    for target in (name, public):
        _, lines = push(clean, target, "1", credentials())
        assert "aux" in lines[-1], lines
    for target in (name, public):
        clean.docker("rmi", f"{target}:1")
    assert pulled(clean, f"{public}:1")["Id"]
    assert "unauthorized" in pull_error(clean, f"{name}:1")
    assert "incorrect username or password" in pull_error(clean, f"{name}:1", credentials(WRONG))
    assert pulled(clean, f"{name}:1", credentials())["Id"]


def test_login_gives_a_token_to_go_on_with(clean, token, token_server):
    body = {"username": USER, "password": PASSWORD, "serveraddress": token.host}
    answer = clean.request("POST", "/auth", body)
    assert answer.status == 200 and answer.json()["IdentityToken"] == token_server.refresh_token
    clean.docker("tag", "busybox", f"{token.host}/private/refreshed:1")
    header = auth_header(identitytoken=token_server.refresh_token)
    _, lines = push(clean, f"{token.host}/private/refreshed", "1", header)
    assert "aux" in lines[-1], lines
    assert token_server.requests[-1][0] == "POST"
    registry_token = token_server.token(USER, ["repository:private/refreshed:pull"])
    clean.docker("rmi", f"{token.host}/private/refreshed:1")
    assert pulled(clean, f"{token.host}/private/refreshed:1", auth_header(registrytoken=registry_token))["Id"]


# ---------------------------------------------------------------- where


@pytest.fixture
def outside():
    """An address of this machine that is not loopback's."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed")
    address = f"198.18.{os.getpid() % 250 + 1}.{time.time_ns() // 1000 % 250 + 1}"
    added = subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], capture_output=True, text=True, check=False)
    if added.returncode:
        pytest.skip(f"no address can be added: {added.stderr.strip()}")
    yield address
    subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True)


def test_certificates_and_insecure_registries(new_daemon, outside, tmp_path, images):
    """Elsewhere than on loopback a registry needs TLS with a CA that is known, unless it is named insecure."""
    certificate = servers.make_certificate(tmp_path, outside)
    parts = ImageParts([{"a": b"1"}])
    with running(servers.Registry(tmp_path / "tls", outside, certificate=certificate)) as tls, \
         running(servers.Registry(tmp_path / "http", outside)) as http:
        for registry in (tls, http):
            registry.put("x", "1", parts)
        certificates = tmp_path / "certs.d"
        strict = new_daemon("--registry-certs", str(certificates), image=False)
        assert "certificate" in pull_error(strict, f"{tls.host}/x:1")
        assert "server gave HTTP response to HTTPS client" in pull_error(strict, f"{http.host}/x:1")
        (certificates / tls.host).mkdir(parents=True)
        shutil.copy(certificate[0], certificates / tls.host / "ca.crt")
        assert pulled(strict, f"{tls.host}/x:1")["Id"] == parts.id
        assert strict.request("GET", "/info").json()["RegistryConfig"]["InsecureRegistryCIDRs"] == ["127.0.0.0/8"]
        lax = new_daemon("--insecure-registry", tls.host, "--insecure-registry", "198.18.0.0/15", image=False)
        for registry in (tls, http):
            assert pulled(lax, f"{registry.host}/x:1")["Id"] == parts.id
        config = lax.request("GET", "/info").json()["RegistryConfig"]
        assert config["IndexConfigs"][tls.host]["Secure"] is False
        assert "198.18.0.0/15" in config["InsecureRegistryCIDRs"]


def test_a_client_certificate_is_shown(new_daemon, tmp_path):
    """A registry that wants one: its name's folder in certs.d has it."""
    server = servers.make_certificate(tmp_path, "127.0.0.1")
    mine = servers.make_certificate(tmp_path, "127.0.0.1", "client")
    registry = servers.FaultRegistry(certificate=server, client_ca=mine[0])
    try:
        parts = registry.put("1", ImageParts([{"a": b"1"}]))
        certificates = tmp_path / "certs.d" / registry.host
        certificates.mkdir(parents=True)
        daemon = new_daemon("--registry-certs", str(tmp_path / "certs.d"), image=False)
        assert pull_error(daemon, f"{registry.host}/x:1")
        shutil.copy(server[0], certificates / "ca.crt")
        shutil.copy(mine[0], certificates / "me.cert")
        shutil.copy(mine[1], certificates / "me.key")
        assert pulled(daemon, f"{registry.host}/x:1")["Id"] == parts.id
    finally:
        registry.close()


def test_mirrors_come_first_and_get_no_credentials(new_daemon, plain, liar):
    parts = liar.put("1", ImageParts([{"a": b"mirrored"}]))
    dead = f"http://127.0.0.1:{servers.free_port()}"
    daemon = new_daemon("--registry-mirror", dead, "--registry-mirror", liar.url, image=False)
    image = pulled(daemon, "mirrored/box:1", credentials())
    assert image["Id"] == parts.id and image["RepoTags"] == ["mirrored/box:1"]
    assert liar.requests and not [True for _, _, headers in liar.requests if "Authorization" in headers]
    assert daemon.request("GET", "/info").json()["RegistryConfig"]["Mirrors"] == [dead, liar.url]


# ---------------------------------------------------------------- what goes wrong


def large_parts(count=1, size=400_000):
    return ImageParts([{f"random{n}": os.urandom(size)} for n in range(count)])


def test_a_broken_download_is_resumed(clean, liar):
    parts = liar.put("1", large_parts(2))
    cuts = {digest_of(layer): 2 for layer in parts.layers}

    def cut_twice(handler):
        name = handler.path.rpartition("/")[2]
        if not cuts.get(name):
            return False
        cuts[name] -= 1
        blob = liar.blobs[name]
        wanted = handler.headers.get("Range")
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        extra = {"Content_Range": f"bytes {first}-{len(blob) - 1}/{len(blob)}"} if wanted else {}
        handler.reply(206 if wanted else 200, blob[first:first + 100_000], Content_Length=str(len(blob) - first), **extra)
        handler.cut()
        return True

    liar.hook = cut_twice
    assert pulled(clean, f"{liar.host}/x:1")["Id"] == parts.id
    ranges = [headers["Range"] for _, path, headers in liar.requests if "Range" in headers]
    assert len(ranges) == 4 and "bytes=0-" not in ranges, ranges


def test_a_registry_without_ranges_is_asked_anew(clean, liar):
    parts = liar.put("1", large_parts())
    liar.ranges = False
    cut = []

    def cut_once(handler):
        if "/blobs/" not in handler.path or digest_of(parts.config) in handler.path or cut:
            return False
        cut.append(handler.path)
        blob = parts.layers[0]
        handler.reply(200, blob[:1000], Content_Length=str(len(blob)))
        handler.cut()
        return True

    liar.hook = cut_once
    assert pulled(clean, f"{liar.host}/x:1")["Id"] == parts.id


def lie_layer_bytes(registry, parts):
    registry.blobs[digest_of(parts.layers[0])] = parts.layers[0][:-1] + b"!"


def lie_layer_long(registry, parts):
    registry.blobs[digest_of(parts.layers[0])] = parts.layers[0] + b"more"


def lie_layer_missing(registry, parts):
    del registry.blobs[digest_of(parts.layers[-1])]


def lie_config_bytes(registry, parts):
    registry.blobs[parts.id] = parts.config.replace(b"linux", b"lunix")


def lie_config_missing(registry, parts):
    del registry.blobs[parts.id]


def lie_diff_id(registry, parts):
    """A layer that is what the manifest says, but not what the configuration says."""
    config = json.loads(parts.config)
    config["rootfs"]["diff_ids"][0] = digest_of(b"other")
    replace_config(registry, parts, config)


def lie_layer_count(registry, parts):
    config = json.loads(parts.config)
    config["rootfs"]["diff_ids"].append(digest_of(b"one more"))
    replace_config(registry, parts, config)


def lie_os(registry, parts):
    config = json.loads(parts.config)
    config["os"] = "windows"
    replace_config(registry, parts, config)


def replace_config(registry, parts, config):
    data = json.dumps(config).encode()
    registry.blobs[digest_of(data)] = data
    parts.document["config"].update(digest=digest_of(data), size=len(data))
    registry.manifests["1"] = (parts.manifest, parts.type)


def lie_manifest_not_json(registry, parts):
    registry.manifests["1"] = (b"{", parts.type)


def lie_manifest_types(registry, parts):
    parts.document["layers"] = {"a": 1}
    registry.manifests["1"] = (parts.manifest, parts.type)


def lie_manifest_digest(registry, parts):
    parts.document["layers"][0]["digest"] = "sha256:../../../../etc/passwd"
    registry.manifests["1"] = (parts.manifest, parts.type)


def lie_manifest_size(registry, parts):
    parts.document["layers"][0]["size"] = -1
    registry.manifests["1"] = (parts.manifest, parts.type)


def lie_manifest_huge(registry, parts):
    registry.manifests["1"] = (b" " * (5 << 20) + parts.manifest, parts.type)


def lie_manifest_schema1(registry, parts):
    registry.manifests["1"] = (json.dumps({"schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": [], "history": []}).encode(),
                               "application/vnd.docker.distribution.manifest.v1+prettyjws")


def lie_index_loop(registry, parts):
    inner = parts.entry()
    document = json.dumps({"schemaVersion": 2, "mediaType": servers.DOCKER_INDEX, "manifests": [inner]}).encode()
    for _ in range(10):
        entry = {"mediaType": servers.DOCKER_INDEX, "digest": digest_of(document), "size": len(document),
                 "platform": parts.platform}
        registry.manifests[digest_of(document)] = (document, servers.DOCKER_INDEX)
        document = json.dumps({"schemaVersion": 2, "mediaType": servers.DOCKER_INDEX, "manifests": [entry]}).encode()
    registry.manifests["1"] = (document, servers.DOCKER_INDEX)


LIES = [value for name, value in sorted(globals().items()) if name.startswith("lie_")]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__[4:])
def test_lies_are_refused_and_leave_nothing(clean, liar, lie):
    files = stored_files(clean)
    lie(liar, liar.put("1", ImageParts([{"a": b"first"}, {"b": b"second"}])))
    assert pull_error(clean, f"{liar.host}/x:1")
    assert clean.request("GET", f"/images/{liar.host}/x:1/json").status == 404
    assert stored_files(clean) == files


def test_redirects_do_not_carry_credentials(clean, liar, module_directory):
    """Blobs come from elsewhere often; who we are is not told there."""
    elsewhere = servers.FaultRegistry()
    try:
        parts = liar.put("1", ImageParts([{"a": b"redirected"}]))
        elsewhere.blobs.update(parts.blobs)

        def redirect(handler):
            if handler.path == "/v2/" and "Authorization" not in handler.headers:
                handler.reply(401, b"", WWW_Authenticate='Basic realm="x"')
            elif "/blobs/" in handler.path:
                handler.reply(307, b"", Location=elsewhere.url + handler.path)
            else:
                return False
            return True

        liar.hook = redirect
        assert pulled(clean, f"{liar.host}/x:1", credentials())["Id"] == parts.id
        assert [True for _, _, headers in liar.requests if "Authorization" in headers]
        assert elsewhere.requests and not [True for _, _, headers in elsewhere.requests if "Authorization" in headers]
        # From one to the next for ever.
        liar.hook = lambda handler: handler.reply(307, b"", Location=handler.path) or True if "/v2/x/" in handler.path else False
        assert "redirects" in pull_error(clean, f"{liar.host}/x:2")
    finally:
        elsewhere.close()


def test_a_client_that_leaves_ends_its_pull(clean, liar):
    files = stored_files(clean)
    parts = liar.put("1", large_parts())
    began, let_go = threading.Event(), threading.Event()

    def stall(handler):
        if digest_of(parts.layers[0]) not in handler.path:
            return False
        blob = parts.layers[0]
        handler.reply(200, blob[:1000], Content_Length=str(len(blob)))
        handler.wfile.flush()
        began.set()
        let_go.wait(TIMEOUT_S)
        handler.close_connection = True
        return True

    liar.hook = stall
    try:
        with clean.connect() as connection:
            connection.sendall(f"POST /images/create?fromImage={liar.host}/x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            assert began.wait(TIMEOUT_S)
        wait_for_files(clean, files)
    finally:
        let_go.set()
    assert clean.request("GET", f"/images/{liar.host}/x:1/json").status == 404


def test_pulls_of_one_image_share_its_layers(clean, liar):
    parts = liar.put("1", large_parts(2))
    results = []

    def one():
        results.append(pulled(clean, f"{liar.host}/x:1")["Id"])

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert results == [parts.id] * 4
    fetched = [path for method, path, _ in liar.requests if digest_of(parts.layers[0]) in path]
    assert len(fetched) == 1, fetched


# ---------------------------------------------------------------- clients


def test_hyperctl(clean, basic, plain):
    """pull, push, login, logout; what it is told, docker knows too."""
    plain.put("public/box", "3", ImageParts([{"a": b"hyperctl"}]))
    name = f"{plain.host}/public/box:3"
    assert "Downloaded newer image" in clean.hyperctl("pull", name).stdout
    assert clean.hyperctl("pull", "-q", name).stdout == name + "\n"
    secret = f"{basic.host}/private/hyperctl:1"
    clean.hyperctl("tag", name, secret)
    assert clean.hyperctl("push", secret, check=False).returncode == 1
    login = clean.hyperctl("login", "-u", USER, "--password-stdin", basic.host, input=PASSWORD)
    assert login.stdout == "Login Succeeded\n"
    assert clean.hyperctl("push", "-q", secret).stdout == secret + "\n"
    assert "1: digest:" in clean.docker("push", secret).stdout
    assert basic.host in clean.hyperctl("logout", basic.host).stdout
    assert clean.docker("push", secret, check=False).returncode == 1
    missing = clean.hyperctl("pull", f"{plain.host}/public/none:1", check=False)
    assert missing.returncode == 1 and "not found" in missing.stderr


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_between_registry_and_daemon(clean, plain):
    plain.put("public/box", "4", ImageParts([busybox_layer(clean)], oci=True))

    def skopeo(*args):
        return subprocess.run(["skopeo", "--insecure-policy", *args], check=True, timeout=TIMEOUT_S, capture_output=True, text=True)
    host = f"unix://{clean.docker_socket}"
    skopeo("copy", "--src-tls-verify=false", "--dest-daemon-host", host, f"docker://{plain.host}/public/box:4",
           "docker-daemon:skopeo:1")
    out = clean.docker("run", "--rm", "--isolation", "namespace", "skopeo:1", "/bin/busybox", "echo", "ok")
    assert out.stdout == "ok\n"
    skopeo("copy", "--dest-tls-verify=false", "--src-daemon-host", host, "docker-daemon:skopeo:1",
           f"docker://{plain.host}/public/skopeo:1")
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{plain.host}/public/skopeo:1").stdout)
    assert len(inspected["Layers"]) == 1
    assert pulled(clean, f"{plain.host}/public/skopeo:1")["RootFS"]


def test_container_create_does_not_pull(clean, plain):
    """The CLI pulls for itself when create says 404."""
    plain.put("public/box", "5", ImageParts([busybox_layer(clean)]))
    name = f"{plain.host}/public/box:5"
    assert clean.request("POST", "/containers/create", {"Image": name}).status == 404
    result = clean.docker("run", "--rm", "--isolation", "namespace", name, "/bin/busybox", "echo", "pulled")
    assert result.stdout == "pulled\n" and "Pull complete" in result.stderr
