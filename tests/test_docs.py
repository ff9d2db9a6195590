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
    assert pages[0]=='index.html' and pages.index('01_core.html')<pages.index('4_strategies/02_paper.html')
    assert pages.index('figures/fig2_strategies.html')<pages.index('figures/fig10_utterance.html')


def test_links_and_pictures_lead_somewhere_and_nothing_comes_from_elsewhere(site):
    for path in site.rglob('*.html'):
        text = path.read_text()
        assert not re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//', text), path
        for target in re.findall(r'(?:href|src)="([^"#:]+)"', text):
            assert (path.parent/target).resolve().exists(), f'{path.name} -> {target}'


def test_pages_show_prose_code_and_outputs_and_no_marks_of_the_exporter(site):
    text = (site/'4_strategies/03_budget.html').read_text()
    assert 'oracle_loss' in text and 'class="highlight' in text and '<table' in text+(site/'3_metrics/01_metrics.html').read_text()
    for path in site.rglob('*.html'): assert not re.search(r'#\| ?(export|hide|default_exp)', path.read_text()), path


def test_pictures_keep_their_proportions(site):
    "The width and height of an <img> hold where no rule sets both; a rule on its own element would win over ours."
    tags = [o for path in site.rglob('*.html') for o in re.findall(r'<img[^>]*>', path.read_text())]
    assert any(' height=' in o for o in tags) and not any(' style=' in o for o in tags)
    rules = re.findall(r'([^{}]+)\{([^{}]*)\}', (site/'look.css').read_text())
    mine = [rule for names, rule in rules if re.search(r'(?:^|[\s,>])img\b', names)]
    assert len(mine)==1 and re.findall(r'[\w-]+: [^;]+', mine[0].strip())==['max-width: 100%', 'height: auto']


def test_the_page_of_a_figure_shows_the_figure_and_whose_it_is(site):
    shown = 0
    for book in (ROOT/'nbs/figures').glob('*.ipynb'):
        text = (site/'figures'/f'{book.stem}.html').read_text()
        number = re.match(r'fig(\d+)_', book.stem)
        how = f'make fig{number[1]}' if number else f'ambiscale figure {book.stem}'
        if number or (ROOT/f'figures/{book.stem}.png').exists():
            before, picture, after = text.partition(f'src="../pictures/{book.stem}.png"')
            assert picture and 'class="highlight' not in before, book.stem # above the code
            assert re.search(rf'^[^<]*>[^<]*</p>\s*<p><em>The embedded study: [^<]*<code>{how}</code>', after), book.stem
            shown += 1
        else: assert '../pictures/' not in text and 'Drawn by' not in text
    assert shown==len(list((ROOT/'figures').glob('*.png')))


def test_names_of_notebooks_are_links_to_their_pages(site):
    pages = {o.stem: o for o in site.rglob('*.html')}
    named = set()
    for path in (site/'index.html', site/'6_study/03_cards.html', site/'figures/claims.html'):
        prose = re.sub(r'(?s)<pre\b.*?</pre>', '', path.read_text())
        for link, words in re.findall(r'(<a href="[^"]+">)?<code>([^<]+)</code>', prose):
            stem = Path(words).stem
            if stem in pages and (stem[0].isdigit() or stem.startswith('fig') or words.endswith('.ipynb')):
                assert link and (path.parent/link.split('"')[1]).resolve()==pages[stem].resolve(), (path.name, words)
                named.add(words)
            else: assert not link, (path.name, words)
    assert {'02_paper', '03_cards', 'nbs/figures/fig1_budget.ipynb', 'fig10_utterance.ipynb', 'nbs/6_study/05_claims.ipynb',
            '11_ambiguity', '05_claims'}<=named


@pytest.mark.parametrize(('text', 'target'), [
    ('<code>02_paper</code>', '02_paper'), ('<code>nbs/figures/fig3_size.ipynb</code>', 'figures/fig3_size'),
    ('<code>fig3_size</code>', 'figures/fig3_size'), ('<code>claims.ipynb</code>', 'figures/claims'),
    ('<code>claims</code>', None), ('<code>99_none</code>', None), ('<code>experiments/fig3_size</code>', None),
    ('<code>01_core</code>', None), ('<a href="x"><code>02_paper</code></a>', None),
    ('<pre><code>02_paper</code></pre>', None), ('<code>figures/</code>', None)])
def test_a_name_is_a_link_where_it_names_another_page(text, target):
    pages = ('01_core.html', '4_strategies/02_paper.html', 'figures/fig3_size.html', 'figures/claims.html')
    assert docs.linked(text, '01_core.html', pages, '')==(f'<a href="{target}.html">{text}</a>' if target else text)


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
    assert shown>50 and '<mfrac' in (site/'4_strategies/03_budget.html').read_text()


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
    assert any('gain_shares' in o['text'] and o['page']=='3_metrics/03_gain.html' for o in found)


def test_the_makefile_builds_what_git_ignores():
    assert 'scripts/docs.py' in (ROOT/'Makefile').read_text()
    assert '_docs/' in (ROOT/'.gitignore').read_text().split() and Path(docs.__file__).parent.name=='scripts'
