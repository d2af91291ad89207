"""Images of the catalogue are fetched before anybody asks for them."""

import pytest

from app.catalog.images import image_key
from app.resources import Resources
from app.runtime.base import ImageMissing, ImagePullFailed, Report
from tests.conftest import TestWorker
from tests.support.fakes import FakeRuntime
from workers.loops.prepull import pull_missing, turn_key, wanted

IMAGE = "registry.example.org/app:1"


async def test_a_missing_image_is_fetched_and_one_that_is_there_is_not(
    worker: TestWorker, runtime: FakeRuntime
) -> None:
    assert not await pull_missing(worker.context, IMAGE)
    runtime.missing.add(IMAGE)
    assert await pull_missing(worker.context, IMAGE)
    assert not await pull_missing(worker.context, IMAGE)
    assert runtime.pulled == [IMAGE]


@pytest.mark.parametrize("fault", [ImageMissing("no registry has it"), ImagePullFailed("the way broke")])
async def test_a_failure_is_followed_by_growing_pauses(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, fault: Exception
) -> None:
    async def fail(image: str, report: Report) -> None:
        raise fault

    runtime.missing.add(IMAGE)
    runtime.before_pull = fail
    pauses, key = [], turn_key(resources.settings.instance, IMAGE)
    for _ in range(8):
        assert not await pull_missing(worker.context, IMAGE)
        assert not await pull_missing(worker.context, IMAGE)
        pauses.append(await resources.redis.ttl(key))
        await resources.redis.delete(key)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


async def test_an_image_that_is_being_built_is_left_to_its_builder(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.missing.add(IMAGE)
    await resources.redis.set(image_key(resources.settings.instance, IMAGE), "building")
    assert not await pull_missing(worker.context, IMAGE)
    assert runtime.pulled == []


async def test_images_that_are_built_here_are_not_asked_of_any_registry(worker: TestWorker) -> None:
    assert wanted(worker.context) == []
    one, *others = worker.context.resources.catalog.templates
    templates = (one.model_copy(update={"image": IMAGE, "build": None}), *others)
    object.__setattr__(worker.context.resources.catalog, "templates", templates)
    assert wanted(worker.context) == [IMAGE]
