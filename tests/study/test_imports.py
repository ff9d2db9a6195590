"""Answers of others: every format with shapes as their tools write them, every reason for leaving one out, and scores
that are those of the same answers had they been sampled here."""
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb import label_set, pool_of
from ambiscale_nb.corpora.registry import Corpus, audio_path, load_corpus, register_corpus
from ambiscale_nb.sampling.files import CANDIDATES, false_keys
from ambiscale_nb.study import results
from ambiscale_nb.study.formats import LONGEST
from ambiscale_nb.study.imports import budgets_of, import_file, votes_from
from ambiscale_nb.study.results import Study, plain_scores
from ambiscale_nb.study.scores import score_pool
from ambiscale_nb.study.scoring import score_study
from ambiscale_nb.study.truth import truth_of

SIX = label_set('six').labels
CLIPS = [f'clip-{i:02d}' for i in range(24)]
SAD = [dict(uid=u, text='sad') for u in CLIPS]
FORMATS = ('csv', 'json', 'jsonl', 'parquet')

@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty results folder, and a table of votes."
    monkeypatch.setattr(results, 'RESULTS', tmp_path/'results')
    rng = rng_of('votes of others')
    votes = pd.DataFrame(rng.multinomial(8, rng.dirichlet(np.full(6, .5), 24)), columns=[f'votes_{o}' for o in SIX])
    votes.assign(uid=CLIPS, speaker=[f's{i%8}' for i in range(24)]).to_csv(tmp_path/'votes.csv', index=False)
    return tmp_path

def write(path, rows):
    "Rows in the format of the file's ending."
    if path.suffix=='.csv': pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix=='.parquet': pd.DataFrame(rows).to_parquet(path)
    elif path.suffix=='.json': pd.DataFrame(rows).to_json(path, orient='records')
    else: path.write_text(''.join(json.dumps(o)+'\n' for o in rows))
    return path

def taken(home, file, votes='votes.csv', **how):
    "The report of an import; rows become a file of JSON lines."
    path = write(home/'rows.jsonl', file) if isinstance(file, list) else file
    return import_file(path, 'theirs', corpus=str(home/votes), **how)

def counts(report, *by):
    "How many answers became what."
    return report.groupby([*by, 'became'] if by else 'became', sort=False).answers.sum().to_dict()

def stored(**where): return Study('theirs').store.read(CANDIDATES, **where)

def scored(*ks):
    "Scores of the study without other readings."
    score_study(Study('theirs'), ks or (1,), progress=False)
    return plain_scores(Study('theirs').read('scores'))

def greedy_dists(**where):
    "uid x label of the single answers."
    got = Study('theirs').read('predictions').query("strategy=='greedy'")
    for k, v in where.items(): got = got[got[k].eq(v)]
    return np.stack(got.sort_values('uid').dist)

def said(n=3):
    rng = rng_of('said', 0)
    return {o: [str(w) for w in rng.choice(SIX, n)] for o in CLIPS}

def rows_of(n=3, field='text', **more): return [dict(uid=u, **{field: o}, **more) for u, many in said(n).items() for o in many]

def test_imported_answers_score_as_if_sampled_here(home):
    for fmt in FORMATS:
        report = taken(home, write(home/f'said.{fmt}', rows_of(field='label', model=fmt)))
        assert report.became.tolist()==['taken, ok'] and report.answers.tolist()==[72]
    got = scored(1, 3)
    chosen, _, clips, *_ = votes_from(home/'votes.csv', 'six')
    here = pool_of([said()[o] for o in CLIPS], SIX, uids=CLIPS)
    want, _, _ = score_pool(here, truth_of(clips, None, chosen), (1, 3))
    both = got.merge(want, on=['strategy', 'k', 'stratum', 'metric'], suffixes=('', '_here'))
    assert both.model.value_counts().gt(100).sum()==len(FORMATS) and set(got.strategy)>={'majority', 'mean', 'dirichlet', 'mbr'}
    for o in ('value', 'low'): np.testing.assert_allclose(both[o], both[f'{o}_here'])
    assert got.tokens.isna().all()  # nobody knows what they cost
    assert not list((home/'results/theirs').glob('candidates/**/*.jsonl'))  # sealed
    for run in Study('theirs').runs(): assert run['revision'].startswith('imported-') and run['n_params'] is None

P = dict(angry=.75, neutral=.25)
LIST = [dict(label='ang', score=.75), dict(label='neu', score=.25)]

