"""The report on hostile ground: names, answers, errors and notes of a study are written to break out of their
page. It must stand whole, load nothing and run nothing that is not its own: read as text here, and in a real
browser where there is one. Each fault ends in one line `fault -> outcome`."""
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

from ambiscale_nb.study import notebooks, report
from ambiscale_nb.core import ROOT
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import Capabilities, Reply
from ambiscale_nb.sampling.store import Draw, Store, plan_pool, sample_pool, valid_text
from ambiscale_nb.models.prompts import prompt

FOUR = label_set('four').labels
SOURCE = ROOT/'nbs/figures/report.ipynb'


def attacks(trap):
    "Texts that would run or load something, each in its own way; all of them name the trap."
    js = f"document.title='PWNED';new Image().src='{trap}/js'"
    coded = base64.b64encode(f'<script>{js}</script>'.encode()).decode()
    return {
        'script': f'<script>{js}</script>', 'script ends': f'</script><script>{js}</script>',
        'event': f'<img src=x onerror="{js}">', 'picture': f'<img src="{trap}/img">',
        'frame': f'<iframe src="{trap}/frame"></iframe>',
        'data frame': f'<iframe src="data:text/html;base64,{coded}">',
        'link': f'<a href="javascript:{js}">x</a>', 'style': f'<style>@import "{trap}/css";</style>',
        'closes tags': f'--></style></title></textarea></details></table><svg onload="{js}">',
        'markdown': f'![x]({trap}/md) [y](javascript:{js})', 'attribute': f'" onmouseover="{js}" x="',
        'refresh': f'<meta http-equiv="refresh" content="0;url={trap}/meta">',
        'base': f'<base href="{trap}/">', 'formula': f'=HYPERLINK("{trap}/csv")',
        'template': '{{constructor.constructor("alert(1)")()}}${alert(1)}',
        'control': 'a\x00b\x1b]0;PWNED\x07\x1b[2J', 'direction': 'safe\u202egnp.exe', 'surrogate': 'x\ud800y',
        'long': '<b>'+'A'*1_000_000}


class Hostile:
    "A model whose every answer is an attack; each seventh call fails, and the error is one too."
    revision, capabilities = 'r1', Capabilities(beams=False, label_scoring=False, verify=False)
    def __init__(self, name, texts): self.name, self.texts, self.calls = name, texts, 0
    def say(self):
        self.calls += 1
        text = 'sad' if self.calls % 3 else self.texts[self.calls % len(self.texts)]
        return Reply(text, [1], 'stop', None, dict(prompt_tokens=5, output_tokens=1))
    def greedy(self, wave, prompt):
        if self.calls % 7 == 3: self.calls += 1; raise RuntimeError(self.texts[self.calls % len(self.texts)])
        return self.say()
    def sample(self, wave, prompt, n, seed, temperature): return [self.say() for _ in range(n)]


def clips(corpus, n=12):
    "Clips of four speakers, each with five votes."
    votes = np.array([[5, 0, 0, 0], [2, 2, 1, 0], [1, 4, 0, 0], [2, 1, 1, 1]])[np.arange(n) % 4]
    df = pd.DataFrame(dict(corpus=corpus, uid=[f'u{i}' for i in range(n)], path='', duration=1.,
                           speaker=[f's{i % 4}' for i in range(n)], audio_sha=[f'sha{i}' for i in range(n)],
                           n_raters=5, out_of_set=0., flags='', ambiguity_source='votes'))
    return df.assign(**{f'votes_{o}': votes[:, i].astype(float) for i, o in enumerate(FOUR)})


def failed_notebook(path, text):
    out = nbformat.v4.new_output('error', ename='ValueError', evalue=text, traceback=[text])
    cell = nbformat.v4.new_code_cell('x', outputs=[out])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))


