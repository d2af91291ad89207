"""Bridge networks, each used by one workspace at a time."""

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

# The engine reserves a subnet about 0.1 s before it lists the network.
IN_FLIGHT_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.05
# Messages of Docker and Podman for a subnet in use.
OVERLAPS: Final = ("overlap", "already used on the host")


async def ensure_network(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    """Ensure the network; an existing one keeps its subnet.

    Raises `SubnetTaken` if another network overlaps, and `RuntimeFault` if the name belongs to others.
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
    """Return the workspace networks with the instance's label, each with its installation."""
    networks = await call(docker.networks.list(filters={"label": f"{INSTANCE}={instance}"}))
    own = [network for network in networks if is_workspace_network(network)]
    return {network["Name"]: network["Labels"].get(INSTALLATION) for network in own}


async def containers_on(docker: aiodocker.Docker, name: str) -> list[DockerContainer]:
    """List all containers of a network in any state, of any owner."""
    filters = json.dumps({"network": [name]})
    return await call(docker.containers.list(all="true", filters=filters))


async def _drop_duplicates(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    """Remove all but the oldest network of that name: the engine checks names without a lock, so duplicates occur."""
    networks = await _named(docker, network.name)
    _require_own(instance, network, networks)
    for duplicate in networks[1:]:
        await _delete(docker, duplicate["Id"])


async def remove_network(docker: aiodocker.Docker, name: str) -> None:
    """Remove all workspace networks of that name, unless a container is attached, running or not."""
    networks = await _named(docker, name)
    for network in networks:
        if not is_workspace_network(network) or await containers_on(docker, name):
            continue
        # By id, Podman removes a network in use. Only Docker can have duplicates of a name.
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
    """Return whether the network is gone; a network with endpoints stays."""
    with ignore_not_found():
        try:
            await shield_until_done(DockerNetwork(docker, key).delete())
        except EngineRefused as refused:
            # Podman reports a network in use as an internal error.
            if refused.status != 403 and "has associated containers" not in str(refused):
                raise
            return False
    return True


async def _drop_endpoints(docker: aiodocker.Docker, name: str, key: str) -> None:
    """Remove a network with endpoints of deleted containers, left by a killed engine.

    Endpoints listed before a check without containers belong to none; they can be removed only by name.
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
    """Return networks of exactly that name, oldest first; the engine's filter matches substrings."""
    networks = await call(docker.networks.list(filters={"name": name}))
    return sorted((item for item in networks if item["Name"] == name), key=lambda item: (item["Created"], item["Id"]))


async def _adopt_overlapping(docker: aiodocker.Docker, instance: str, network: Network) -> None:
    """Adopt our own network that a concurrent call is creating; raise if the subnet is someone else's."""
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
    """Raise `SubnetTaken` for another database's network; the next index may be free. Networks without installation are
    from an earlier version and accepted.
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
