"""The rules about where workspaces connect to, in the kernel: made once, put back, gone with their owner."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.runtime.base import EgressUnenforceable
from app.runtime.docker.firewall import CHANGING, DesiredRules, Firewall, name_servers
from app.runtime.egress import EGRESS_INTERNET, Egress
from deploy.stack.rules import remove_rules

# This machine is the engine's host for these: each address of loopback is its own.
RANGE = "127.213.0.0/16"
ONE, TWO, OTHER = "127.213.0.0/28", "127.213.0.16/28", "127.99.0.0/28"
NOWHERE, SOME = Egress(()), Egress(("10.0.0.0/8", "192.0.2.7/32"))


@pytest.fixture
async def rules() -> AsyncIterator[Firewall]:
    if os.getuid() != 0:
        pytest.fail("rules about connections need root")
    made = Firewall(f"t{secrets.token_hex(4)}", RANGE, ["10.9.9.9"])
    yield made
    await made.remove()


async def elements(rules: Firewall) -> dict[str, set[str]]:
    state = await rules.read_state()
    return {name: set(state.elements[name]) - {RANGE} for name in CHANGING if state.elements[name] - {RANGE}}


def nft(*arguments: str) -> str:
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


async def test_the_base_is_made_once_by_however_many(rules: Firewall) -> None:
    assert not (await rules.read_state()).there
    await asyncio.gather(
        *(Firewall(rules.table.removeprefix("spawner_"), RANGE, ["10.9.9.9"]).ensure() for _ in range(4))
    )
    assert (await rules.read_state()).whole
    before = nft("-a", "list", "table", "inet", rules.table)
    await rules.ensure()
    assert nft("-a", "list", "table", "inet", rules.table) == before
    assert nft("list", "set", "inet", rules.table, "resolvers").count("10.9.9.9") == 1


async def test_a_subnet_has_the_rule_that_was_set_last(rules: Firewall) -> None:
    await rules.set(ONE, NOWHERE)
    await rules.set(TWO, SOME)
    listed = {f"{TWO} . 10.0.0.0/8", f"{TWO} . 192.0.2.7/32"}
    assert await elements(rules) == {"closed": {ONE}, "limited": {TWO}, "listed": listed}
    await rules.set(TWO, Egress(("192.0.2.7/32",)))
    assert (await elements(rules))["listed"] == {f"{TWO} . 192.0.2.7/32"}
    await rules.set(ONE, EGRESS_INTERNET)
    await rules.set(TWO, EGRESS_INTERNET)
    await rules.set(TWO, EGRESS_INTERNET)
    assert await elements(rules) == {}


async def test_launches_at_once_lose_no_rule(rules: Firewall) -> None:
    subnets = [f"127.213.1.{16 * index}/28" for index in range(8)]
    await asyncio.gather(*(rules.set(subnet, NOWHERE) for subnet in subnets))
    assert await elements(rules) == {"closed": set(subnets)}


async def test_what_was_flushed_is_put_back_and_what_is_too_much_goes(rules: Firewall) -> None:
    async def read_desired() -> DesiredRules:
        return DesiredRules([ONE, TWO, OTHER], {TWO: SOME, OTHER: NOWHERE})

    wanted = {"networks": {OTHER}, "closed": {OTHER}, "limited": {TWO}}
    await rules.set(ONE, NOWHERE)
    assert await rules.reconcile(read_desired) > 0
    assert await rules.reconcile(read_desired) == 0
    found = await elements(rules)
    assert {name: found[name] for name in wanted} == wanted
    for damage in (["flush", "chain", "inet", rules.table, "leaving"], ["delete", "table", "inet", rules.table]):
        nft(*damage)
        assert not (await rules.read_state()).whole
        assert await rules.reconcile(read_desired) > 0
        assert (await rules.read_state()).whole
        assert await elements(rules) == found


async def test_another_range_or_name_server_renews_the_base(rules: Firewall) -> None:
    await rules.set(ONE, NOWHERE)
    moved = Firewall(rules.table.removeprefix("spawner_"), "127.214.0.0/16")
    assert not (await moved.read_state()).whole
    await moved.ensure()
    assert (await moved.read_state()).whole
    assert (await moved.read_state()).elements["closed"] == {ONE}


async def test_tables_of_others_stay_as_they_are(rules: Firewall) -> None:
    other = Firewall(f"t{secrets.token_hex(4)}", RANGE)
    try:
        await other.set(ONE, NOWHERE)
        before = nft("list", "table", "inet", other.table)
        await rules.set(ONE, SOME)
        await rules.remove()
        await rules.remove()
        assert nft("list", "table", "inet", other.table) == before
    finally:
        await other.remove()


async def test_where_rules_hold_nobody_they_are_refused(rules: Firewall) -> None:
    with pytest.raises(EgressUnenforceable, match="not on this machine"):
        await rules.set("203.0.113.0/28", NOWHERE)


async def test_a_process_without_the_right_is_told(rules: Firewall, tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\necho 'Operation not permitted (you must be root)' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path), prepend=":")
        with pytest.raises(EgressUnenforceable, match="not permitted"):
            await rules.ensure()


def test_name_servers_are_those_that_the_engine_asks(tmp_path: Path) -> None:
    own, upstream = tmp_path / "resolv.conf", tmp_path / "systemd.conf"
    own.write_text("# a comment\nnameserver 10.0.0.2\nnameserver 127.0.0.1\nnameserver fe80::1\nsearch x\n")
    upstream.write_text("nameserver 192.168.1.1\n")
    assert name_servers([own, upstream]) == ["10.0.0.2"]
    own.write_text("nameserver 127.0.0.53\n")
    assert name_servers([own, upstream]) == ["192.168.1.1"]
    assert name_servers([own]) == []
    assert name_servers([tmp_path / "nowhere"]) == []


async def test_a_clone_that_is_cleaned_leaves_no_table(rules: Firewall) -> None:
    await rules.set(ONE, NOWHERE)
    instance = rules.table.removeprefix("spawner_")
    assert remove_rules(instance)
    assert not (await rules.read_state()).there
    assert not remove_rules(instance)
