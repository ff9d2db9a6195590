"""The report on hostile ground: names, answers, errors and notes of a study are written to break out of their page. It must
remain whole, load nothing and run nothing but its own scripts: read as text here, and in a real browser if there is one."""
import base64
import json
import re
import shutil
import subprocess
import threading
import warnings
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import numpy as np
import pandas as pd
import pytest
from waiting import PATIENCE

from ambiscale_nb.core import InputError, ROOT
from ambiscale_nb import Capabilities, Reply, label_set, prompt
from ambiscale_nb.sampling.store import Draw, plan_pool, sample_pool
from ambiscale_nb.sampling.files import Store, valid_text
from ambiscale_nb.study import notebooks, report, results, scoring
from ambiscale_nb.study.results import NEVER

FOUR = label_set('four').labels
SOURCE = ROOT/'nbs/figures/report.ipynb'

def attacks(trap):
    "Texts that would run or load something, each in its own way; all of them name the trap."
    js = f"document.title='PWNED';new Image().src='{trap}/js'"
    coded = base64.b64encode(f'<script>{js}</script>'.encode()).decode()
    return {
        'script': f'<script>{js}</script>', 'script ends': f'</script><script>{js}</script>',
        'event': f'<img src=x onerror="{js}">', 'picture': f'<img src="{trap}/img">',
        'frame': f'<iframe src="{trap}/frame"></iframe>', 'data frame': f'<iframe src="data:text/html;base64,{coded}">',
        'link': f'<a href="javascript:{js}">x</a>', 'style': f'<style>@import "{trap}/css";</style>',
        'closes tags': f'--></style></title></textarea></details></table><svg onload="{js}">',
        'markdown': f'![x]({trap}/md) [y](javascript:{js})', 'attribute': f'" onmouseover="{js}" x="',
        'refresh': f'<meta http-equiv="refresh" content="0;url={trap}/meta">', 'base': f'<base href="{trap}/">',
        'formula': f'=HYPERLINK("{trap}/csv")', 'template': '{{constructor.constructor("alert(1)")()}}${alert(1)}',
        'heading': f'<h2>x</h2><script>{js}', 'control': 'a\x00b\x1b]0;PWNED\x07\x1b[2J',
        'direction': 'safe\u202egnp.exe', 'surrogate': 'x\ud800y', 'long': '<b>'+'A'*1_000_000}

class Hostile:
    "A model whose every answer is an attack; each seventh call fails, and the error is one too."
    revision, capabilities = 'r1', Capabilities(beams=False, label_scoring=False, verify=False)
    def __init__(self, name, texts): self.name, self.texts, self.calls = name, texts, 0
    def say(self):
        self.calls += 1
        text = 'sad' if self.calls%3 else self.texts[self.calls%len(self.texts)]
        return Reply(text, [1], 'stop', None, dict(prompt_tokens=5, output_tokens=1))
    def greedy(self, wave, prompt):
        if self.calls%7==3: self.calls += 1; raise RuntimeError(self.texts[self.calls%len(self.texts)])
        return self.say()
    def sample(self, wave, prompt, n, seed, temperature): return [self.say() for _ in range(n)]

def clips(corpus, n=12):
    "Clips of four speakers, each with five votes."
    votes = np.array([[5, 0, 0, 0], [2, 2, 1, 0], [1, 4, 0, 0], [2, 1, 1, 1]], float)[np.arange(n)%4]
    df = pd.DataFrame(dict(corpus=corpus, uid=[f'u{i}' for i in range(n)], path='', duration=1.,
                           speaker=[f's{i%4}' for i in range(n)], audio_sha=[f'sha{i}' for i in range(n)],
                           n_raters=5, out_of_set=0., flags='', ambiguity_source='votes'))
    return df.assign(**{f'votes_{o}': votes[:, i] for i, o in enumerate(FOUR)})

def silence(uid): return np.zeros(160, np.float32)

