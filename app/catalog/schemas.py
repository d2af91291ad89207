"""Response bodies of the catalogue."""

from typing import Self

from pydantic import BaseModel, Field

from app.catalog.images import ImageState
from app.catalog.templates import Template
from app.core.i18n import Locale


class TemplateOut(BaseModel):
    """One template, in the caller's language."""

    type: str = Field(examples=["hello"])
    display_name: str = Field(examples=["Hello"])
    description: str = Field(examples=["A small page that shows where you are."])
    default: bool = Field(description="Whether a sign-in launches it.")
    memory_bytes: int = Field(examples=[67108864])
    cpus: float = Field(examples=[0.5])
    keeps_files: bool = Field(description="Whether it has a volume, whose files outlive a restart.")
    image: ImageState | None = Field(
        None, description="Set while the image's first build on the server runs (launches wait for it) or has failed."
    )

    @classmethod
    def of(cls, template: Template, locale: Locale, states: dict[str, ImageState]) -> Self:
        """Build the response in one language, with the build state of the image."""
        return cls(
            type=template.key,
            display_name=template.name.format(locale),
            description=template.description.format(locale),
            default=template.default,
            memory_bytes=template.limits.memory,
            cpus=template.limits.cpus,
            keeps_files=template.volume is not None,
            image=states.get(template.image),
        )


class TemplatesOut(BaseModel):
    """The catalogue."""

    templates: list[TemplateOut]
