"Estimates against what happens at a server on this machine: requests, tokens and money lie within; unknown stays unknown."
import math
import numpy as np
import pandas as pd
import pytest
from loopback import Loopback
from ambiscale_nb.models import check  # noqa: F401 (models register)
from ambiscale_nb.core import InputError
from ambiscale_nb.models.endpoint import ENDPOINTS
from ambiscale_nb.sampling.estimate import (COLUMNS, LIKELY, clip_seconds, estimate_run, requests_of, stand_in, totals)
from ambiscale_nb.models.gemini import GEMINIS
from ambiscale_nb.models.contract import MODELS, load_model
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, plan_pool, sample_pool
from ambiscale_nb.models.prompts import STYLES, prompt
from ambiscale_nb.sampling.verify import Judge, plan_verdicts, verify_pool

LABELS = ('angry', 'happy', 'neutral', 'sad')
ASK = [prompt('label', o, LABELS) for o in STYLES]
CLIPS = pd.DataFrame(dict(corpus='demo', uid=[*'abcd'], speaker=[*'wxyz'], duration=[.25, .5, 1., 2.],
                          audio_sha=['s0', 's1', 's2', 's3']))
SECONDS = clip_seconds(CLIPS)
def wave_of(uid): return (.3*np.sin(np.arange(int(16_000*SECONDS[uid]))*.05)).astype(np.float32)

def options_of(server, kind):
    names = {'demo': dict(text_in=1., audio_in=8., text_out=3., audio_rate=128. if kind=='gemini' else 120.)}
    return dict(model='demo', key='', names=names, base_urls=server.gemini if kind=='gemini' else server.url) | (
        {} if kind=='gemini' else dict(end='<|eot_id|>'))

def both(kind, options): return stand_in(kind, **options), load_model(kind, **options)

def estimate(model, draw=None, clips=CLIPS, **how): # All calls of a run that has nothing yet
    return estimate_run(model, plan_pool(model, clips, ASK, draw or Draw()), SECONDS, LABELS, **how)

@pytest.mark.parametrize('lacks', [(), ('n',)], ids=['takes n', 'takes no n'])
@pytest.mark.parametrize('kind', ['openai', 'gemini', 'vllm'])
def test_what_happens_lies_within_the_estimate(kind, lacks, tmp_path):
    if kind=='vllm' and lacks: pytest.skip('vLLM takes it')
    with Loopback(lacks=lacks) as server:
        draw, (model, alm) = Draw(score=LABELS), both(kind, options_of(server, kind))
        plan = plan_pool(model, CLIPS, ASK, draw)
        assert plan.equals(plan_pool(alm, CLIPS, ASK, draw))         # a stand-in plans as the model does
        table = estimate_run(model, plan, SECONDS, LABELS)
        sample_pool(alm, CLIPS, wave_of, ASK, draw, Store(tmp_path), progress=False)
        alm.close()
        asked = len(server.asked)-bool(lacks)                        # one to learn that it takes no n
    rows, all_ = Store(tmp_path).read(CANDIDATES), table.sum(numeric_only=True)
    assert len(table)==4+(kind=='vllm') and list(table)==COLUMNS
    assert asked==(all_.requests_most if lacks else all_.requests)
    heard = {'gemini': 128, 'openai': 120, 'vllm': 120}[kind]*SECONDS.sum()
    assert all_.audio_tokens==pytest.approx(heard*all_.requests/len(CLIPS))
    true = rows.cost_measured.sum()
    assert 0<true<all_.usd_most and all_.usd<all_.usd_most
    assert all_.output_tokens_most>=rows.n_tokens.sum()

@pytest.mark.parametrize('kind', ['openai', 'vllm'])
def test_a_judge_is_within_the_estimate(kind, tmp_path):
    with Loopback() as server:
        judge, (model, alm) = Judge('score' if kind=='vllm' else 'text'), both(kind, options_of(server, kind))
        plan = plan_verdicts(model, CLIPS, LABELS, judge)
        table = estimate_run(model, plan, SECONDS, LABELS)
        verify_pool(alm, CLIPS, wave_of, LABELS, Store(tmp_path), judge, progress=False)
        alm.close()
        assert len(server.asked)==table.requests.sum()==4*4*(3 if kind=='vllm' else 1)
    assert set(table['mode'])=={'verify'} and table.usd.notna().all()
    assert estimate_run(model, plan, SECONDS, LABELS, Store(tmp_path)).empty
    others = plan_verdicts(model, CLIPS.assign(audio_sha=[*'wxyz']), LABELS, judge)
    more = estimate_run(model, others, SECONDS, LABELS, Store(tmp_path))
    assert more.hours.notna().all() and more.calls.sum()==16

