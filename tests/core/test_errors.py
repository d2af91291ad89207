"""Codes of errors are what clients switch on."""

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator

import app
from app.core.errors import AppError


def subclasses(error: type[AppError]) -> Iterator[type[AppError]]:
    for child in error.__subclasses__():
        yield child
        yield from subclasses(child)


def test_each_code_is_declared_by_one_class() -> None:
    for module in pkgutil.walk_packages(app.__path__, "app."):
        importlib.import_module(module.name)
    declared = defaultdict(list)
    for error in subclasses(AppError):
        if "code" in vars(error) and error.__module__.startswith("app."):
            declared[error.code].append(error.__qualname__)
    assert len(declared) > 40
    assert {code: names for code, names in declared.items() if len(names) > 1} == {}