def hostile_study(root, texts, model, corpus):
    "A study, sampled and scored by our own code, whatever its texts say."
    from ambiscale_nb.study import results
    study, items = results.Study('bad'), clips(corpus)
    asked = [prompt('label', s, FOUR) for s in ('direct', 'cot')]
    alm, draw, store = Hostile(model, texts), Draw(4), Store(study.root)
    def make(items, asked, draw):
        silence = lambda uid: np.zeros(160, np.float32)
        return sample_pool(alm, items, silence, asked, draw, store, progress=False)
    while make(items, asked, draw).failed: pass  # a failed call is made again
    assert make(clips(corpus, 60), asked[:1], Draw(None)).failed  # these are left as they are
    plan = plan_pool(alm, items, asked, draw)
    study.write(plan, 'plans', 'one')
    study.write(items.drop(columns='audio_sha'), 'utterances', corpus)
    study.write(pd.DataFrame(dict(uid=['u98'], reason=[texts[0]])), 'left_out', 'one')
    run = dict(model=model, revision=texts[1], n_params=None, corpus=corpus, condition='none',
               label_set='four', convention='rater', has_ratings=False, verified=False, n=4, temperature=.7,
               seed=0, clips=12)
    (study.root/'plans'/'one.json').write_text(json.dumps(run))
    (study.root/'study.json').write_text(json.dumps(dict(about=texts[2], runs=[
        dict(model=model, corpus=corpus), dict(model='never-run', corpus=corpus)])))
    (study.root/'manifest.json').write_text(json.dumps({texts[3]: texts[4]}, indent=1))
    told = [valid_text(o) for o in texts]
    claims = pd.DataFrame(dict(claim=told, effect=np.nan, verdict=told[::-1]))
    study.write(claims, 'claims')
    failed_notebook(study.root/'runs'/'one.failed.ipynb', texts[0])
    results.score_study(study, (1, 2, 4), progress=False)
    return study


class Trap(BaseHTTPRequestHandler):
    hits = []
    def do_GET(self): self.hits.append(self.path); self.send_response(204); self.end_headers()
    def log_message(self, *about): pass