def test_distributions_in_columns_in_json_and_as_lists(home):
    "By word or by code, as classifiers print them, with decimal commas, and in the order of the labels."
    rows = {'a.csv': dict(p_angry=.75, p_neutral=.25), 'b.jsonl': dict(p_ang=.75, P_NEU=.25, p_value=.01),
            'c.jsonl': dict(dist=P), 'd.parquet': dict(dist=P), 'e.jsonl': dict(dist=LIST), 'f.csv': dict(dist=repr(LIST)),
            'g.jsonl': dict(probs=[.75, 0, 0, 0, .25, 0])}
    for name, row in rows.items(): write(home/name, [dict(uid=u, **row) for u in CLIPS])
    (home/'h.csv').write_text('uid;p_angry;p_neutral\n'+''.join(f'{u};0,75;0,25\n' for u in CLIPS))
    for name in (*rows, 'h.csv'):
        mapping = dict(dist='PROBS') if 'probs' in rows.get(name, ()) else None
        assert counts(taken(home, home/name, model=name, mapping=mapping))=={'taken, ok': 24}, name
    scored()
    for name in (*rows, 'h.csv'):
        np.testing.assert_allclose(greedy_dists(model=name), np.tile([.75, 0, 0, 0, .25, 0], (24, 1)), atol=1e-9, err_msg=name)

# --- logs of inspect_ai ---------------------------------------------------------------------------
PARTS = [dict(type='reasoning', reasoning='This is clearly anger.', summary='angry'),
         dict(type='thinking', thinking='or fear'), dict(type='text', text='It is '),
         dict(text='happy?', thought=True), dict(type='tool_use', name='angry'), dict(type='text', text='sad.')]

def inspect_sample(uid, epoch, text, error=None, stop='stop'):
    choices = [dict(message=dict(role='assistant', content=text), stop_reason=stop)]
    return dict(id=uid, epoch=epoch, input='...', target='sad', messages=[], scores={}, error=error,
                output=dict(model='' if error else 'openai/gpt-x', choices=[] if error else choices))

def inspect_log(path, samples):
    head = dict(eval=dict(model='openai/gpt-x'))
    if path.suffix=='.json': path.write_text(json.dumps(dict(head, version=2, samples=samples))); return path
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('header.json', json.dumps(head))
        for o in samples: z.writestr(f"samples/{o['id']}_epoch_{o['epoch']}.json", json.dumps(o))
    return path

@pytest.mark.parametrize('ending', ['json', 'eval'])
def test_logs_of_inspect(home, ending):
    samples = [inspect_sample(u, e, [dict(type='text', text=o)] if e==1 else o)
               for u, many in said().items() for e, o in enumerate(many, 1)]
    samples.append(inspect_sample(CLIPS[0], 4, '', error=dict(message='rate limit', traceback='...')))
    report = taken(home, inspect_log(home/f'log.{ending}', samples))
    assert counts(report)=={'taken, ok': 72, 'the call had failed': 1} and set(report.model)=={'openai/gpt-x'}
    assert Study('theirs').runs()[0]['model']=='openai/gpt-x'

def test_stop_reasons_epochs_and_parts_of_inspect(home):
    ends = ('max_tokens', 'model_length', 'content_filter', 'unknown', *['stop']*20)
    samples = [inspect_sample(u, 1, 'It is' if end!='stop' else PARTS, stop=end) for u, end in zip(CLIPS, ends, strict=True)]
    samples.append(inspect_sample(CLIPS[5], 1, 'happy'))  # the same epoch twice
    assert counts(taken(home, inspect_log(home/'log.json', samples)))=={
        'taken, truncated': 2, 'taken, refusal': 1, 'taken, out_of_set': 1,
        'taken, repaired': 20, 'the same sample twice': 1}
    assert set(stored().finish)=={*ends} and set(stored().text)=={'It is', 'It is sad.'}

def test_archives_that_are_not_unpacked(home, monkeypatch):
    "Compressed in a way that Python does not know, encrypted, or too large when unpacked."
    for method, flag, told in ((93, 0, 'inspect log dump log.eval > log.json'), (0, 1, 'encrypted')):
        with zipfile.ZipFile(home/'log.eval', 'w') as z: z.writestr('samples/a.json', json.dumps(inspect_sample('a', 1, 'sad')))
        data = bytearray((home/'log.eval').read_bytes())
        for start, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
            i = data.find(start)+at
            data[i:i+4] = flag.to_bytes(2, 'little')+method.to_bytes(2, 'little')
        (home/'log.eval').write_bytes(data)
        with pytest.raises(InputError, match=told) as e: taken(home, home/'log.eval')
        assert '\n' not in str(e.value) and not (home/'results').exists()
    monkeypatch.setattr('ambiscale_nb.study.formats.UNPACKED_MOST', 100)
    large = inspect_log(home/'b.eval', [inspect_sample('a', 1, 'x'*500)])
    with pytest.raises(InputError, match='unpacks to more'): taken(home, large)

