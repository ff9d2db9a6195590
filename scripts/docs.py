"""Writes the notebooks as a small site that opens offline: `make docs`, then open _docs/index.html.

Pages are rendered by nbconvert, in reading order, each with all titles at its side; names of notebooks in prose lead to
their pages, and a figure's page shows the figure of the embedded study. The search looks through titles,
headings, prose and names in the browser, from a file beside the pages: nothing is loaded from elsewhere. Formulas
become MathML when the site is written, which browsers draw by themselves.
"""
import html
import json
import re
import sys
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ('corpora', 'models', 'metrics', 'strategies', 'sampling', 'study')
GROUPS = (('Read me', ['index']), ('Core', '[0-9]*'), *((o.title(), f'{i}_{o}/*') for i, o in enumerate(ROOMS, 1)),
          ('Experiments', 'experiments/*'), ('Figures', 'figures/*'))
LOOK = '''
body { margin: 0; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; color: #222; display: flex; }
nav { width: 17rem; flex: none; height: 100vh; overflow: auto; position: sticky; top: 0; background: #f6f7f8;
  padding: 1rem; box-sizing: border-box; font-size: .86rem; }
nav a { display: block; color: #333; text-decoration: none; padding: .12rem .3rem; border-radius: 3px; }
nav a.here, nav a:hover { background: #dfe7f1; } nav h4 { margin: 1rem 0 .2rem; color: #666; }
nav input[type=search] { width: 100%; box-sizing: border-box; padding: .35rem; } #menu, label { display: none; }
footer { display: flex; gap: 1rem; justify-content: space-between; border-top: 1px solid #ddd; margin-top: 3rem;
  padding-top: .8rem; } footer a { color: #245; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math; font-size: 1.06em; }
math[display=block] { overflow-x: auto; overflow-y: hidden; }
main { max-width: 56rem; min-width: 0; padding: 1rem 2rem 4rem; box-sizing: border-box; }
pre { overflow: auto; background: #f6f7f8; padding: .6rem .8rem; font-size: .84rem; line-height: 1.4; }
.jp-OutputArea-output pre, .output_area pre { background: none; padding: .2rem .8rem; }
blockquote { margin: 0 0 1rem; color: #555; border-left: 3px solid #ccc; padding-left: .8rem; }
table { border-collapse: collapse; font-size: .85rem; display: block; overflow: auto; }
td, th { border-bottom: 1px solid #ddd; padding: .2rem .6rem; text-align: left; } img { max-width: 100%; height: auto; }
.anchor-link, .jp-InputPrompt, .jp-OutputPrompt, .prompt { display: none; }
@media (max-width: 800px) { body { display: block; } nav { width: auto; height: auto; position: static; }
  main { padding: 1rem; } label { display: block; padding: .5rem .3rem 0; color: #245; } #all { display: none; }
  #menu:checked ~ #all { display: block; } nav a { padding: .3rem; } }
'''
FIND = '''
const box = document.querySelector('nav input[type=search]'), list = document.querySelector('#found');
box.addEventListener('input', () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean); list.replaceChildren();
  if (!words.length) return;
  const hits = PAGES.map(o => [words.reduce((s, w) => s + (o.title.toLowerCase().includes(w) ? 20 : 0)
      + o.text.split(w).length - 1, 0), o]).filter(o => words.every(w => (o[1].title.toLowerCase()+o[1].text).includes(w)));
  for (const [, o] of hits.sort((a, b) => b[0]-a[0]).slice(0, 12)) {
    const a = document.createElement('a'); a.href = UP + o.page; a.textContent = o.title; list.append(a); }
  if (!hits.length) list.textContent = 'nothing found'; });
'''


NAMED = r'<mi>(?:log|exp|max|min|ln|sin)</mi>'
BEFORE = r'(?=<m(?:i|n|sub|sup|frac|over)\b|<mo>&#x02211;)'


def mathml(tex: str, display: str = 'inline') -> str:
    "A formula as MathML, with its TeX as a title; names of functions keep their distance."
    out = convert(tex.strip().replace(r'\arg', r'\text{arg}\,'), display=display)
    if '\\' in out: raise ValueError(f'No MathML for {tex!r}: {out}')
    for name in (rf'({NAMED}){BEFORE}', rf'(<(m(?:under|sub))>{NAMED}(?:(?!</?m(?:under|sub)>).)*</\2>){BEFORE}'):
        out = re.sub(name, r'\1<mspace width="0.167em" />', out)
    out = out.replace('<mo>&#x02016;</mo>', '<mo stretchy="false">&#x02016;</mo>')
    return out.replace('<math ', f'<math title="{html.escape(tex.strip())}" ', 1)


class Renderer(IPythonRenderer):
    "Prose as HTML, formulas as MathML."
    def inline_math(self, body): return mathml(body)
    def block_math(self, body): return mathml(body, 'block')


class Exporter(HTMLExporter):
    "nbconvert's pages with formulas that need no script."
    @pass_context
    def markdown2html(self, context, source):
        return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)


EXPORTER = Exporter(template_name='basic')
EXPORTER.register_filter('clean_html', lambda text: text) # What it would clean is our own, and it takes half of the time


