"House style, rule by rule, on every notebook; and what the repository promises about itself."
import ast
import configparser
import fnmatch
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
import pytest
import yaml
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
from check import library  # noqa: E402
LIBRARY = library()
RUNS = sorted(ROOT.glob('nbs/experiments/*.ipynb'))+sorted(ROOT.glob('nbs/figures/*.ipynb'))
ORDER = {o.relative_to(ROOT/'nbs').with_suffix('').as_posix(): i for i, o in enumerate(LIBRARY)
         if o.stem not in ('index', '00_tour')}
MODULES = {f'ambiscale_nb.{m[1]}': ORDER[k] for k in ORDER
           if (m := re.search(r'#\| default_exp ([\w.]+)', (ROOT/f'nbs/{k}.ipynb').read_text()))}
LONGEST, WIDEST, IN_A_ROW = 25, 100, 2 # lines of an export cell, columns, export cells
HEAVY = ('torch', 'transformers', 'pandera', 'duckdb', 'statsmodels', 'matplotlib', 'seaborn',
         'librosa', 'soundfile', 'openai', 'google.genai', 'papermill', 'plotly', 'dask')

# ---- reading notebooks
@dataclass
class Cell:
    "A cell and where it stands."
    where: str # Notebook and number of the cell
    kind: str # 'markdown' or 'code'
    text: str # Source, directives included
    tags: tuple = ()
    outputs: tuple = ()
    count: int|None = None

    @property
    def lines(self): return [o for o in self.text.split('\n') if o.strip() and o[:2]!='#|']

    @property
    def exported(self): return self.kind=='code' and bool(re.search(r'(?m)^#\| *exports?i?\b', self.text))

    @property
    def body(self): return ast.parse(self.text).body if self.kind=='code' else []

    @property
    def nodes(self): return ast.walk(ast.Module(self.body, []))

def read(path):
    "The cells of a notebook."
    name = path.relative_to(ROOT/'nbs').with_suffix('').as_posix()
    return [Cell(f'{name} cell {i}', o['cell_type'], ''.join(o['source']),
                 tuple(o['metadata'].get('tags', ())), tuple(o.get('outputs', ())),
                 o.get('execution_count')) for i, o in enumerate(json.loads(path.read_text())['cells'])]

def made(*texts, tags=()):
    "Cells for an example; what begins with `#` and a blank, or with `>`, is prose."
    kinds = ['markdown' if re.match(r'#+ |> ', o) else 'code' for o in texts]
    return [Cell(f'example cell {i}', kinds[i], o, tuple(tags)) for i, o in enumerate(texts)]

def is_import(node): return isinstance(node, ast.Import|ast.ImportFrom)

def public(cell):
    "Functions and classes at the top level of an exported cell, without an underscore."
    kinds = ast.FunctionDef|ast.AsyncFunctionDef|ast.ClassDef
    return [o for o in cell.body if cell.exported and isinstance(o, kinds) and o.name[0]!='_']

def is_table(cell):
    "Whether a cell has but assignments and parameter classes: dataclasses or pydantic models with fields and no methods."
    def parameters(o):
        if not isinstance(o, ast.ClassDef): return False
        marks = {ast.unparse(x).partition('(')[0] for x in (*o.decorator_list, *o.bases)}
        return bool(marks&{'dataclass', 'BaseModel'}) and all(
            isinstance(x, ast.Assign|ast.AnnAssign|ast.Expr) for x in o.body)
    return all(isinstance(o, ast.Assign|ast.AnnAssign) or parameters(o) for o in cell.body)

def comments(text):
    "Line number -> comment."
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return {o.start[0]: o.string.strip('# ') for o in found if o.type==tokenize.COMMENT}

# ---- the rules: each yields what is amiss
def by_cell(rule):
    "A rule that looks at one cell at a time; where the cell is comes before what it yields."
    @wraps(rule)
    def over(cells): return [f'{cell.where}: {what}' for cell in cells for what in rule(cell)]
    return over

