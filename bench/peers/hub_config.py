"""JupyterHub's configuration, read by JupyterHub itself; places and secrets come from the environment."""

import os

# What JupyterHub reads this file with.
c = get_config()  # type: ignore[name-defined]  # noqa: F821

c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['BENCH_PROXY_PORT']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['BENCH_HUB_PORT']}"
# Its documentation asks for a database other than SQLite in production.
c.JupyterHub.db_url = os.environ["BENCH_DATABASE"]
c.JupyterHub.log_level = "WARN"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
# All may spawn at once; the default lets 100, and the documentation warns of fewer only where spawning is slow.
c.JupyterHub.concurrent_spawn_limit = 0
# A launch is answered once its server is ready, however long that takes, so that no client has to poll for it.
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 120}
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [{"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]}]

c.ConfigurableHTTPProxy.command = [os.environ["BENCH_PROXY"]]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['BENCH_PROXY_API_PORT']}"
c.ConfigurableHTTPProxy.auth_token = os.environ["BENCH_PROXY_TOKEN"]

# Twice and four times the default: a burst shall be slow rather than broken.
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120
c.Spawner.poll_interval = 30
c.DockerSpawner.image = os.environ["BENCH_IMAGE"]
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.cmd = ["/hello"]
c.DockerSpawner.port = 8080
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.network_name = "bridge"
c.DockerSpawner.remove = True
c.DockerSpawner.prefix = os.environ["BENCH_INSTANCE"]
c.DockerSpawner.mem_limit = "64M"
c.DockerSpawner.cpu_limit = 0.5
c.DockerSpawner.extra_create_kwargs = {"user": "65534", "labels": {"spawner.instance": os.environ["BENCH_INSTANCE"]}}
c.DockerSpawner.extra_host_config = {
    "memswap_limit": "64M",
    "pids_limit": 64,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "read_only": True,
    "init": True,
    "tmpfs": {"/tmp": ""},
}
