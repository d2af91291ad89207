"""`spawner doctor`: diagnoses an installation."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from app.core.settings.reading import SettingsWrong, read_settings
from workers.doctor.examine import examine
from workers.doctor.findings import Finding


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything that Spawner needs, on a worker's host; print the problems, exit with 1 if one matters."""
    try:
        findings = asyncio.run(examine(read_settings()))
    except SettingsWrong as wrong:
        findings = [Finding("settings", "fail", line, "Correct it") for line in str(wrong).splitlines()]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(str(finding))
    raise typer.Exit(int(any(finding.level == "fail" for finding in findings)))