def page(cells):
    "The first cell is `# Title`, a blank line, `> promise` on one line; there is no other H1."
    first = cells[0] if cells else Cell('', '', '')
    if first.kind!='markdown' or not re.fullmatch(r'# \S.*\n\n> \S.*(\n(\n[\s\S]*)?)?', first.text):
        yield f'{first.where}: not `# Title`, a blank line, `> promise`'
    for cell in cells[1:]:
        prose = re.sub(r'(?ms)^```.*?^```', '', cell.text) if cell.kind=='markdown' else ''
        if re.search(r'(?m)^# ', prose): yield f'{cell.where}: another H1'

@by_cell
def imports_alone(cell):
    "A cell with an import outside of functions has nothing else, and imports names, not stars."
    loose = [o for o in cell.body if not isinstance(o, ast.FunctionDef|ast.ClassDef)]
    if any(is_import(o) for one in loose for o in ast.walk(one)) and not all(map(is_import, cell.body)):
        yield 'imports among code'
    for o in cell.nodes:
        if isinstance(o, ast.ImportFrom) and (o.level or o.names[0].name=='*'):
            yield f'import names, and from where they are: {ast.unparse(o)}'

@by_cell
def short(cell):
    "An export cell stops at 25 lines, tables of constants and parameter classes excepted."
    if cell.exported and len(cell.lines)>LONGEST and not is_table(cell): yield f'{len(cell.lines)} lines: {cell.lines[0]}'

@by_cell
def narrow(cell):
    "Lines of code stop at 100 columns."
    for line in cell.lines if cell.kind=='code' else ():
        if len(line)>WIDEST: yield f'{len(line)} columns: {line.strip()[:60]}'

def demonstrated(cells):
    "After two export cells something else: prose, a demonstration, a test."
    row = 0
    for cell in cells:
        row = row+1 if cell.exported else 0
        if row>IN_A_ROW: yield f'{cell.where}: {row} export cells in a row: {cell.lines[0]}'

@by_cell
def described(cell):
    "Public functions and classes have a docstring of one line that ends in a full stop."
    for o in public(cell):
        text = ast.get_docstring(o, clean=False) or ''
        if '\n' in text or not text.endswith('.'): yield f'docstring of {o.name}'

@by_cell
def explained(cell):
    "Every parameter of a public function has a type, or a comment on a line of its own."
    said = comments(cell.text) if public(cell) else {}
    for f in public(cell):
        every = [] if isinstance(f, ast.ClassDef) else [o for o in ast.iter_child_nodes(f.args) if isinstance(o, ast.arg)]
        alone = [o.end_lineno for o in every]
        for o in every:
            noted = said.get(o.end_lineno) and alone.count(o.end_lineno)==1 and o.lineno>f.lineno
            if not (o.annotation or noted): yield f'{o.arg} of {f.name}'

@by_cell
def in_order(cell):
    "A notebook imports from this package only what is numbered before it: rooms before its own, and notebooks of its own."
    here = ORDER.get(cell.where.partition(' ')[0], len(LIBRARY))
    for o in filter(is_import, cell.nodes):
        home, names = getattr(o, 'module', None) or '', [x.name for x in o.names]
        for name in [home, *(f'{home}.{x}' for x in names)] if home else names:
            if MODULES.get(name, -1)>=here: yield f'{name} is not numbered before it'

def one_parameter_cell(cells):
    "One cell tagged `parameters`; each of its lines is `name: type = value  # meaning`."
    tagged = [o for o in cells if 'parameters' in o.tags]
    if len(tagged)!=1: yield f'{cells[0].where}: {len(tagged)} cells tagged `parameters`'
    for cell in tagged:
        said = comments(cell.text)
        if [o.lineno for o in cell.body]!=list(range(1, cell.text.count('\n')+2)): yield f'{cell.where}: not one parameter a line'
        for o in cell.body:
            if not (isinstance(o, ast.AnnAssign) and o.value and said.get(o.lineno)):
                yield f'{cell.where}: {ast.unparse(o)}: no type, value or meaning'

@by_cell
def no_exports(cell):
    "Experiments and figures export nothing: what they need is in the library."
    if re.search(r'(?m)^#\| *(default_exp|export)', cell.text): yield 'an export'

@by_cell
def always_run(cell):
    "No cell is skipped, so that JupyterLab, papermill and the tests run the same thing."
    if re.search(r'(?m)^#\| *(eval *: *false|notest)|^skip_exec', cell.text): yield 'a cell that not every runner runs'

