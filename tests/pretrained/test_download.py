"""Downloads, from a server on this machine."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from xxnet_jax.pretrained import load_weights
from xxnet_jax.pretrained.download import cache_folder, fetch

CONTENT = bytes(range(256)) * 4096  # a megabyte
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, from the middle too; what is called "short" breaks off halfway."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Server.asked.append(wanted)
        if self.path == "/missing.h5":
            self.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and "whole" not in self.path else 0
        if first >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        self.wfile.write(CONTENT[first : len(CONTENT) // 2 if "short" in self.path and not first else None])

    def log_message(self, format: str, *args: object) -> None:
        """No lines among those of the tests."""


@pytest.fixture
def site() -> Iterator[str]:
    Server.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_fetched_once(site: str, tmp_path: Path):
    """As a whole, under its own name; the second time it is there."""
    cache = tmp_path / "cache"
    for _ in range(2):
        assert fetch(f"{site}/weights.h5", CHECKSUM, cache) == cache / "weights.h5"
        assert (cache / "weights.h5").read_bytes() == CONTENT
    assert Server.asked == [None]
    assert [entry.name for entry in cache.iterdir()] == ["weights.h5"]


def test_an_interrupted_download_goes_on_where_it_ended(site: str, tmp_path: Path):
    """The error says so; what came is kept under another name; then only the rest is asked for."""
    with pytest.raises(FileNotFoundError, match=r"put it into .*short\.h5"):
        fetch(f"{site}/short.h5", CHECKSUM, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["short.h5.part"]
    assert fetch(f"{site}/short.h5", CHECKSUM, tmp_path).read_bytes() == CONTENT
    assert Server.asked == [None, f"bytes={len(CONTENT) // 2}-"]


@pytest.mark.parametrize("have", [10, len(CONTENT)])
@pytest.mark.parametrize("name", ["weights.h5", "whole.h5"])
def test_what_is_there_already(site: str, tmp_path: Path, have: int, name: str):
    """All of it, or a server that always sends the whole file: the result is the file."""
    (tmp_path / f"{name}.part").write_bytes(CONTENT[:have])
    assert fetch(f"{site}/{name}", CHECKSUM, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", ["sha256:00000000", f"md5:{'0' * 32}"])
def test_another_checksum_is_refused(site: str, tmp_path: Path, checksum: str):
    """Nothing stays of it."""
    with pytest.raises(ValueError, match="not the file that was published"):
        fetch(f"{site}/weights.h5", checksum, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_first_digits_of_a_checksum_are_enough(site: str, tmp_path: Path):
    """torchvision publishes eight of them, Keras an MD5, and for some files nothing."""
    short = CHECKSUM[: len("sha256:") + 8]
    for i, checksum in enumerate((short, f"md5:{hashlib.md5(CONTENT).hexdigest()}", "")):
        assert fetch(f"{site}/weights.h5", checksum, tmp_path / str(i)).read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["/missing.h5", "closed"])
def test_without_a_network(site: str, tmp_path: Path, place: str):
    """One error says which file to put where."""
    url = "http://127.0.0.1:9/missing.h5" if place == "closed" else site + place
    with pytest.raises(FileNotFoundError, match=rf"cannot download {url} .* put it into {tmp_path}/missing\.h5"):
        fetch(url, "", tmp_path)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """In the user's cache, or where a variable says; a file that was put there must be the published one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("XXNET_JAX_WEIGHTS", raising=False)
    assert cache_folder() == tmp_path / "xxnet_jax" / "weights"
    monkeypatch.setenv("XXNET_JAX_WEIGHTS", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    cache_folder().mkdir()
    (cache_folder() / "resnet18-f37072fd.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected f37072fd"):
        load_weights("resnet18", "imagenet")


def test_a_network_that_nobody_publishes():
    """The nearest that there is is suggested."""
    with pytest.raises(ValueError, match="unknown published weights 'resnet110 imagenet': did you mean resnet101"):
        load_weights("resnet110", "imagenet")
