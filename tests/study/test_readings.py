"""The same stored answers, read otherwise: judged by another model or side by side, with both prompts, calibrated."""
import numpy as np
import pandas as pd
import pytest
from in_one import execute
from test_study import SAMPLE, SCORE, SCORED

from ambiscale_nb import core
from ambiscale_nb.sampling import store as pool
from ambiscale_nb.study import results
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.study.readings import verifier_of
from ambiscale_nb.study.results import Study, plain_scores
from ambiscale_nb.study.scoring import run_pools
from ambiscale_nb.strategies.pool import predict
from ambiscale_nb.strategies.paper import with_verdicts
from ambiscale_nb.study.sample import plans_of
from ambiscale_nb.sampling.verify import VERDICTS

ONE = dict(study='small', model='tiny-alm-nano', limit=30, beam_limit=6, n=8, widths=[3], modes=['label'])
SIX = label_set('six').labels


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "One model."
    root = tmp_path_factory.mktemp('alone')
    execute(root, (SAMPLE, ONE), (SCORE, SCORED))
    return root


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    "Two models that judge each other; one has answered only half of the clips."
    root = tmp_path_factory.mktemp('both')
    judge = dict(listwise=2, listwise_limit=6)
    execute(root, (SAMPLE, ONE | judge), (SAMPLE, ONE | judge | dict(model='tiny-alm-tiny', limit=16)))
    before, sign = len(verdicts(root)), root/'results/small/plans/tiny-alm-tiny--toyspeech--none.json'
    sign.rename(sign.with_suffix('.off'))  # as if it judged the answers of the other model meanwhile
    execute(root, (SAMPLE, ONE | judge | dict(lists_of=['tiny-alm-tiny'])))  # when both have answered
    sign.with_suffix('.off').rename(sign)
    assert len(verdicts(root)) > before
    execute(root, (SCORE, SCORED))
    return root


def verdicts(root):
    "All verdicts of the study."
    return pool.Store(root/'results/small').read(VERDICTS)


@pytest.fixture
def study(both, monkeypatch):
    "The study of two models."
    for module in (core, pool, results): monkeypatch.setattr(module, 'RESULTS', both/'results', raising=False)
    return Study('small')


def is_pool(setting, reading='plain', verifier=None):
    "Whether a setting is that of samples under a reading."
    return (setting['decoding'] == 'sample' and setting['reading'] == reading
            and verifier in (None, setting['verifier']))


def table(root, name): return pd.read_parquet(root/'results/small'/f'{name}.parquet')


def test_plain_rows_do_not_change_when_another_model_joins(alone, both):
    def of(root):
        df = plain_scores(table(root, 'scores'))
        df = df[df.model=='tiny-alm-nano'].reset_index(drop=True)
        return df[[c for c in df if not c.endswith('_measured')]]
    pd.testing.assert_frame_equal(of(alone), of(both))


def test_columns_tell_readings_apart(both):
    "Each reading has rows of its own in scores and settings, at the full budget."
    scores, settings = table(both, 'scores'), table(both, 'settings')
    assert set(scores.reading) == {'plain', 'other verifier', 'both prompts', 'calibrated', 'side by side'}
    key, columns = ['model', 'corpus', 'condition', 'mode', 'style'], ['decoding', 'width', 'verifier', 'reading', 'calibration']
    assert not settings.duplicated([*key, *columns]).any()
    used, without = scores[scores.verifier.ne('')], [*key, *(o for o in columns if o!='verifier')]
    for rows, names in ((used, [*key, *columns]), (scores, without)):
        assert {*rows[names].itertuples(index=False)} <= {*settings[names].itertuples(index=False)}
    assert not scores.duplicated([*key, *columns, 'strategy', 'k', 'stratum', 'metric']).any()
    assert set(scores.decoding) == {'greedy', 'sample', 'score', 'beam'} and set(scores.width[scores.decoding.eq('beam')]) == {3}
    assert set(scores.calibration) == {'', 'temperature', 'prior', 'dirichlet'}
    judged = scores[scores.strategy.isin(['alm_v', 'w_alm_v'])]
    assert judged.verifier.str.startswith('tiny-alm').all() and scores.verifier[scores.strategy.eq('majority')].eq('').all()
    for name in ('predictions', 'costs', 'refusals'): assert set(columns) <= set(table(both, name))
    many = scores[scores.model=='tiny-alm-nano'].groupby(['reading', 'decoding', 'width', 'verifier', 'calibration', 'strategy', 'style']).k.nunique()
    assert (many.drop('plain') == 1).all() and many['plain'].max() == 3


def test_the_other_model_judges_as_by_hand(study):
    runs = {o['model']: o for o in study.runs()}
    heard = {m: verifier_of(study, o, SIX) for m, o in runs.items()}
    tiny, nano = 'tiny-alm-tiny', 'tiny-alm-nano'
    found, _ = run_pools(study, runs[tiny], tuple(heard.values()), set(runs))
    (made, how, _, _), = [o for o in found if is_pool(o[1], 'other verifier', nano) and o[0].style == 'cot']
    assert how['role'] == 'cross' and how['verifier'] == nano
    own = next(o[0] for o in found if is_pool(o[1]) and o[0].style == 'cot')
    view = heard[nano].verdicts.loc[own.uids].to_numpy()
    want = predict('w_alm_v', with_verdicts(own, view)).dist
    np.testing.assert_array_equal(predict('w_alm_v', made).dist, want)
    said = study.read('predictions')
    said = said[said.reading.eq(how['reading']) & said.verifier.eq(nano) & said.decoding.eq('sample') & said.strategy.eq('w_alm_v') & said['style'].eq('cot')]
    np.testing.assert_allclose(np.stack(said.set_index('uid').dist[list(own.uids)]), want)


