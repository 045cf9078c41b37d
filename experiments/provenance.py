"""Where figures come from: hardware, date and commit."""

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import jax


def provenance() -> dict[str, str]:
    """Today's date, and the commit of the files that were run."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(words, capture_output=True, text=True, check=False) if shutil.which("git") else None
    commit = found.stdout.strip() if found is not None and found.returncode == 0 else "unknown"
    return {"date": time.strftime("%Y-%m-%d"), "commit": commit}


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def device_name() -> str:
    """Of the accelerator, or else of the processor."""
    device = jax.devices()[0]
    return _processor() if device.platform == "cpu" else device.device_kind


def hardware() -> str:
    """In words, such as "2 cores of AMD EPYC"."""
    if jax.default_backend() == "cpu":
        noun = "core" if cores() == 1 else "cores"
        return f"{cores()} {noun} of {device_name()}"
    return f"{jax.device_count()} x {device_name()}"


def public_name(uri: str) -> str:
    """Of a dataset: the kind of the source, and the last part of its path."""
    kind, _, body = uri.partition(":")
    return f"{kind}:{Path(body).name}" if kind in ("folder", "idx", "tar") else uri


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
