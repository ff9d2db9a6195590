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


FORMULAS = re.compile(r'\$\$.+?\$\$|\$[^$\n`]+(?:\n[^$\n`]+)?\$', re.S)


def test_formulas_are_drawn_by_the_browser_and_none_is_left_in_tex(site):
    shown = 0
    for path in site.rglob('*.html'):
        source = ROOT/'nbs'/path.relative_to(site).with_suffix('.ipynb')
        prose = [''.join(o['source']) for o in json.loads(source.read_text())['cells'] if o['cell_type']=='markdown']
        prose = [re.sub(r'(?ms)^```.*?^```|`[^`]*`', '', o) for o in prose]
        want = sum(len(FORMULAS.findall(o)) for o in prose)
        text = path.read_text()
        assert text.count('<math ')==want, path.name
        rest = re.sub(r'(?s)<(pre|code|math)\b.*?</\1>', '', text)
        assert not re.search(r'\$[^$<]*\\[a-z]+|\\(?:frac|sum|hat|binom)\b', rest), path.name
        shown += want
    assert shown>50 and '<mfrac' in (site/'51_budget.html').read_text()


@pytest.mark.parametrize(('tex', 'parts'), [
    (r'\frac12', ('<mfrac><mn>1</mn><mn>2</mn></mfrac>',)),
    (r'\arg\max_k m_k', ('<mtext>arg</mtext>', '<mo>max</mo>')),
    (r'\log p', ('<mi>log</mi><mspace', '<mi>p</mi>')), (r'\log(p)', ('<mi>log</mi><mo',)),
    ('a<b', ('title="a&lt;b"', '&#x0003C;'))])
def test_a_formula_becomes_mathml(tex, parts):
    found = docs.mathml(tex)
    assert found.startswith('<math ') and all(o in found for o in parts), found


def test_a_formula_without_mathml_is_an_error_and_not_text():
    with pytest.raises(ValueError, match='No MathML for'): docs.mathml(r'\nosuchthing x')


def test_pages_lead_on_in_reading_order(site):
    pages = [o['page'] for o in json.loads((site/'pages.js').read_text()[len('const PAGES = '):-1])]
    for before, after in zip(pages, pages[1:], strict=False):
        foot = re.search(r'<footer>(.*)</footer>', (site/before).read_text())[1]
        links = [((site/before).parent/o).resolve() for o in re.findall(r'href="([^"]+)"', foot)]
        assert (site/after).resolve() in links


def test_the_search_knows_names_and_headings(site):
    found = json.loads((site/'pages.js').read_text()[len('const PAGES = '):-1])
    assert any('donor_test' in o['text'] and o['page']=='62_gain.html' for o in found)


def test_the_makefile_builds_what_git_ignores():
    assert 'scripts/docs.py' in (ROOT/'Makefile').read_text()
    assert '_docs/' in (ROOT/'.gitignore').read_text().split() and Path(docs.__file__).parent.name=='scripts'
