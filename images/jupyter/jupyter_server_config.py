"""How JupyterLab runs behind the gateway."""

import os

c = get_config()  # noqa: F821  # Jupyter puts it there

c.ServerApp.ip = "0.0.0.0"  # noqa: S104  # inside a container with a network of its own
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.base_url = os.environ.get("SPAWNER_BASE_PATH", "/")
c.ServerApp.root_dir = "/home/jovyan"
c.ServerApp.open_browser = False
c.ServerApp.quit_button = False

# The gateway has checked who is there. Requests arrive under the public host name, which need not be a local one;
# Jupyter still compares each websocket's Origin with that Host, so no other origin can drive a kernel.
c.IdentityProvider.token = ""
c.PasswordIdentityProvider.password_required = False
c.ServerApp.allow_remote_access = True