# --- logs of lmms-eval ----------------------------------------------------------------------------
def lmms_rows(filters, texts, named=True):
    "As lmms-eval writes: for each round and filter all documents."
    rows = [dict(doc_id=i, resps=[[f'I hear {o}']], filtered_resps=[f'{f} {o}'], filter=f)
            for answers in texts for f in filters for i, o in enumerate(answers)]
    return rows if named else [{k: v for k, v in o.items() if k!='filter'} for o in rows]

def test_logs_of_lmms_eval_count_their_clips(home):
    (home/'ids.txt').write_text('\n'.join(CLIPS))
    rows = [dict(doc_id=i, resps=[[f'I hear {o}' for o in many]], filtered_resps=[many[0]])
            for i, many in enumerate(said().values())]
    rows[0].pop('resps'); rows[0]['filtered_resps'] = rows[1]['resps'][0]  # as it drops one of two equal ones
    how = dict(fmt='lmms-eval', ids=home/'ids.txt', model='lmms')
    assert counts(taken(home, rows, **how))=={'taken, repaired': 72}
    for o in rows: o.update(resps=[[['-3.1', 'False']], [['-0.4', 'True']]], filtered_resps=[['-3.1', 'False']])
    with pytest.raises(InputError, match='24 of 24: the call had failed'): taken(home, rows, **how)  # no text to read

@pytest.mark.parametrize('named', [True, False])
def test_filters_are_told_from_repetitions(home, named):
    (home/'ids.txt').write_bytes('\ufeff'.encode()+'\r\n'.join(CLIPS).encode())
    how, one, two = dict(fmt='lmms-eval', ids=home/'ids.txt'), *([many[i] for many in said().values()] for i in (0, 1))
    found = counts(taken(home, lmms_rows(['none', 'first', 'regex'], [one], named), model='filters', **how))
    assert found=={'taken, repaired': 24, 'another filter of the same answers': 48}
    assert counts(taken(home, lmms_rows(['none'], [one, two], named), model='rounds', **how))=={'taken, repaired': 48}
    assert set(stored(model='rounds').groupby('uid').size())=={2}

# --- reasons, pools and modes ---------------------------------------------------------------------
def test_every_reason_is_counted_with_its_first_row(home):
    rows = [dict(uid=u, label=o, sample=i) for u, many in said(n=2).items() for i, o in enumerate(many)]
    rows += [dict(uid='nobody', label='sad', sample=0), dict(uid=None, label='sad', sample=0),
             dict(uid=CLIPS[0], label='sad', sample=1), dict(uid=CLIPS[1], sample=7),
             dict(uid=CLIPS[2], label='happy', sample=8), dict(uid=CLIPS[3], text='x'*(LONGEST+1), sample=9)]
    rows = [o for o in rows if (o['uid']!=CLIPS[5] or o['sample']) and o['uid']!=CLIPS[6]]
    rows[0]['label'] = 'bewildered'
    report = taken(home, rows).set_index('became')
    assert report.answers.to_dict()=={
        'no such clip in the corpus, or one that cannot be scored': 1, 'no name of a clip': 1, 'the same sample twice': 1,
        'neither text nor label nor distribution': 1, 'more answers than most clips have': 1,
        'fewer answers than most clips have': 1, f'over {LONGEST:,} characters': 1, 'taken, out_of_set': 1,
        'clips of the corpus without an answer': 2, 'taken, ok': 43}
    assert report.first_row['no such clip in the corpus, or one that cannot be scored']==46

def test_failed_calls_are_no_answers_and_a_retry_takes_their_place(home):
    rows = [dict(uid=u, text='sad', finish='error' if i<3 else 'stop', error=False) for i, u in enumerate(CLIPS)]
    assert counts(taken(home, rows))=={'the call had failed': 3, 'taken, ok': 21, 'clips of the corpus without an answer': 3}
    rows = [dict(uid=u, text=None, error='timeout', sample=0) for u in CLIPS[:2]]
    assert counts(taken(home, rows+[o | dict(error='', sample=0) for o in SAD]))=={'the call had failed': 2, 'taken, ok': 24}

