"""Variables of the environment that look like settings and are none."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from pydantic_settings import BaseSettings

PREFIX = "spawner_"
# Read by the proxy, by `make up` and by the containers' description, and by no process of ours.
OF_OTHERS = frozenset(
    (
        *("port", "bind", "public_site", "workspace_sites", "api_upstream", "api_ask", "workspace_tls", "slow_header"),
        *("slow_body", "domain", "workspace_domain", "certificates", "loopback", "address", "mail_catcher"),
        "test_services",
    )
)
# An orchestrator sets these for a service of our name.
OF_ORCHESTRATORS = ("port_", "service_")
# A misspelt name is that near to a right one; a name of a later version, or somebody's own, is not.
NEARNESS = 0.8


def misspelt(settings: type[BaseSettings], given: Iterable[str]) -> Iterator[str]:
    """One line for each of the variables that is nearly a setting's name."""
    fields = settings.model_fields
    known = {*fields, *(f"{name}_file" for name, field in fields.items() if not field.repr)}
    for variable in sorted({name.lower() for name in given}):
        name = variable.removeprefix(PREFIX)
        ours = variable.startswith(PREFIX) and name not in known and name not in OF_OTHERS
        if not ours or name.startswith(OF_ORCHESTRATORS):
            continue
        if near := get_close_matches(name, sorted(known), 1, NEARNESS):
            yield f"{variable.upper()} is no setting: write {PREFIX.upper()}{near[0].upper()}, or remove it"
