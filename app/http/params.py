"""Shared parameters of paths and queries."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query

from app.http.example_ids import JOB_ID, SHARE_ID, WORKSPACE_ID
from app.http.paging import MAX_ROW_ID

TypePath = Annotated[str, Path(description="Key of a template.", examples=["hello"])]
WorkspacePath = Annotated[UUID, Path(description="Of the workspace.", examples=[WORKSPACE_ID])]
JobPath = Annotated[UUID, Path(description="Of the job.", examples=[JOB_ID])]
SharePath = Annotated[UUID, Path(description="Of the share.", examples=[SHARE_ID])]

PageLimit = Annotated[int, Query(ge=1, le=100, description="Entries per page.")]
Before = Annotated[UUID | None, Query(description="`next` of the previous page.")]
BeforeRow = Annotated[int | None, Query(ge=1, le=MAX_ROW_ID, description="`next` of the previous page.")]