def test_models_and_styles_in_one_file_and_in_several(home):
    rows = [o | dict(model=m, style=s) for m in ('one', 'two') for s in ('direct', 'cot') for o in rows_of(2)]
    def state():
        plans = [Study('theirs').read('plans', o['plan']) for o in Study('theirs').runs()]
        return stored().sort_values('key', ignore_index=True), pd.concat(plans), pd.DataFrame(Study('theirs').runs())
    taken(home, rows)
    before = state()
    taken(home, rows)  # the same file twice changes nothing
    for a, b in zip(before, state(), strict=True): pd.testing.assert_frame_equal(a, b)
    taken(home, SAD, style='direct', model='one')  # new direct answers take the place of the old ones
    got = scored(1, 2)
    assert set(zip(got.model, got['style'], strict=True))=={(m, s) for m in ('one', 'two') for s in ('direct', 'cot')}
    assert (greedy_dists(style='direct', model='one')[:, SIX.index('sad')]==1).all()
    assert budgets_of(Study('theirs'))==[1, 2] and len(Study('theirs').runs())==2

def test_log_probabilities_that_a_file_has_are_used(home):
    rng = rng_of('logprobs')
    taken(home, [o | dict(logprob=-float(rng.exponential(2)), tokens=2) for o in rows_of()])
    assert {'bon', 'w_bon', 'mob'}<=set(scored(1, 3).strategy)

def test_nine_answers_in_two_styles_against_a_computation_of_its_own(home):
    "Labels in JSON, a fifth refused: shares of nine answers, refusals left out; two speakers, so no interval."
    rng, rows = rng_of('nine answers'), []
    votes = pd.DataFrame(rng.multinomial(3, rng.dirichlet(np.full(6, .5), 200)), columns=[f'votes_{o}' for o in SIX])
    votes = votes.assign(uid=[f'c{i:03d}' for i in range(200)], speaker=[f's{i%2}' for i in range(200)])
    votes.to_csv(home/'two.csv', index=False)
    for style in ('direct', 'cot'):
        for uid, i in ((u, i) for u in votes.uid for i in range(9)):
            label, no = rng.choice(SIX), rng.random()<.2
            text = "I'm sorry, I can't listen to audio." if no else json.dumps({'Emotion': str(label)})
            if style=='cot' and not no: text = f'The pitch is high.\nAnswer: {text}'
            rows.append(dict(uid=uid, model='theirs', style=style, text=text, sample=i, label_=label, no=no))
    answers = pd.DataFrame(rows)
    report = taken(home, write(home/'nine.csv', answers.drop(columns=['label_', 'no'])), 'two.csv')
    assert set(report['mode'])=={'label'} and report.answers.sum()==3600
    assert stored().groupby('key').size().eq(1).all() and stored().group.nunique()==400
    got = scored(*budgets_of(Study('theirs'))).query("strategy=='mean' and k==9 and stratum=='all'")
    y = votes[[f'votes_{o}' for o in SIX]].to_numpy(float)/3
    for style, mine in answers.groupby('style'):
        assert counts(report, 'style')[style, 'taken, refusal']==mine.no.sum()
        read = mine[~mine.no]
        p = pd.crosstab(read.uid, read.label_).reindex(votes.uid, columns=list(SIX), fill_value=0).to_numpy(float)
        p = p/p.sum(1, keepdims=True)
        m = (p+y)/2
        def kl(a, m=m): return np.where(a>0, a*np.log2(np.where(a>0, a, 1)/np.where(m>0, m, 1)), 0).sum(1)
        row, = got[got['style'].eq(style) & got.metric.eq('jsd')].itertuples()
        np.testing.assert_allclose([row.value, row.unparsed], [((kl(p)+kl(y))/2).mean(), mine.no.mean()])
        assert row.n==200 and row.speakers==2
    assert got.value.notna().all() and got[['low', 'high']].isna().all(axis=None)

def test_keys_of_imported_answers_are_those_of_their_content(home):
    taken(home, path := write(home/'a.jsonl', rows_of()))
    assert false_keys(stored())==[]
    one = stored().group.tolist()
    taken(home, path, mapping=dict(text='uid', label='text'))  # the same file, read in another way
    assert set(one)<set(stored().group) and stored().group.nunique()==48

SHARES = '{"sad": 60, "happy": 40}'

