"""The same work by JupyterHub with DockerSpawner, on the same machine, in the same run."""