@by_cell
def clean_outputs(cell):
    "No error, execution count, control character or address in memory among the outputs."
    if cell.count is not None: yield f'execution count {cell.count}'
    for o in cell.outputs:
        if o.get('output_type')=='error': yield f"{o['ename']}: {o['evalue']}"
        if o.get('execution_count') is not None: yield 'execution count'
        text = json.dumps([o.get('text'), o.get('data')], ensure_ascii=False)
        if re.search(r'\\u00[01]\w|\\[bfr]|[\x7f-\x9f]', text): yield 'control characters in its output'
        if re.search(r' at 0x[0-9a-f]{6}', text): yield 'an address in its output'

EVERYWHERE = (page, imports_alone, narrow, always_run, clean_outputs)
IN_LIBRARY = (short, demonstrated, described, explained, in_order)
IN_RUNS = (one_parameter_cell, no_exports)

@pytest.mark.parametrize('rule', EVERYWHERE+IN_LIBRARY+IN_RUNS, ids=lambda o: o.__name__)
def test_every_notebook_keeps(rule):
    over = (*(LIBRARY if rule not in IN_RUNS else ()), *(RUNS if rule not in IN_LIBRARY else ()))
    assert over
    amiss = [o for path in over for o in rule(read(path))]
    assert not amiss, f'{rule.__doc__}\n' + '\n'.join(amiss)

def given(text): return made(text, tags=['parameters'])
def printing(**output): return [Cell('', 'code', '', outputs=(output,))]
def within(book, text): return [Cell(f'{book} cell 0', 'code', text)]

BAD = [
    (page, made('# Title\n> promise')), (page, made('# Title\n\nNo promise')),
    (page, made('# Title\n\n> promise\non two lines')), (page, made('# A\n\n> b', '# C')),
    (imports_alone, made('import os\nx = 1')), (imports_alone, made('try: import a\nexcept E: pass')),
    (imports_alone, made('from os import *')), (imports_alone, made('from .core import ROOT')),
    (short, made('#| exports\ndef f():\n'+'    x = 1\n'*25)),
    (short, made('#| export\n@dataclass\nclass A:\n    def f(self):\n'+'        x = 1\n'*25)),
    (narrow, made(f"x = '{'-'*100}'")), (demonstrated, made('#| export\nx = 1', '#| exports\ny = 1', '#| exporti\nz = 1')),
    (described, made('#| exports\ndef f(): ...')), (described, made('#| exports\nclass A: "no stop"')),
    (described, made('#| exports\ndef f():\n    """Two\n    lines."""')), (explained, made('#| exports\ndef f(a): "F."')),
    (explained, made('#| exports\ndef f(a): # of f, not of a\n    "F."')),
    (explained, made('#| exports\ndef f(\n    a, b, # of which?\n): "F."')),
    (explained, made('#| exports\n@patch\ndef f(self:A, *args): "F."')),
    (one_parameter_cell, made('x: int = 1 # one')), (one_parameter_cell, given('x = 1  # untyped')),
    (one_parameter_cell, given('x: int = 1')), (one_parameter_cell, given('x: int = 1; y: int = 2  # two')),
    (one_parameter_cell, given('x: list = [1, # over\n  2]  # two lines')), (one_parameter_cell, given('x: int  # no value')),
    (no_exports, made('#| export\nx = 1')), (always_run, made('#| eval: false\nx = 1')),
    (clean_outputs, [Cell('', 'code', '', count=1)]), (clean_outputs, printing(output_type='error', ename='', evalue='')),
    (clean_outputs, printing(output_type='stream', text='\x1b[1m')),
    (clean_outputs, printing(output_type='stream', text='<f at 0x7f516f2a5580>')),
    (in_order, within('1_corpora/01_labels', 'from ambiscale_nb.corpora.audio import RATE')),
    (in_order, within('1_corpora/01_labels', 'from ambiscale_nb.corpora import labels')),
    (in_order, within('1_corpora/01_labels', 'from ambiscale_nb.models import local')),
    (in_order, within('2_models/01_parser', 'def f():\n    import ambiscale_nb.study.cli'))]