def test_mode_belongs_to_the_pool(home):
    "It is that of most answers, unless it is given."
    texts = dict(a=['{"Emotion": "sad"}'], b=['sad']*2+[SHARES], c=["I can't tell."], d=['{"emotion": "sad", "confidence": 0.9}'],
                 e=[SHARES], f=[SHARES]*2+['sad'])
    taken(home, [dict(uid=u, model=m, text=o[i%len(o)]) for m, o in texts.items() for i, u in enumerate(CLIPS)])
    assert stored().groupby('model')['mode'].agg(set).to_dict()==dict.fromkeys('abcd', {'label'})|dict.fromkeys('ef', {'dist'})
    for mode, text in (('label', SHARES), ('dist', 'sad')):
        taken(home, [o | dict(text=text) for o in SAD], model=mode, mode=mode)
        assert set(stored(model=mode)['mode'])=={mode}

def test_a_column_may_state_the_mode(home):
    rows = [dict(uid=u, text='{"sad": 1}', mode=m) for m in ('Label', 'dist') for u in CLIPS]
    assert counts(taken(home, rows), 'mode')[('dist', 'taken, ok')]==24
    with pytest.raises(InputError, match='mode'): taken(home, rows, mapping=dict(mode='uid'))

def test_why_a_text_ended_is_kept(home):
    ends = dict(a=('stop', 'sad', 'ok'), b=(None, 'sad', 'ok'), c=('length', 'It may be sad, or', 'truncated'),
                d=('max_tokens', 'It', 'truncated'), e=('MAX_TOKENS', 'It may be', 'truncated'),
                f=('content_filter', None, 'refusal'), g=('SAFETY', '', 'refusal'), h=('stop', '', 'empty'))
    rows = [dict(uid=u, model=m, finish=finish, text=text) for m, (finish, text, _) in ends.items() for u in CLIPS]
    assert counts(taken(home, rows), 'model')=={(m, f'taken, {status}'): 24 for m, (*_, status) in ends.items()}
    assert stored().groupby('model').finish.agg(set).to_dict()=={m: {o[0] or 'stop'} for m, o in ends.items()}

def test_parts_of_text_are_joined_and_thoughts_never_read(home):
    message = dict(role='assistant', content=PARTS)
    forms = dict(parts=PARTS, message=message, json=json.dumps(PARTS), repr=repr(PARTS), silent=PARTS[:1])
    for model, text in forms.items(): taken(home, [dict(uid=u, text=text) for u in CLIPS], model=model)
    found = stored().groupby('model').text.agg(set).to_dict()
    assert found==dict.fromkeys(forms, {'It is sad.'})|dict(silent={''})

@pytest.mark.parametrize('n', [1, 5, 8, 9])
def test_several_answers_in_one_cell_and_budgets_of_the_whole_pool(home, n):
    taken(home, write(home/'a.parquet', [dict(uid=u, text=many) for u, many in said(n).items()]))
    assert len(stored())==24*n and budgets_of(Study('theirs'))==sorted({1, 2, 4, 8, n} & {*range(1, n+1)})

def test_options_of_a_question_are_stored_with_the_answer(home):
    taken(home, [dict(uid=u, text='B', choices=['sad', 'happy', 'angry', 'neutral']) for u in CLIPS]); scored()
    assert set(stored().choices)=={'["sad", "happy", "angry", "neutral"]'}
    assert (greedy_dists()[:, SIX.index('happy')]==1).all()

def test_codes_of_labels(home):
    labels = dict(a=['ang', 'HAP', 'neu', 'Sad'], b=['angry', 'bored', 'sad', 'sad'], c=['ANG', 'None', 'neu', 'sad'])
    rows = [dict(uid=u, model=m, label=o[i%4]) for m, o in labels.items() for i, u in enumerate(CLIPS)]
    found = counts(taken(home, rows), 'model')
    assert {k: v for k, v in found.items() if 'without' not in k[1]}=={
        ('a', 'taken, ok'): 24, ('b', 'taken, ok'): 18, ('b', 'taken, out_of_set'): 6, ('c', 'taken, ok'): 18,
        ('c', 'neither text nor label nor distribution'): 6}

# --- the corpus and its votes ---------------------------------------------------------------------
def test_a_registered_corpus_gives_the_truth_and_how_it_was_read_stays(home):
    rows = write(home/'said.jsonl', [dict(uid=f'val-{i:05d}', label='sad') for i in range(40)])
    report = import_file(rows, 'theirs', corpus='toyspeech', split='val', convention='label', model='x')
    assert report.answers[0]==40 and report.became.iloc[-1]=='clips of the corpus without an answer'
    run, = Study('theirs').runs()
    assert (run['corpus'], run['split'], run['convention'], run['has_ratings'])==('toyspeech-val-label', 'val', 'label', True)
    assert set(scored().convention)=={'label'}