@pytest.fixture(scope='module')
def trap():
    "A server that nothing may ever ask."
    server = ThreadingHTTPServer(('127.0.0.1', 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.fixture(scope='module')
def page(tmp_path_factory, trap):
    "The report of a hostile study: (root, text of the page, its study)."
    root, texts = tmp_path_factory.mktemp('hostile'), list(attacks(trap).values())
    with pytest.MonkeyPatch.context() as m:
        from ambiscale_nb.study import results
        m.setattr(results, 'RESULTS', root/'results')
        m.setenv('AMBISCALE_ROOT', str(root))
        study = hostile_study(root, texts, texts[2].replace('/', ''), 'c'+texts[0].replace('/', ''))
        done = notebooks.run_notebook(SOURCE, root/'runs'/'report.ipynb', dict(study='bad', out='out'))
        path = report.publish(done, root/'report.html', report.nonce_of(study), texts[0])
        yield root, path.read_text(), report.nonce_of(study)


class Reader(HTMLParser):
    "Every element of a page with its attributes."
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs): self.found.append((tag, dict(attrs)))
    def handle_data(self, data): self.text.append(data)


def test_nothing_hostile_is_markup(page):
    root, text, nonce = page
    found = Reader(text).found
    tags = {t for t, _ in found}
    assert not tags & {'iframe', 'object', 'embed', 'base', 'link', 'form', 'svg', 'textarea', 'b'}, tags
    odd = ('srcdoc', 'srcset', 'formaction')
    assert not [a for _, at in found for a in at if a.startswith('on') or a in odd]
    assert {at.get('nonce') for t, at in found if t == 'script'} == {nonce}
    links = [v for _, at in found for k, v in at.items() if k in ('src', 'href', 'action')]
    assert links and all(o.startswith(('data:image/png;base64,', '#')) for o in links), links
    print(f'19 hostile texts in 10 places -> none of {len(found)} elements is theirs, no attribute or address')


def test_the_page_forbids_what_it_does_not_need(page):
    _, text, nonce = page
    head = text[:text.index('<body>')]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', head).group(1)
    assert policy.startswith("default-src 'none'") and f"script-src 'nonce-{nonce}';" in policy
    assert 'unsafe-eval' not in policy and "script-src 'unsafe" not in policy and 'connect-src' not in policy
    assert text.count('plotly.js v') <= 2 and text.count('Plotly.newPlot(') < 20
    heads = [at['http-equiv'] for _, at in Reader(text).found if 'http-equiv' in at]
    assert heads == ['Content-Security-Policy']


def test_what_is_shown_is_what_was_said(page):
    "Hidden characters are spelled out, long texts cut, and none is silently dropped."
    seen = ' '.join(Reader(page[1]).text)
    spelled = ('safe\\u202egnp.exe', 'a\\x00b\\x1b]0;PWNED', 'x\\ud800y')
    for o in (*spelled, '(1,000,003 characters)', '<img src=x onerror'): assert o in seen, o
    prose = re.sub('<script.*?</script>', '', page[1], flags=re.S)  # Plotly has some of its own
    assert not re.search('[\x00-\x08\x0b-\x1f\x7f\u202e]', prose)
    assert len(page[1]) < 8e6


def test_every_cell_is_there_or_called_missing(page):
    root, text, _ = page
    cells = pd.read_csv(root/'out'/'report_cells.csv', keep_default_na=False)
    assert len(cells) == 2*4*3 and not (cells == '').any().any()
    never = cells[cells.model == 'never-run'].iloc[:, 4:]
    assert set(never.to_numpy().ravel()) == {'missing', 'does not apply'}
    ours = cells[cells.model != 'never-run'].set_index(['asked', 'stratum'])
    assert re.match(r'0\.\d+ \[', ours.majority['label, direct', 'ambiguous'])
    assert ours.bon['label, direct', 'all'] == 'does not apply'  # no log-probabilities
    assert ours.majority['dist, direct', 'all'] == 'missing' and 'missing' in text
    print('a model that was never run -> every cell of it says missing')


def test_what_does_not_apply_was_refused_on_the_pool_it_is_for(tmp_path, monkeypatch):
    "A refusal on another pool, or with other audio, says nothing; what a model lacks does."
    from ambiscale_nb.study import results
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study = results.Study('s')
    rows = [('sample', 'none', 'bon'), ('beam3', 'none', 'greedy'), ('greedy', 'none', 'dirichlet'),
            ('sample', 'swap', 'mean'), ('score', 'none', 'verifier_alone')]
    study.write(pd.DataFrame([dict(model='m', corpus='c', condition=c, variant=v, mode='label', style='direct',
                                   strategy=s, reason=f'{s} on {v}') for v, c, s in rows]), 'refusals')
    run = dict(model='m', corpus='c', condition='none', lacks=['m has no beams', 'm has no label_scoring'])
    (study.root/'plans').mkdir()
    (study.root/'plans'/'one.json').write_text(json.dumps(run))
    refused = report.refused_cells(study)
    assert {k[4]: v for k, v in refused.items()} == {
        'bon': 'bon on sample', 'verifier_alone': 'verifier_alone on score',
        'label_logprob': 'm has no label_scoring'}
    cell = ('m', 'c', 'label', 'direct')
    told = [report.why_not((*cell, o), refused) for o in ('bon', 'label_logprob', 'greedy', 'dirichlet', 'mean')]
    assert told == ['does not apply']*2+['missing']*3


def test_who_heard_fewer_clips_is_not_ranked():
    "A few clips that failed do not matter; a mean over a third of the clips is another mean."
    rows = [dict(model=m, corpus='c', condition='none', mode='label', style='direct', k=1, strategy='greedy',
                 variant='greedy', stratum='all', metric='jsd', value=v, low=v-.1, high=v+.1, n=n, speakers=9,
                 noise_floor=.1, one_more_rater=.3, prior=.4, uniform=.5, unparsed=0., calls=1, tokens=1.)
            for m, v, n in (('third', .1, 100), ('most', .2, 296), ('all', .3, 300))]
    board = report.leaderboard(pd.DataFrame(rows), 'c')
    assert board.model.tolist() == ['most', 'all', 'third']
    assert board['rank'].fillna(-1).tolist() == [1, 2, -1]
    assert 'not ranked: fewer clips' in report.leaderboard_page(pd.DataFrame(rows))
    assert 'not ranked' not in report.leaderboard_page(pd.DataFrame(rows[1:]))
    shown = report.leaderboard_page(pd.DataFrame(rows))
    assert shown.count('class="box list"')==2 and 'headers="unparsed"' in shown  # the name of a number in a list


def test_a_dash_stands_for_what_nobody_knows_and_names_are_told():
    shown = report.table(pd.DataFrame(dict(model=['m'], tokens=[np.nan])))
    assert '>–</td>' in shown and 'nan' not in shown.lower()
    names = report.names_page(pd.DataFrame(dict(strategy=['bon', 'mine', 'bon'])))
    assert 'likeliest answer (BoN)' in names and names.count('headers="strategy"')==2


def test_calls_that_were_never_made_are_counted(tmp_path, monkeypatch):
    "A call that failed was made; it stands among those that failed."
    from ambiscale_nb.study import results
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study, alm, items, draw = results.Study('s'), Hostile('m', ['x']*9), clips('c'), Draw(4)
    asked = [prompt('label', 'direct', FOUR)]
    study.write(plan_pool(alm, items, asked, draw), 'plans', 'one')
    silence = lambda uid: np.zeros(160, np.float32)
    done = sample_pool(alm, items.head(5), silence, asked, draw, study.store, progress=False)
    assert done.failed
    assert report.missing_calls(study).to_dict('records') == [
        dict(run='one', asked='candidates', calls=24, missing=14)]


def test_no_text_becomes_a_formula(page, trap):
    cells = report.spreadsheet(pd.DataFrame(dict(a=['=1', '+1', '-1', '@a', '\t=1', '\r=1', 'b'], n=[-1.]*7)))
    for line in cells.splitlines()[1:]: assert line[0] not in '=+-@\t\r', line


def chromium():
    return next((o for o in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if o), None)


def browse(path, folder, *more):
    "(title, text, console) of a page after its scripts have run."
    done = subprocess.run(
        [chromium(), '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={folder}', '--dump-dom',
         '--virtual-time-budget=15000', '--enable-logging=stderr', '--disable-background-networking',
         '--disable-component-update', '--no-first-run',
         '--log-net-log='+str(folder/'net.json'), *more, path.as_uri()],
        capture_output=True, text=True, timeout=PATIENCE, errors='replace')
    return re.search('<title>(.*?)</title>', done.stdout, re.S).group(1), done.stdout, done.stderr


def asked_for(log):
    """The addresses that a page asked for. What the browser wants for itself has no page as its origin; what
    a policy refused never reaches the trap, which counts for itself."""
    events = [o.get('params') or {} for o in json.loads(log.read_text())['events']]
    own, none = ('file:', 'data:', 'blob:', 'about:', 'http://127.0.0.1:'), 'not an origin'
    asked = {o['url'] for o in events if 'url' in o and o.get('initiator', none) != none}
    return {o for o in asked if not o.startswith(own)}


@pytest.fixture
def browser():
    if not chromium():
        warnings.warn('THE REPORT IS NOT TESTED IN A BROWSER: apt-get install chromium', stacklevel=1)
        pytest.skip('THE REPORT IS NOT TESTED IN A BROWSER: apt-get install chromium')


def test_in_a_browser_nothing_is_asked_for_and_nothing_hostile_runs(page, trap, browser, tmp_path):
    root, _, _ = page
    Trap.hits.clear()
    title, dom, said = browse(root/'report.html', tmp_path)
    assert title.startswith('&lt;script&gt;') and 'PWNED' not in title[:8]
    assert Trap.hits == [] and asked_for(tmp_path/'net.json') == set()
    assert dom.count('class="main-svg"') >= 1, 'the curves were not drawn'
    assert len(re.findall('<tr><td>', dom)) > 20, 'the table of all scores was not drawn'
    refused = [o for o in said.splitlines() if 'CONSOLE' in o]
    assert not refused, refused
    print('the page in chromium -> 0 requests, title unchanged, curves and tables drawn, 0 messages')


MEASURE = """addEventListener('load', () => setTimeout(() => {
  const wide = o => o.scrollWidth > o.clientWidth+1, page = document.documentElement;
  const list = [...document.querySelectorAll('.list td')].filter(o => o.offsetParent);
  const out = list.filter(o => o.getBoundingClientRect().right > innerWidth);
  document.title = [wide(page) ? 'cut' : 'whole', list.length, out.length, innerWidth].join(' ');
}, 1000))"""


@pytest.mark.parametrize('width', [520, 900, 1400])
def test_the_page_fits_its_window(page, browser, tmp_path, width):
    "No width makes the page itself wider than its window; where it is narrow, no number of the leaderboard is cut."
    _, text, nonce = page
    path = tmp_path/'narrow.html'
    path.write_text(text.replace('</body>', f'<script nonce="{nonce}">{MEASURE}</script></body>'))
    title, _, _ = browse(path, tmp_path, f'--window-size={width},900')
    whole, cells, out, seen = title.split()
    assert int(seen)==width and int(cells)>100, title
    assert whole=='whole', title
    if width<720: assert out=='0', title


def test_the_policy_alone_would_hold(page, trap, browser, tmp_path):
    "The same page with an attack put into it unescaped, as if a library had failed us."
    root, text, _ = page
    Trap.hits.clear()
    six = ('script', 'event', 'picture', 'frame', 'style', 'data frame')
    raw = [attacks(trap)[o] for o in six]
    path = root/'broken.html'
    path.write_text(text.replace('<title>', '<title>ours ', 1).replace('<body>', '<body>'+''.join(raw), 1))
    title, _, said = browse(path, tmp_path)
    assert title.startswith('ours ') and Trap.hits == [] and asked_for(tmp_path/'net.json') == set()
    assert 'Content Security Policy' in said
    print('six attacks unescaped on the page -> all refused by its policy')


def test_without_the_policy_the_attacks_are_real(page, trap, browser, tmp_path):
    "Or the two tests above would hold for want of an attack."
    Trap.hits.clear()
    path = page[0]/'plain.html'
    some = attacks(trap)
    path.write_text('<!doctype html><title>ours</title><body>'+some['event']+some['picture'])
    title, _, _ = browse(path, tmp_path)
    assert title == 'PWNED' and '/img' in Trap.hits


def test_a_study_without_votes_is_told_by_accuracy(tmp_path):
    "An acted corpus has no strata, and no divergence."
    rows = [dict(model='m', corpus='acted', condition='none', mode='label', style='direct', k=1,
                 strategy='greedy', variant='greedy', stratum='all', metric=o, value=.5, low=np.nan,
                 high=np.nan, n=9, speakers=1, noise_floor=np.nan, one_more_rater=np.nan, prior=.2, uniform=.1,
                 unparsed=0., calls=1, tokens=1.)
            for o in ('accuracy', 'uar')]
    scores = pd.DataFrame(rows)
    board = report.leaderboard(scores, 'acted')
    assert board.accuracy.tolist() == ['0.500 [no interval]'] and 'clear' not in board
    cells = report.grid(scores, {('m', 'acted')}, asked=(('label', 'direct'),))
    assert cells.stratum.tolist() == ['all'] and cells.greedy[0] == '0.500 [no interval]'
    assert 'accuracy' in report.leaderboard_page(scores) and report.curves(scores, 'acted') is None


def test_the_password_depends_on_the_scores(tmp_path, monkeypatch):
    from ambiscale_nb.study import results
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    study, seen = results.Study('s'), set()
    for value in (.1, .2):
        study.write(pd.DataFrame(dict(value=[value])), 'scores')
        seen.add(report.nonce_of(study))
    assert len(seen) == 2 and all(re.fullmatch('[0-9a-f]{32}', o) for o in seen)
