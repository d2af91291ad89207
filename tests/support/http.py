"""Clients that speak HTTP to servers of a test."""

import ssl

import httpx

from tests.support.waiting import PATIENCE

# Reading the certificates costs a client 18 ms of processor.
_TLS = ssl.create_default_context()


def direct_client(base_url: str = "", *, timeout: float = PATIENCE) -> httpx.AsyncClient:
    """A client that asks no proxy of the environment."""
    return httpx.AsyncClient(base_url=base_url, timeout=timeout, trust_env=False, verify=_TLS)
