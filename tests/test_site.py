"""The site of the documentation builds, and every page and link of it leads somewhere."""

from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly: a page that is in no menu, a link or an anchor that does not exist ends it."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.stem / "index.html").is_file(), page
    for name in ("architecture", "changelog", "contributing", "log"):
        assert (site / name / "index.html").is_file(), name


def test_links_that_leave_the_folder_of_the_docs_lead_to_pages_of_the_site(site: Path) -> None:
    assert 'href="log/"' in (site / "index.html").read_text()
    assert 'src="images/mlflow_saved_view.png"' in (site / "index.html").read_text()
    assert 'src="../images/pareto_front.png"' in (site / "figures" / "index.html").read_text()
    assert (site / "images" / "pareto_front.png").is_file()
    assert "../benchmarks/LOG.md" not in (site / "choosing" / "index.html").read_text()


def test_no_script_is_published_and_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    assert not list(site.rglob("*.py"))
    assert "fonts.googleapis.com" not in (site / "index.html").read_text()
