"""A contestant in a process of its own, so that none takes threads and memory from another.

The process is this script. It makes the contestant of its arguments, says so, and then does what each line of its
standard input asks for.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from peers import Precision, make_contestant, make_task
from script import main

from xxnet_jax.errors import XXNetError

PACKAGES = {"keras": "keras", "torch": "torch", "torch_compile": "torch"}  # what the version of a peer is that of


class Apart:
    """A contestant (see `peers`) that another process has.

    Args:
        name: of the contestant, as in `peers.make_contestant`.
        network, batch_size, precision: as in `peers.make_task`.
        python: interpreter to run it; by default this one.

    Raises:
        XXNetError: it could not be made; the process has said why on standard error.
    """

    def __init__(
        self, name: str, network: str, batch_size: int | None, precision: Precision, *, python: Path | None = None
    ):
        self.name = name
        words = [str(python or sys.executable), __file__, name, network, str(batch_size or 0), precision]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.version: str = self._answer()["version"]
        except BaseException:
            self.close()
            raise

    def train(self) -> None:
        self._ask("train")

    def predict(self) -> None:
        self._ask("predict")

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise XXNetError(f"the contestant {self.name} ended with status {self._process.wait()}: see above")
        return json.loads(line)


def serve() -> int:
    """Be a contestant."""
    name, network, batch_size, precision = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is no answer

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    contestant = make_contestant(name, make_task(network, int(batch_size) or None, precision))  # type: ignore[arg-type]
    package = PACKAGES.get(name)
    answer(version=f"{package} {importlib.metadata.version(package)}" if package else "")
    for line in sys.stdin:
        getattr(contestant, line.strip())()
        answer()
    return 0


if __name__ == "__main__":
    main(serve)
