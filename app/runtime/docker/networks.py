"""Bridge networks, each for one workspace at a time."""

import asyncio
import ipaddress
import json
from typing import Any, Final

import aiodocker
from aiodocker.containers import DockerContainer
from aiodocker.networks import DockerNetwork

from app.runtime.base import NameTaken, SubnetTaken
from app.runtime.docker.calls import EngineRefused, call, ignore_not_found, shield_until_done
from app.runtime.docker.objects import INSTALLATION, INSTANCE, is_workspace_network, network_body
from app.runtime.spec import Network

# A network holds its subnet for about a tenth of a second before the engine lists it.
IN_FLIGHT_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.05
# Docker's words for a subnet that something else has, and Podman's.
OVERLAPS: Final = ("overlap", "already used on the host")


async def ensure_network(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    """Look for the network, which costs little, and make it where it is missing. One that is there keeps its subnet.

    Raises `SubnetTaken` if another network overlaps, and `RuntimeFault` if the name belongs to somebody else.
    """
    try:
        _require_own(instance, network, [await call(DockerNetwork(docker, network.name).show())])
    except EngineRefused as refused:
        if refused.status == 404:
            await _create(docker, instance, network)
        elif "is ambiguous" in str(refused):
            await _drop_duplicates(docker, instance, network)
        else:
            raise


async def list_networks(docker: aiodocker.Docker, instance: str) -> dict[str, str | None]:
    """Name the workspaces' networks that carry the instance's label, each with its installation."""
    networks = await call(docker.networks.list(filters={"label": f"{INSTANCE}={instance}"}))
    own = [network for network in networks if is_workspace_network(network)]
    return {network["Name"]: network["Labels"].get(INSTALLATION) for network in own}


async def containers_on(docker: aiodocker.Docker, name: str) -> list[DockerContainer]:
    """List the containers of a network, whoever's, those that never ran and those that have ended too."""
    filters = json.dumps({"network": [name]})
    return await call(docker.containers.list(all="true", filters=filters))


async def _drop_duplicates(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    """Leave the oldest network of that name. The engine checks names without a lock, so two may be made at once."""
    networks = await _named(docker, network.name)
    _require_own(instance, network, networks)
    for duplicate in networks[1:]:
        await _delete(docker, duplicate["Id"])


async def remove_network(docker: aiodocker.Docker, name: str) -> None:
    """Remove every network of that name that is a workspace's, unless a container is in it, running or not."""
    networks = await _named(docker, name)
    for network in networks:
        if not is_workspace_network(network) or await containers_on(docker, name):
            continue
        # By its id, Podman removes a network from under its containers. Docker alone may have two of one name.
        key = name if len(networks) == 1 else network["Id"]
        if not await _delete(docker, key):
            await _drop_endpoints(docker, name, key)


async def _create(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    try:
        await shield_until_done(docker.networks.create(network_body(instance, network)))
    except EngineRefused as refused:
        if refused.status == 409:
            _require_own(instance, network, await _named(docker, network.name))
        elif any(words in str(refused).lower() for words in OVERLAPS):
            await _adopt_overlapping(docker, instance, network)
        else:
            raise


async def _delete(docker: aiodocker.Docker, key: str) -> bool:
    """Say whether the network is gone; one with endpoints stays."""
    with ignore_not_found():
        try:
            await shield_until_done(DockerNetwork(docker, key).delete())
        except EngineRefused as refused:
            # Podman takes a network that is used for its own trouble.
            if refused.status != 403 and "has associated containers" not in str(refused):
                raise
            return False
    return True


async def _drop_endpoints(docker: aiodocker.Docker, name: str, key: str) -> None:
    """Remove a network with what an engine that was killed kept in it: endpoints of containers that are gone.

    What is there before a look that finds no container is no container's; by its own name alone can it be removed.
    """
    network = DockerNetwork(docker, key)
    with ignore_not_found():
        endpoints = (await call(network.show()))["Containers"].values()
        if await containers_on(docker, name):
            return
        for endpoint in endpoints:
            await shield_until_done(network.disconnect({"Container": endpoint["Name"], "Force": True}))
        await _delete(docker, key)


async def _named(docker: aiodocker.Docker, name: str) -> list[dict[str, Any]]:
    """List networks of exactly that name, the oldest first; the engine's own filter matches parts of names."""
    networks = await call(docker.networks.list(filters={"name": name}))
    return sorted((item for item in networks if item["Name"] == name), key=lambda item: (item["Created"], item["Id"]))


async def _adopt_overlapping(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    """Tell our own network, which another call is just making, from somebody else's on the same subnet."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + IN_FLIGHT_SECONDS
    while clock() < deadline:
        networks = await call(docker.networks.list())
        if own := [item for item in networks if item["Name"] == network.name]:
            return _require_own(instance, network, own)
        if any(_overlaps(item, network.subnet) for item in networks):
            break
        await asyncio.sleep(LOOK_SECONDS)
    raise SubnetTaken(f"{network.subnet} overlaps with another network of this engine")


def _require_own(instance: str, wanted: Network, networks: list[dict[str, Any]]) -> None:
    """Raise `SubnetTaken` for a network of another database, which the next index may be free of. A network without
    an installation is of an earlier version, and serves as before.
    """
    for network in networks:
        labels = network["Labels"] or {}
        if labels.get(INSTANCE) != instance:
            raise NameTaken(f"the network {network['Name']} belongs to somebody else")
        if labels.get(INSTALLATION, wanted.installation) != wanted.installation:
            raise SubnetTaken(f"the network {network['Name']} belongs to another database")


def _overlaps(network: dict[str, Any], subnet: str) -> bool:
    wanted = ipaddress.ip_network(subnet)
    subnets = [item["Subnet"] for item in network["IPAM"]["Config"] or [] if "Subnet" in item]
    return any(wanted.overlaps(ipaddress.ip_network(item)) for item in subnets)
