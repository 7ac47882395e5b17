"""POST /build: what a Dockerfile becomes. The same builds are given to a real dockerd, and have to say and make the same."""
import bz2
import gzip
import lzma

import pytest

from build_context import Build, context


def archive(files, pack=None):
    data = context(None, files)
    return pack(data) if pack else data


TREE = {
    "hello": "hello\n", "d": ("dir", 0o750), "d/a": "a\n", "d/e": ("dir", 0o700), "d/e/f": ("mode", 0o600, "f\n"),
    "d/l": ("link", "e/f"), "link": ("link", "hello"), "run.sh": ("mode", 0o755, "#!/bin/sh\necho run\n"),
    "suid": ("mode", 0o4755, "x"), "two words": "2\n", "a1.txt": "1\n", "a2.txt": "2\n", "d/x.txt": "x\n",
    "hard": ("hard", "hello"),
}

# name: (Dockerfile, files, options). None of them runs anything.
STEPS = {
    "settings": ("""FROM busybox
ENV a=b c="d e" f=g\\ h
ENV old   form of it
ENV a=$a-${nothing:-none}-${c:+set}
LABEL one=1 "two words"="2 $a"
MAINTAINER somebody
USER 1000:1000
VOLUME /data [/no_json]
VOLUME ["/v1", "/v 2"]
EXPOSE 80 443/tcp 9000-9002/udp
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
CMD echo $a
ENTRYPOINT ["/bin/echo", "x"]
""", {}, {}),
    "commands": ("""FROM busybox
ENTRYPOINT echo hello
CMD ["a", "b\\"c"]
ENTRYPOINT ["e"]
ONBUILD RUN echo triggered
ONBUILD COPY . /
""", {}, {}),
    "health": ("""FROM busybox
HEALTHCHECK --interval=90s --timeout=1.5s --start-period=100ms --retries=3 CMD echo ok
HEALTHCHECK CMD ["true"]
HEALTHCHECK NONE
""", {}, {}),
    "arguments": ("""ARG tag=latest
ARG image=busybox:${tag}
FROM $image
ARG tag
ARG given=default
ARG other=fallback
ENV seen=$tag:$given:$other
LABEL port=${given}
EXPOSE $given
""", {}, {"buildargs": {"given": "8080", "unused": "x", "HTTP_PROXY": "p"}}),
    "lines": ("""# comment
FROM busybox
# another
ENV a=1 \\
    # inside
    b=2 \\

    c=3
label  x = y
LABEL q="a \\
b"
""", {}, {}),
    "escape": ("""# escape=`
FROM busybox
ENV p=c:\\dir q=`$x
LABEL a=b `
  c=d
""", {}, {}),
    "copy": ("""FROM busybox
COPY hello /
COPY hello /new/dir/
COPY hello /new/name
COPY d /copied
COPY d/ /copied/again/
COPY d/l link run.sh suid /links/
COPY ["two words", "/with blanks/"]
WORKDIR /w
COPY hello .
COPY hello sub/
COPY . all
COPY hello hard /hard/
""", TREE, {}),
    "globs": ("""FROM busybox
COPY *.txt /globs/
COPY a?.txt d/[x-z].txt /more/
COPY d* /dir/
COPY */e /deep
""", TREE, {}),
    "owners": ("""FROM busybox
COPY --chown=7:8 d /new
COPY --chown=7 hello /a/b/
COPY --chown=root:8 d /etc
ADD --chown=5:6 hello d /add/
""", TREE, {}),
    "archives": ("""FROM busybox
ADD a.tar /plain
ADD a.tgz no.tar /packed/
COPY a.tar /kept/
ADD hello a.tar /mixed/
ADD a.txz /xz
ADD a.tbz no.xz broken.xz /bzip2/
""", {**TREE, "a.tar": archive(TREE), "a.tgz": archive(TREE, gzip.compress), "no.tar": "not an archive",
      "a.txz": archive(TREE, lzma.compress), "a.tbz": archive(TREE, bz2.compress), "no.xz": lzma.compress(b"no archive"),
      "broken.xz": lzma.compress(b"0" * 100000)[:-20]}, {}),
    "stages": ("""FROM busybox AS First
COPY d /d
WORKDIR /made
FROM scratch AS second
COPY --from=first /d/e /e
FROM busybox
COPY --from=0 /d/a /d/x.txt /files/
COPY --from=second / /second
COPY --from=busybox /bin/busybox /bb
COPY --from=FIRST --chown=3:4 /d /chowned
""", TREE, {}),
    "target": ("""FROM busybox AS one
LABEL is=one
FROM nosuchimage AS two
LABEL is=two
""", {}, {"target": "one", "labels": {"b": "2 $x", "a": "1"}}),
    "workdir": ("""FROM busybox
WORKDIR /tmp
WORKDIR a/../b
WORKDIR /bin
WORKDIR $nothing/y
ENV d=/e/f
WORKDIR $d
""", {}, {}),
    "links": ("""FROM busybox
COPY root /
COPY hello /in/file
COPY hello /in/
COPY d /dangling
COPY hello /climbing/x
""", {**TREE, "root": ("dir", 0o755), "root/real": ("dir", 0o755), "root/in": ("link", "real"),
      "root/dangling": ("link", "nowhere/at/all"), "root/climbing": ("link", "../../../outside"),
      "root/file": "counts"}, {}),
    "nothing": ("FROM scratch\nLABEL only=this\n", {}, {}),
    "ignored": ("FROM busybox\nCOPY . /all\n", {"a": "a", ".dockerignore": "Dockerfile\n.dockerignore\n"}, {}),
    "other name": (None, {"sub/My.Dockerfile": "FROM busybox\nLABEL x=y\n"}, {"dockerfile": "sub/My.Dockerfile"}),
    "small name": (None, {"dockerfile": "FROM busybox\n"}, {}),
}


