"""Request and response headers in the relay, as bytes."""

TICKET = b"x-spawner-ticket"
END = b"\r\n\r\n"
_BODY = (b"content-length", b"transfer-encoding")


def split_ticket(head: bytes, *, upgrade: bool = True) -> tuple[bytes, str] | None:
    """Split the ticket from a request's head; None without a ticket.

    `upgrade`: also None unless the head is the entire request, a GET without body.
    """
    first, *lines = head.removesuffix(END).split(b"\r\n")
    kept, tickets = [first], []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or name != name.strip() or b"\n" in line or b"\r" in line:
            return None
        if name.lower() == TICKET:
            tickets.append(value.strip())
        else:
            kept.append(line)
    names = {line.partition(b":")[0].lower() for line in lines}
    if upgrade and not (first.startswith(b"GET ") and names.isdisjoint(_BODY)):
        return None
    if len(tickets) != 1 or not tickets[0].isascii():
        return None
    return b"\r\n".join(kept) + END, tickets[0].decode("ascii")


def body_length(head: bytes) -> int:
    """Return a request's body length from its head."""
    fields = [line.partition(b":") for line in head.removesuffix(END).split(b"\r\n")[1:]]
    found = [value.strip() for name, _, value in fields if name.lower() == b"content-length"]
    return int(found[0]) if len(found) == 1 and found[0].isdigit() else 0


def switching(head: bytes) -> bytes | None:
    """Normalise a 101 response for the proxy, which requires the keyword in Connection; None unless it opens a
    websocket.
    """
    fields = [line.partition(b":") for line in head.removesuffix(END).split(b"\r\n")[1:]]
    values = [(name.strip().lower(), value.strip().lower()) for name, _, value in fields]
    if [value for name, value in values if name == b"upgrade"] != [b"websocket"]:
        return None
    words = [word.strip() for name, value in values if name == b"connection" for word in value.split(b",")]
    return head if b"upgrade" in words else head.removesuffix(END) + b"\r\nConnection: Upgrade" + END
