"""Files from the net into a cache: whole, as published, or not at all."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from xxnet_jax.errors import CorruptData, MissingData

BLOCK = 1 << 20
SECONDS_WITHOUT_ANSWER = 30


def cache_folder() -> Path:
    """XXNET_JAX_WEIGHTS, or xxnet_jax/weights in the user's cache."""
    if chosen := os.environ.get("XXNET_JAX_WEIGHTS"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xxnet_jax" / "weights"


def fetch(url: str, checksum: str, folder: Path | None = None) -> Path:
    """The file of an address, from the cache or else downloaded into it; what an interruption left is continued.

    Args:
        url: its last part is the name of the file.
        checksum: "md5:..." or "sha256:...", of which as many digits are compared as there are; empty: none.
        folder: by default `cache_folder()`.

    Raises:
        FileNotFoundError: it cannot be had; the message says which file to put where.
        ValueError: it is not the file that was published.
    """
    folder = folder or cache_folder()
    path = folder / url.rsplit("/", 1)[-1]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        try:
            _download(url, part)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise MissingData(
                f"cannot download {url} ({error}): get it where there is a network and put it into {path}"
            ) from error
        try:
            verify(part, checksum)
        except CorruptData:
            part.unlink()
            raise
        part.replace(path)
    else:
        verify(path, checksum)
    return path


def verify(path: Path, checksum: str) -> None:
    """Compare a file with a checksum.

    Raises:
        ValueError: it has another one.
    """
    if not checksum:
        return
    algorithm, _, digits = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not found.startswith(digits):
        raise CorruptData(
            f"{path} is not the file that was published: its {algorithm} is {found}, expected {digits}; remove it"
        )


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS_WITHOUT_ANSWER)
    except urllib.error.HTTPError as error:
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # it was there as a whole
            return
        raise
    columns = (TextColumn(part.stem), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with response, Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        if response.status != http.client.PARTIAL_CONTENT:  # a server that does not continue begins anew
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        task = progress.add_task("", total=total, completed=have)
        with part.open("ab" if have else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                progress.advance(task, len(block))
        if total is not None and part.stat().st_size != total:
            raise http.client.IncompleteRead(b"", total - part.stat().st_size)
