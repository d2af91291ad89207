"""One bridge network for each workspace."""

import asyncio
import ipaddress
from typing import Any, Final

import aiodocker
from aiodocker.networks import DockerNetwork

from app.runtime.base import RuntimeFault, SubnetTaken, WorkspaceSpec
from app.runtime.docker_calls import EngineRefused, call
from app.runtime.docker_objects import INSTANCE, WORKSPACE, network_body

# A network holds its subnet for about a tenth of a second before the engine lists it.
IN_FLIGHT_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.05


async def ensure_network(docker: aiodocker.Docker, spec: WorkspaceSpec) -> None:
    """Make the workspace's network or adopt the one that bears its name, whatever that one's subnet is.

    Raises `SubnetTaken` if another network overlaps, and `RuntimeFault` if the name belongs to somebody else.
    """
    try:
        await call(docker.networks.create(network_body(spec)))
    except EngineRefused as refused:
        if refused.status == 409:
            _require_own(spec, await _named(docker, spec.name))
        elif "overlap" in str(refused).lower():
            await _adopt_overlapping(docker, spec)
        else:
            raise


async def list_networks(docker: aiodocker.Docker, instance: str) -> list[dict[str, Any]]:
    """List the networks that carry the installation's label."""
    return await call(docker.networks.list(filters={"label": f"{INSTANCE}={instance}"}))


async def drop_duplicates(docker: aiodocker.Docker, name: str) -> None:
    """Leave the oldest network of that name. The engine checks names without a lock, so two may be made at once."""
    for network in (await _named(docker, name))[1:]:
        await _delete(docker, network["Id"])


async def remove_networks(docker: aiodocker.Docker, name: str) -> None:
    """Remove every network of that name that is a workspace's."""
    for network in await _named(docker, name):
        if WORKSPACE in network["Labels"]:
            await _delete(docker, network["Id"])


async def _delete(docker: aiodocker.Docker, identifier: str) -> None:
    network = DockerNetwork(docker, identifier)
    try:
        try:
            await call(network.delete())
        except EngineRefused as refused:
            if "active endpoints" not in str(refused):
                raise
            # An engine that was killed keeps endpoints of containers that are gone.
            for container in (await call(network.show()))["Containers"]:
                await call(network.disconnect({"Container": container, "Force": True}))
            await call(network.delete())
    except EngineRefused as refused:
        if refused.status != 404:
            raise


async def _named(docker: aiodocker.Docker, name: str) -> list[dict[str, Any]]:
    """List networks of exactly that name, the oldest first; the engine's own filter matches parts of names."""
    networks = await call(docker.networks.list(filters={"name": name}))
    return sorted((item for item in networks if item["Name"] == name), key=lambda item: (item["Created"], item["Id"]))


async def _adopt_overlapping(docker: aiodocker.Docker, spec: WorkspaceSpec) -> None:
    """Tell our own network, which another call is just making, from somebody else's on the same subnet."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + IN_FLIGHT_SECONDS
    while clock() < deadline:
        networks = await call(docker.networks.list())
        if own := [item for item in networks if item["Name"] == spec.name]:
            return _require_own(spec, own)
        if any(_overlaps(item, spec.subnet) for item in networks):
            break
        await asyncio.sleep(LOOK_SECONDS)
    raise SubnetTaken(f"{spec.subnet} overlaps with another network of this engine")


def _require_own(spec: WorkspaceSpec, networks: list[dict[str, Any]]) -> None:
    for network in networks:
        if (network["Labels"] or {}).get(INSTANCE) != spec.instance:
            raise RuntimeFault(f"the network {spec.name} belongs to somebody else")


def _overlaps(network: dict[str, Any], subnet: str) -> bool:
    wanted = ipaddress.ip_network(subnet)
    subnets = [item["Subnet"] for item in network["IPAM"]["Config"] or [] if "Subnet" in item]
    return any(wanted.overlaps(ipaddress.ip_network(item)) for item in subnets)
