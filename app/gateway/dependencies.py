"""Dependencies of the gateway's router."""

from typing import Annotated

from fastapi import Depends, Request

from app.gateway.last_activity import Activity
from app.gateway.token_entries import TokenEntries
from app.gateway.websocket_relay import Relay


async def get_activity(request: Request) -> Activity:
    """What the process has noted of the use of workspaces."""
    activity: Activity = request.app.state.activity
    return activity


ActivityDep = Annotated[Activity, Depends(get_activity)]


async def get_relay(request: Request) -> Relay:
    """What carries the process's websockets."""
    relay: Relay = request.app.state.relay
    return relay


RelayDep = Annotated[Relay, Depends(get_relay)]


async def get_token_entries(request: Request) -> TokenEntries:
    """What the process knows to be written of tokens that entered workspaces."""
    entries: TokenEntries = request.app.state.token_entries
    return entries


TokenEntriesDep = Annotated[TokenEntries, Depends(get_token_entries)]
