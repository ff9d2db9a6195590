"""Answers of others: every format with shapes as their tools write them, every reason for leaving one out, and scores
that are those of the same answers had they been sampled here."""
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb import results
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.imports import LONGEST, ITEM, import_file, mark, read_items, votes_from
from ambiscale_nb.labels import label_set
from ambiscale_nb.report import claims_page
from ambiscale_nb.results import Study, plain_scores, score_pool, score_study, truth_of
from ambiscale_nb.strategies import pool_of

SIX = label_set('six').labels
CLIPS = [f'clip-{i:02d}' for i in range(24)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    "An empty results folder, and a table of votes."
    monkeypatch.setattr(results, 'RESULTS', tmp_path/'results')
    rng = rng_of('votes of others')
    votes = pd.DataFrame(rng.multinomial(8, rng.dirichlet(np.full(6, .5), 24)), columns=[f'votes_{o}' for o in SIX])
    votes.assign(uid=CLIPS, speaker=[f's{i%8}' for i in range(24)]).to_csv(tmp_path/'votes.csv', index=False)
    return tmp_path


def taken(home, path, **how):
    return import_file(path, 'theirs', corpus=str(home/'votes.csv'), **how)


def lines(path, rows):
    path.write_text(''.join(json.dumps(o)+'\n' for o in rows))
    return path


def said(seed=0, n=3):
    rng = rng_of('said', seed)
    return {o: [str(w) for w in rng.choice(SIX, n)] for o in CLIPS}


def scores_of(answers):
    "The same answers, had they been sampled here."
    return pool_of([answers[o] for o in CLIPS], SIX, uids=CLIPS)


@pytest.mark.parametrize('fmt', ['csv', 'jsonl', 'parquet'])
def test_imported_answers_score_as_if_sampled_here(home, fmt):
    answers = said()
    table = pd.DataFrame([dict(uid=u, model='theirs', label=o) for u, many in answers.items() for o in many])
    path = home/f'said.{fmt}'
    if fmt=='csv': table.to_csv(path, index=False)
    elif fmt=='jsonl': lines(path, table.to_dict('records'))
    else: table.to_parquet(path)
    report = taken(home, path)
    assert report.became.tolist()==['taken, ok'] and report.answers.tolist()==[72]
    score_study(Study('theirs'), (1, 3), progress=False)
    got = plain_scores(Study('theirs').read('scores'))
    chosen, _, clips, *_ = votes_from(home/'votes.csv', 'six')
    want, _, _ = score_pool(scores_of(answers), truth_of(clips, None, chosen), (1, 3))
    by = ['strategy', 'k', 'stratum', 'metric']
    both = got.merge(want, on=by, suffixes=('', '_here'))
    assert len(both)>100 and set(got.strategy)>={'majority', 'mean', 'dirichlet', 'mbr'}
    np.testing.assert_allclose(both.value, both.value_here)
    np.testing.assert_allclose(both.low, both.low_here)
    assert got.tokens.isna().all()  # nobody knows what they cost
    assert list((home/'results/theirs').glob('candidates/**/shard-*.parquet'))  # sealed
    run, = Study('theirs').runs()
    assert run['revision'].startswith('imported-') and run['n_params'] is None


def test_distributions_in_columns_in_json_and_as_lists(home):
    rng = rng_of('stated')
    p = pd.DataFrame(rng.dirichlet(np.ones(6), 24), columns=[f'p_{o}' for o in SIX]).assign(uid=CLIPS)
    p.to_csv(home/'columns.csv', index=False)
    as_json = [dict(uid=u, dist=dict(zip(SIX, row[:6], strict=True)))
               for u, row in zip(CLIPS, p.to_numpy(), strict=True)]
    lines(home/'json.jsonl', as_json)
    lines(home/'list.jsonl', [dict(clip=o['uid'], probs=[*o['dist'].values()]) for o in as_json])
    reports = [taken(home, home/'columns.csv', model='a'), taken(home, home/'json.jsonl', model='b'),
               taken(home, home/'list.jsonl', model='c', mapping=dict(uid='clip', dist='probs'))]
    assert all(o.answers.sum()==24 for o in reports)
    score_study(Study('theirs'), progress=False)
    got = Study('theirs').read('predictions').query("strategy=='greedy'")
    a, b, c = (np.stack(got[got.model.eq(m)].sort_values('uid').dist) for m in 'abc')
    np.testing.assert_allclose(a, p[[f'p_{o}' for o in SIX]].to_numpy(), atol=1e-6)
    np.testing.assert_allclose(a, b); np.testing.assert_allclose(b, c)


def inspect_sample(uid, epoch, text, error=None):
    choices = [dict(message=dict(role='assistant', content=text), stop_reason='stop')]
    output = dict(model='openai/gpt-x', choices=choices)
    return dict(id=uid, epoch=epoch, input='...', target='sad', messages=[], scores={}, error=error,
                output=dict(model='openai/gpt-x', choices=[]) if error else output)


@pytest.mark.parametrize('ending', ['json', 'eval'])
def test_logs_of_inspect(home, ending):
    samples = [inspect_sample(u, e, [dict(type='text', text=o)] if e==1 else o)
               for u, many in said().items() for e, o in enumerate(many, 1)]
    samples.append(inspect_sample(CLIPS[0], 4, '', error=dict(message='rate limit', traceback='...')))
    path = home/f'log.{ending}'
    if ending=='json': path.write_text(json.dumps(dict(version=2, eval=dict(model='openai/gpt-x'), samples=samples)))
    else:
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
            z.writestr('header.json', json.dumps(dict(eval=dict(model='openai/gpt-x'))))
            for o in samples: z.writestr(f"samples/{o['id']}_epoch_{o['epoch']}.json", json.dumps(o))
    got = taken(home, path).set_index('became').answers
    assert got['taken, ok']==72 and got['the call had failed']==1
    assert Study('theirs').runs()[0]['model']=='openai/gpt-x'


def test_logs_of_lmms_eval_and_ultraeval_audio_count_their_clips(home):
    (home/'ids.txt').write_text('\n'.join(CLIPS))
    lmms = [dict(doc_id=i, target='sad', resps=[[f'I hear {o}' for o in many]], filtered_resps=[many[0]], doc_hash='x')
            for i, many in enumerate(said().values())]
    lmms[0].pop('resps'); lmms[0]['filtered_resps'] = lmms[1]['resps'][0]  # as they drop one of two equal ones
    ultra = [dict(type=kind, id=i, data=dict(content=f'The emotion is {many[0]}'))
             for i, many in enumerate(said().values()) for kind in ('prompt', 'inference', 'post_process')]
    ultra.append(dict(type='error', id=3, data=dict(info='Traceback ... timeout')))
    how = dict(ids=home/'ids.txt')
    got = taken(home, lines(home/'a.jsonl', lmms), fmt='lmms-eval', model='lmms', **how)
    assert got.answers.sum()==72 and got.became.str.startswith('taken').all()
    got = taken(home, lines(home/'b.jsonl', ultra), fmt='ultraeval-audio', model='ultra', **how).set_index('became')
    assert got.answers.drop('the call had failed').sum()==24
    assert sorted(o['model'] for o in Study('theirs').runs())==['lmms', 'ultra']
    score_study(Study('theirs'), (1, 3), progress=False)
    assert set(Study('theirs').read('scores').model)=={'lmms', 'ultra'}


def test_every_reason_is_counted_with_its_first_row(home):
    rows = [dict(uid=u, label=o, sample=i) for u, many in said(n=2).items() for i, o in enumerate(many)]
    rows += [dict(uid='nobody', label='sad', sample=0), dict(uid=None, label='sad', sample=0),
             dict(uid=CLIPS[0], label='sad', sample=1), dict(uid=CLIPS[1], sample=7),
             dict(uid=CLIPS[2], label='happy', sample=8), dict(uid=CLIPS[3], text='x'*(LONGEST+1), sample=9)]
    rows = [o for o in rows if o['uid']!=CLIPS[5] or o['sample']]
    rows = [o for o in rows if o['uid']!=CLIPS[6]]
    rows[0]['label'] = 'bewildered'
    report = taken(home, lines(home/'said.jsonl', rows)).set_index('became')
    want = {'no such clip in the corpus, or one that cannot be scored': 1, 'no name of a clip': 1,
            'the same sample twice': 1,
            'neither text nor label nor distribution': 1, 'more answers than most clips have': 1,
            'fewer answers than most clips have': 1, f'over {LONGEST:,} characters': 1, 'taken, out_of_set': 1,
            'clips of the corpus without an answer': 2, 'taken, ok': 43}
    assert report.answers.to_dict()==want
    assert report.first_row['no such clip in the corpus, or one that cannot be scored']==46


def test_one_file_may_hold_several_models_and_styles(home):
    rows = [dict(uid=u, label=o, model=m, style=s) for m in ('one', 'two') for s in ('direct', 'cot')
            for u, many in said(n=2).items() for o in many]
    taken(home, lines(home/'said.jsonl', rows))
    assert len(Study('theirs').runs())==2
    score_study(Study('theirs'), (1, 2), progress=False)
    got = plain_scores(Study('theirs').read('scores'))
    assert set(zip(got.model, got['style'], strict=True))=={(m, s) for m in ('one', 'two') for s in ('direct', 'cot')}


def test_taking_the_same_file_twice_changes_nothing(home):
    path = lines(home/'said.jsonl', [dict(uid=u, label=o) for u, many in said().items() for o in many])
    taken(home, path); score_study(Study('theirs'), progress=False)
    before = Study('theirs').read('scores')
    taken(home, path); score_study(Study('theirs'), progress=False)
    pd.testing.assert_frame_equal(before, Study('theirs').read('scores'))


def test_log_probabilities_that_a_file_has_are_used(home):
    rng = rng_of('logprobs')
    rows = [dict(uid=u, text=o, logprob=-float(rng.exponential(2)), tokens=2)
            for u, many in said().items() for o in many]
    taken(home, lines(home/'said.jsonl', rows)); score_study(Study('theirs'), (1, 3), progress=False)
    assert {'bon', 'w_bon', 'mob'}<=set(Study('theirs').read('scores').strategy)


def test_a_registered_corpus_gives_the_truth(home):
    rows = [dict(uid=f'test-{i:05d}', label='sad') for i in range(40)]
    report = import_file(lines(home/'said.jsonl', rows), 'toy', corpus='toyspeech', model='always sad')
    assert report.answers[0]==40 and report.became.iloc[-1]=='clips of the corpus without an answer'
    score_study(Study('toy'), progress=False)
    assert Study('toy').runs()[0]['has_ratings'] and len(Study('toy').read('scores'))


def test_how_the_corpus_was_read_stays_with_the_answers(home):
    rows = [dict(uid=f'val-{i:05d}', label='sad') for i in range(40)]
    import_file(lines(home/'said.jsonl', rows), 'toy', corpus='toyspeech', split='val', convention='label', model='x')
    run = Study('toy').runs()[0]
    assert run['corpus'] == 'toyspeech-val-label' and (run['split'], run['convention']) == ('val', 'label')
    score_study(Study('toy'), progress=False)
    assert set(Study('toy').read('scores').convention) == {'label'}


@pytest.mark.parametrize(('name', 'text', 'told'), [
    ('a.jsonl', '{"uid": 1}\n{broken', 'line 2'), ('b.jsonl', '[1, 2]\n', 'not an object'), ('c.txt', 'x', 'format'),
    ('d.csv', 'uid,label\n', 'no answers'), ('e.csv', 'uid,label\nnobody,sad\n', 'can be used'),
    ('f.jsonl', '['*100_000, 'line 1'), ('g.csv', 'uid,label\n"'+'x'*(17*LONGEST), 'line')])
def test_files_that_are_no_answers_are_told(home, name, text, told):
    (home/name).write_text(text)
    with pytest.raises(InputError, match=told): taken(home, home/name)
    assert not (home/'results').exists()


def test_wrong_names_are_told(home):
    path = lines(home/'said.jsonl', [dict(uid=CLIPS[0], label='sad')])
    with pytest.raises(InputError, match='field to map'): taken(home, path, mapping=dict(colour='x'))
    with pytest.raises(InputError, match='style'): taken(home, path, style='haiku')
    with pytest.raises(InputError, match='corpus'): import_file(path, 'x', corpus='nothing')
    pd.DataFrame(dict(uid=CLIPS)).to_csv(home/'bare.csv', index=False)
    with pytest.raises(InputError, match='lacks the columns'): import_file(path, 'x', corpus=str(home/'bare.csv'))


def test_a_bomb_is_refused(home, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.imports.MOST', 1000)
    with zipfile.ZipFile(home/'log.eval', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('samples/a.json', ' '*5000)
    with pytest.raises(InputError, match='unpacks to more'): taken(home, home/'log.eval')


def test_items_have_one_form(home):
    path = lines(home/'said.jsonl', [dict(uid=CLIPS[0], label='sad', more='ignored')])
    items = read_items(path)
    assert [*items]==['row', *ITEM]
    assert mark(items.assign(model='m', style='direct'), CLIPS).reason.tolist()==['']
    assert claims_page() is not None