def hostile_study(root, texts, model, corpus):
    "A study, sampled and scored by our own code, whatever its texts say."
    study, items, alm = results.Study('bad'), clips(corpus), Hostile(model, texts)
    asked, store = [prompt('label', s, FOUR) for s in ('direct', 'cot')], Store(study.root)
    def make(items, asked, draw): return sample_pool(alm, items, silence, asked, draw, store, progress=False).failed
    while make(items, asked, Draw(4)): pass  # a failed call is made again
    assert make(clips(corpus, 60), asked[:1], Draw(None))  # these are left as they are
    study.write(plan_pool(alm, items, asked, Draw(4)), 'plans', 'one')
    study.write(items.drop(columns='audio_sha'), 'utterances', corpus)
    study.write(pd.DataFrame(dict(uid=['u98'], reason=[texts[0]])), 'left_out', 'one')
    run = dict(model=model, revision=texts[1], n_params=None, corpus=corpus, condition='none', label_set='four',
               convention='rater', has_ratings=False, verified=False, n=4, temperature=.7, seed=0, clips=12)
    plan = dict(about=texts[2], runs=[dict(model=o, corpus=corpus) for o in (model, 'never-run')])
    for name, value in (('plans/one', run), ('study', plan), ('manifest', {texts[3]: texts[4]})):
        (study.root/f'{name}.json').write_text(json.dumps(value, indent=1))
    told = [valid_text(o) for o in texts]
    study.write(pd.DataFrame(dict(claim=told, effect=np.nan, verdict=told[::-1])), 'claims')
    cell = nbformat.v4.new_code_cell('x', outputs=[nbformat.v4.new_output(
        'error', ename='ValueError', evalue=texts[0], traceback=[texts[0]])])
    (study.root/'runs').mkdir()
    (study.root/'runs/one.failed.ipynb').write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    for folder in ('figures', 'figures-partial'):
        for stem in ('fig1_budget', 'fig10_utterance', 'claims'):
            (study.root/folder).mkdir(exist_ok=True)
            shutil.copy(ROOT/f'figures/{stem}.png', study.root/folder)
    scoring.score_study(study, (1, 2, 4), progress=False)
    return study

class Trap(BaseHTTPRequestHandler):
    hits = []
    def do_GET(self): self.hits.append(self.path); self.send_response(204); self.end_headers()
    def log_message(self, *about): pass

@pytest.fixture(scope='module')
def trap():
    "A server that no page may ask."
    server = ThreadingHTTPServer(('127.0.0.1', 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

@pytest.fixture(scope='module')
def page(tmp_path_factory, trap):
    "The report of a hostile study: (root, text of the page, its nonce)."
    root, texts = tmp_path_factory.mktemp('hostile'), list(attacks(trap).values())
    with pytest.MonkeyPatch.context() as m:
        m.setattr(results, 'RESULTS', root/'results')
        m.setenv('AMBISCALE_ROOT', str(root))
        study = hostile_study(root, texts, texts[2].replace('/', ''), 'c'+texts[0].replace('/', ''))
        done = notebooks.run_notebook(SOURCE, root/'runs'/'report.ipynb', dict(study='bad', out='out'))
        path = report.publish(done, root/'report.html', report.nonce_of(study), texts[0])
        yield root, path.read_text(), report.nonce_of(study)

class Reader(HTMLParser):
    "Every element of a page with its attributes, and its text."
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs): self.found.append((tag, dict(attrs)))
    def handle_data(self, data): self.text.append(data)

def test_nothing_hostile_is_markup(page):
    _, text, nonce = page
    found = Reader(text).found
    assert not {t for t, _ in found} & {'iframe', 'object', 'embed', 'base', 'link', 'form', 'svg', 'textarea'}
    assert not [a for _, at in found for a in at if a.startswith('on') or a in ('srcdoc', 'srcset', 'formaction')]
    assert {at.get('nonce', at.get('type')) for t, at in found if t=='script'}=={nonce, 'text/plain'}
    links = [v for _, at in found for k, v in at.items() if k in ('src', 'href', 'action')]
    assert links and all(o.startswith(('data:image/png;base64,', '#')) for o in links), links
    assert [at['http-equiv'] for _, at in found if 'http-equiv' in at]==['Content-Security-Policy']

def test_the_page_forbids_what_it_does_not_need(page):
    _, text, nonce = page
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text[:text.index('<body>')])[1]
    assert policy.startswith("default-src 'none'") and f"script-src 'nonce-{nonce}';" in policy
    assert 'unsafe-eval' not in policy and "script-src 'unsafe" not in policy and 'connect-src' not in policy

def test_the_page_opens_with_verdicts_and_a_figure_and_has_a_contents_list(page):
    found, text = Reader(page[1]).found, page[1]
    opening, contents = text.index('<header>'), text.index('<nav')
    assert opening < text.index('verdict', opening) < text.index('fig1_budget', opening) < contents
    ids, links = [at['id'] for t, at in found if t=='section'], [at['href'] for t, at in found if t=='a']
    assert [f'#{o}' for o in ids]==links and len(ids)>10
    drawn = [at['alt'].split()[1].strip(':') for t, at in found if t=='img' and at['alt'].startswith('Figure ')]
    assert drawn==['fig1_budget', 'fig10_utterance', 'claims']  # every figure of the study
    assert len(text)<4e6

def test_what_is_shown_is_what_was_said(page):
    "Hidden characters are spelled out, long texts cut, and none is silently dropped."
    seen = ' '.join(Reader(page[1]).text)
    spelled = ('safe\\u202egnp.exe', 'a\\x00b\\x1b]0;PWNED', 'x\\ud800y')
    for o in (*spelled, '(1,000,003 characters)', '<img src=x onerror'): assert o in seen, o
    assert not re.search('[\x00-\x08\x0b-\x1f\x7f\u202e]', page[1])

