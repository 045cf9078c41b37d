"""Bytes as people write them."""

import re

from xxnet_jax.errors import InvalidArgument

BINARY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
DECIMAL = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_QUANTITY = re.compile(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([A-Za-z]*)\s*")
_UNITS = {unit.lower(): size for unit, size in (DECIMAL | BINARY).items()}


def format_bytes(size: float, *, decimal: bool = False) -> str:
    """Such as "3.81 MiB", or with `decimal` "4.00 MB": in the largest unit of which there is at least one.

    A binary unit is 1,024 of the one before, a decimal one 1,000: a disk of 512 GB has 476.84 GiB.
    """
    units = DECIMAL if decimal else BINARY
    unit = next((unit for unit in reversed(units) if abs(size) >= units[unit]), "B")
    return f"{size:,.0f} B" if unit == "B" else f"{size / units[unit]:,.2f} {unit}"


def parse_bytes(text: str) -> int:
    """The bytes of "16GiB", "1.5 GB" or "4096"; units as in `format_bytes`, in any case.

    Raises:
        ValueError: it is no such quantity.
    """
    match = _QUANTITY.fullmatch(text)
    unit = (match[2] or "B").lower() if match else ""
    if match is None or unit not in _UNITS:
        raise InvalidArgument(f"expected bytes such as 16GiB, 1.5GB or 4096, got '{text}'")
    try:
        return int(float(match[1]) * _UNITS[unit])
    except ValueError as error:
        raise InvalidArgument(f"expected bytes such as 16GiB, 1.5GB or 4096, got '{text}'") from error