GOOD = [
    (page, made('# Title\n\n> promise\n\n```\n# no title\n```')), (imports_alone, made('import os')),
    (imports_alone, made('def f():\n    import os')), (short, made('#| export\nX = (\n'+'1,\n'*30+')')),
    (short, made('#| export\n@dataclass(frozen=True)\nclass A:\n    "A."\n'+'    x: int = 1 # X\n'*30)),
    (demonstrated, made('#| export\nx = 1', '#| export\ny = 1', 'x', '#| export\nz = 1')),
    (explained, made('#| exports\ndef f(\n    self:A,\n    a, # A\n    *b, # More\n): "F."')),
    (explained, made('#| exports\ndef f(a:int, b:str): "F."\ndef _g(a): pass')),
    (one_parameter_cell, given('x: int = 1  # one\ny: list = [1, 2]  # two')),
    (in_order, within('1_corpora/03_audio', 'from ambiscale_nb.core import ROOT'))]

@pytest.mark.parametrize(('rule', 'cells'), BAD, ids=[f'{r.__name__}-{i}' for i, (r, _) in enumerate(BAD)])
def test_a_rule_sees_what_breaks_it(rule, cells): assert list(rule(cells))

@pytest.mark.parametrize(('rule', 'cells'), GOOD, ids=[f'{r.__name__}-{i}' for i, (r, _) in enumerate(GOOD)])
def test_a_rule_lets_pass_what_keeps_it(rule, cells): assert not list(rule(cells))

# ---- the package is what the notebooks say
def python(*args, **options):
    "Run Python with these arguments; its output, or a failure that shows its errors."
    env = {k: v for k, v in os.environ.items() if k!='IN_TEST'} # which would stop nbdev's index
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env, check=False, **options)
    assert done.returncode==0, done.stdout+done.stderr
    return done.stdout

@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "A copy of the notebooks, cleaned and exported by nbdev."
    root = tmp_path_factory.mktemp('copy')
    shutil.copy(ROOT/'settings.ini', root)
    shutil.copytree(ROOT/'nbs', root/'nbs', ignore=lambda folder, names: [
        o for o in names if Path(o).suffix not in ('', '.ipynb')])
    python('-c', 'from nbdev.clean import nbdev_clean\nfrom nbdev.doclinks import nbdev_export\n'
           'nbdev_clean()\nnbdev_export()', cwd=root)
    return root

def test_notebooks_are_clean(copy):
    "`nbdev_clean` changes nothing."
    dirty = [o.name for o in LIBRARY+RUNS if (copy/o.relative_to(ROOT)).read_bytes()!=o.read_bytes()]
    assert not dirty, f'run nbdev_clean: {dirty}'

def test_the_package_is_what_the_notebooks_export(copy):
    "`nbdev_export` changes nothing."
    want, have = ({o.relative_to(root): o.read_text() for o in (root/'ambiscale_nb').rglob('*.py') if o.name!='__init__.py'}
                  for root in (copy, ROOT))
    stale = [str(o) for o in want.keys()|have.keys() if want.get(o)!=have.get(o)]
    assert not stale, f'run nbdev_export: {stale}'

def test_cells_have_distinct_ids():
    "Ids join a notebook's cells to the package's lines."
    for path in LIBRARY+RUNS:
        ids = [o['id'] for o in json.loads(path.read_text())['cells']]
        assert len(ids)==len(set(ids)), path.name

# ---- pins
def pins(text):
    "Lower-case names and exact versions."
    loose = [o for o in text.split() if not re.fullmatch(r'[\w.\-]+==[\w.]+', o)]
    assert not loose, f'not name==version: {loose}'
    return {o.partition('==')[0].lower().replace('_', '-'): o.partition('==')[2] for o in text.split()}

@pytest.fixture(scope='module')
def config():
    "The facts in settings.ini."
    cfg = configparser.ConfigParser(delimiters=['='])
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']

def test_requirements_are_pinned_alike(config):
    "What settings.ini asks for is what the full lock has."
    lock, wanted = pins((ROOT/'requirements.txt').read_text()), pins(f"{config['requirements']} {config['dev_requirements']}")
    assert wanted=={o: lock.get(o) for o in wanted}

def test_no_package_lacks_another():
    "The lock is installed without resolving, so it must be whole."
    python('-m', 'pip', 'check')

