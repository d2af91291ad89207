"""Every setting of Spawner, read from the environment (prefix `SPAWNER_`) and from `.env`."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.core.i18n import Locale
from app.core.settings import checks
from app.core.settings.sources import FileSource
from app.core.shipped import shipped
from app.runtime.docker.policy import GRANTABLE, Allowed, forbidden_path

LOCAL_DOCKER = "unix:///var/run/docker.sock"
DEVELOPMENT_SECRET = Path(".spawner/secret_key")
# TRUSTED_PROXIES for a deployment without proxies.
NO_PROXY = "none"
# As browsers serialize it: lower case, no path, no default port.
EXACT_ORIGIN = re.compile(
    r"(?:http://(?!.*:80$)|https://(?!.*:443$))(?:[a-z0-9][a-z0-9.-]*|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?"
)

CommaList = Annotated[list[str], NoDecode]


def split_secrets(text: str) -> list[str]:
    """Split secrets, one per line, newest first; raises `ValueError` if there is none or one is weak."""
    secrets = [line.strip() for line in text.splitlines() if line.strip()]
    if not secrets or any(len(secret) < 32 or len(set(secret)) < 10 for secret in secrets):
        raise ValueError(
            "SPAWNER_SECRET_KEY is missing or weak: set it, or SPAWNER_SECRET_KEY_FILE, to 32 or more random "
            "characters, such as those of `openssl rand -base64 48`"
        )
    return secrets


class Settings(BaseSettings):
    """Settings of API, workers and command line. Secrets have no default outside development."""

    model_config = SettingsConfigDict(env_prefix="SPAWNER_", env_file=".env", extra="ignore", hide_input_in_errors=True)

    environment: Literal["development", "production"] = Field(
        "production",
        description="`development` allows weak URLs, reads .spawner/secret_key, and does not limit links of loopback.",
    )
    instance: str = Field(
        "spawner",
        pattern=r"^[a-z0-9]{1,20}$",
        description="Name of this installation on its engine; objects of other installations are never touched.",
    )
    public_url: str = Field("http://localhost:8080", description="Origin of the API and the pages.")
    workspace_url: str = Field(
        "http://{route}.localhost:8080",
        description="URL of a workspace, with `{route}` in the host or in the path; never the origin of PUBLIC_URL.",
    )
    allow_shared_origin: bool = Field(
        False, description="Allow `{route}` in the path in production, although all workspaces then share one origin."
    )
    database_url: str = Field(
        "postgresql+asyncpg://postgres@localhost/spawner", repr=False, description="PostgreSQL 15 or later."
    )
    database_owner_url: str = Field(
        "",
        repr=False,
        description="DATABASE_URL with the role that owns the tables, for migrations; empty: DATABASE_URL.",
    )
    database_pool: int = Field(
        20, ge=2, description="Database connections per process; a quarter of them, at least one, is read-only."
    )
    redis_url: str = Field(
        "redis://localhost:6379/0", repr=False, description="Redis 6.2 or later; `redis://`, `rediss://` or `unix://`."
    )
    docker_url: str = Field("", description="Address of the engine; empty: DOCKER_HOST, else the local socket.")
    docker_publish: Literal["never", "loopback"] = Field(
        "never",
        description="`loopback` publishes each workspace on a loopback port: for engines with unreachable bridges.",
    )
    network_range: str = Field("10.213.0.0/16", description="Range that holds the workspaces' /28 networks.")
    egress_resolvers: CommaList = Field(
        [],
        description="Name servers that workspaces may query besides the host's: those of the engine's configuration.",
    )
    allowed_mounts: CommaList = Field(
        [], description="Exact host paths that templates may mount: read-only, unless `:rw` follows."
    )
    allowed_capabilities: CommaList = Field([], description="Linux capabilities that templates may add, such as CHOWN.")
    allowed_runtimes: CommaList = Field(
        [], description="OCI runtimes, such as runsc, that templates may name besides the engine's default."
    )
    seccomp_file: str = Field(
        "",
        pattern=r"^(/[^:]+)?$",
        description="Path of a copy of app/runtime/docker/seccomp.json on Podman's host; empty: the profile is sent.",
    )
    require_digests: bool = Field(
        False, description="Reject a catalogue with images that are not pinned by digest (`name@sha256:…`)."
    )
    smtp_url: str = Field(
        "smtp://localhost:25",
        repr=False,
        description="`smtp://` (STARTTLS if offered), `smtp+starttls://` or `smtps://`, with user and password.",
    )
    mail_from: str = Field("Spawner <spawner@localhost>", description="Sender of mails.")
    secret_key: str = Field("", repr=False, description="At least 32 random characters; signs tokens and keys hashes.")
    secret_key_file: Path | None = Field(
        None, description="File with one SECRET_KEY per line: the first signs, the others only verify."
    )
    access_token_seconds: int = Field(3600, ge=60, description="Lifetime of an access token.")
    page_access_seconds: int = Field(900, ge=60, description="Lifetime of a session cookie; pages renew it.")
    session_seconds: int = Field(43200, ge=60, description="Lifetime of a session, with its tokens and cookies.")
    magic_link_seconds: int = Field(600, ge=30, le=86400, description="Lifetime of a sign-in link, at most a day.")
    invitation_seconds: int = Field(604800, ge=60, description="Lifetime of an invitation.")
    magic_links_per_hour: int = Field(3, ge=1, description="Links per hour for one mail address.")
    magic_links_per_hour_client: int = Field(
        600, ge=1, description="Links per hour for one client address, which a whole class may share."
    )
    magic_links_exempt_networks: CommaList = Field(
        [], description="Client addresses or networks without that limit, such as 203.0.113.0/24."
    )
    cors_origins: CommaList = Field([], description="Exact origins that may call the API from a browser.")
    frame_ancestors: CommaList = Field(
        [],
        description="Exact origins whose pages may embed workspaces in a frame; on other sites this requires https.",
    )
    trusted_proxies: CommaList = Field(
        [],
        description="Proxies whose X-Forwarded-For is trusted, besides Unix sockets: addresses or networks. `none` "
        "trusts no proxy.",
    )
    relay_bind: str = Field(
        "127.0.0.1",
        description="Address that each gateway process's relay listens on, at a free port; unused if the process "
        "listens on a Unix socket.",
    )
    relay_host: str = Field(
        "", description="Host at which Caddy reaches this gateway process's relay; empty: RELAY_BIND."
    )
    api_leave_seconds: float = Field(
        5,
        ge=0,
        description="How long API and gateway still serve after SIGTERM, until Caddy has found other processes.",
    )
    admin_access_seconds: int = Field(
        3600, ge=60, description="Lifetime of an admin's support access to a user's workspace."
    )
    docs: Literal["open", "closed"] = Field("open", description="`closed` turns /docs and /openapi.json off.")
    catalog: Path = Field(
        default_factory=lambda: shipped("catalog.yaml"), description="File of the templates; default: the sample."
    )
    default_locale: Locale = Field("en", description="Language if Accept-Language names no supported one.")
    signup: Literal["open", "closed", "domains"] = Field("open", description="Who may sign up.")
    signup_domains: CommaList = Field([], description="Mail domains that may sign up when SIGNUP=domains.")
    launch_seconds: int = Field(
        300, ge=5, description="Deadline of a launch or restart, from admission; an image pull's progress extends it."
    )
    queue_seconds: int = Field(3600, ge=5, description="How long a launch may wait for capacity.")
    user_changes_per_hour: int = Field(
        120, ge=1, description="Launches, stops, restarts, deletions, shares and tokens per hour for one account."
    )
    user_streams: int = Field(
        50, ge=1, description="Event streams and waiting requests of one account, in each API process."
    )
    user_websockets: int = Field(
        200,
        ge=1,
        description="Websockets and requests with a body of one account, in each gateway process.",
    )
    queue_limit: int = Field(200, ge=0, description="Launches that may wait for capacity; more are refused.")
    launches_at_once: int = Field(32, ge=1, description="Launches in progress on the engine; others wait.")
    running_limit: int = Field(0, ge=0, description="Workspaces that run at once; 0 sets no limit.")
    user_running_limit: int = Field(
        10, ge=0, description="Workspaces of one user that run at once, unless an admin set another; 0 sets no limit."
    )
    memory_overcommit: float = Field(
        1.0, gt=0, description="Memory that may be promised to workspaces, as a multiple of the engine's."
    )
    cpu_overcommit: float = Field(
        10.0, gt=0, description="Processors that may be promised to workspaces, as a multiple of the engine's."
    )
    min_free_disk_mb: int = Field(1024, ge=0, description="Launches wait while the engine's disk has less free space.")
    network_pool: int = Field(40, ge=0, description="Networks kept ready for the next launches.")
    volume_retention_days: int = Field(30, ge=0, description="How long files outlive a deleted workspace.")
    job_days: int = Field(
        30, ge=1, description="Retention of ended jobs and their timelines; the last 20 of each workspace stay."
    )
    audit_days: int = Field(365, ge=30, description="Retention of the audit log.")
    orphan_seconds: int = Field(
        30, ge=0, description="How long an object on the engine without a row in the database stays before removal."
    )
    lease_seconds: float = Field(15, ge=1, description="A job passes to another worker if not renewed this long.")
    drain_seconds: int = Field(
        10, ge=0, description="How long a worker's jobs may still run after SIGTERM, before other workers resume them."
    )
    heartbeat_dir: Path = Field(
        Path("/tmp/spawner-workers"),  # noqa: S108 # nosec B108 # its owner is checked
        description="Folder of the workers' heartbeat files, which `spawner worker live` reads.",
    )
    worker_jobs: int = Field(16, ge=1, description="Launches and restarts that one worker runs at once.")
    worker_stops: int = Field(
        16, ge=1, description="Pauses, stops and deletions that one worker runs at once, besides WORKER_JOBS."
    )
    worker_mails: int = Field(50, ge=1, description="Mails that one worker sends at once, besides its jobs.")
    engine_starts: int = Field(2, ge=1, description="Containers that one worker creates or starts at once.")
    usage_seconds: float = Field(
        30, ge=1, description="Interval between readings of the counters of workspaces with an idle limit."
    )
    reconcile_seconds: int = Field(10, ge=1, le=60, description="Interval of the reconciler.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add `SPAWNER_X_FILE` for each secret X."""
        assert isinstance(env_settings, EnvSettingsSource)  # nosec B101 # narrows the type
        assert isinstance(dotenv_settings, EnvSettingsSource)  # nosec B101 # narrows the type
        files = FileSource(settings_cls, {**dotenv_settings.env_vars, **env_settings.env_vars})
        return init_settings, env_settings, dotenv_settings, files, file_secret_settings

    @field_validator(
        *("cors_origins", "frame_ancestors", "trusted_proxies", "signup_domains", "magic_links_exempt_networks"),
        *("egress_resolvers", "allowed_mounts", "allowed_capabilities", "allowed_runtimes"),
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError("must be an origin such as https://spawner.example.org")
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @field_validator("cors_origins", "frame_ancestors")
    @classmethod
    def _exact_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not EXACT_ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin} is not an exact origin such as https://app.example.org")
        return value

    @field_validator("trusted_proxies", "magic_links_exempt_networks")
    @classmethod
    def _networks(cls, value: list[str], info: ValidationInfo) -> list[str]:
        no_proxy = info.field_name == "trusted_proxies" and value == [NO_PROXY]
        return value if no_proxy else checks.networks(value)

    @field_validator("database_url", "database_owner_url", "redis_url", "smtp_url")
    @classmethod
    def _addresses_of_servers(cls, value: str, info: ValidationInfo) -> str:
        if value or info.field_name != "database_owner_url":
            checks.check_url(str(info.field_name), value)
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        checks.check_sender(value)
        return value

    @field_validator("network_range")
    @classmethod
    def _range(cls, value: str) -> str:
        if ipaddress.IPv4Network(value).prefixlen > 28:
            raise ValueError("must hold at least one /28 network")
        return value

    @field_validator("egress_resolvers")
    @classmethod
    def _addresses(cls, values: list[str]) -> list[str]:
        return [str(ipaddress.IPv4Address(value)) for value in values]

    @field_validator("allowed_mounts")
    @classmethod
    def _host_paths(cls, values: list[str]) -> list[str]:
        for value in values:
            if reason := forbidden_path(value.removesuffix(":rw")):
                raise ValueError(f"{value} {reason}")
        return values

    @field_validator("allowed_capabilities")
    @classmethod
    def _grantable(cls, values: list[str]) -> list[str]:
        if wrong := sorted(set(values) - GRANTABLE):
            raise ValueError(f"{wrong[0]} cannot be granted; allowed are {', '.join(sorted(GRANTABLE))}")
        return values

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.docker_url = self.docker_url or os.environ.get("DOCKER_HOST", "") or LOCAL_DOCKER
        wrong = list(checks.naming(self.workspace_url, self.public_url))
        named = not wrong
        if self.signup == "domains" and not self.signup_domains:
            wrong.append("SPAWNER_SIGNUP=domains needs at least one domain in SPAWNER_SIGNUP_DOMAINS")
        try:
            self.secret_key = self._read_secret()
        except ValueError as error:
            wrong.append(str(error))
        if self.environment == "production":
            if self.secure_cookies and not self.trusted_proxies:
                wrong.append(checks.NO_PROXY_NAMED)
            wrong += checks.complaints(self._urls)
            if named and not self.host_mode and not self.allow_shared_origin:
                wrong.append(checks.SHARED_ORIGIN)
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    @property
    def _urls(self) -> dict[str, str]:
        names = ("public_url", "workspace_url", "database_url", "redis_url", "smtp_url")
        return {name.upper(): getattr(self, name) for name in names}

    @property
    def read_connections(self) -> int:
        """Connections of DATABASE_POOL reserved for hot reads."""
        return max(1, self.database_pool // 4)

    @property
    def write_connections(self) -> int:
        """The rest of DATABASE_POOL."""
        return self.database_pool - self.read_connections

    @property
    def proxies(self) -> list[str]:
        """TRUSTED_PROXIES without `none`."""
        return [] if self.trusted_proxies == [NO_PROXY] else self.trusted_proxies

    @property
    def concerns(self) -> list[str]:
        """Warnings for the operator at start in production."""
        return list(checks.concerns(self._urls)) if self.environment == "production" else []

    def _read_secret(self) -> str:
        """Read SECRET_KEY's lines. `secret_key_file` stays set and names their source."""
        path = self_named = self.secret_key_file
        if path is None and not self.secret_key and self.environment == "development":
            path = DEVELOPMENT_SECRET
        self.secret_key_file, text = None, self.secret_key
        if path is not None and (path == self_named or path.exists()):
            try:
                text, self.secret_key_file = path.read_text("utf-8"), path
            except UnicodeDecodeError:
                raise ValueError("SPAWNER_SECRET_KEY_FILE: the file is not UTF-8 text") from None
            except OSError as error:
                if not self.secret_key:
                    raise ValueError(f"SPAWNER_SECRET_KEY_FILE: the file cannot be read: {error.strerror}") from None
        return "\n".join(split_secrets(text))

    @property
    def allowed(self) -> Allowed:
        """Privileges that templates may use beyond the defaults."""
        mounts = {value.removesuffix(":rw"): value.endswith(":rw") for value in self.allowed_mounts}
        socket = urlsplit(self.docker_url)
        path = socket.path if socket.scheme == "unix" else ""
        runtimes = frozenset(self.allowed_runtimes)
        return Allowed(mounts, frozenset(self.allowed_capabilities), path, runtimes, self.seccomp_file)

    @property
    def host_mode(self) -> bool:
        """Whether WORKSPACE_URL has `{route}` in the host, so that each workspace has its own origin."""
        return "{route}" in urlsplit(self.workspace_url).netloc

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers use TLS."""
        return self.public_url.startswith("https://")