def test_who_has_not_judged_every_clip_is_refused_and_who_has_costs_calls(both):
    refused, scores = table(both, 'refusals'), table(both, 'scores')
    by_tiny = dict(decoding='sample', reading='other verifier', verifier='tiny-alm-tiny')
    why = refused[refused[[*by_tiny]].eq(pd.Series(by_tiny)).all(axis=1)]
    assert set(why.reason) == {'tiny-alm-tiny judged all but 14 of 30 clips'}
    assert {'alm_v', 'w_alm_v'} <= set(why.strategy)
    assert not scores[[*by_tiny]].eq(pd.Series(by_tiny)).all(axis=1).any()
    costs = table(both, 'costs').query("model=='tiny-alm-tiny' and strategy=='w_alm_v' and k==8 and style=='cot' and "
                                    "decoding=='sample'")
    calls = costs.set_index(['reading', 'verifier']).calls
    assert calls['other verifier', 'tiny-alm-nano'] == calls['plain', 'tiny-alm-tiny'] > 1


def test_joined_prompts_are_the_mean_of_their_halves(study):
    said = study.read('predictions')
    run = next(o for o in study.runs() if o['model'] == 'tiny-alm-nano')
    found, _ = run_pools(study, run)
    parts = [o[0] for o in found if is_pool(o[1]) and o[0].style in ('cot', 'direct')]
    half = parts[0].n//2
    share = [(p.dist[:, :half].sum(1), p.parsed[:, :half].sum(1)) for p in parts]
    want = np.mean([s/np.maximum(n, 1)[:, None] for s, n in share], 0)
    use = np.all([n > 0 for _, n in share], 0)
    one = said[said.model.eq('tiny-alm-nano') & said.strategy.eq('prompt_ensemble')].set_index('uid')
    assert (one['style'] == 'both').all() and use.sum() > 20
    np.testing.assert_allclose(np.stack(one.dist[list(parts[0].uids)])[use], want[use])


def test_whoever_saw_the_lists_of_another_model_judges_its_pools(both):
    rows = verdicts(both)
    listed = rows[rows.verifier.eq('listwise')]
    assert set(listed.model) == {'tiny-alm-nano', 'tiny-alm-tiny'} and not listed.duplicated(['key']).any()
    scores = table(both, 'scores')
    side = scores[scores.reading.eq('side by side')]
    by = side[side.decoding.eq('sample') & side.verifier.ne('')].groupby(['model', 'verifier']).n.max()
    assert by['tiny-alm-tiny', 'tiny-alm-nano'] > 0
    assert ('tiny-alm-nano', 'tiny-alm-tiny') not in by  # it was not asked to
    settings = table(both, 'settings')
    roles = settings[settings.reading.eq('side by side')].groupby(['model', 'verifier']).role.first()
    assert roles.to_dict() == {('tiny-alm-nano', 'tiny-alm-nano'): 'self', ('tiny-alm-tiny', 'tiny-alm-tiny'): 'self',
                               ('tiny-alm-tiny', 'tiny-alm-nano'): 'cross'}


def test_verdicts_side_by_side_of_another_model_are_those_it_gave(study):
    runs = {o['model']: o for o in study.runs()}
    heard = [verifier_of(study, o, SIX) for o in runs.values()]
    found, refused = run_pools(study, runs['tiny-alm-tiny'], heard, set(runs))
    judged = next(o[0] for o in found if is_pool(o[1], 'side by side', 'tiny-alm-nano'))
    given = next(o for o in heard if o.model == 'tiny-alm-nano').listed
    u = int(np.argmax((judged.dist > 0).any(1).sum(1)))
    names = {o for o, on in zip(SIX, (judged.dist[u] > 0).any(0), strict=True) if on}
    mine = given[given.uid.eq(judged.uids[u])].groupby('group').filter(lambda g: set(g.label) == names)
    want = mine.groupby('label').score.mean()
    assert len(want) > 1 and mine['repeat'].nunique() == 2
    got = judged.label_verdict[u]
    np.testing.assert_allclose([got[SIX.index(o)] for o in want.index], want.to_numpy())
    assert not any(o['reading'] == 'side by side' for o in refused)


def test_who_has_not_answered_all_is_not_judged(study):
    plan = study.read('plans', 'tiny-alm-tiny--toyspeech--none')
    assert len(plans_of(study, ['tiny-alm-tiny'], 'tiny-alm-nano', 'toyspeech', 2)[0]) == len(plan)
    study.write(plan.assign(group=plan.group+'x'), 'plans', 'late--toyspeech--none')
    for models, told in ((['late'], 'late has still [0-9]+ calls to make'), (['nobody'], 'No plans/nobody'),
                         (['tiny-alm-nano'], 'name other models than tiny-alm-nano')):
        with pytest.raises(InputError, match=told): plans_of(study, models, 'tiny-alm-nano', 'toyspeech', 2)