def write_votes(home, **more):
    "A table of three votes for sad, and other columns."
    rows = [dict({f'votes_{o}': int(o=='sad')*3 for o in SIX}, uid=u) | {k: v[i] if isinstance(v, list) else v
            for k, v in more.items()} for i, u in enumerate(more.get('uid', CLIPS))]
    return write(home/'odd.csv', rows)

@pytest.mark.parametrize(('values', 'told'), [
    ((.5, .5), 'not shares'), ((.25, .75), '0.25'), ((33.3, 66.7), 'percentages'), ((60, 40), 'percentages'),
    ((-1, 3), 'line 2: votes_happy is'), (('two', 1), "'two'"), ((2.5, .5), 'not shares')])
def test_shares_in_place_of_votes_are_refused_before_anything_is_stored(home, values, told):
    write_votes(home, votes_happy=values[0], votes_sad=values[1])
    with pytest.raises(InputError, match=told): taken(home, SAD, 'odd.csv')
    assert not (home/'results').exists()

def test_a_loader_that_returns_shares_is_refused(home):
    clips = pd.DataFrame(dict(corpus='x', uid=CLIPS, path='', speaker=CLIPS, flags='', ambiguity_source='votes',
                              n_raters=3, votes_happy=.5, votes_sad=.5))
    register_corpus(Corpus('shares', lambda root, split: (clips, None), 'six', '3', 'none', 'shares'))
    told = 'the loader: the votes of .clip-00. are 0, 0, 0, 0.5, 0, 0.5 .24 such'
    with pytest.raises(InputError, match=told): load_corpus('shares')

@pytest.mark.parametrize(('columns', 'want'), [
    (dict(n_raters=100, votes_happy=60, votes_sad=40), dict(votes_happy=60, n_raters=100)),  # no percentages: it says so
    (dict(n_raters=5, votes_surprise=1), dict(out_of_set=2, n_raters=5, votes_sad=3)),
    (dict(votes_surprise=1), dict(out_of_set=1, n_raters=4)), (dict(votes_happy='None'), dict(votes_happy=0, n_raters=3))])
def test_raters_of_a_table(home, columns, want):
    _, _, clips, *_ = votes_from(write_votes(home, **columns), 'six')
    for k, v in want.items(): assert clips[k].eq(v).all(), k

def test_columns_of_votes_may_be_codes_and_merge(home):
    rows = [dict(uid=u, votes_ANG=1, votes_hap=2, votes_exc=1, votes_Neutral=0, votes_sad=0) for u in CLIPS]
    _, _, clips, *_ = votes_from(write(home/'odd.csv', rows), 'four')
    assert clips.votes_angry.eq(1).all() and clips.votes_happy.eq(3).all() and clips.n_raters.eq(4).all()
    with pytest.raises(InputError, match='two columns of votes for .angry.'):
        votes_from(write(home/'odd.csv', [o | dict(votes_anger=1) for o in rows]), 'four')

@pytest.mark.parametrize('empty', ['', 'None', 'nan', 'NA'])
def test_none_is_no_vote(home, empty):
    write_votes(home, **{f'votes_{o}': empty for o in SIX if o!='sad'})
    assert counts(taken(home, SAD, 'odd.csv'))=={'taken, ok': 24, 'empty cells of votes, taken as no vote': 120}
    (home/'own').mkdir(); (home/'own/one.wav').touch()
    (home/'own/ratings.csv').write_text(f'file,rater,label\none.wav,a,sad\none.wav,b,{empty or "None"}\none.wav,c,ang\n')
    clips, ratings = load_corpus('own', home/'own', labels='six+other')  # in a list of ratings neither
    assert clips.n_raters.tolist()==[2] and clips.votes_other.tolist()==[0] and len(ratings)==2
    assert clips.attrs['dropped']=={'no emotion chosen': 1}

def test_columns_of_ones_own_are_kept(home):
    more = dict(speaker='s', flags='noisy', out_of_set=1, n_raters=4, age=33, reason='mine', path=[f'/a/{u}.wav' for u in CLIPS])
    write_votes(home, **more)
    assert counts(taken(home, SAD, 'odd.csv'))=={'taken, ok': 24}
    kept = Study('theirs').read('utterances', 'odd')
    for k, v in more.items():
        assert kept[k].astype(str).str.removesuffix('.0').tolist()==(v if isinstance(v, list) else [str(v)]*24), k

