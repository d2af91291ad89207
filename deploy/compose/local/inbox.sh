#!/bin/sh
# The mails that the catcher has: `docker compose exec mail inbox`.
exec python3 -c 'from pathlib import Path; import inbox; inbox.print_inbox(Path("/mail/box"))'
