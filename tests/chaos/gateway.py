"""The gateway as it is, on a clock that the suite sets."""

from app.gateway.__main__ import main
from tests.chaos.control import from_environment

if __name__ == "__main__":
    from_environment()
    main()
