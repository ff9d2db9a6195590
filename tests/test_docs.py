"The site of `make docs`: every notebook is a page, every link leads somewhere, the search lands on definitions."
import html
import json
import re
import shutil
import subprocess
import sys
import pytest
from waiting import PATIENCE
from ambiscale_nb.core import ROOT
sys.path.insert(0, str(ROOT/'scripts'))
import docs  # noqa: E402

FORMULAS = re.compile(r'\$\$.+?\$\$|\$[^$\n`]+(?:\n[^$\n`]+)?\$', re.S)

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The folder, the text of every page by its name, and the sections that the search knows."
    out = tmp_path_factory.mktemp('docs')
    docs.build(out)
    found = json.loads((out/'pages.js').read_text()[len('const SECTIONS = '):-1])
    return out, {o.relative_to(out).as_posix(): o.read_text() for o in out.rglob('*.html')}, found

def test_every_notebook_is_a_page_in_reading_order(site):
    root, texts, found = site
    pages = list(dict.fromkeys(o['page'] for o in found))
    books = [o for o in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in str(o)]
    assert {*pages}=={*texts}=={o.relative_to(ROOT/'nbs').with_suffix('.html').as_posix() for o in books}
    assert pages[0]=='index.html' and pages.index('01_core.html')<pages.index('4_strategies/02_paper.html')
    assert pages.index('figures/fig2_strategies.html')<pages.index('figures/fig10_utterance.html')
    for before, after in zip(pages, pages[1:], strict=False):
        foot = re.search(r'<footer>(.*)</footer>', texts[before])[1]
        links = [((root/before).parent/o).resolve() for o in re.findall(r'href="([^"]+)"', foot)]
        assert (root/after).resolve() in links

def test_links_pictures_and_anchors_lead_somewhere_and_nothing_comes_from_elsewhere(site):
    root, texts, found = site
    tags, headings = [], {o['page']: {x['anchor'] for x in found if x['page']==o['page']}-{''} for o in found}
    for name, text in texts.items():
        assert not re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//', text), name
        for target in re.findall(r'(?:href|src)="([^"#:]+)"', text):
            assert ((root/name).parent/target).resolve().exists(), f'{name} -> {target}'
        assert headings[name]<={*re.findall(r'id="([^"]+)"', text)}, name # where the search lands
        listed = ''.join(re.findall('<aside>(.*?)</aside>', text))
        assert headings[name]=={html.unescape(o) for o in re.findall(r'href="#([^"]+)"', listed)}
        assert not re.search(r'#\| ?(export|hide|default_exp)', text), name
        tags += re.findall(r'<img[^>]*>', text)
    # pictures keep their proportions: one rule sets both, and no element has a style of its own
    assert any(' height=' in o for o in tags) and not any(' style=' in o for o in tags)
    rules = re.findall(r'([^{}]+)\{([^{}]*)\}', (root/'look.css').read_text())
    mine = [rule for names, rule in rules if re.search(r'(?:^|[\s,>])img\b', names)]
    assert len(mine)==1 and re.findall(r'[\w-]+: [^;]+', mine[0].strip())==['max-width: 100%', 'height: auto']

def test_the_page_of_a_figure_shows_the_figure_and_where_it_is_from(site):
    shown = 0
    for book in (ROOT/'nbs/figures').glob('*.ipynb'):
        text = site[1][f'figures/{book.stem}.html']
        number = re.match(r'fig(\d+)_', book.stem)
        how = f'make fig{number[1]}' if number else f'ambiscale figure {book.stem}'
        if number or (ROOT/f'figures/{book.stem}.png').exists():
            before, picture, after = text.partition(f'src="../pictures/{book.stem}.png"')
            assert picture and 'class="highlight' not in before, book.stem # above the code
            whose = 'Public answers of real models' if book.stem=='fig11_real' else 'The embedded study: '
            assert re.search(rf'^[^<]*>[^<]*</p>\s*<p><em>{whose}[^<]*<code>{how}</code>', after), book.stem
            shown += 1
        else: assert '../pictures/' not in text and 'Drawn by' not in text
    assert shown==len(list((ROOT/'figures').glob('*.png')))

@pytest.mark.parametrize(('text', 'target'), [
    ('<code>02_paper</code>', '4_strategies/02_paper'), ('<code>claims</code>', None), ('<code>99_none</code>', None),
    ('<code>nbs/figures/fig3_size.ipynb</code>', 'figures/fig3_size'), ('<code>fig3_size</code>', 'figures/fig3_size'),
    ('<code>claims.ipynb</code>', 'figures/claims'), ('<code>experiments/fig3_size</code>', None),
    ('<code>01_core</code>', None), ('<a href="x"><code>02_paper</code></a>', None),
    ('<pre><code>02_paper</code></pre>', None), ('<code>figures/</code>', None)])
def test_a_name_is_a_link_where_it_names_another_page(text, target):
    pages = ('01_core.html', '4_strategies/02_paper.html', 'figures/fig3_size.html', 'figures/claims.html')
    assert docs.linked(text, '01_core.html', pages, '')==(f'<a href="{target}.html">{text}</a>' if target else text)

def test_formulas_are_drawn_by_the_browser_and_none_is_left_in_tex(site):
    shown = 0
    for name, text in site[1].items():
        cells = json.loads((ROOT/'nbs'/name).with_suffix('.ipynb').read_text())['cells']
        prose = [''.join(o['source']) for o in cells if o['cell_type']=='markdown']
        want = sum(len(FORMULAS.findall(re.sub(r'(?ms)^```.*?^```|`[^`]*`', '', o))) for o in prose)
        assert text.count('<math ')==want, name
        rest = re.sub(r'(?s)<(pre|code|math)\b.*?</\1>', '', text)
        assert not re.search(r'\$[^$<]*\\[a-z]+|\\(?:frac|sum|hat|binom)\b', rest), name
        shown += want
    assert shown>50

@pytest.mark.parametrize(('tex', 'parts'), [
    (r'\frac12', ('<mfrac><mn>1</mn><mn>2</mn></mfrac>',)), (r'\arg\max_k m_k', ('<mtext>arg</mtext>', '<mo>max</mo>')),
    (r'\log p', ('<mi>log</mi><mspace', '<mi>p</mi>')), (r'\log(p)', ('<mi>log</mi><mo',)),
    ('a<b', ('title="a&lt;b"', '&#x0003C;')), (r'\nosuchthing x', None)])
def test_a_formula_becomes_mathml_or_an_error(tex, parts):
    if parts is None:
        with pytest.raises(ValueError, match='No MathML for'): docs.mathml(tex)
    else: assert docs.mathml(tex).startswith('<math ') and all(o in docs.mathml(tex) for o in parts)

@pytest.mark.parametrize('word', ['gain_shares', 'plain_rows', 'entropy'])
def test_the_search_lands_on_the_section_that_defines_a_name(site, word):
    homes = {(o['page'], o['anchor']) for o in site[2] if word in o['names']}
    assert homes, f'no section defines {word}'
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
    if not chromium: pytest.skip('apt-get install chromium')
    page = site[0]/'try.html'
    page.write_text((site[0]/'index.html').read_text().replace('</html>', f'<script>box.value = "{word}"; '
        'box.dispatchEvent(new Event("input"));</script></html>'))
    command = [chromium, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={site[0]}/../chrome', '--dump-dom']
    dom = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=PATIENCE).stdout
    first = re.search(r'id="found"><a href="([^"#]+)(?:#([^"]*))?"', dom)
    assert (first[1], (first[2] or '').replace('%20', ' ')) in homes