@pytest.mark.parametrize("name", STEPS)
def test_same_as_dockerd(daemon, dockerd, name):
    dockerfile, files, options = STEPS[name]
    body = context(dockerfile, files)
    ours, theirs = Build(daemon, body, **options), Build(dockerd, body, **options)
    assert theirs.error is None, theirs.error
    assert ours.error is None, ours.error
    assert ours.plain() == theirs.plain()
    assert ours.config() == theirs.config()
    assert ours.history() == theirs.history()
    if name != "nothing":
        assert ours.layers() == theirs.layers()
    # Once more: everything is taken from the cache.
    ours, theirs = Build(daemon, body, **options), Build(dockerd, body, **options)
    assert ours.plain() == theirs.plain()
    assert "Running in" not in ours.text


# name: (Dockerfile, files, options): builds that fail.
FAILURES = {
    "unknown instruction": ("FROM busybox\nFOO bar\n", {}, {}),
    "no instruction": ("# nothing\n", {}, {}),
    "empty": ("", {}, {}),
    "no Dockerfile": (None, {"x": "y"}, {}),
    "another Dockerfile": ("FROM busybox\n", {}, {"dockerfile": "nowhere"}),
    "no stage": ("RUN true\n", {}, {}),
    "missing source": ("FROM busybox\nCOPY nowhere /\n", {}, {}),
    "no match": ("FROM busybox\nCOPY no* /\n", {}, {}),
    "missing in stage": ("FROM busybox\nCOPY --from=busybox /nowhere /\n", {}, {}),
    "outside": ("FROM busybox\nCOPY ../../etc/passwd /\n", {}, {}),
    "several to a file": ("FROM busybox\nCOPY a b /c\n", {"a": "", "b": ""}, {}),
    "one argument": ("FROM busybox\nCOPY a\n", {}, {}),
    "from": ("FROM busybox as\n", {}, {}),
    "stage name": ("FROM busybox AS 1x\n", {}, {}),
    "stage twice": ("FROM busybox AS x\nFROM busybox AS x\n", {}, {}),
    "target": ("FROM busybox\n", {}, {"target": "nowhere"}),
    "chown": ("FROM busybox\nCOPY --chown=nobody-knows a /\n", {"a": ""}, {}),
    "unknown flag": ("FROM busybox\nCOPY --nothing=x a /\n", {"a": ""}, {}),
    "flag without value": ("FROM busybox\nCOPY --chown a /\n", {"a": ""}, {}),
    "env": ("FROM busybox\nENV a\n", {}, {}),
    "env pair": ("FROM busybox\nENV a=b c\n", {}, {}),
    "json": ('FROM busybox\nCMD ["a", 1]\n', {}, {}),
    "shell": ("FROM busybox\nSHELL /bin/sh\n", {}, {}),
    "substitution": ("FROM busybox\nENV a=${b\n", {}, {}),
    "modifier": ("FROM busybox\nENV a=${b:?needed}\n", {}, {}),
    "health": ("FROM busybox\nHEALTHCHECK FOO x\n", {}, {}),
    "health without command": ("FROM busybox\nHEALTHCHECK CMD\n", {}, {}),
    "volume": ('FROM busybox\nVOLUME [""]\n', {}, {}),
    "signal": ("FROM busybox\nSTOPSIGNAL NOSUCH\n", {}, {}),
    "onbuild": ("FROM busybox\nONBUILD FROM x\n", {}, {}),
    "onbuild twice": ("FROM busybox\nONBUILD ONBUILD RUN x\n", {}, {}),
    "url": ("FROM busybox\nCOPY http://127.0.0.1:1/x /\n", {}, {}),
    "blank base": ("ARG x\nFROM $x\n", {}, {}),
    "reference": ("FROM UPPER\n", {}, {}),
    "workdir is a file": ("FROM busybox\nWORKDIR /bin/busybox\n", {}, {}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_fails_as_dockerd(daemon, dockerd, name):
    dockerfile, files, options = FAILURES[name]
    body = context(dockerfile, files)
    ours, theirs = Build(daemon, body, **options), Build(dockerd, body, **options)
    assert theirs.error is not None
    assert (ours.status, ours.error) == (theirs.status, theirs.error)
    assert ours.plain() == theirs.plain()


# name: (Dockerfile, files, options). These run something: in a microVM, or in namespaces.
RUNS = {
    "files": ("""FROM busybox
RUN mkdir -p /new/dir && echo text > /new/dir/file && chmod 600 /new/dir/file && chown 3:4 /new/dir && ln -s dir /new/l
RUN rm /bin/ash && rm -r /home && rm -r /new/dir && mkdir /new/dir && echo fresh > /new/dir/other
RUN true
""", {}, {}),
    "surroundings": ("""FROM busybox
ARG given=x
ENV a=1 given2=$given
WORKDIR /w
USER 1000:100
ENTRYPOINT ["/nothing"]
CMD ["nothing"]
SHELL ["/bin/sh", "-ec"]
RUN id -u; id -g; pwd; echo $a $given $given2 $0
RUN echo complaint >&2
RUN ["/bin/echo", "$a", "two  blanks"]
""", {}, {"buildargs": {"given": "from outside"}}),
    "triggers": ("""FROM busybox AS base
ONBUILD COPY hello /
ONBUILD RUN cat /hello
FROM base
LABEL after=that
""", {"hello": "hello\n"}, {}),
    "stages": ("""FROM busybox AS one
RUN echo made > /made
FROM busybox
COPY --from=one /made /taken
RUN cat /taken
""", {}, {}),
}


# Every case in namespaces; those that look at the sandbox in a microVM, too, whose starts are slow under emulation.
RUN_CASES = [(name, "namespace") for name in RUNS] + [("files", "vm"), ("surroundings", "vm")]


@pytest.mark.parametrize("name,isolation", RUN_CASES)
def test_runs_as_dockerd(daemon, dockerd, name, isolation):
    dockerfile, files, options = RUNS[name]
    body = context(dockerfile, files)
    ours = Build(daemon, body, isolation=isolation, nocache="1", **options)
    theirs = Build(dockerd, body, networkmode="none", nocache="1", **options)
    assert theirs.error is None, theirs.error
    assert ours.error is None, ours.error
    assert ours.plain() == theirs.plain()
    assert ours.config() == theirs.config()
    assert ours.history() == theirs.history()
    assert without_times(ours.layers()) == without_times(theirs.layers())
    again = Build(daemon, body, isolation=isolation, **options)
    assert "Running in" not in again.text
    assert again.id == ours.id
    assert daemon.containers() == []


def without_times(layers):
    """And of whiteouts only that they are there."""
    return [{name: None if "/.wh." in f"/{name}" else what[:-1] for name, what in layer.items()} for layer in layers]


def test_a_failed_command(daemon, dockerd, isolation):
    body = context("FROM busybox\nRUN echo before; exit 42\n")
    ours, theirs = Build(daemon, body, isolation=isolation), Build(dockerd, body, networkmode="none")
    assert (ours.plain(), ours.error_detail) == (theirs.plain(), theirs.error_detail)
    assert ours.error_detail["code"] == 42
    # As Docker's, the container stays to be looked at, unless that was not wanted.
    assert [c["State"] for c in daemon.containers()] == ["exited"]
    daemon.clear()
    assert "Removing intermediate container" in Build(daemon, body, isolation=isolation, forcerm="1").text
    assert daemon.containers() == []