NAMES = ['NA', '007', 'null', '1e5', 'nan', 'None', 'true', '1.0', '0x10', 'N/A', 'Infinity', '7']

@pytest.mark.parametrize('fmt', FORMATS)
def test_names_stay_names(home, fmt):
    "As a clip, as a speaker, as a model; and integers that pandas made floats of."
    write_votes(home, uid=NAMES, speaker=NAMES)
    path = write(home/f'a.{fmt}', [dict(uid=u, model=m, text='sad') for m in ('NA', '007', '1e5') for u in NAMES])
    report = taken(home, path, 'odd.csv')
    assert counts(report)=={'taken, ok': 36} and list(report.model)==['NA', '007', '1e5']
    assert sorted(stored(model='007').uid)==sorted(NAMES)
    assert Study('theirs').read('utterances', 'odd').speaker.tolist()==NAMES
    write_votes(home, uid=[*range(24)])
    write(home/'b.parquet', pd.DataFrame(dict(uid=[*range(24), None], text='sad', sample=0.)))
    found = import_file(home/'b.parquet', 'numbers', corpus=str(home/'odd.csv'))
    assert counts(found)=={'taken, ok': 24, 'no name of a clip': 1}

def test_clips_are_found_by_the_name_of_their_file(home):
    forms = r'C:\\data\\{}.wav', 'AudioWAV/{}.wav', '{}.WAV', './{}.flac'
    found = counts(taken(home, [dict(uid=forms[i%4].format(u), text='sad') for i, u in enumerate(CLIPS)]))
    assert found=={'taken, ok, clip found by its file name': 24}
    assert set(stored().uid)==set(CLIPS)
    write_votes(home, uid=['a/1', 'b/1', *CLIPS[2:]])  # a name that two clips share names neither
    found = import_file(write(home/'a.jsonl', [dict(uid=r'c\1.wav', text='sad'), *SAD[2:]]), 'x', corpus=str(home/'odd.csv'))
    assert counts(found)['no such clip in the corpus, or one that cannot be scored']==1

def test_a_study_of_imported_answers_keeps_its_audio_when_project_and_corpus_are_moved(home, monkeypatch):
    project, audio = home/'project', home/'audio'
    for o in (project, audio): o.mkdir()
    for o in (*(audio/f'{o}.wav' for o in 'abc'), *(project/f'{o}.wav' for o in 'ab')): o.touch()
    (audio/'ratings.csv').write_text('file,rater,label\n'+''.join(f'{o}.wav,{r},sad\n' for o in 'abc' for r in 'xyz'))
    monkeypatch.setattr('ambiscale_nb.corpora.registry.ROOT', project)
    write_votes(home, uid=[*'abcd'], path=[str(project/'a.wav'), 'b.wav', '/nowhere/c.wav', ''])
    rows = write(home/'said.jsonl', [dict(uid=u, text='sad') for o in 'abcd' for u in (o, f'{o}.wav')])
    import_file(rows, 'own', corpus='own', root=str(audio))
    import_file(rows, 'table', corpus=str(home/'odd.csv'))
    moved, elsewhere = project.rename(home/'moved'), audio.rename(home/'elsewhere')
    monkeypatch.setattr('ambiscale_nb.corpora.registry.ROOT', moved)
    monkeypatch.setenv('AMBISCALE_OWN', str(elsewhere))
    def found(study):
        run, = Study(study).runs()
        paths = Study(study).read('utterances', run['corpus']).set_index('uid').path
        return {k: o and audio_path(o, run['corpus'], run['root']) for k, o in paths.items()}
    assert found('own')=={f'{o}.wav': elsewhere/f'{o}.wav' for o in 'abc'} and all(o.exists() for o in found('own').values())
    assert found('table')==dict(a=moved/'a.wav', b=moved/'b.wav', c=Path('/nowhere/c.wav'), d='')

# --- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize(('content', 'text'), [
    ('\ufeffuid,text\n{0},sad\n', 'sad'), ('uid;text\n{0};I hear, well, sad\n', 'I hear, well, sad'),
    ('uid\ttext\n{0}\tsad, I think\n', 'sad, I think'), ('sep=;\nuid;text\n{0};sad\n', 'sad'),
    ('UID, Text \r\n{0},sad\r\n\r\n', 'sad'), ('uid,text\n,,\n{0},"sad,\nsad"\n', 'sad,\nsad')])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_csv_as_spreadsheets_write_it(home, content, text, encoding):
    if encoding=='utf-16': content = content.lstrip('\ufeff')
    (home/'a.csv').write_bytes(content.format(CLIPS[0]).encode(encoding))
    assert taken(home, home/'a.csv').answers[0]==1 and stored().text.tolist()==[text]