def sources() -> list:
    "(group, notebook) in reading order."
    out = []
    for group, names in GROUPS:
        found = [ROOT/'nbs'/f'{o}.ipynb' for o in names] if isinstance(names, list) else (ROOT/'nbs').glob(f'{names}.ipynb')
        out += [(group, o) for o in sorted(found, key=lambda o: [int(t) if t.isdigit() else t
                                                                 for t in re.split(r'(\d+)', o.stem)])]
    return out


def title(nb) -> str:
    "The first heading of a notebook."
    return next(o.source for o in nb.cells if o.cell_type=='markdown').split('\n')[0].lstrip('# ')


def body(nb) -> str:
    "A notebook as HTML, without cells that are hidden from readers."
    nb.cells = [o for o in nb.cells if not o.source.startswith('#| hide') and not o.source.startswith('#| default_exp')]
    for o in nb.cells:
        if o.cell_type=='code': o.source = re.sub(r'(?m)^#\| exports?\n', '', o.source)
    return re.sub(r'(href="[^":]+)\.ipynb', r'\1.html', EXPORTER.from_notebook_node(nb)[0])


def with_figure(nb, path: Path):
    "A figure's notebook, its committed picture below the introduction: it keeps no outputs of its own."
    number = re.match(r'fig(\d+)_', path.stem)
    if path.parent.name!='figures' or not (number or (ROOT/f'figures/{path.stem}.png').exists()): return nb
    how = f'make fig{number[1]}' if number else f'ambiscale figure {path.stem}'
    said = f'*The embedded study: toy models on synthetic speech. Drawn by `{how}`.*'
    nb.cells.insert(1, nbformat.v4.new_markdown_cell(f'![{title(nb)}](../pictures/{path.stem}.png)\n\n{said}'))
    return nb


NOTEBOOK = re.compile(r'(?s)<(pre|a)\b.*?</\1>|<code>(?:nbs/)?((?:experiments/|figures/|\d_\w+/)?)(\w+)(\.ipynb)?</code>')


def linked(content: str, name: str, names, up: str) -> str:
    "Prose in which `02_paper` and `nbs/figures/fig1_budget.ipynb` lead to their pages, where there are such."
    by_stem = {Path(o).stem: o for o in names}
    def link(found):
        folder, stem, ending = found[2] or '', found[3] or '', found[4]
        there = by_stem.get(stem, name)
        if not there.startswith(folder) or not (ending or re.match(r'\d\d_|fig\d', stem)): there = name
        return found[0] if there==name else f'<a href="{up}{there}">{found[0]}</a>'
    return NOTEBOOK.sub(link, content)


def page(name, content, pages, up) -> str:
    "A whole page."
    links, last = [], ''
    for o in pages:
        if o['group']!=last: links.append(f"<h4>{o['group']}</h4>"); last = o['group']
        here = ' class="here"' if o['page']==name else ''
        links.append(f'<a{here} href="{up}{o["page"]}">{html.escape(o["label"])}</a>')
    here = next(i for i, o in enumerate(pages) if o['page']==name)
    around = [(pages[i], way) for i, way in ((here-1, '← '), (here+1, '→ ')) if 0<=i<len(pages)]
    turn = ''.join(f'<a href="{up}{o["page"]}">{way}{html.escape(o["title"])}</a>' for o, way in around)
    here = pages[here]
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>{html.escape(here["title"])} · ambiscale_nb</title><link rel="stylesheet" href="{up}look.css">'
            f'<nav><input type="search" placeholder="search" aria-label="search"><div id="found"></div>'
            f'<label for="menu">all pages</label><input type="checkbox" id="menu"><div id="all">{"".join(links)}</div>'
            f'</nav><main>{content}<footer>{turn}</footer></main><script>const UP = {json.dumps(up)};</script>'
            f'<script src="{up}pages.js"></script><script src="{up}find.js"></script></html>')


def build(out: Path) -> int:
    "Write the site; how many pages."
    pages, bodies = [], {}
    for group, path in sources():
        nb = nbformat.read(path, as_version=4)
        name = str(path.relative_to(ROOT/'nbs').with_suffix('.html'))
        label = title(nb) if path.stem=='index' else f'{path.stem.split("_")[0]}  {title(nb)}' if path.stem[0].isdigit() \
            else title(nb)
        text = ' '.join(o.source for o in nb.cells).lower()
        pages.append(dict(page=name, group=group, title=title(nb), label=label, text=re.sub(r'\s+', ' ', text)))
        bodies[name] = body(with_figure(nb, path)).replace('src="figures/', 'src="pictures/')
    for name, content in bodies.items():
        target = out/name
        target.parent.mkdir(parents=True, exist_ok=True)
        up = '../' if '/' in name else ''
        target.write_text(page(name, linked(content, name, bodies, up), pages, up))
    (out/'pictures').mkdir(exist_ok=True)
    for o in (ROOT/'figures').glob('*.png'): (out/'pictures'/o.name).write_bytes(o.read_bytes())
    (out/'look.css').write_text(LOOK+HtmlFormatter().get_style_defs('.highlight'))
    shown = [{o: p[o] for o in ('page', 'title', 'text')} for p in pages]
    (out/'pages.js').write_text(f'const PAGES = {json.dumps(shown)};')
    (out/'find.js').write_text(FIND)
    return len(pages)


if __name__=='__main__':
    folder = Path(sys.argv[1]) if len(sys.argv)>1 else ROOT/'_docs'
    print(f'{build(folder)} pages: open {folder.name}/index.html')
