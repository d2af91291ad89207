"""From rows and the catalogue to what the engine is asked for."""

import ipaddress

from app.catalog.placeholders import fill
from app.catalog.templates import Template
from app.core.addresses import base_path, placeholders, route_of
from app.core.settings.model import Settings
from app.models import Workspace
from app.runtime.spec import HostMount, Network, Volume, WorkspaceSpec

SUBNET_PREFIX = 28


def container_name(settings: Settings, slug: str, template: str) -> str:
    """The engine-wide unique name of a workspace's container."""
    return f"{settings.instance}-{route_of(slug, template)}"


def subnet_count(settings: Settings) -> int:
    """How many /28 networks the configured range holds."""
    return 1 << (SUBNET_PREFIX - ipaddress.IPv4Network(settings.network_range).prefixlen)


def network(settings: Settings, index: int, installation: str | None = None) -> Network:
    """The network on the `index`-th /28 of the configured range, from 0. Its name no workspace can have."""
    start = ipaddress.IPv4Network(settings.network_range).network_address
    subnet = f"{start + (index << (32 - SUBNET_PREFIX))}/{SUBNET_PREFIX}"
    return Network(f"{settings.instance}.{index}", subnet, installation)


def network_index(settings: Settings, name: str) -> int | None:
    """The index of a network by its name; None for names of another kind."""
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
    """What the engine shall run for this workspace. The container learns who and where it is, and no secret."""
    route = route_of(slug, template.key)
    name = container_name(settings, slug, template.key)
    values = placeholders(settings, slug, template.key, user=slug)
    environment = {
        **template.environment,
        "SPAWNER_USER_SLUG": slug,
        "SPAWNER_TEMPLATE": template.key,
        "SPAWNER_ROUTE": route,
        "SPAWNER_BASE_PATH": base_path(settings, route),
        "SPAWNER_PUBLIC_URL": settings.public_url,
    }
    return WorkspaceSpec(
        instance=settings.instance,
        workspace_id=workspace.id,
        name=name,
        revision=workspace.revision,
        image=template.image,
        port=template.port,
        network=network(settings, index, installation),
        memory_bytes=template.limits.memory,
        cpus=template.limits.cpus,
        pids=template.limits.pids,
        command=tuple(fill(word, values) for word in template.command or ()),
        args=tuple(fill(word, values) for word in template.args or ()),
        environment=environment,
        labels={"spawner.route": route},
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
    """Where the container answers the probe: under its base path when the proxy does not strip that."""
    prefix = "/" if template.strip_prefix else base_path(settings, route)
    return prefix + template.probe.path.lstrip("/")
