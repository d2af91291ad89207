"""The audit of the lock passes only what it has an answer for."""

from typing import Any

from deploy.audit import judge, names

LOCK = "Some_Thing==1.0 \\\n    --hash=sha256:00\n    # via other==2\nother==2.0 ; python_full_version > '3.0' \\\n"
LOCK += "never==1.0 ; sys_platform == 'win32' \\\n"
FINE = {"name": "some-thing", "version": "1.0", "vulns": []}
OTHER = {"name": "other", "version": "2.0", "vulns": []}
FLAW = {"id": "CVE-1", "fix_versions": ["2.1"]}


def judged(*found: dict[str, Any]) -> tuple[list[str], list[str]]:
    return judge({"dependencies": list(found)}, names(LOCK))


def test_what_is_known_to_be_fine_passes() -> None:
    assert judged(FINE, OTHER) == ([], [])


def test_a_vulnerability_is_named_with_what_mends_it() -> None:
    assert judged(FINE, {**OTHER, "vulns": [FLAW]}) == (["other 2.0: CVE-1, mended in 2.1"], [])


def test_what_was_skipped_or_left_out_counts_as_not_checked() -> None:
    assert judged(FINE, {"name": "other", "skip_reason": "not found"}) == ([], ["other"])
    assert judged(FINE) == ([], ["other"])


def test_without_an_answer_nothing_is_checked() -> None:
    assert judge(None, names(LOCK)) == ([], ["other", "some-thing"])
