"""The embedded stack: what `make up`, `make demo` and the tests run in place of an operator's own servers.

`layout` says where things live, `services` and `proxy` how one process is started, `supervisor` keeps them running,
`engine` and `images` deal with Docker, `up`, `down`, `status` and `demo` are the commands.
"""