def test_every_cell_is_there_or_called_missing(page):
    cells = pd.read_csv(page[0]/'out'/'report_cells.csv', keep_default_na=False)
    assert len(cells)==2*4*3 and not (cells=='').any().any()
    never = cells[cells.model=='never-run'].iloc[:, 4:]
    assert set(never.to_numpy().ravel())=={'missing', 'does not apply'}
    ours = cells[cells.model!='never-run'].set_index(['asked', 'stratum'])
    assert re.match(r'0\.\d+ \[', ours.majority['label, direct', 'ambiguous'])
    assert ours.bon['label, direct', 'all']=='does not apply'  # no log-probabilities
    assert ours.majority['dist, direct', 'all']=='missing' and 'missing' in page[1]

def test_tables_of_an_earlier_version_are_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study = results.Study('old')
    study.write(pd.DataFrame(dict(model=['m'], variant=['beam3'])), 'scores')
    with pytest.raises(InputError, match='`ambiscale run old --rescore`'): study.read('scores')

def test_what_does_not_apply_was_refused_on_the_pool_it_is_for(tmp_path, monkeypatch):
    "A refusal on another pool, or with other audio, says nothing; what a model lacks does."
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study = results.Study('s')
    rows = [('sample', 'none', 'bon', 'plain'), ('beam', 'none', 'greedy', 'plain'), ('greedy', 'none', 'dirichlet', 'plain'),
            ('sample', 'swap', 'mean', 'plain'), ('score', 'none', 'verifier_alone', 'plain'), ('sample', 'none', 'mbr', 'other')]
    study.write(pd.DataFrame([dict(model='m', corpus='c', condition=c, decoding=d, reading=r, mode='label', style='direct',
                                   strategy=s, reason=f'{s} on {d}', kind=NEVER) for d, c, s, r in rows]), 'refusals')
    run = dict(model='m', corpus='c', condition='none', lacks=['m has no beams', 'm has no label_scoring'])
    (study.root/'plans').mkdir()
    (study.root/'plans/one.json').write_text(json.dumps(run))
    assert {k[4]: v for k, v in report.refused_cells(study).items()}=={
        'bon': 'bon on sample', 'verifier_alone': 'verifier_alone on score', 'label_logprob': 'm has no label_scoring'}

def board_rows(n=(100, 296, 300), **more):
    "The scores of three models, of which the first has fewer clips."
    row = dict(corpus='c', condition='none', mode='label', style='direct', k=1, strategy='greedy', decoding='greedy', width=0,
               reading='plain', calibration='', verifier='', stratum='all', metric='jsd', speakers=9, noise_floor=.1,
               one_more_rater=.3, prior=.4, uniform=.5, unparsed=0., calls=1, tokens=np.nan)
    cells = zip('abc', (.1, .2, .3), n, strict=True)
    return pd.DataFrame([row | dict(model=m, value=v, low=v-.1, high=v+.1, n=k) | more for m, v, k in cells])

def test_a_model_with_fewer_clips_is_not_ranked():
    "A few clips that failed do not matter; a mean over a third of the clips is another mean."
    rows = board_rows()
    board = report.leaderboard(rows, 'c')
    assert board.model.tolist()==['b', 'c', 'a'] and board['rank'].fillna(-1).tolist()==[1, 2, -1]
    shown = report.leaderboard_page(rows)
    assert 'Without a rank' in shown and 'Without a rank' not in report.leaderboard_page(rows[1:])
    assert shown.count('class="box list"')==2 and 'headers="unparsed"' in shown  # the name of a number in a list
    assert '>–</td>' in shown and 'nan' not in shown.lower()  # an unknown number is a dash
    many = report.leaderboard_page(pd.concat([rows[1:].assign(model=f'm{i}') for i in range(12)]))
    assert '2 more</summary>' in many or '14 more</summary>' in many

def test_a_study_without_votes_is_judged_by_accuracy():
    "An acted corpus has no strata and no divergence."
    none = dict.fromkeys(('low', 'high', 'noise_floor'), np.nan)
    scores = pd.concat([board_rows((9, 9, 9), metric=o, **none) for o in ('accuracy', 'uar')])
    board = report.leaderboard(scores, 'c')
    assert board.accuracy.iloc[0]=='0.300 [–]' and 'clear' not in board and 'jsd' not in board
    cells = report.grid(scores, {('c', 'c')})
    assert set(cells.stratum)=={'all'} and cells.greedy[0]=='0.300 [–]'
    assert 'accuracy' in report.leaderboard_page(scores) and 'several budgets' in report.curves_page(scores)

