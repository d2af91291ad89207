"""How long a body may stand still, as the proxy says for each request, and what is answered then."""

import re
from functools import lru_cache

from starlette.datastructures import Headers

# The proxy's own limit; no client can set this header behind it.
HEADER = "X-Spawner-Slow-Body"
# The proxy answers at its limit, too, but not before the client goes on: whoever reads the body answers earlier.
SHARE = 5 / 6
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"([0-9.]+)(ms|[smhd])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def read_patience(headers: Headers) -> float | None:
    """Seconds without a byte after which a body is given up; None where no proxy that we know sets a limit."""
    return _read(headers.get(HEADER, ""))


@lru_cache(64)
def _read(said: str) -> float | None:
    if not _DURATION.fullmatch(said):
        return None
    return SHARE * sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(said)) or None
