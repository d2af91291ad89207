"""The timeout for a stalled request body, set by the proxy per request, and its error."""

import re
from functools import lru_cache

from starlette.datastructures import Headers

# The proxy's own timeout; the proxy overwrites the header if a client sends it.
HEADER = "X-Spawner-Slow-Body"
# Times out before the proxy does, so that the client receives our error.
SHARE = 5 / 6
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"([0-9.]+)(ms|[smhd])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def read_patience(headers: Headers) -> float | None:
    """Return the seconds without a byte after which reading the body times out; None without a limit."""
    seconds = _read(headers.get(HEADER, ""))
    return SHARE * seconds if seconds else None


@lru_cache(64)
def _read(said: str) -> float | None:
    if not _DURATION.fullmatch(said):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(said))
