"""In the order of an operator's first day; each test goes on from the installation that the one before left."""

import base64
import json
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from deploy.stack.console import StepFailed, wait_until
from tests.compose.project import DEAD_PROXY, PUBLIC_URL, Browser, Person, Project, compose_project
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.timeout(900)

ONCE = {"secrets", "roles", "migrate"}
HOST_NETWORK = {"api", "gateway", "worker", "caddy"}
SOCKET = "/var/run/docker.sock"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Everything that `docker compose up -d` starts."""
    with compose_project(tmp_path_factory.mktemp("compose")) as prepared:
        prepared.compose("up", "-d")
        yield prepared


@pytest.fixture(scope="module")
def browser(project: Project) -> Iterator[Browser]:
    """A browser that trusts this installation's authority."""
    with project.browser() as opened:
        project.wait_ready(opened, workers=1)
        yield opened


@pytest.fixture(scope="module")
def walter(project: Project, browser: Browser) -> Person:
    """The first who signs up."""
    return project.sign_up(browser, "walter@example.org")


def test_up_leads_from_the_mail_catcher_to_a_workspace_over_https(walter: Person) -> None:
    url = walter.launch()
    assert url.startswith("https://")
    assert httpx.URL(url).host.endswith(".workspaces.lan")
    page = walter.open(url)
    assert page.status_code == 200, page.text
    assert "walter" in page.text
    assert walter.browser.echo(url, "Grüße") == "Grüße"


def test_a_line_of_env_that_compose_does_not_name_is_a_setting(browser: Browser) -> None:
    assert browser.client.get(f"{PUBLIC_URL}/docs").status_code == 404


def test_workers_alone_have_the_engines_socket_and_each_part_no_more_than_it_needs(project: Project) -> None:
    found = {item["Config"]["Labels"]["com.docker.compose.service"]: item for item in project.containers()}
    assert set(found) == {*ONCE, *HOST_NETWORK, "postgres", "redis", "mail"}
    mounting = {name for name, item in found.items() if SOCKET in [mount["Source"] for mount in item["Mounts"]]}
    assert mounting == {"worker"}
    for name, item in found.items():
        host = item["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert (host["NetworkMode"] == "host") == (name in HOST_NETWORK), name
        assert host["RestartPolicy"]["Name"] == ("no" if name in ONCE else "unless-stopped"), name
        assert host["LogConfig"]["Config"]["max-size"] == "10m", name
    assert {name for name, item in found.items() if item["HostConfig"]["NetworkMode"] == "none"} == {
        *ONCE, "postgres", "redis",
    }  # fmt: skip
    assert {name: item["HostConfig"]["CapAdd"] for name, item in found.items() if item["HostConfig"]["CapAdd"]} == {
        "secrets": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        "worker": ["NET_ADMIN", "DAC_READ_SEARCH"],
        "caddy": ["NET_BIND_SERVICE"],
    }
    # The engine's client hands a proxy to containers, which is dead here: everything else went past it.
    assert f"HTTP_PROXY={DEAD_PROXY}" in found["caddy"]["Config"]["Env"]
    # The password of the tables' owner is the migrations' alone, and no secret is in the environment.
    owners = {name for name, item in found.items() if "owner-secrets" in json.dumps(item["Mounts"])}
    assert owners == {"secrets", "migrate"}
    for name, item in found.items():
        assert not [line for line in item["Config"]["Env"] if "SECRET_KEY=" in line or "PASSWORD=" in line], name


def test_the_doctor_finds_nothing_that_fails(project: Project) -> None:
    found = json.loads(project.compose("exec", "-T", "worker", "spawner", "doctor", "--json"))
    assert [finding for finding in found if finding["level"] == "fail"] == []
    levels = {finding["name"]: finding for finding in found}
    assert levels["egress"]["level"] == "ok", levels["egress"]
    assert "audit_not_protected" not in project.compose("logs", "api")
    disk = project.compose(
        "exec", "-T", "worker", "python", "-c", "import shutil; print(shutil.disk_usage('/var/lib/docker').free)"
    )
    assert int(disk) > 0


def signed_with(person: Person) -> str:
    """The name of the key that signed somebody's token."""
    head = person.headers["Authorization"].removeprefix("Bearer ").partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=="))["kid"])


def test_secrets_are_rotated_while_everything_runs(project: Project, walter: Person) -> None:
    project.compose("run", "--rm", "keys")
    with project.browser() as other:
        ines = project.sign_up(other, "ines@example.org")
        assert signed_with(ines) != signed_with(walter)
        me = walter.client.get(f"{PUBLIC_URL}/api/user/me", headers=walter.headers)
        assert me.status_code == 200, me.text
        assert ines.open(ines.launch()).status_code == 200


def test_three_workers_are_three_and_share_the_jobs(project: Project, walter: Person) -> None:
    project.compose("up", "-d", "--scale", "worker=3")
    project.wait_ready(walter.browser, workers=3)
    names = [item["Name"].lstrip("/") for item in project.containers("worker")]
    assert len(names) == 3

    # Whoever is quickest may take every job of a quiet installation. While that one stands still, another one does.
    assert walter.follow(walter.restart())["state"] == "succeeded"
    wait_until(lambda: len(project.drivers()) > 0, PATIENCE, lambda: StepFailed(f"nobody drove it\n{project.logs()}"))
    (first, *_) = project.drivers()
    subprocess.run(["docker", "pause", first], check=True, capture_output=True)
    try:
        assert walter.follow(walter.restart())["state"] == "succeeded"
        wait_until(lambda: len(project.drivers()) > 1, PATIENCE, lambda: StepFailed(f"one works\n{project.logs()}"))
    finally:
        subprocess.run(["docker", "unpause", first], check=True, capture_output=True)
    wait_until(lambda: not project.unhealthy(), PATIENCE, lambda: StepFailed(str(project.unhealthy())), pause=0.5)


def test_two_gateways_share_the_work_and_one_may_leave(project: Project, walter: Person) -> None:
    url = walter.launch()
    project.compose("up", "-d", "--scale", "gateway=2")
    wait_until(lambda: not project.unhealthy(), PATIENCE, lambda: StepFailed(str(project.unhealthy())), pause=0.5)
    names = [item["Name"].lstrip("/") for item in project.containers("gateway")]
    assert len(names) == 2

    def answers(times: int) -> None:
        for _ in range(times):
            assert walter.open(url).status_code == 200, project.logs()
            assert walter.browser.echo(url, "Grüße") == "Grüße"

    answers(10)
    for name in names:
        subprocess.run(["docker", "stop", name], check=True, capture_output=True)
        answers(5)
        subprocess.run(["docker", "start", name], check=True, capture_output=True)
        wait_until(lambda: not project.unhealthy(), PATIENCE, lambda: StepFailed(str(project.unhealthy())), pause=0.5)


def test_a_power_cut_down_and_up_again_keep_workspaces_accounts_and_sign_ins(project: Project, walter: Person) -> None:
    url = walter.launch()
    before = project.workspaces()
    # What a server that ends so leaves behind: its socket, and the file that says it runs.
    project.compose("kill")
    project.compose("down")
    assert project.workspaces() == before
    project.compose("up", "-d")
    project.wait_ready(walter.browser, workers=1)
    me = walter.client.get(f"{PUBLIC_URL}/api/user/me", headers=walter.headers).json()
    assert me["user"]["email"] == "walter@example.org"
    page = walter.open(url)
    assert (page.status_code, "walter" in page.text) == (200, True), page.text
    assert project.workspaces() == before
