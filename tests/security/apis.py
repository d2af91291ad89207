"""API processes that fork from one which has imported everything: `python -m tests.security.apis PORT…`.

Each line on standard input ends those that run and starts them anew, and is answered by one; its end ends all.
"""

import os
import signal
import sys

import uvicorn

from app.main import create_app


def start(port: int) -> int:
    """Fork one API process; its id."""
    pid = os.fork()
    if pid:
        return pid
    uvicorn.run(create_app(), port=port, log_level="warning")
    os._exit(0)


def end(pids: list[int]) -> None:
    """SIGKILL: none has a chance to hand anything on."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


running: list[int] = []
for _ in sys.stdin:
    end(running)
    running = [start(int(port)) for port in sys.argv[1:]]
    print("started", flush=True)
end(running)
