"""The suite runs the catalogue's own sample images."""

from tests.e2e.conftest import sample_images

__all__ = ["sample_images"]
