"""Rate limits of link requests. The counts are in Redis, without addresses in clear text."""

import ipaddress
import math
import time

from limits import RateLimitItemPerHour
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.errors import AppError, Unavailable
from app.core.networks import read_network
from app.core.redis_answers import answer_in_time
from app.core.redis_names import redis_key
from app.core.settings.model import Settings
from app.security.errors import ClientRateLimited, RateLimited
from app.security.tokens import Tokens

RENEWAL_SECONDS = 60
# Known browsers' share of an address, as a multiple of its limit. Each link makes another browser known.
MAX_BROWSERS = 10
# An IPv6 site's limit, as a multiple of a subscriber network's: a /48 holds 65,536 of them.
MAX_NETWORKS = 10


class LinkLimits:
    """Sliding-window limits of link requests per hour, by mail address and by client.

    A client is an IP address, possibly of a whole class: its limit is far above one person's need, and networks can be
    exempt.

    A browser that has signed in as an address has its own count for that address. A flood of requests then blocks mail
    requested by unknown browsers, but not by the owner's. All known browsers of an address also share a count, which
    bounds the mails to one mailbox.
    """

    def __init__(self, settings: Settings, tokens: Tokens, redis: Redis) -> None:
        self._tokens = tokens
        self._redis = redis
        self._instance = settings.instance
        self._by_address = RateLimitItemPerHour(settings.magic_links_per_hour, namespace="links-address")
        self._by_client = RateLimitItemPerHour(settings.magic_links_per_hour_client, namespace="links-client")
        self._by_browser = RateLimitItemPerHour(settings.magic_links_per_hour, namespace="links-browser")
        site = settings.magic_links_per_hour_client * MAX_NETWORKS
        self._by_site = RateLimitItemPerHour(site, namespace="links-site")
        together = settings.magic_links_per_hour * MAX_BROWSERS
        self._by_browsers = RateLimitItemPerHour(together, namespace="links-browsers")
        exempt = settings.magic_links_exempt_networks
        if settings.environment == "development":
            exempt = [*exempt, "127.0.0.0/8", "::1"]
        self._exempt = [read_network(text) for text in exempt]
        # The URI only selects the driver: with a given pool it opens no connection.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=redis_key(settings.instance, "limits"),
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # documented, but not annotated
        )
        self._limiter = MovingWindowRateLimiter(storage)

    async def count(self, address: str, client: str, *, known_browser: str | None = None) -> None:
        """Count one request for a link to a normalised mail address from a client's IP address.

        `known_browser` is the token of a browser that has signed in as this address before.

        Raises `ClientRateLimited` and `RateLimited` with the time to retry, and `Unavailable` if Redis times out:
        limits fail closed.
        """
        try:
            if known_browser is not None:
                await self._hit(self._by_browser, f"{known_browser} {address}", RateLimited)
                return await self._hit(self._by_browsers, address, RateLimited)
            # Client first: a client over its limit must not use up an address's limit.
            if not self._is_exempt(client):
                network, site = _network(client, 64), _network(client, 48)
                await self._hit(self._by_client, network, ClientRateLimited)
                if site != network:
                    await self._hit(self._by_site, site, ClientRateLimited)
            await self._hit(self._by_address, address, RateLimited)
        except (RedisError, OSError) as error:
            raise Unavailable from error

    async def may_renew(self, address: str) -> bool:
        """Return whether the links of a normalised address may be renewed now: once a minute. Raises `Unavailable`."""
        key = redis_key(self._instance, "limits", "renewal", self._tokens.hash("limit", address).hex())
        try:
            return bool(await answer_in_time(lambda: self._redis.set(key, 1, nx=True, ex=RENEWAL_SECONDS)))
        except (RedisError, OSError) as error:
            raise Unavailable from error

    def _is_exempt(self, client: str) -> bool:
        try:
            # A dual-stack socket reports IPv4 clients as IPv6.
            address = read_network(client)[0]
        except ValueError:
            return False
        return any(address in network for network in self._exempt)

    async def _hit(self, limit: RateLimitItemPerHour, who: str, refusal: type[AppError]) -> None:
        key = self._tokens.hash("limit", who).hex()
        if not await answer_in_time(lambda: self._limiter.hit(limit, key)):
            window = await answer_in_time(lambda: self._limiter.get_window_stats(limit, key))
            seconds = max(1, math.ceil(window.reset_time - time.time()))
            raise refusal(headers={"Retry-After": str(seconds)})


def _network(client: str, prefix: int) -> str:
    """Return the counted network: an IPv4 address, or an IPv6 subscriber's (/64) or site's (/48) prefix."""
    try:
        parsed = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), prefix), strict=False))
