"""What no request to create a container may hold, whatever a catalogue says."""

import copy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.catalog.loader import load_catalog
from app.core.settings.model import Settings
from app.models import Workspace
from app.runtime.docker.objects import container_body, cpu_shares, egress_of
from app.runtime.docker.policy import GRANTABLE, NO_RESOLVER, TERMINALS, Allowed, PolicyViolated, check, forbidden_path
from app.runtime.egress import EGRESS_INTERNET, Egress
from app.runtime.spec import HostMount, Network, Volume, WorkspaceSpec
from app.workspaces.container_spec import build_spec

SHIPPED = Path(__file__).parents[2] / "images" / "catalog.yaml"

ALLOWED = Allowed(
    {"/srv/data": False, "/srv/shared": True},
    frozenset(("CHOWN", "SETUID")),
    "/srv/engine/docker.sock",
    frozenset(("runsc",)),
)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
MOUNTS = st.sampled_from([HostMount("/srv/data", "/data"), HostMount("/srv/shared", "/shared", read_only=False)])
EGRESS = st.sampled_from([EGRESS_INTERNET, Egress(()), Egress(("10.0.0.0/8", "192.0.2.0/24"))])


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Requests as the runtime makes them, over everything that a template can say."""
    spec = WorkspaceSpec(
        instance="t",
        workspace_id=UUID(int=1),
        name=f"t-{draw(NAMES)}",
        revision=draw(st.integers(0, 1000)),
        image=draw(st.sampled_from(["example/app:1", f"example/app@sha256:{64 * 'a'}", "localhost:5000/a/b"])),
        port=draw(st.integers(1, 65535)),
        network=Network(f"t.{draw(st.integers(0, 4095))}", "10.213.0.0/28"),
        memory_bytes=draw(st.integers(6 << 20, 1 << 40)),
        cpus=draw(st.floats(0.01, 1024)),
        pids=draw(st.integers(4, 1_000_000)),
        command=draw(st.just(()) | st.just(("serve", "--base={}", ""))),
        args=tuple(draw(st.lists(st.sampled_from(["-v", "a b", "$(id)", "ä"]), max_size=3))),
        environment=draw(st.dictionaries(NAMES, st.text(max_size=5), max_size=2)),
        labels={"spawner.route": "alice-hello"},
        volume=draw(st.none() | st.just(Volume("t-alice-hello", "/home/alice"))),
        user=draw(st.none() | st.sampled_from(["1000", "jovyan", "1000:1000"])),
        read_only=draw(st.booleans()),
        egress=draw(EGRESS),
        mounts=tuple(draw(st.lists(MOUNTS, max_size=2))),
        capabilities=tuple(draw(st.lists(st.sampled_from(["CHOWN", "SETUID"]), max_size=2))),
        runtime=draw(st.sampled_from([None, None, "runsc"])),
    )
    return container_body(spec, ALLOWED, publish=draw(st.booleans()))


def bind(source: object, *, read_only: object = True, **more: object) -> list[dict[str, object]]:
    return [{"Type": "bind", "Source": source, "Target": "/x", "ReadOnly": read_only} | more]


def volume(name: str, **options: object) -> list[dict[str, object]]:
    return [{"Type": "volume", "Source": name, "Target": "/x", "VolumeOptions": {"Labels": {}, **options}}]


# Each is set in the request's HostConfig.
FORBIDDEN: list[tuple[str, Any]] = [
    ("Privileged", True), ("privileged", True), ("Binds", ["/:/host"]), ("VolumesFrom", ["other"]),
    ("Devices", [{"PathOnHost": "/dev/mem"}]), ("DeviceRequests", [{}]), ("DeviceCgroupRules", ["a *:* rwm"]),
    *(("NetworkMode", mode) for mode in ("host", "bridge", "default", "none", "container:t-bob", "u.1", "tt.1", None)),
    *(("IpcMode", mode) for mode in ("host", "shareable", "container:t-bob", "")), ("PidMode", "host"),
    ("UTSMode", "host"), ("UsernsMode", "host"), ("CgroupnsMode", "host"), ("Cgroup", "host"), ("CgroupParent", "/"),
    *(("CapAdd", caps) for caps in (["SYS_ADMIN"], ["ALL"], ["NET_RAW"], ["KILL"], ["chown"], "CHOWN", [["CHOWN"]])),
    ("CapDrop", []), ("CapDrop", ["NET_RAW"]), ("CapDrop", None), ("Capabilities", ["CHOWN"]),
    *(("SecurityOpt", value) for value in (
        [], None, ["seccomp=unconfined"], ["no-new-privileges:true", "apparmor=unconfined"], ["no-new-privileges"],
        ["no-new-privileges:true"], ["no-new-privileges:true", "seccomp=unconfined"], ["no-new-privileges:true",
        'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'], [*ALLOWED.security, "apparmor=unconfined"],
    )),
    *((key, value) for key in ("Memory", "MemorySwap") for value in (0, -1, None, True, "1g", 1 << 62)),
    *(("PidsLimit", value) for value in (0, -1, None, True, 10_000_000)), ("NanoCpus", 0), ("NanoCpus", -1),
    *(("CpuShares", value) for value in (0, 1, -1, None, True, 1024)),
    ("OomKillDisable", True), ("OomScoreAdj", -1000), ("Sysctls", {"net.ipv4.ip_forward": "1"}), ("Ulimits", []),
    ("Runtime", "other"), ("Runtime", None), ("Runtime", ""),
    ("MaskedPaths", []), ("ReadonlyPaths", []), ("GroupAdd", ["0"]), ("ExtraHosts", ["a:10.0.0.1"]),
    ("Links", ["t-bob"]), ("StorageOpt", {}), ("VolumeDriver", "x"), ("AutoRemove", True), ("PublishAllPorts", True),
    ("RestartPolicy", {"Name": "always"}), ("LogConfig", {"Type": "syslog"}), ("LogConfig", {"Type": "json-file"}),
    ("Tmpfs", {"/tmp": "exec,size=99g"}), ("Tmpfs", {"/proc": "rw"}), ("Dns", ["10.0.0.1"]), ("Init", False),
    ("PortBindings", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}),
    ("PortBindings", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "22"}]}),
    *(("Mounts", bind(path)) for path in (
        "/", "/etc", "/srv", "/srv/data/..", "/srv/data/", "/srv/data/x", "//srv/data", "/var/run/docker.sock", 1, None,
    )),
    ("Mounts", bind("/srv/data", read_only=False)), ("Mounts", bind("/srv/data", read_only=0)),
    ("Mounts", bind("/srv/shared", read_only="no")), ("Mounts", bind("/srv/data", BindOptions={})),
    ("Mounts", volume("u-bob")), ("Mounts", volume("/etc")), ("Mounts", volume("t-a", DriverConfig={"Name": "local"})),
    ("Mounts", [{"Type": "tmpfs", "Target": "/x"}]), ("Mounts", [{"Type": "npipe"}]), ("Mounts", ["/:/x"]),
]  # fmt: skip
# Each is set in the request itself.
FOREIGN: list[tuple[str, Any]] = [
    *((key, value) for key in ("Cmd", "Entrypoint") for value in (
        "sh", [], [""], [1], [["sh"]], ["a\0"], {"a": 1}, None,
    )),
    ("NetworkingConfig", {"EndpointsConfig": {}}), ("Volumes", {"/": {}}),
    ("HostConfig", None), ("Labels", {}), ("Labels", None), ("Labels", {"spawner.instance": ""}), ("Image", "a b"),
    ("Image", "-v"), ("User", "root; id"), ("Hostname", "a.b"), ("Env", "A=1"), ("Env", [1]), ("Domainname", "x"),
    ("hostconfig", {"Privileged": True}), ("MacAddress", "02:42:ac:11:00:02"), ("ExposedPorts", {"1-9/tcp": {}}),
]  # fmt: skip


@given(bodies())
def test_what_the_runtime_makes_passes(body: dict[str, Any]) -> None:
    check(body, ALLOWED)


@given(bodies(), st.sampled_from(FORBIDDEN))
def test_a_request_with_anything_forbidden_is_refused(body: dict[str, Any], wrong: tuple[str, Any]) -> None:
    body["HostConfig"][wrong[0]] = wrong[1]
    with pytest.raises(PolicyViolated):
        check(body, ALLOWED)


@given(bodies(), st.sampled_from(FOREIGN))
def test_a_request_of_another_shape_is_refused(body: dict[str, Any], wrong: tuple[str, Any]) -> None:
    body[wrong[0]] = wrong[1]
    with pytest.raises(PolicyViolated):
        check(body, ALLOWED)


@given(bodies(), st.text(min_size=1, max_size=20), st.booleans(), st.none() | st.booleans() | st.integers() | st.text())
def test_a_key_that_nobody_listed_is_refused(body: dict[str, Any], key: str, outside: bool, value: object) -> None:
    known = copy.deepcopy(body)
    place = body if outside else body["HostConfig"]
    known_keys = (
        "Dns",
        "DnsOptions",
        "CapAdd",
        "Runtime",
        "Tmpfs",
        "Mounts",
        "PortBindings",
        "User",
        "Cmd",
        "Entrypoint",
    )
    if key in known_keys or key in place:
        return
    place[key] = value
    with pytest.raises(PolicyViolated, match="is not allowed"):
        check(body, ALLOWED)
    check(known, ALLOWED)


@given(bodies(), st.data())
def test_a_request_without_a_limit_is_refused(body: dict[str, Any], data: st.DataObject) -> None:
    names = ["Memory", "MemorySwap", "NanoCpus", "CpuShares", "PidsLimit", "CapDrop", "SecurityOpt", "IpcMode"]
    del body["HostConfig"][data.draw(st.sampled_from([*names, "CgroupnsMode", "NetworkMode", "Ulimits", "LogConfig"]))]
    with pytest.raises(PolicyViolated, match="is missing"):
        check(body, ALLOWED)


@given(bodies())
def test_a_request_without_terminals_of_its_own_is_refused(body: dict[str, Any]) -> None:
    """Unless another OCI runtime brings its own kernel."""
    body["HostConfig"]["Mounts"] = [item for item in body["HostConfig"].get("Mounts", []) if item != TERMINALS]
    if "Runtime" in body["HostConfig"]:
        check(body, ALLOWED)
        return
    with pytest.raises(PolicyViolated, match="terminals"):
        check(body, ALLOWED)


@given(bodies())
def test_what_the_operator_does_not_list_is_refused(body: dict[str, Any]) -> None:
    listed = [item for item in body["HostConfig"].get("Mounts", []) if item["Type"] == "bind"]
    if not listed and not {"CapAdd", "Runtime"} & body["HostConfig"].keys():
        check(body, Allowed())
        return
    with pytest.raises(PolicyViolated):
        check(body, Allowed())


@pytest.mark.parametrize(
    "path",
    ["/", "/run", "/var", "/var/run", "/var/run/docker.sock", "/srv/engine", "/srv/engine/docker.sock",
     "/a/podman.sock", "/proc/1", "/var/lib/docker/volumes",
     "/etc/shadow", "/root/.ssh", "srv", "/srv/../etc", "/srv/", ""],
)  # fmt: skip
def test_a_path_that_holds_the_host_is_refused_even_if_listed(path: str) -> None:
    assert forbidden_path(path, ALLOWED.socket) is not None


def test_a_link_is_judged_by_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/var/run/docker.sock")
    (tmp_path / "plain").mkdir()
    assert forbidden_path(str(tmp_path / "data")) is not None
    assert forbidden_path(str(tmp_path / "plain")) is None


def test_a_label_that_is_not_understood_lets_nothing_out() -> None:
    assert egress_of({"spawner.egress": "somewhere"}) == Egress(())
    assert egress_of(None) == egress_of({}) == EGRESS_INTERNET


def test_no_capability_that_reaches_beyond_the_container_can_be_listed() -> None:
    beyond = {"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "MKNOD", "DAC_READ_SEARCH"}
    assert not GRANTABLE & (beyond | {"BPF", "PERFMON", "SYS_BOOT", "SYS_TIME", "SYSLOG", "ALL", "MAC_ADMIN"})


def test_what_a_template_asks_for_reaches_the_request(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    wishes = "egress: none\n    mounts: [{host: /srv/data, path: /data}]\n    capabilities: [CHOWN]\n    port: "
    catalog.write_text(SHIPPED.read_text().replace("port: ", wishes, 1))
    settings = Settings(
        _env_file=None,
        environment="development",
        secret_key="a-secret-for-tests-0123456789-abcdefghij",
        allowed_mounts="/srv/data",
        allowed_capabilities="CHOWN",
    )
    templates = load_catalog(catalog, settings.allowed).templates
    for template in templates:
        workspace = Workspace(id=UUID(int=7), template=template.key, revision=1)
        spec = build_spec(settings, template, workspace, "alice", index=3, volume="spawner-alice-x")
        check(container_body(spec, settings.allowed, publish=False), settings.allowed)
    body = container_body(
        build_spec(settings, templates[0], Workspace(id=UUID(int=7), revision=1), "alice", index=3, volume=None),
        settings.allowed,
        publish=False,
    )
    assert body["HostConfig"]["Mounts"] == [TERMINALS, *bind("/srv/data", Target="/data")]
    assert body["HostConfig"]["CapAdd"] == ["CHOWN"]
    assert body["Labels"]["spawner.egress"] == "none"
    assert body["HostConfig"]["Dns"] == NO_RESOLVER


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("allowed_capabilities", "CHOWN, NET_ADMIN", "NET_ADMIN cannot be granted"),
        ("allowed_mounts", "/srv/data, /var/run/docker.sock:rw", "docker.sock:rw would hand over the host"),
        ("allowed_mounts", "data", "is no absolute path"),
        ("egress_resolvers", "dns.example.org", "egress_resolvers"),
    ],
)
def test_settings_do_not_list_what_nobody_may_have(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(_env_file=None, environment="development", secret_key=64 * "0123456789", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("cpus", "shares"), [(0.01, 2), (0.5, 32), (1, 64), (4, 256), (64, 512)])
def test_a_workspace_weighs_by_its_processors_and_far_less_than_the_platform(cpus: float, shares: int) -> None:
    assert cpu_shares(cpus) == shares
