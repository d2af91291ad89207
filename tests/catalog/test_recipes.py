"""The recipes of docs/templates.md are whole: they load as they are pasted, and are those that browsers walk."""

import re
from pathlib import Path

import pytest
import yaml

from app.catalog.loader import load_catalog
from app.catalog.templates import Template

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "templates.md").read_text()
RECIPES = {
    match[1]: match[0]
    for block in re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    if (match := re.match(r"  - key: (\w+)\n.*", block, re.DOTALL))
}


def pasted(folder: Path, recipe: str) -> Template:
    """The recipe at the end of the sample catalogue."""
    path = folder / "catalog.yaml"
    path.write_text((ROOT / "images" / "catalog.yaml").read_text() + recipe)
    return load_catalog(path).templates[-1]


def test_the_guide_has_a_recipe_for_each_application_that_was_walked() -> None:
    assert set(RECIPES) == {"marimo", "streamlit", "code"}


@pytest.mark.parametrize("key", RECIPES)
def test_a_recipe_loads_as_it_is_pasted(key: str, tmp_path: Path) -> None:
    template = pasted(tmp_path, RECIPES[key])
    assert (template.key, template.default) == (key, False)
    assert template.build is not None
    assert (ROOT / "tests" / "templates" / template.build / "Dockerfile").is_file()


@pytest.mark.parametrize("walked", yaml.safe_load((ROOT / "tests/templates/catalog.yaml").read_text())["templates"])
def test_a_recipe_says_what_the_walked_template_says_but_for_the_images_name(
    walked: dict[str, object], tmp_path: Path
) -> None:
    template = pasted(tmp_path, RECIPES[str(walked["key"])])
    ours = {"default": False, "image": template.image}
    assert template == Template.model_validate({**walked, **ours})
