"""Builds engine specs from rows and catalogue."""

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from app.catalog.placeholders import fill
from app.catalog.templates import Template
from app.core.addresses import base_path, placeholders, route_of
from app.core.settings.model import Settings
from app.models import Workspace
from app.runtime.docker.policy import SECCOMP, ULIMITS
from app.runtime.spec import HostMount, Network, Volume, WorkspaceSpec

SUBNET_PREFIX = 28
# Of a workspace's first container, and of every seat's.
FIRST_REVISION = 1


def container_name(settings: Settings, slug: str, template: str) -> str:
    """Return the engine-wide unique name of a workspace's container."""
    return f"{settings.instance}-{route_of(slug, template)}"


def subnet_count(settings: Settings) -> int:
    """Return the number of /28 networks in the configured range."""
    return 1 << (SUBNET_PREFIX - ipaddress.IPv4Network(settings.network_range).prefixlen)


def network(settings: Settings, index: int, installation: str | None = None) -> Network:
    """Return the network of the `index`-th /28 of the range, from 0. No workspace can have its name."""
    start = ipaddress.IPv4Network(settings.network_range).network_address
    subnet = f"{start + (index << (32 - SUBNET_PREFIX))}/{SUBNET_PREFIX}"
    return Network(f"{settings.instance}.{index}", subnet, installation)


def network_index(settings: Settings, name: str) -> int | None:
    """Parse a network's index from its name; None for other names."""
    prefix, _, index = name.rpartition(".")
    return int(index) if prefix == settings.instance and index.isdecimal() else None


def build_spec(
    settings: Settings,
    template: Template,
    workspace: Workspace,
    slug: str,
    *,
    index: int,
    volume: str | None,
    installation: str | None = None,
) -> WorkspaceSpec:
    """Build the workspace's spec. The container receives its identity and addresses, no secret."""
    route = route_of(slug, template.key)
    spec = _shared_spec(
        settings,
        template,
        engine_id=workspace.engine_id,
        name=container_name(settings, slug, template.key),
        index=index,
        volume=volume,
        installation=installation,
        values=placeholders(settings, slug, template.key, user=slug),
    )
    environment = {**template.environment, **identity(settings, template, slug)}
    return replace(spec, revision=workspace.revision, environment=environment, labels={"spawner.route": route})


def identity(settings: Settings, template: Template, slug: str) -> dict[str, str]:
    """Return the variables that tell a container its identity and addresses."""
    route = route_of(slug, template.key)
    return {
        "SPAWNER_USER_SLUG": slug,
        "SPAWNER_TEMPLATE": template.key,
        "SPAWNER_ROUTE": route,
        "SPAWNER_BASE_PATH": base_path(settings, route),
        "SPAWNER_PUBLIC_URL": settings.public_url,
    }


def seat_name(settings: Settings, seat_id: UUID) -> str:
    """Return the name of a warm seat's container until a workspace takes it. No workspace can have it."""
    return f"{settings.instance}-seat--{seat_id.hex}"


def is_seat_name(settings: Settings, name: str) -> bool:
    """Return whether a container's or volume's name is a warm seat's."""
    return name.startswith(f"{settings.instance}-seat--")


def seat_volume(settings: Settings, seat_id: UUID) -> str:
    """Return the name of a warm seat's volume, if its template has one."""
    return f"{seat_name(settings, seat_id)}-data"


def build_seat_spec(
    settings: Settings, template: Template, seat_id: UUID, *, index: int, installation: str | None = None
) -> WorkspaceSpec:
    """Build a warm seat's spec: everything except the user's identity and addresses."""
    fixed = {"public_url": settings.public_url}
    environment = {**template.environment, "SPAWNER_TEMPLATE": template.key, "SPAWNER_PUBLIC_URL": settings.public_url}
    if settings.host_mode:
        fixed |= {"base_path": "/", "prefix": ""}
        environment["SPAWNER_BASE_PATH"] = "/"
    spec = _shared_spec(
        settings,
        template,
        engine_id=seat_id,
        name=seat_name(settings, seat_id),
        index=index,
        volume=seat_volume(settings, seat_id),
        installation=installation,
        values=fixed,
    )
    return replace(spec, environment=environment)


def seat_revision(settings: Settings, template: Template) -> str:
    """Return a 16-character digest of everything that defines a seat's container, except the image's content.

    API and workers compute the same digest: it excludes the workers' own settings (engine, networks).
    """
    spec = build_seat_spec(settings, template, UUID(int=0), index=0)
    volume = Volume("", spec.volume.mount) if spec.volume else None
    made = replace(spec, instance="", name="", network=Network("", ""), volume=volume)
    return sha256(repr((made, SECCOMP, ULIMITS)).encode()).hexdigest()[:16]


def _shared_spec(
    settings: Settings,
    template: Template,
    *,
    engine_id: UUID,
    name: str,
    index: int,
    volume: str | None,
    installation: str | None,
    values: Mapping[str, str],
) -> WorkspaceSpec:
    """Build the catalogue's part of a spec, at the first revision."""
    return WorkspaceSpec(
        instance=settings.instance,
        workspace_id=engine_id,
        name=name,
        revision=FIRST_REVISION,
        image=template.image,
        port=template.port,
        network=network(settings, index, installation),
        memory_bytes=template.limits.memory,
        cpus=template.limits.cpus,
        pids=template.limits.pids,
        command=tuple(fill(word, values) for word in template.command or ()),
        args=tuple(fill(word, values) for word in template.args or ()),
        volume=Volume(volume, template.volume) if template.volume and volume else None,
        user=template.user,
        read_only=template.read_only,
        egress=template.egress,
        mounts=tuple(HostMount(item.host, item.path, item.read_only) for item in template.mounts),
        capabilities=template.capabilities,
        installation=installation,
        runtime=template.runtime,
    )


def probe_path(settings: Settings, template: Template, route: str) -> str:
    """Return the probe's path: below the base path unless the proxy strips that."""
    prefix = "/" if template.strip_prefix else base_path(settings, route)
    return prefix + template.probe.path.lstrip("/")
