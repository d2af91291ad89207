"""A result of the doctor."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `warn` is tolerable, `fail` is not."""

    name: str
    level: Level
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return one readable line."""
        return f"{self.level:<5} {self.name:<16} {self.text}" + (f". {self.remedy}" if self.remedy else "")


def judged(name: str, good: bool, text: str, wrong: str, remedy: str, *, level: Level = "warn") -> Finding:
    return Finding(name, "ok", text) if good else Finding(name, level, wrong, remedy)
