"""Answers of others: every format with shapes as their tools write them, every reason for leaving one out, and scores
that are those of the same answers had they been sampled here."""
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.study import results
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.corpora.registry import Corpus, audio_path, load_corpus, register_corpus
from ambiscale_nb.study.imports import (LONGEST, ITEM, budgets_of, import_file, mark, read_items,
    said_by, texts_of, votes_from)
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.sampling.files import CANDIDATES, false_keys
from ambiscale_nb.study.report import claims_page
from ambiscale_nb.study.results import Study, plain_scores
from ambiscale_nb.study.scores import score_pool
from ambiscale_nb.study.scoring import score_study
from ambiscale_nb.study.truth import truth_of
from ambiscale_nb.strategies.pool import pool_of

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
    monkeypatch.setattr('ambiscale_nb.study.imports.MOST', 1000)
    with zipfile.ZipFile(home/'log.eval', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('samples/a.json', ' '*5000)
    with pytest.raises(InputError, match='unpacks to more'): taken(home, home/'log.eval')


def test_items_have_one_form(home):
    path = lines(home/'said.jsonl', [dict(uid=CLIPS[0], label='sad', more='ignored')])
    items = read_items(path)
    assert [*items]==['row', *ITEM]
    assert mark(items.assign(model='m', style='direct'), CLIPS).reason.tolist()==['']
    assert claims_page() is not None


# --- kinds of files that people have, each with the right value -----------------------------------------------------
def counts(report, *by):
    "How many answers became what."
    return report.groupby([*by, 'became'] if by else 'became', sort=False).answers.sum().to_dict()


def stored(**where):
    "The stored answers of the study."
    return Study('theirs').store.read(CANDIDATES, **where)


def big_votes(home):
    "200 clips of two speakers, three raters each."
    rng = rng_of('two speakers')
    votes = pd.DataFrame(rng.multinomial(3, rng.dirichlet(np.full(6, .5), 200)), columns=[f'votes_{o}' for o in SIX])
    votes = votes.assign(uid=[f'c{i:03d}' for i in range(200)], speaker=[f's{i%2}' for i in range(200)])
    votes.to_csv(home/'two.csv', index=False)
    return votes


def test_two_styles_nine_answers_json_labels_and_refusals(home):
    "The whole way, against a computation of its own: shares of nine answers, refusals left out."
    votes, rng, rows = big_votes(home), rng_of('nine answers'), []
    for style in ('direct', 'cot'):
        for uid in votes.uid:
            for i in range(9):
                label, refused = rng.choice(SIX), rng.random()<.2
                text = "I'm sorry, I can't listen to audio." if refused else json.dumps({'Emotion': str(label)})
                if style=='cot' and not refused: text = f'The pitch is high.\nAnswer: {text}'
                rows.append(dict(uid=uid, model='theirs', style=style, text=text, sample=i, label_=label, no=refused))
    answers = pd.DataFrame(rows)
    answers.drop(columns=['label_', 'no']).to_csv(home/'nine.csv', index=False)
    report = import_file(home/'nine.csv', 'theirs', corpus=str(home/'two.csv'))
    assert set(report['mode'])=={'label'} and report.answers.sum()==3600
    for style in ('direct', 'cot'):
        mine = report[report['style'].eq(style)].set_index('became').answers
        assert mine['taken, refusal']==answers.no[answers['style'].eq(style)].sum()
        assert mine.sum()==1800 and mine.filter(regex='ok|repaired').sum()==1800-mine['taken, refusal']
    assert stored().groupby('key').size().eq(1).all() and stored().group.nunique()==400
    assert budgets_of(Study('theirs'))==[1, 2, 4, 8, 9]
    score_study(Study('theirs'), budgets_of(Study('theirs')), progress=False)
    got = plain_scores(Study('theirs').read('scores')).query("strategy=='mean' and k==9 and stratum=='all'")
    y = votes[[f'votes_{o}' for o in SIX]].to_numpy(float)/3
    for style in ('direct', 'cot'):
        read = answers[answers['style'].eq(style) & ~answers.no]
        p = pd.crosstab(read.uid, read.label_).reindex(votes.uid, columns=list(SIX), fill_value=0).to_numpy(float)
        p = p/p.sum(1, keepdims=True)
        m = (p+y)/2
        kl = lambda a, m=m: np.where(a>0, a*np.log2(np.where(a>0, a, 1)/np.where(m>0, m, 1)), 0).sum(1)
        row, = got[got['style'].eq(style) & got.metric.eq('jsd')].itertuples()
        np.testing.assert_allclose(row.value, ((kl(p)+kl(y))/2).mean())
        np.testing.assert_allclose(row.unparsed, answers.no[answers['style'].eq(style)].mean())
        assert row.n==200 and row.speakers==2
    assert got.value.notna().all() and got[['low', 'high']].isna().all(axis=None)  # two speakers: no interval


def test_direct_and_cot_in_two_files_stand_side_by_side(home):
    for style, n in (('direct', 1), ('cot', 3)):
        path = lines(home/f'{style}.jsonl', [dict(uid=u, text=o) for u, many in said(n=n).items() for o in many])
        taken(home, path, style=style, model='m')
    assert budgets_of(Study('theirs'))==[1, 2, 3]
    score_study(Study('theirs'), (1, 2, 3), progress=False)
    assert set(Study('theirs').read('scores')['style'])=={'direct', 'cot'}
    taken(home, lines(home/'again.jsonl', [dict(uid=u, text='sad') for u in CLIPS]), style='direct', model='m')
    score_study(Study('theirs'), (1, 3), progress=False)  # the new direct answers take the place of the old ones
    got = Study('theirs').read('predictions').query("style=='direct' and strategy=='greedy'")
    assert (np.stack(got.dist)[:, SIX.index('sad')]==1).all()


def test_keys_of_imported_answers_are_those_of_their_content(home):
    taken(home, lines(home/'a.jsonl', [dict(uid=u, text=o) for u, many in said().items() for o in many]))
    assert false_keys(stored())==[]
    one = stored().group.tolist()
    taken(home, home/'a.jsonl', mapping=dict(text='uid', label='text'))  # the same file, read in another way
    assert not set(one)&set(stored().group[~stored().group.isin(one)]) and stored().group.nunique()==48


@pytest.mark.parametrize(('texts', 'mode', 'want'), [
    (['{"Emotion": "sad"}'], '', 'label'), (['{"sad": 60, "happy": 40}'], '', 'dist'),
    (['{"sad": 60, "happy": 40}']*2+['sad'], '', 'dist'), (['sad']*2+['{"sad": 60, "happy": 40}'], '', 'label'),
    (['{"sad": 60, "happy": 40}'], 'label', 'label'), (["I can't tell."], '', 'label'),
    (['{"emotion": "sad", "confidence": 0.9}'], '', 'label'), (['sad'], 'dist', 'dist')])
def test_mode_belongs_to_the_pool(home, texts, mode, want):
    rows = [dict(uid=u, text=texts[i%len(texts)]) for i, u in enumerate(CLIPS)]
    assert set(taken(home, lines(home/'a.jsonl', rows), mode=mode)['mode'])=={want}
    assert set(stored()['mode'])=={want}


def test_a_column_may_state_the_mode(home):
    rows = [dict(uid=u, text='{"sad": 1}', mode=m) for m in ('Label', 'dist') for u in CLIPS]
    assert counts(taken(home, lines(home/'a.jsonl', rows)), 'mode')[('dist', 'taken, ok')]==24
    with pytest.raises(InputError, match='mode'): taken(home, home/'a.jsonl', mapping=dict(mode='uid'))


@pytest.mark.parametrize(('finish', 'text', 'status'), [
    ('stop', 'sad', 'ok'), (None, 'sad', 'ok'), ('length', 'It may be sad, or', 'truncated'),
    ('max_tokens', 'It', 'truncated'), ('MAX_TOKENS', 'It may be', 'truncated'), ('content_filter', None, 'refusal'),
    ('SAFETY', '', 'refusal'), ('stop', '', 'empty')])
def test_why_a_text_ended_is_kept(home, finish, text, status):
    rows = [dict(uid=u, text=text, finish=finish) for u in CLIPS]
    assert counts(taken(home, lines(home/'a.jsonl', rows)))=={f'taken, {status}': 24}
    assert set(stored().finish)=={finish or 'stop'}


def test_failed_calls_are_no_answers(home):
    rows = [dict(uid=u, text='sad', finish='error' if i<3 else 'stop', error=False) for i, u in enumerate(CLIPS)]
    found = counts(taken(home, lines(home/'a.jsonl', rows)))
    assert found=={'the call had failed': 3, 'taken, ok': 21, 'clips of the corpus without an answer': 3}


def test_stop_reasons_and_epochs_of_inspect(home):
    samples = [inspect_sample(u, 1, 'sad') for u in CLIPS]
    for o, why in zip(samples, ('max_tokens', 'model_length', 'content_filter', 'unknown'), strict=False):
        o['output']['choices'][0].update(stop_reason=why, message=dict(content='It is'))
    samples.append(inspect_sample(CLIPS[5], 1, 'happy'))  # the same epoch twice
    (home/'log.json').write_text(json.dumps(dict(eval=dict(model='openai/gpt-x'), samples=samples)))
    found = counts(taken(home, home/'log.json'))
    assert found=={'taken, truncated': 2, 'taken, refusal': 1, 'taken, out_of_set': 1, 'taken, ok': 20,
                   'the same sample twice': 1}
    assert set(stored().finish)=={'stop', 'max_tokens', 'model_length', 'content_filter', 'unknown'}


def test_a_failed_sample_of_inspect_belongs_to_its_model(home):
    samples = [inspect_sample(u, 1, 'sad') for u in CLIPS]
    bad = inspect_sample(CLIPS[3], 1, '', error=dict(message='rate limit'))
    bad['output'] = dict(model='', choices=samples[0]['output']['choices'])
    samples[3] = bad
    (home/'log.json').write_text(json.dumps(dict(eval=dict(model='openai/gpt-x'), samples=samples)))
    report = taken(home, home/'log.json')
    assert set(report.model)=={'openai/gpt-x'} and counts(report)['the call had failed']==1


PARTS = [dict(type='reasoning', reasoning='This is clearly anger.', summary='angry'),
         dict(type='thinking', thinking='or fear'), dict(type='text', text='It is '),
         dict(text='happy?', thought=True), dict(type='tool_use', name='angry'), dict(type='text', text='sad.')]


@pytest.mark.parametrize('content', [PARTS, dict(role='assistant', content=PARTS), json.dumps(PARTS), repr(PARTS)])
def test_parts_of_text_are_joined_and_thoughts_never_read(home, content):
    taken(home, lines(home/'a.jsonl', [dict(uid=u, text=content) for u in CLIPS]))
    assert set(stored().text)=={'It is sad.'}
    taken(home, lines(home/'b.jsonl', [dict(uid=u, text=[PARTS[0]]) for u in CLIPS]), model='silent')
    assert set(stored(model='silent').text)=={''}


def test_parts_in_logs_of_inspect(home):
    samples = [inspect_sample(u, 1, PARTS) for u in CLIPS]
    (home/'log.json').write_text(json.dumps(dict(eval=dict(model='m'), samples=samples)))
    taken(home, home/'log.json')
    assert set(stored().text)=={'It is sad.'}


def test_several_answers_in_one_cell(home):
    rows = [dict(uid=u, text=many) for u, many in said().items()]
    assert taken(home, lines(home/'a.jsonl', rows)).answers.tolist()==[72]
    pd.DataFrame(rows).to_parquet(home/'a.parquet')
    assert taken(home, home/'a.parquet', model='p').answers.tolist()==[72]
    assert texts_of([['sad'], ['happy']])==['sad', 'happy'] and said_by(None) is None


def lmms_rows(filters, rounds, named=True, texts=None):
    "As lmms-eval writes: filter by filter, all documents each."
    rows = []
    for r in range(rounds):
        for f in filters:
            for i, o in enumerate(texts[r] if texts else said().values()):
                answer = o if isinstance(o, str) else o[0]
                row = dict(doc_id=i, target='sad', resps=[[f'I hear {answer}']], filtered_resps=[f'{f} {answer}'])
                rows.append(row | (dict(filter=f) if named else {}))
    return rows


@pytest.mark.parametrize('named', [True, False])
def test_filters_are_told_from_repetitions(home, named):
    (home/'ids.txt').write_bytes('\ufeff'.encode()+'\r\n'.join(CLIPS).encode())
    how = dict(fmt='lmms-eval', ids=home/'ids.txt')
    path = lines(home/'filters.jsonl', lmms_rows(['none', 'first', 'regex'], 1, named))
    found = counts(taken(home, path, model='filters', **how))
    assert found=={'taken, ok': 24, 'another filter of the same answers': 48} or sum(
        v for k, v in found.items() if k.startswith('taken'))==24
    one, two = ([many[i] for many in said().values()] for i in (0, 1))
    path = lines(home/'rounds.jsonl', lmms_rows(['none'], 2, named, [one, two]))
    assert sum(v for k, v in counts(taken(home, path, model='rounds', **how)).items() if 'taken' in k)==48
    assert sorted(stored(model='rounds').groupby('uid').size().unique())==[2]


def test_log_likelihoods_of_options_are_no_answers(home):
    (home/'ids.txt').write_text('\n'.join(CLIPS))
    rows = [dict(doc_id=i, resps=[[['-3.1', 'False']], [['-0.4', 'True']]], filtered_resps=[['-3.1', 'False']])
            for i in range(24)]
    with pytest.raises(InputError, match='24 of 24: the call had failed|no text'):
        taken(home, lines(home/'a.jsonl', rows), fmt='lmms-eval', ids=home/'ids.txt', model='m')


@pytest.mark.parametrize('n', [1, 2, 3, 5, 8, 9, 16])
def test_budgets_include_the_whole_pool(home, n):
    taken(home, lines(home/'a.jsonl', [dict(uid=u, text=o) for u, many in said(n=n).items() for o in many]))
    want = sorted({1, 2, 4, 8, 16, n} & set(range(1, n+1)))
    assert budgets_of(Study('theirs'))==want
    if n==9:
        score_study(Study('theirs'), want, progress=False)
        assert set(plain_scores(Study('theirs').read('scores')).query("strategy=='mean'").k)=={1, 2, 4, 8, 9}


def write_votes(home, rows, name='odd.csv'):
    pd.DataFrame(rows).to_csv(home/name, index=False)
    return str(home/name)


@pytest.mark.parametrize(('values', 'told'), [
    ((.5, .5), 'not shares'), ((.25, .75), '0.25'), ((33.3, 66.7), 'percentages'), ((60, 40), 'percentages'),
    ((-1, 3), 'line 2: votes_happy is'), (('two', 1), "'two'"), ((2.5, .5), 'not shares')])
def test_shares_in_place_of_votes_are_refused_before_anything_is_stored(home, values, told):
    rows = [dict(uid=u, **{f'votes_{o}': 0 for o in SIX}) | dict(zip(('votes_happy', 'votes_sad'), values, strict=True))
            for u in CLIPS]
    with pytest.raises(InputError, match=told):
        import_file(lines(home/'a.jsonl', [dict(uid=u, text='sad') for u in CLIPS]), 'theirs',
                    corpus=write_votes(home, rows))
    assert not (home/'results').exists()


def test_a_loader_that_returns_shares_is_refused(home):
    clips = pd.DataFrame(dict(corpus='x', uid=CLIPS, path='', speaker=CLIPS, flags='', ambiguity_source='votes',
                              n_raters=3, votes_happy=.5, votes_sad=.5))
    register_corpus(Corpus('shares', lambda root, split: (clips, None), 'six', '3', 'none', 'shares'))
    with pytest.raises(InputError, match='the loader: the votes of .clip-00. are 0, 0, 0, 0.5, 0, 0.5 .24 such'):
        load_corpus('shares')


def test_a_hundred_raters_are_votes_where_the_table_says_so(home):
    rows = [dict(uid=u, n_raters=100, **{f'votes_{o}': 0 for o in SIX}) | dict(votes_happy=60, votes_sad=40) for u in CLIPS]
    _, _, clips, *_ = votes_from(write_votes(home, rows), 'six')
    assert clips.votes_happy.eq(60).all() and clips.n_raters.eq(100).all()


NAMES = ['NA', '007', 'null', '1e5', 'nan', 'None', 'true', '1.0', '0x10', 'N/A', 'Infinity', '7']


@pytest.mark.parametrize('fmt', ['csv', 'jsonl', 'parquet'])
def test_names_stay_names(home, fmt):
    "As a clip, as a speaker, as a model."
    write_votes(home, [dict(uid=u, speaker=u, **{f'votes_{o}': int(o=='sad')*3 for o in SIX}) for u in NAMES], 'n.csv')
    table = pd.DataFrame([dict(uid=u, model=m, text='sad') for m in ('NA', '007', '1e5') for u in NAMES])
    path = home/f'a.{fmt}'
    if fmt=='csv': table.to_csv(path, index=False)
    elif fmt=='jsonl': lines(path, table.to_dict('records'))
    else: table.to_parquet(path)
    report = import_file(path, 'theirs', corpus=str(home/'n.csv'))
    assert counts(report)=={'taken, ok': 36} and list(report.model)==['NA', '007', '1e5']
    assert sorted(stored(model='007').uid)==sorted(NAMES)
    assert Study('theirs').read('utterances', 'n').speaker.tolist()==NAMES


def test_numbers_as_names(home):
    "Integers, and the floats that pandas makes of them where one is missing."
    write_votes(home, [dict(uid=i, **{f'votes_{o}': int(o=='sad')*3 for o in SIX}) for i in range(24)], 'n.csv')
    table = pd.DataFrame(dict(uid=[*range(24), None], text='sad', sample=0.))
    table.to_parquet(home/'a.parquet')
    found = counts(import_file(home/'a.parquet', 'theirs', corpus=str(home/'n.csv')))
    assert found=={'taken, ok': 24, 'no name of a clip': 1}


@pytest.mark.parametrize('form', [r'C:\\data\\{}.wav', 'AudioWAV/{}.wav', '{}.WAV', './{}.flac'])
def test_clips_are_found_by_the_name_of_their_file(home, form):
    report = taken(home, lines(home/'a.jsonl', [dict(uid=form.format(u), text='sad') for u in CLIPS]))
    assert counts(report)=={'taken, ok, clip found by its file name': 24} and set(stored().uid)==set(CLIPS)


def test_a_file_name_that_two_clips_share_names_neither(home):
    uids = ['a/1', 'b/1', *CLIPS[2:]]
    write_votes(home, [dict(uid=u, **{f'votes_{o}': int(o=='sad')*3 for o in SIX}) for u in uids], 'n.csv')
    rows = [dict(uid=u, text='sad') for u in (r'c\1.wav', 'a/1', *CLIPS[2:])]
    found = counts(import_file(lines(home/'a.jsonl', rows), 'theirs', corpus=str(home/'n.csv')))
    assert found['no such clip in the corpus, or one that cannot be scored']==1 and found['taken, ok']==23


def test_columns_of_ones_own_are_kept(home):
    rows = [dict(uid=u, speaker='s', path=f'/a/{u}.wav', flags='noisy', out_of_set=1, n_raters=4, age=33, reason='mine',
                 **{f'votes_{o}': int(o=='sad')*3 for o in SIX}) for u in CLIPS]
    before = pd.DataFrame(rows)
    taken_ = import_file(lines(home/'a.jsonl', [dict(uid=u, text='sad') for u in CLIPS]), 'theirs',
                         corpus=write_votes(home, rows))
    assert counts(taken_)=={'taken, ok': 24}
    kept = Study('theirs').read('utterances', 'odd')
    for o in ('speaker', 'path', 'flags', 'reason'): assert kept[o].tolist()==before[o].tolist()
    assert kept.out_of_set.eq(1).all() and kept.n_raters.eq(4).all() and kept.age.astype(int).eq(33).all()


def test_raters_who_chose_something_else_are_out_of_the_set(home):
    rows = [dict(uid=u, n_raters=5, votes_surprise=1, **{f'votes_{o}': int(o=='sad')*3 for o in SIX}) for u in CLIPS]
    _, _, clips, *_ = votes_from(write_votes(home, rows), 'six')
    assert clips.out_of_set.eq(2).all() and clips.n_raters.eq(5).all() and clips.votes_sad.eq(3).all()
    del rows[0]['n_raters']
    _, _, clips, *_ = votes_from(write_votes(home, [{k: v for k, v in o.items() if k!='n_raters'} for o in rows]), 'six')
    assert clips.out_of_set.eq(1).all() and clips.n_raters.eq(4).all()


def test_columns_of_votes_may_be_codes_and_merge(home):
    rows = [dict(uid=u, votes_ANG=1, votes_hap=2, votes_exc=1, votes_Neutral=0, votes_sad=0) for u in CLIPS]
    _, _, clips, *_ = votes_from(write_votes(home, rows), 'four')
    assert clips.votes_angry.eq(1).all() and clips.votes_happy.eq(3).all() and clips.n_raters.eq(4).all()
    with pytest.raises(InputError, match='two columns of votes for .angry.'):
        votes_from(write_votes(home, [o | dict(votes_anger=1) for o in rows]), 'four')


@pytest.mark.parametrize('empty', ['', 'None', 'nan', 'NA'])
def test_none_is_no_vote(home, empty):
    rows = [dict(uid=u, **{f'votes_{o}': 3 if o=='sad' else empty for o in SIX}) for u in CLIPS]
    report = import_file(lines(home/'a.jsonl', [dict(uid=u, text='sad') for u in CLIPS]), 'theirs',
                         corpus=write_votes(home, rows))
    assert counts(report)=={'taken, ok': 24, 'empty cells of votes, taken as no vote': 120}
    assert Study('theirs').read('utterances', 'odd').votes_happy.eq(0).all()


@pytest.mark.parametrize('empty', ['None', 'nan', 'NULL', 'n/a'])
def test_none_in_a_list_of_ratings_is_no_vote(home, empty):
    (home/'own').mkdir(); (home/'own/one.wav').touch()
    (home/'own/ratings.csv').write_text(f'file,rater,label\none.wav,a,sad\none.wav,b,{empty}\none.wav,c,ang\n')
    clips, ratings = load_corpus('own', home/'own', labels='six+other')
    assert clips.n_raters.tolist()==[2] and clips.votes_other.tolist()==[0] and clips.votes_angry.tolist()==[1]
    assert clips.attrs['dropped']=={'no emotion chosen': 1} and len(ratings)==2


@pytest.mark.parametrize(('labels', 'want'), [
    (['ang', 'HAP', 'neu', 'Sad'], {'ok': 24}), (['ANG', 'None', 'neu', 'sad'], {'ok': 18, 'none': 6}),
    (['angry', 'bored', 'sad', 'sad'], {'ok': 18, 'out_of_set': 6})])
def test_codes_of_labels(home, labels, want):
    rows = [dict(uid=u, label=labels[i%4]) for i, u in enumerate(CLIPS)]
    found = counts(taken(home, lines(home/'a.jsonl', rows)))
    assert found.get('taken, ok')==want['ok'] and found.get('taken, out_of_set', 0)==want.get('out_of_set', 0)
    assert found.get('neither text nor label nor distribution', 0)==want.get('none', 0)


@pytest.mark.parametrize(('label', 'told'), [('A', 'One character is a code'), (3, 'One character'), ('xyz', 'Unknown emotion')])
def test_codes_that_are_not_known_get_a_hint_and_nothing_is_stored(home, label, told):
    with pytest.raises(InputError, match=f"None of 24 values in `label`.*{told}"):
        taken(home, lines(home/'a.jsonl', [dict(uid=u, label=label) for u in CLIPS]))
    assert not (home/'results').exists()


def test_scores_of_classifiers(home):
    "Columns by code, lists of objects, numbers of NumPy as pandas prints them, decimal commas."
    scores = [dict(label='ang', score=.75), dict(label='neu', score=.25)]
    rows = {'columns.jsonl': [dict(uid=u, p_ang=.75, P_NEU=.25, p_value=.01) for u in CLIPS],
            'objects.jsonl': [dict(uid=u, dist=scores) for u in CLIPS]}
    for name, o in rows.items(): taken(home, lines(home/name, o), model=name)
    pd.DataFrame(dict(uid=CLIPS, dist=[repr(scores)]*24)).to_csv(home/'printed.csv', index=False)
    pd.DataFrame(dict(uid=CLIPS, dist=["{'angry': np.float64(0.75), 'neutral': np.float64(0.25)}"]*24)).to_csv(
        home/'numpy.csv', index=False)
    (home/'excel.csv').write_text('uid;p_angry;p_neutral\n'+''.join(f'{u};0,75;0,25\n' for u in CLIPS))
    pd.DataFrame(dict(uid=CLIPS, dist=[dict(angry=.75, neutral=.25)]*24)).to_parquet(home/'structs.parquet')
    for o in ('printed.csv', 'numpy.csv', 'excel.csv', 'structs.parquet'): taken(home, home/o, model=o)
    score_study(Study('theirs'), progress=False)
    got = Study('theirs').read('predictions').query("strategy=='greedy'")
    assert got.groupby('model').size().eq(24).all() and got.model.nunique()==6
    np.testing.assert_allclose(np.stack(got.dist), np.tile([.75, 0, 0, 0, .25, 0], (144, 1)), atol=1e-9)


@pytest.mark.parametrize(('content', 'rows'), [
    ('\ufeffuid,text\n{0},sad\n', 1), ('uid;text\n{0};I hear, well, sad\n', 1), ('uid\ttext\n{0}\tsad, I think\n', 1),
    ('sep=;\nuid;text\n{0};sad\n', 1), ('UID, Text \r\n{0},sad\r\n\r\n', 1), ('uid,text\n,,\n{0},"sad,\nsad"\n', 1)])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_csv_as_spreadsheets_write_it(home, content, rows, encoding):
    if encoding=='utf-16': content = content.lstrip('\ufeff')
    (home/'a.csv').write_bytes(content.format(CLIPS[0]).encode(encoding))
    assert taken(home, home/'a.csv').answers[0]==rows and len(stored())==rows
    assert 'sad' in stored().text[0]


@pytest.mark.parametrize(('name', 'content', 'told'), [
    ('a.csv', b'uid,text\nclip-00,I think, sad\n', 'line 2: 3 cells for 2 columns'),
    ('b.csv', b'uid,text,text\nclip-00,a,b\n', "two columns 'text'"),
    ('c.csv', 'uid,text\nclip-00,wütend\n'.encode('cp1252'), 'line 2: not in UTF-8'),
    ('d.csv', b'clip,text\nclip-00,sad\n', "no column 'uid' for `uid`, it has clip, text"),
    ('e.csv', b'uid,label,logprob\nclip-00,sad,low\n', "line 2: 'low' is no number"),
    ('f.jsonl', b'{"uid": "clip-00", "choices": ["sad"]}', 'two options'),
    ('g.json', b'{"uid": {"0": "clip-00"}}', 'no answers'), ('h.xlsx', b'PK\x03\x04', 'format'),
    ('i.csv', b'PK\x03\x04rest', 'spreadsheet'), ('j.jsonl.zst', b'\x28\xb5\x2f\xfdrest', 'zstd -d j.jsonl.zst'),
    ('k.csv.gz', b'\x1f\x8brest', 'gunzip'), ('l.parquet', b'PARErest', 'without encryption'),
    ('m.jsonl', b'-----BEGIN PGP MESSAGE-----', 'decrypt'), ('n.parquet', b'PAR1nothing', 'is it really parquet')])
def test_files_that_cannot_be_read_get_one_line_with_the_remedy(home, name, content, told):
    (home/name).write_bytes(content)
    with pytest.raises(InputError, match=told) as e: taken(home, home/name)
    assert '\n' not in str(e.value) and not (home/'results').exists()


def test_a_misspelt_mapping_is_refused(home):
    path = lines(home/'a.jsonl', [dict(uid=u, text='sad') for u in CLIPS])
    with pytest.raises(InputError, match="no column 'responce' for `text`, it has uid, text"):
        taken(home, path, mapping=dict(text='responce'))
    assert taken(home, path, mapping=dict(text='TEXT')).answers.tolist()==[24]


def compressed(path, method, flag=0):
    "An archive whose members state a method of compression, or encryption, that was not used."
    with zipfile.ZipFile(path, 'w') as z: z.writestr('samples/a.json', json.dumps(inspect_sample(CLIPS[0], 1, 'sad')))
    data = bytearray(path.read_bytes())
    for start, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        i = data.find(start)+at
        data[i:i+4] = flag.to_bytes(2, 'little')+method.to_bytes(2, 'little')
    path.write_bytes(data)


@pytest.mark.parametrize(('method', 'flag', 'told'), [(93, 0, 'inspect log dump log.eval > log.json'), (0, 1, 'encrypted')])
def test_archives_that_python_does_not_unpack(home, method, flag, told):
    compressed(home/'log.eval', method, flag)
    with pytest.raises(InputError, match=told) as e: taken(home, home/'log.eval')
    assert '\n' not in str(e.value) and not (home/'results').exists()


def test_a_json_list_of_rows(home):
    (home/'a.json').write_text(pd.DataFrame(dict(uid=CLIPS, text='sad')).to_json(orient='records'))
    assert counts(taken(home, home/'a.json'))=={'taken, ok': 24}


def test_a_retry_takes_the_place_of_a_failed_call(home):
    rows = [dict(uid=u, text=None, error='timeout', sample=0) for u in CLIPS[:2]]
    rows += [dict(uid=u, text='sad', error='', sample=0) for u in CLIPS]
    assert counts(taken(home, lines(home/'a.jsonl', rows)))=={'the call had failed': 2, 'taken, ok': 24}


def test_names_of_models_that_share_a_folder_are_refused(home):
    rows = [dict(uid=u, model=m, text='sad') for m in ('a/b', 'a-b') for u in CLIPS]
    with pytest.raises(InputError, match="'a/b' and 'a-b' would share the folder 'a-b'"):
        taken(home, lines(home/'a.jsonl', rows))
    assert not (home/'results').exists()


def test_other_votes_under_the_same_name_are_refused(home):
    path = lines(home/'a.jsonl', [dict(uid=u, text='sad') for u in CLIPS])
    taken(home, path)
    votes = pd.read_csv(home/'votes.csv')
    votes.assign(votes_sad=votes.votes_sad+1).to_csv(home/'votes.csv', index=False)
    with pytest.raises(InputError, match="has other votes under the name 'votes'"): taken(home, path, model='b')
    assert len(Study('theirs').runs())==1


def test_a_sampled_model_is_not_overwritten(home):
    path = lines(home/'a.jsonl', [dict(uid=u, text='sad') for u in CLIPS])
    taken(home, path)
    file, = (home/'results/theirs/plans').glob('*.json')
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(revision='main')))
    with pytest.raises(InputError, match='in a run of its own'): taken(home, path)
