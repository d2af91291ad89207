"""`make chaos`: every fault in turn, in an order that the seed gives; prints what came of each."""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.control import Control
from tests.chaos.faults import FAULTS
from tests.chaos.suite import HEAL_SECONDS, Outcome, cluster_of, installation, strike
from tests.support.stack import RunningStack

PEOPLE, PACE_SECONDS, WARM_SECONDS = 30, 10.0, 6.0


def row(outcome: Outcome) -> str:
    """One line of the table."""
    leftovers = outcome.leftovers
    verdict = f"skipped: {outcome.skipped}" if outcome.skipped else "MISSED" if outcome.misses else "ok"
    return (
        f"{outcome.fault:20} {outcome.accepted:8} {leftovers.jobs:6} {leftovers.ended:6} {len(leftovers.lost):5} "
        f"{sum('doubled' in miss for miss in outcome.misses):8} {len(leftovers.orphans):8} {len(leftovers.wrong):6} "
        f"{outcome.healed:8.1f}  {verdict}"
    )


async def run(stack: RunningStack, control: Control, seed: int, names: list[str], scale: float) -> list[Outcome]:
    """All these faults on one installation."""
    outcomes = []
    work = cluster_of(stack, control, seed=seed, people=PEOPLE, pace=PACE_SECONDS, scale=scale, pairs=None)
    async with work as (cluster, sampler):
        for name in cluster.dice.sample(names, len(names)):
            outcome = await strike(cluster, sampler, name, WARM_SECONDS)
            print(row(outcome), flush=True)
            for miss in outcome.misses:
                print(f"  {miss}", flush=True)
            outcomes.append(outcome)
    print(f"answers: {dict(sorted(cluster.load.answers.items()))}")
    print(f"states of all jobs: {outcomes[-1].leftovers.by_state}; the engine was looked at {sampler.samples} times")
    return outcomes


def main() -> int:
    """The process's exit code: 1 where a target was missed; the logs are kept then."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--runs", type=int, default=1, help="installations in a row, each with the next seed")
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="only this one; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten what faults last")
    given = parser.parse_args()
    # Whoever ends this run leaves nothing behind on the engine.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = given.fault or sorted(FAULTS)
    missed = False
    for seed in range(given.seed, given.seed + given.runs):
        logs = Path(tempfile.mkdtemp(prefix="spawner-chaos-"))
        print(f"seed {seed}; targets: 0 lost, 0 doubled, 0 orphans, 0 wrong, healed within {HEAL_SECONDS} s")
        print("fault                accepted   jobs  ended  lost  doubled  orphans  wrong  healed s")
        with installation(f"c{secrets.token_hex(4)}", logs) as (stack, control):
            outcomes = asyncio.run(run(stack, control, seed, names, given.scale))
        if any(outcome.misses for outcome in outcomes):
            missed = True
            print(f"missed with seed {seed}; logs are in {logs}")
        else:
            shutil.rmtree(logs)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