def test_only_the_rest_is_estimated(tmp_path):
    with Loopback() as server:
        model, alm = both('openai', options_of(server, 'openai'))
        sample_pool(alm, CLIPS[:1], wave_of, ASK, Draw(), Store(tmp_path), progress=False)
        alm.close()
    rest, full = (estimate(model, Draw(n=32), store=Store(o)) for o in (tmp_path, tmp_path/'none'))
    assert rest.calls.sum()==4*2*3-4                                 # greedy and the first block are there
    assert full.calls.sum()==24 and full.hours.isna().all() and rest.hours.notna().all()
    rows = Store(tmp_path).read(CANDIDATES)
    sampled = rest.query("decode=='sample' and style=='direct'").iloc[0]
    wrote = rows[rows.decode.eq('sample') & rows['style'].eq('direct')].n_tokens.mean()
    assert sampled.output_tokens==pytest.approx(wrote*16*sampled.calls) and wrote!=LIKELY['label', 'direct']

def test_identical_clips_are_paid_for_once():
    assert estimate(stand_in('gpt-audio-1.5'), clips=CLIPS.assign(audio_sha='same')).calls.sum()==4

def test_swapped_audio_has_the_length_of_the_donor():
    model = stand_in('gpt-audio-1.5')
    one = plan_pool(model, CLIPS, ASK, Draw(condition='swap')).query("uid=='a'")
    table = estimate_run(model, one, SECONDS, LABELS)
    assert one.audio_uid.iloc[0]!='a'
    assert table.audio_tokens.sum()==pytest.approx(4*10*SECONDS[one.audio_uid.iloc[0]])

@pytest.mark.parametrize(('name', 'lost'), [('ultravox-v0.3', 'usd'), ('qwen2-audio', 'usd'), ('gpt-audio-mini', 'usd'),
                                            ('voxtral', 'audio_tokens'), ('gemini-3.8-flash', 'usd')])
def test_unknown_is_not_zero(name, lost):
    table = estimate(stand_in('openai', model=name) if name=='gpt-audio-mini' else stand_in(name))
    total = totals([estimate(stand_in('gpt-audio-1.5')), table]).set_index('model')
    assert table[lost].isna().all() and math.isnan(total[lost]['all']) and total[lost]['gpt-audio-1.5']>0
    assert total.calls['all']==32 and total.requests.notna().all()

def test_a_clip_of_unknown_length_makes_all_unknown(tmp_path):
    gone = CLIPS.drop(columns='duration').assign(path=[str(tmp_path/f'{o}.wav') for o in CLIPS.uid])
    assert clip_seconds(gone).isna().all()
    spans = clip_seconds(gone.assign(start=1., end=[2., 3., 4., math.nan]))
    assert spans[:3].tolist()==[1., 2., 3.] and math.isnan(spans['d'])
    model = stand_in('gpt-audio-1.5')
    table = estimate_run(model, plan_pool(model, CLIPS, ASK, Draw()), spans, LABELS)
    assert table.usd.isna().all() and table.text_tokens.notna().all()

SERVED = [o.name for o in (*ENDPOINTS, *GEMINIS)]

@pytest.mark.parametrize('name', SERVED)
def test_a_stand_in_is_like_the_model(name):
    model = stand_in(name)
    alm = load_model(name, key='', names={MODELS[name].served: {'status': 'live'}})
    assert (model.name, model.revision, model.capabilities)==(alm.name, alm.revision, alm.capabilities)
    assert model.price.text_in==alm.price.text_in

def test_local_models_are_planned_without_weights():
    model = stand_in('audio-flamingo-3', revision='0'*40)
    assert (model.name, model.revision, model.capabilities.max_seconds)==('audio-flamingo-3', '0'*40, 600.)
    assert requests_of(model.info, 'score', 4)==requests_of(model.info, 'sample', 16)==(1, 1)

@pytest.mark.parametrize('options', [dict(api_key='x'), dict(key='sk-1234567890'), dict(base_urls='ftp://x'),
                                     dict(base_urls='https://me:secret77@host/v1'), dict(names={'a': {'price': 1}})])
def test_wrong_options_are_refused_without_being_repeated(options):
    with pytest.raises(InputError) as e: stand_in('gpt-audio-1.5', **options)
    assert 'sk-1234567890' not in str(e.value) and 'secret77' not in str(e.value)

def test_in_flight_divides_the_time():
    one, many = (estimate(stand_in('gpt-audio-1.5'), ahead=o, seconds_a_call=9.).hours.sum() for o in (1, 32))
    assert one==pytest.approx(16*9/3600) and many==pytest.approx(one/32)