def test_options_of_a_question_are_stored_with_the_answer(home):
    rows = [dict(uid=u, text='B', choices=['sad', 'happy', 'angry', 'neutral']) for u in CLIPS]
    taken(home, lines(home/'a.jsonl', rows))
    assert set(stored().choices)=={'["sad", "happy", "angry", "neutral"]'}
    score_study(Study('theirs'), progress=False)
    got = Study('theirs').read('predictions').query("strategy=='greedy'")
    assert (np.stack(got.dist)[:, SIX.index('happy')]==1).all()


def test_a_study_of_imported_answers_keeps_its_audio_when_project_and_corpus_are_moved(home, monkeypatch):
    project, audio = home/'project', home/'audio'
    for o in (project, audio): o.mkdir()
    for name in 'abc': (audio/f'{name}.wav').touch()
    (audio/'ratings.csv').write_text('file,rater,label\n'+''.join(f'{o}.wav,{r},sad\n' for o in 'abc' for r in 'xyz'))
    for name in 'ab': (project/f'{name}.wav').touch()
    votes = [dict(dict.fromkeys((f'votes_{k}' for k in SIX), 1), uid=o, path=p)
             for o, p in (('a', project/'a.wav'), ('b', 'b.wav'), ('c', '/nowhere/c.wav'), ('d', ''))]
    monkeypatch.setattr('ambiscale_nb.corpora.registry.ROOT', project)
    said = lines(home/'said.jsonl', [dict(uid=u, text='sad') for o in 'abcd' for u in (o, f'{o}.wav')])
    import_file(said, 'own', corpus='own', root=str(audio))
    import_file(said, 'table', corpus=write_votes(home, votes))
    moved, elsewhere = project.rename(home/'moved'), audio.rename(home/'elsewhere')
    monkeypatch.setattr('ambiscale_nb.corpora.registry.ROOT', moved)
    monkeypatch.setenv('AMBISCALE_OWN', str(elsewhere))
    def found(study):
        run, = Study(study).runs()
        paths = Study(study).read('utterances', run['corpus']).set_index('uid').path
        return run, {k: o and audio_path(o, run['corpus'], run['root']) for k, o in paths.items()}
    run, paths = found('own')
    assert run['root']==str(audio) and paths=={f'{o}.wav': elsewhere/f'{o}.wav' for o in 'abc'}
    assert all(o.exists() for o in paths.values())
    assert found('table')[1]==dict(a=moved/'a.wav', b=moved/'b.wav', c=Path('/nowhere/c.wav'), d='')
