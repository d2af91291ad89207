"""A Caddy whose sites are named as in production, TLS before it, and pages for a browser."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import reserved_port
from tests.support.proxy import Edge, Peer, Switchboard, caddy, serving

HOME, APPS = "spawner.team.localhost", "apps.team.localhost"


def certificate(folder: Path) -> ssl.SSLContext:
    """A context with a certificate that nobody but this browser takes."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOME)])
    names = x509.SubjectAlternativeName([x509.DNSName(HOME), x509.DNSName(f"*.{APPS}")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    dated = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    signed = dated.add_extension(names, critical=False)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    file = folder / "certificate.pem"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def tls(context: ssl.SSLContext, port: int) -> AsyncIterator[int]:
    """Take TLS off in front of a port of this machine; yields where."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, outer), copy(inner, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture(scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """A Caddy whose sites are named as in production."""
    port, api, peer = reserved_port(), Switchboard(), Peer()
    async with (
        serving(api) as api_port,
        caddy(
            tmp_path_factory.mktemp("caddy"), port, f"http://*.{APPS}:{port}", api_port, f"http://{HOME}:{port}"
        ) as log,
    ):
        yield Edge("host", port, api, peer, 0, log)


def page(text: str, *more: str) -> bytes:
    head = ["HTTP/1.1 200 OK", "Content-Type: text/html", f"Content-Length: {len(text)}", *more]
    return "\r\n".join([*head, "", text]).encode()
