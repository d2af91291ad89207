"""Reads the settings, or says in one go everything that is wrong with them."""

import re
from collections.abc import Iterable
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError

from app.core.settings import sources
from app.core.settings.model import Settings
from app.core.settings.sources import FileSource, given_variables

NAME = re.compile(r"SPAWNER_[A-Z_]*[A-Z]")


class _WithoutFiles(Settings):
    """The settings without those that are read from files: to go on after one that is no good."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **more: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        kept = super().settings_customise_sources(settings_cls, *sources, **more)
        return tuple(source for source in kept if not isinstance(source, FileSource))


class _Each(_WithoutFiles):
    """The settings each by itself, whether they fit together or not."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        return self


class SettingsWrong(Exception):
    """The settings cannot be used: a line for each, which names it and what to do.

    `rest` is the settings as far as they are good, with the defaults of those in `replaced`.
    """

    def __init__(self, lines: list[str], rest: Settings, replaced: set[str]) -> None:
        super().__init__("\n".join(lines))
        self.rest = rest
        self._replaced = replaced

    def without_consequences(self, lines: Iterable[str]) -> list[str]:
        """Those of the lines about `rest` that name no setting whose default stands in for what is wrong."""
        return [line for line in lines if self._replaced.isdisjoint(NAME.findall(line))]


def read_settings() -> Settings:
    """Read the settings from the environment, `.env` and files. Raises `SettingsWrong`."""
    lines = list(sources.misspelt(Settings, given_variables(Settings)))
    kind, replaced, defaults = Settings, set[str](), dict[str, Any]()
    while True:
        try:
            settings = kind(**defaults)
        except SettingsError as error:
            lines += str(error).splitlines()
            replaced |= {name.removesuffix("_FILE") for name in NAME.findall(str(error))}
            kind = _WithoutFiles
        except ValidationError as error:
            found = [line for item in error.errors() for line in _lines(item)]
            lines += [line for line in found if replaced.isdisjoint(NAME.findall(line))]
            wrong = {str(item["loc"][0]).lower() for item in error.errors() if item["loc"]}
            defaults |= {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in wrong}
            replaced |= {f"SPAWNER_{name.upper()}" for name in wrong}
            kind = kind if wrong else _Each
        else:
            break
    if lines:
        raise SettingsWrong(lines, settings, replaced)
    return settings


def _lines(item: Any) -> list[str]:
    """What is wrong with one setting, or what the settings together lack, a line each."""
    name = "_".join(str(part) for part in item["loc"]).upper()
    text = item["msg"].removeprefix("Value error, ")
    return [f"SPAWNER_{name}: {text}"] if name else text.splitlines()


def load_settings() -> Settings:
    """Read the settings, or end the process with one line for each one that is wrong."""
    try:
        return read_settings()
    except SettingsWrong as wrong:
        raise SystemExit(str(wrong)) from None
