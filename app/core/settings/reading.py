"""Reads the settings, or reports all errors at once."""

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
    """Settings without secret files: allows validation to continue after a bad file."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **more: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        kept = super().settings_customise_sources(settings_cls, *sources, **more)
        return tuple(source for source in kept if not isinstance(source, FileSource))


class _Each(_WithoutFiles):
    """Each setting validated alone, without checks across settings."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        return self


class SettingsWrong(Exception):
    """The settings are invalid: one line per error names the setting and the remedy.

    `rest` holds the valid settings, with defaults for those in `replaced`.
    """

    def __init__(self, lines: list[str], rest: Settings, replaced: set[str]) -> None:
        super().__init__("\n".join(lines))
        self.rest = rest
        self._replaced = replaced

    def without_consequences(self, lines: Iterable[str]) -> list[str]:
        """Drop lines about `rest` that name a setting in `replaced`."""
        return [line for line in lines if self._replaced.isdisjoint(NAME.findall(line))]


def read_settings() -> Settings:
    """Read the settings from environment, `.env` and files. Raises `SettingsWrong`."""
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
    """Return the errors of one setting, or of a check across settings, one per line."""
    name = "_".join(str(part) for part in item["loc"]).upper()
    text = item["msg"].removeprefix("Value error, ")
    return [f"SPAWNER_{name}: {text}"] if name else text.splitlines()


def load_settings() -> Settings:
    """Read the settings, or exit with one line per error."""
    try:
        return read_settings()
    except SettingsWrong as wrong:
        raise SystemExit(str(wrong)) from None
