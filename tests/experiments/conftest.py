"""How the tests run a script."""

import sys
from collections.abc import Callable, Iterator

import pytest
import script


@pytest.fixture(scope="session", autouse=True)
def _programs_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scripts keep what they compile among the files of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def call(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a script's function as `script.main` does; returns exit status, output and errors."""

    def run(function: Callable[[], int | None], *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [function.__name__, *map(str, words)])
        with pytest.raises(SystemExit) as end:
            script.main(function)
        output = capsys.readouterr()
        return end.value.code or 0, output.out, output.err  # type: ignore[return-value]

    return run