@pytest.mark.parametrize(('name', 'content', 'told'), [
    ('a.csv', b'uid,text\nclip-00,I think, sad\n', 'line 2: 3 cells for 2 columns'),
    ('b.csv', b'uid,text,text\nclip-00,a,b\n', "two columns 'text'"), ('c.txt', b'x', 'format'),
    ('c.csv', 'uid,text\nclip-00,wütend\n'.encode('cp1252'), 'line 2: not in UTF-8'),
    ('d.csv', b'clip,text\nclip-00,sad\n', "no column 'uid' for `uid`, it has clip, text"),
    ('e.csv', b'uid,label,logprob\nclip-00,sad,low\n', "line 2: 'low' is no number"),
    ('f.csv', b'uid,label\n', 'no answers'), ('g.csv', b'uid,label\nnobody,sad\n', 'can be used'),
    ('h.csv', b'uid,label\n"'+b'x'*(17*LONGEST), 'field larger'), ('i.csv', b'PK\x03\x04rest', 'spreadsheet'),
    ('a.jsonl', b'{"uid": 1}\n{broken', 'line 2'), ('b.jsonl', b'[1, 2]\n', 'not an object'),
    ('c.jsonl', b'['*100_000, 'line 1'), ('d.jsonl', b'{"uid": "clip-00", "choices": ["sad"]}', 'two options'),
    ('e.json', b'{"uid": {"0": "clip-00"}}', 'no answers'), ('f.xlsx', b'PK\x03\x04', 'format'),
    ('g.jsonl.zst', b'\x28\xb5\x2f\xfdrest', 'compressed'), ('h.csv.gz', b'\x1f\x8brest', 'compressed'),
    ('i.parquet', b'PARErest', 'encrypted'), ('j.jsonl', b'-----BEGIN PGP MESSAGE-----', 'encrypted'),
    ('k.parquet', b'PAR1nothing', 'is it really parquet')])
def test_files_that_cannot_be_read_get_one_line(home, name, content, told):
    (home/name).write_bytes(content)
    with pytest.raises(InputError, match=told) as e: taken(home, home/name)
    assert '\n' not in str(e.value) and not (home/'results').exists()

@pytest.mark.parametrize(('how', 'told'), [
    (dict(mapping=dict(colour='x')), 'field to map'), (dict(style='haiku'), 'style'),
    (dict(mapping=dict(text='responce')), "no column 'responce' for `text`, it has uid, text"),
    (dict(votes='bare.csv'), 'lacks the columns')])
def test_wrong_names_are_refused(home, how, told):
    pd.DataFrame(dict(uid=CLIPS)).to_csv(home/'bare.csv', index=False)
    with pytest.raises(InputError, match=told): taken(home, SAD, **how)
    with pytest.raises(InputError, match='corpus'): import_file(home/'rows.jsonl', 'x', corpus='nothing')
    assert taken(home, SAD, mapping=dict(text='TEXT')).answers.tolist()==[24]

@pytest.mark.parametrize(('label', 'told'), [('A', 'One character is a code'), (3, 'One character'), ('xyz', 'Unknown')])
def test_codes_that_are_not_known_get_a_hint_and_nothing_is_stored(home, label, told):
    with pytest.raises(InputError, match=f"None of 24 values in `label`.*{told}"):
        taken(home, [dict(uid=u, label=label) for u in CLIPS])
    with pytest.raises(InputError, match="'a/b' and 'a-b' would share the folder 'a-b'"):
        taken(home, [o | dict(model=m) for m in ('a/b', 'a-b') for o in SAD])
    assert not (home/'results').exists()

def test_a_study_keeps_its_votes_and_its_sampled_models(home):
    taken(home, SAD)
    votes = pd.read_csv(home/'votes.csv')
    votes.assign(votes_sad=votes.votes_sad+1).to_csv(home/'votes.csv', index=False)
    with pytest.raises(InputError, match="has other votes under the name 'votes'"): taken(home, SAD, model='b')
    assert len(Study('theirs').runs())==1
    votes.to_csv(home/'votes.csv', index=False)
    file, = (home/'results/theirs/plans').glob('*.json')
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(revision='main')))
    with pytest.raises(InputError, match='in a run of its own'): taken(home, SAD)
