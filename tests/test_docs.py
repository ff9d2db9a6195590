"""The site of `make docs`: every notebook is a page, every link leads somewhere, and nothing is loaded from elsewhere."""
import json
import re
import sys
from pathlib import Path

import pytest

from ambiscale_nb.core import ROOT

sys.path.insert(0, str(ROOT/'scripts'))
import docs  # noqa: E402


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('docs')
    docs.build(out)
    return out


def test_every_notebook_is_a_page_in_reading_order(site):
    pages = [o['page'] for o in json.loads((site/'pages.js').read_text()[len('const PAGES = '):-1])]
    books = [o for o in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in str(o)]
    assert sorted(pages)==sorted(str(o.relative_to(ROOT/'nbs').with_suffix('.html')) for o in books)
    assert pages[0]=='index.html' and pages.index('00_core.html')<pages.index('50_strategies.html')
    assert pages.index('figures/fig2_strategies.html')<pages.index('figures/fig10_utterance.html')


def test_links_and_pictures_lead_somewhere_and_nothing_comes_from_elsewhere(site):
    for path in site.rglob('*.html'):
        text = path.read_text()
        assert not re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//', text), path
        for target in re.findall(r'(?:href|src)="([^"#:]+)"', text):
            assert (path.parent/target).resolve().exists(), f'{path.name} -> {target}'


def test_pages_show_prose_code_and_outputs_and_no_marks_of_the_exporter(site):
    text = (site/'51_budget.html').read_text()
    assert 'pass_at_k' in text and 'class="highlight' in text and '<table' in text+(site/'60_metrics.html').read_text()
    for path in site.rglob('*.html'): assert not re.search(r'#\| ?(export|hide|default_exp)', path.read_text()), path


def test_the_search_knows_names_and_headings(site):
    found = json.loads((site/'pages.js').read_text()[len('const PAGES = '):-1])
    assert any('donor_test' in o['text'] and o['page']=='62_gain.html' for o in found)


def test_the_makefile_builds_what_git_ignores():
    assert 'scripts/docs.py' in (ROOT/'Makefile').read_text()
    assert '_docs/' in (ROOT/'.gitignore').read_text().split() and Path(docs.__file__).parent.name=='scripts'
