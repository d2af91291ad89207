"""Secrets from files: `SPAWNER_X_FILE` names the file that holds setting X."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)


def given_variables(settings: type[BaseSettings]) -> dict[str, str | None]:
    """Return the variables of `.env` and the environment, keyed by lower-case name."""
    return {**DotEnvSettingsSource(settings).env_vars, **EnvSettingsSource(settings).env_vars}


def read_setting(settings: type[BaseSettings], name: str) -> str:
    """Return one setting as `settings` would read it, unvalidated, for programs that need only this one.

    Raises `SettingsError` for an unusable file.
    """
    named = given_variables(settings)
    found = named.get(f"{settings.model_config['env_prefix']}{name}".lower()) or FileSource(settings, named)().get(name)
    return str(found or settings.model_fields[name].default)


class FileSource(PydanticBaseSettingsSource):
    """Reads each secret (a setting with `repr=False`) from the file that its `…_FILE` names.

    `named` holds the environment and `.env`. Raises `SettingsError` with a line per unusable file, without the file's
    name or content: a secret set as `…_FILE` by mistake must not leak. Declared `…_file` fields are skipped.
    """

    def __init__(self, settings: type[BaseSettings], named: Mapping[str, str | None]) -> None:
        super().__init__(settings)
        self._named = named

    def __call__(self) -> dict[str, Any]:
        found, wrong = {}, []
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, key, _ = self.get_field_value(field, name)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if value is not None:
                found[key] = value
        if wrong:
            raise SettingsError("\n".join(wrong))
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field.repr or f"{field_name}_file" in self.settings_cls.model_fields:
            return None, field_name, False
        variable = f"{self.config['env_prefix']}{field_name}".lower()
        path = self._named.get(f"{variable}_file")
        if not path:
            return None, field_name, False
        shown = f"{variable}_file".upper()
        if self._named.get(variable):
            raise ValueError(f"{shown}: {variable.upper()} is also set; set only one of them")
        try:
            value = Path(path).read_text("utf-8").strip()
        except OSError as error:
            raise ValueError(f"{shown}: the file cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{shown}: the file is not UTF-8 text") from None
        if not value:
            raise ValueError(f"{shown}: the file is empty")
        return value, field_name, False


PREFIX = "spawner_"


# Read by the proxy, `make up` and Compose, not by our processes.
OF_OTHERS = frozenset(
    (
        *("port", "bind", "public_site", "workspace_sites", "api_upstream", "api_ask", "workspace_tls", "slow_header"),
        *("slow_body", "domain", "workspace_domain", "certificates", "loopback", "address", "mail_catcher"),
        "test_services",
    )
)


# Orchestrators set these for a service named spawner.
OF_ORCHESTRATORS = ("port_", "service_")


# Similarity from which a name counts as misspelt; names of later versions or other programs are further away.
NEARNESS = 0.8


def misspelt(settings: type[BaseSettings], given: Iterable[str]) -> Iterator[str]:
    """Yield a line for each variable that nearly matches a setting's name."""
    fields = settings.model_fields
    known = {*fields, *(f"{name}_file" for name, field in fields.items() if not field.repr)}
    for variable in sorted({name.lower() for name in given}):
        name = variable.removeprefix(PREFIX)
        ours = variable.startswith(PREFIX) and name not in known and name not in OF_OTHERS
        if not ours or name.startswith(OF_ORCHESTRATORS):
            continue
        if near := get_close_matches(name, sorted(known), 1, NEARNESS):
            yield f"{variable.upper()} is not a setting: use {PREFIX.upper()}{near[0].upper()}, or remove it"