def test_calls_that_were_never_made_are_counted(tmp_path, monkeypatch):
    "A call that failed was made; it is among those that failed."
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study, alm, items, draw = results.Study('s'), Hostile('m', ['x']*9), clips('c'), Draw(4)
    asked = [prompt('label', 'direct', FOUR)]
    study.write(plan_pool(alm, items, asked, draw), 'plans', 'one')
    assert sample_pool(alm, items.head(5), silence, asked, draw, study.store, progress=False).failed
    assert report.missing_calls(study).to_dict('records')==[dict(run='one', asked='candidates', calls=24, missing=14)]

def test_no_text_becomes_a_formula():
    cells = report.spreadsheet(pd.DataFrame(dict(a=['=1', '+1', '-1', '@a', '\t=1', '\r=1', 'b'], n=[-1.]*7)))
    for line in cells.splitlines()[1:]: assert line[0] not in '=+-@\t\r', line

def test_the_password_depends_on_the_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study, seen = results.Study('s'), set()
    for value in (.1, .2):
        study.write(pd.DataFrame(dict(value=[value])), 'scores')
        seen.add(report.nonce_of(study))
    assert len(seen)==2 and all(re.fullmatch('[0-9a-f]{32}', o) for o in seen)

# --- in a browser ----------------------------------------------------------------------------------------------------
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)

@pytest.fixture
def browse(tmp_path):
    "A function: (title, DOM, console, addresses that were asked for) of a page after its scripts have run."
    if not CHROMIUM:
        warnings.warn('THE REPORT IS NOT TESTED IN A BROWSER: apt-get install chromium', stacklevel=1)
        pytest.skip('THE REPORT IS NOT TESTED IN A BROWSER: apt-get install chromium')
    def look(path, *more):
        done = subprocess.run(
            [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}', '--dump-dom',
             '--virtual-time-budget=15000', '--enable-logging=stderr', '--disable-background-networking',
             '--disable-component-update', '--no-first-run', f'--log-net-log={tmp_path}/net.json', *more,
             path.as_uri()], capture_output=True, text=True, timeout=PATIENCE, errors='replace')
        events = [o.get('params') or {} for o in json.loads((tmp_path/'net.json').read_text())['events']]
        none, own = 'not an origin', ('file:', 'data:', 'blob:', 'about:', 'http://127.0.0.1:')  # the trap counts
        asked = {o['url'] for o in events if 'url' in o and o.get('initiator', none)!=none}
        return (re.search('<title>(.*?)</title>', done.stdout, re.S)[1], done.stdout, done.stderr,
                {o for o in asked if not o.startswith(own)})
    Trap.hits.clear()
    return look

def test_in_a_browser_nothing_is_asked_for_and_nothing_hostile_runs(page, browse):
    title, dom, said, asked = browse(page[0]/'report.html')
    assert title.startswith('&lt;script&gt;') and Trap.hits==[] and asked==set()
    assert dom.count('class="curve"')>=1, 'the curves were not drawn'
    assert len(re.findall('<tr><td>', dom))>20, 'the table of all scores was not drawn'
    refused = [o for o in said.splitlines() if 'CONSOLE' in o]
    assert not refused, refused

MEASURE = """addEventListener('load', () => setTimeout(() => {
  const wide = o => o.scrollWidth > o.clientWidth+1, page = document.documentElement;
  const list = [...document.querySelectorAll('.list td')].filter(o => o.offsetParent);
  const out = list.filter(o => o.getBoundingClientRect().right > innerWidth);
  document.title = [wide(page) ? 'cut' : 'whole', list.length, out.length, innerWidth].join(' ');
}, 1000))"""

@pytest.mark.parametrize('width', [520, 900, 1400])
def test_the_page_fits_its_window(page, browse, tmp_path, width):
    "The page is never wider than its window; where that is narrow, no number of the leaderboard is cut."
    path = tmp_path/'narrow.html'
    path.write_text(page[1].replace('</body>', f'<script nonce="{page[2]}">{MEASURE}</script></body>'))
    whole, cells, out, seen = browse(path, f'--window-size={width},900')[0].split()
    assert int(seen)==width and int(cells)>100 and whole=='whole' and (width>=720 or out=='0')

def test_the_policy_alone_would_hold(page, trap, browse):
    "The same page with attacks put into it unescaped, as if a library had failed; without the policy they work."
    raw = [attacks(trap)[o] for o in ('script', 'event', 'picture', 'frame', 'style', 'data frame')]
    path = page[0]/'broken.html'
    path.write_text(page[1].replace('<title>', '<title>ours ', 1).replace('<body>', '<body>'+''.join(raw), 1))
    title, _, said, asked = browse(path)
    assert title.startswith('ours ') and Trap.hits==[] and asked==set() and 'Content Security Policy' in said
    path.write_text('<!doctype html><title>ours</title><body>'+raw[1]+raw[2])
    assert browse(path)[0]=='PWNED' and '/img' in Trap.hits
