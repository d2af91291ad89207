"""What browsers say about the purpose of a request (Fetch Metadata)."""

from starlette.datastructures import Headers


def opens_page(headers: Headers) -> bool:
    """Whether the answer becomes the page that a person has asked for.

    False for an image, a frame, a script's fetch and a prefetch. Programs say nothing of the kind, and are believed.
    """
    dest, mode = headers.get("sec-fetch-dest", "document"), headers.get("sec-fetch-mode", "navigate")
    return dest == "document" and mode == "navigate" and not is_prefetch(headers)


def is_prefetch(headers: Headers) -> bool:
    """Whether a browser asks ahead of time, for a page that nobody may ever open."""
    return "sec-purpose" in headers or headers.get("purpose") == "prefetch"
