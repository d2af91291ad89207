"""What the doctor says of one thing that it looked at."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `warn` can be lived with, `fail` cannot."""

    name: str
    level: Level
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.level:<5} {self.name:<16} {self.text}" + (f". {self.remedy}" if self.remedy else "")


def judged(name: str, good: bool, text: str, wrong: str, remedy: str, *, level: Level = "warn") -> Finding:
    return Finding(name, "ok", text) if good else Finding(name, level, wrong, remedy)
