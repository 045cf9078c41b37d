"""A contestant in a process of its own, so that none takes threads and memory from another.

The process is a script beside this one that ends in `serve`: it makes the contestant of its arguments, says so, and
then does what each line of its standard input asks for.
"""

import functools
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from xxnet_jax.errors import XXNetError


class Apart:
    """A contestant that another process has.

    Args:
        name: of the contestant.
        script: the file beside this one that makes it.
        words: what else the script is told.
        python: interpreter to run it; by default this one.

    Attributes:
        version: of the package that the contestant is from; empty for ours.
        pid: of its process.

    Raises:
        XXNetError: it could not be made; the process has said why on standard error.
    """

    def __init__(self, name: str, script: str, *words: object, python: Path | None = None):
        self.name = name
        command = [str(python or sys.executable), str(Path(__file__).with_name(script)), name, *map(str, words)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        try:
            self.version: str = self._answer()["version"]
        except BaseException:
            self.close()
            raise

    def method(self, name: str) -> Callable[[], None]:
        """The contestant's method without arguments; a call comes back when the work is done."""
        return functools.partial(self._ask, name)

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


def serve(make: Callable[..., object], packages: Mapping[str, str]) -> int:
    """Be a contestant.

    Args:
        make: of the name and the other words of the command line.
        packages: the package that a contestant of this name is from.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is no answer

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    name = sys.argv[1]
    contestant = make(*sys.argv[1:])
    package = packages.get(name)
    answer(version=f"{package} {importlib.metadata.version(package)}" if package else "")
    for line in sys.stdin:
        getattr(contestant, line.strip())()
        answer()
    return 0