def test_the_conda_environment_is_pinned_alike(config):
    "environment.yml names this Python, the lock, this project, and pins; conda hands the lines to pip in one file."
    lock = pins((ROOT/'requirements.txt').read_text())
    *conda, asked = yaml.safe_load((ROOT/'environment.yml').read_text())['dependencies']
    assert any(re.match(rf"python *=+ *{re.escape(config['min_python'])}\b", o) for o in conda), conda
    assert asked['pip'][:2]==['-r requirements.txt', '-e .']
    more = pins('\n'.join(asked['pip'][2:]))
    assert more=={o: lock.get(o, at) for o, at in more.items()}

# ---- traces
TRACES = re.compile(rb'/[r]oot/|/[h]ome/[a-z]|/[U]sers/[a-z]|/[t]mp/w\b|(?<![\w.\-])/[w]ork/')
HOSTS = re.compile(rb'(?i)[p]ypi\.org/|[p]ythonhosted\.org|[-]-(?:extra-)?index-url|[-]-find-links'
                   rb'|[-]-trusted-host|[r]egistry\.npmjs|[p]roxy\.golang')
CONTROL = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f]')
BINARY = ('.png', '.pdf', '.safetensors', '.parquet', '.npz', '.wav')

def files():
    "What belongs to the repository: all but git's own, the ignored, and environments."
    ignored = ['.git', *(ROOT/'.gitignore').read_text().replace('/', '').split()]
    def skip(name): return any(fnmatch.fnmatch(name, o) for o in ignored)
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [o for o in inner if not skip(o) and not (Path(folder)/o/'pyvenv.cfg').exists()]
        yield from (Path(folder)/o for o in sorted(names) if not skip(o))

@pytest.mark.parametrize('pattern', [TRACES, HOSTS], ids=['paths', 'hosts'])
def test_no_machine_leaves_its_traces(pattern):
    "A path or a host of the machine that made a file helps nobody else."
    found = [f'{o.relative_to(ROOT)}: {m[0].decode()}' for o in files() if (m := pattern.search(o.read_bytes()))]
    assert not found, '\n'.join(found)

@pytest.mark.parametrize(('pattern', 'text'), [
    (TRACES, b'/ro'+b'ot/x'), (TRACES, b'"/ho'+b'me/ann'), (TRACES, b'=/wo'+b'rk/x'),
    (TRACES, b'/tm'+b'p/w/x'), (HOSTS, b'--index'+b'-url x')], ids=range(5))
def test_traces_are_seen(pattern, text): assert pattern.search(text)

def test_no_control_characters():
    "Text files hold text."
    found = [f'{o.relative_to(ROOT)}: {m[0]!a}' for o in files() if o.suffix not in BINARY
             and (m := CONTROL.search(o.read_text(encoding='utf-8').replace('\r\n', '\n')))]
    assert not found, '\n'.join(found)

# ---- the whole
def test_ruff_has_nothing_to_say():
    "Sources, notebooks and tests."
    python('-m', 'ruff', 'check', '--no-cache', '--output-format=concise', '.', cwd=ROOT)

SHOW_HEAVY = f"print(*(o for o in {HEAVY} if o in sys.modules))"

def test_imports_are_light():
    "What is heavy is loaded by the function that needs it; modules that draw may load matplotlib."
    out = python('-c', f'''import importlib, pkgutil, sys
import ambiscale_nb
names = {{o.name for o in pkgutil.walk_packages(ambiscale_nb.__path__, 'ambiscale_nb.')}}
drawing = {{'ambiscale_nb.study.figures', 'ambiscale_nb.study.cards'}}
for o in sorted(names-drawing): importlib.import_module(o)
{SHOW_HEAVY}
print('====')
import ambiscale_nb.study.figures, ambiscale_nb.study.cards
{SHOW_HEAVY}''', cwd=ROOT)
    others, _, drawing = out.partition('====')
    assert not others.split() and set(drawing.split())<={'matplotlib', 'seaborn', 'statsmodels'}

def test_help_is_light():
    "`ambiscale --help` answers at once."
    out = python('-c', f'''import sys
from ambiscale_nb.study.cli import app
try: app(['--help'])
except SystemExit as e: assert not e.code
print('====')
{SHOW_HEAVY}''', cwd=ROOT)
    shown, _, heavy = out.rpartition('====')
    assert 'Usage' in shown and not heavy.split()
