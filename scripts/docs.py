"""Writes the notebooks as a small site that opens offline: `make docs`, then open _docs/index.html.

Pages are rendered by nbconvert in reading order. Each has the rooms with their notebooks at its left and its own
contents at its right. Names of notebooks in prose are links, and a figure's page shows the figure of the embedded
study. The search runs in the browser on a file next to the pages; it finds sections, those that define a name first.
Nothing is loaded from elsewhere. Formulas become MathML when the site is written, which browsers draw without a script.
"""
import ast
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
GROUPS = (('Read me', ['index']), ('Core', ['[0-9]*']), *((o.title(), [f'{i}_{o}/*']) for i, o in enumerate(ROOMS, 1)),
          ('Experiments', ['experiments/*']), ('Figures', ['figures/*']))
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
main { max-width: 56rem; min-width: 0; flex: 1; padding: 1rem 2rem 4rem; box-sizing: border-box; }
aside { width: 14rem; flex: none; position: sticky; top: 0; max-height: 100vh; overflow: auto; font-size: .84rem;
  padding: 1.4rem 1rem; box-sizing: border-box; } aside b { color: #666; }
aside a { display: block; color: #245; text-decoration: none; padding: .12rem 0; }
aside a:hover { text-decoration: underline; }
aside a.h3 { padding-left: .9rem; } #found a { margin-bottom: .2rem; } #found small { display: block; color: #666; }
pre { overflow: auto; background: #f6f7f8; padding: .6rem .8rem; font-size: .84rem; line-height: 1.4; }
.jp-OutputArea-output pre, .output_area pre { background: none; padding: .2rem .8rem; }
blockquote { margin: 0 0 1rem; color: #555; border-left: 3px solid #ccc; padding-left: .8rem; }
table { border-collapse: collapse; font-size: .85rem; display: block; overflow: auto; }
td, th { border-bottom: 1px solid #ddd; padding: .2rem .6rem; text-align: left; } img { max-width: 100%; height: auto; }
.anchor-link, .jp-InputPrompt, .jp-OutputPrompt, .prompt { display: none; }
@media (max-width: 1100px) { body { flex-direction: column; } main { padding: 1rem; width: 100%; }
  nav { order: -2; width: 100%; height: auto; max-height: 70vh; position: static; } nav a { padding: .3rem; }
  aside { order: -1; width: 100%; max-height: 9rem; position: static; padding: .6rem 1rem; background: #fafafa; }
  label { display: block; padding: .5rem .3rem 0; color: #245; }
  #all { display: none; } #menu:checked ~ #all { display: block; } }
'''
FIND = '''
const box = document.querySelector('nav input[type=search]'), list = document.querySelector('#found');
const score = (o, w) => (o.names.includes(w) ? 1000 : o.names.some(n => n.startsWith(w)) ? 100 : 0)
  + (o.heading.toLowerCase().includes(w) ? 30 : 0) + (o.title.toLowerCase().includes(w) ? 10 : 0)
  + Math.min(o.text.split(w).length - 1, 8);
box.addEventListener('input', () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  list.replaceChildren();
  if (!words.length) return;
  const hits = SECTIONS.map(o => [words.map(w => score(o, w)), o]).filter(([s]) => s.every(Boolean))
    .map(([s, o]) => [s.reduce((x, y) => x + y), o]).sort((a, b) => b[0] - a[0]);
  for (const [, o] of hits.slice(0, 15)) {
    const a = document.createElement('a'), small = document.createElement('small');
    a.href = UP + o.page + (o.anchor && '#' + encodeURIComponent(o.anchor));
    a.textContent = o.heading || o.title;
    small.textContent = o.heading && o.title;
    a.append(small);
    list.append(a);
  }
  if (!hits.length) list.textContent = 'nothing found';
});
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
EXPORTER.register_filter('clean_html', lambda text: text) # The text is our own, and cleaning takes half of the time


def sources() -> list:
    "(group, notebook) in reading order."
    out = []
    for group, names in GROUPS:
        found = [o for name in names for o in (ROOT/'nbs').glob(f'{name}.ipynb')]
        out += [(group, o) for o in sorted(found, key=lambda o: [int(t) if t.isdigit() else t
                                                                 for t in re.split(r'(\d+)', o.stem)])]
    return out


def title(nb) -> str:
    "The first heading of a notebook."
    return next(o.source for o in nb.cells if o.cell_type=='markdown').split('\n')[0].lstrip('# ')


def defined(code: str) -> list:
    "Lower-case names that an exported cell defines."
    if not re.search(r'(?m)^#\| *exports?i?\b', code): return []
    out = []
    for o in ast.parse(code).body:
        if isinstance(o, ast.FunctionDef|ast.ClassDef): out.append(o.name)
        if isinstance(o, ast.Assign): out += [x.id for x in o.targets if isinstance(x, ast.Name)]
    return [o.lower() for o in out]


def sections(nb) -> list:
    "The headings of a notebook with anchor, text and the names that each defines; the first has no heading."
    out = [dict(level=1, heading='', anchor='', text='', names=[])]
    for cell in nb.cells:
        parts = [cell.source]
        if cell.cell_type=='markdown': # Headings inside of code are none
            parts = re.split(r'(?m)^(#{2,3} .+)$', re.sub(r'(?ms)^```.*?^```', '', cell.source))
        for part in parts:
            found = re.fullmatch(r'(#{2,3}) (.+)', part) if cell.cell_type=='markdown' else None
            if found:
                heading = re.sub(r'[`*]', '', found[2])
                out.append(dict(level=len(found[1]), heading=heading, anchor=heading.replace(' ', '-'), text='',
                                names=[]))
            out[-1]['text'] += ' '+re.sub(r'\s+', ' ', part).lower()
        if cell.cell_type=='code': out[-1]['names'] += defined(cell.source)
    return out


def body(nb) -> str:
    "A notebook as HTML, without cells that are hidden from readers."
    nb.cells = [o for o in nb.cells if not o.source.startswith('#| hide') and not o.source.startswith('#| default_exp')]
    for o in nb.cells:
        if o.cell_type=='code': o.source = re.sub(r'(?m)^#\| exports?i?\n', '', o.source)
    return re.sub(r'(href="[^":]+)\.ipynb', r'\1.html', EXPORTER.from_notebook_node(nb)[0])


def with_figure(nb, path: Path):
    "A figure's notebook, its committed picture below the introduction: it keeps no outputs of its own."
    number = re.match(r'fig(\d+)_', path.stem)
    if path.parent.name!='figures' or not (number or (ROOT/f'figures/{path.stem}.png').exists()): return nb
    how = f'make fig{number[1]}' if number else f'ambiscale figure {path.stem}'
    what = 'Public answers of real models, re-analysed' if path.stem=='fig11_real' else \
        'The embedded study: toy models on synthetic speech'
    said = f'*{what}. Drawn by `{how}`.*'
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
    "A whole page: all notebooks, its content, its contents list."
    links, last = [], ''
    for o in pages:
        if o['group']!=last: links.append(f"<h4>{o['group']}</h4>"); last = o['group']
        here = ' class="here"' if o['page']==name else ''
        links.append(f'<a{here} href="{up}{o["page"]}">{html.escape(o["label"])}</a>')
    here = next(i for i, o in enumerate(pages) if o['page']==name)
    around = [(pages[i], way) for i, way in ((here-1, '← '), (here+1, '→ ')) if 0<=i<len(pages)]
    turn = ''.join(f'<a href="{up}{o["page"]}">{way}{html.escape(o["title"])}</a>' for o, way in around)
    here = pages[here]
    parts = ''.join(f'<a class="h{o["level"]}" href="#{html.escape(o["anchor"])}">{html.escape(o["heading"])}</a>'
                    for o in here['sections'][1:])
    aside = f'<aside><b>On this page</b>{parts}</aside>' if parts else ''
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>{html.escape(here["title"])} · ambiscale_nb</title><link rel="stylesheet" href="{up}look.css">'
            f'<nav><input type="search" placeholder="search" aria-label="search"><div id="found"></div>'
            f'<label for="menu">all pages</label><input type="checkbox" id="menu"><div id="all">{"".join(links)}</div>'
            f'</nav><main>{content}<footer>{turn}</footer></main>{aside}<script>const UP = {json.dumps(up)};</script>'
            f'<script src="{up}pages.js"></script><script src="{up}find.js"></script></html>')


def build(out: Path) -> int:
    "Write the site; how many pages."
    pages, bodies = [], {}
    for group, path in sources():
        nb = nbformat.read(path, as_version=4)
        name = str(path.relative_to(ROOT/'nbs').with_suffix('.html'))
        label = f'{path.stem.split("_")[0]}  {title(nb)}' if path.stem[0].isdigit() else title(nb)
        pages.append(dict(page=name, group=group, title=title(nb), label=label, sections=sections(nb)))
        bodies[name] = body(with_figure(nb, path)).replace('src="figures/', 'src="pictures/')
    for name, content in bodies.items():
        target = out/name
        target.parent.mkdir(parents=True, exist_ok=True)
        up = '../' if '/' in name else ''
        target.write_text(page(name, linked(content, name, bodies, up), pages, up))
    (out/'pictures').mkdir(exist_ok=True)
    for o in (ROOT/'figures').glob('*.png'): (out/'pictures'/o.name).write_bytes(o.read_bytes())
    (out/'look.css').write_text(LOOK+HtmlFormatter().get_style_defs('.highlight'))
    found = [dict(page=p['page'], title=p['title']) | o for p in pages for o in p['sections']]
    (out/'pages.js').write_text(f'const SECTIONS = {json.dumps(found)};')
    (out/'find.js').write_text(FIND)
    return len(pages)


if __name__=='__main__':
    folder = Path(sys.argv[1]) if len(sys.argv)>1 else ROOT/'_docs'
    print(f'{build(folder)} pages: open {folder.name}/index.html')
