"""`python -m app`: one API process."""

from app.http.server import read_addresses, serve
from app.main import create_app

if __name__ == "__main__":
    addresses, shared = read_addresses("127.0.0.1:8000", "Serve the API and the pages.")
    serve(create_app, addresses, shared=shared)
