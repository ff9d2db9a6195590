"""Models behind HTTP, against a server on this machine that speaks their protocols: every fault has its outcome, no key
is ever written, recordings replay byte for byte, and all routes to a number agree."""
import base64
import io
import json
import logging
import os
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
import numpy as np
import pandas as pd
import pytest
import soundfile
import loopback
from loopback import (COT, DIRECT, END, WAITS, WAVE, WORDS, Loopback, Time, client, files, forms_of, ids_of, leaks, logprobs,
    name_of, total, wave_of)
from ambiscale_nb.core import InputError
from ambiscale_nb.models.contract import CallError, Retired, in_flight, load_model
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.serving import ConcurrencyLimit, Retry, wav_bytes
from ambiscale_nb.models.transport import Recorder, Unrecorded, record_offsets, wait_seconds
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, Limits, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, verify_pool
from waiting import PATIENCE, until

CLIPS = loopback.CLIPS[:3]
KEY, N = 'sk-Zq/7+x=9%Ab"cD-0123456789', 16
PRICES = {'demo': dict(text_in=1., audio_in=2., text_out=3.)}
SAID = 'The speaker says: "no"\n'

@pytest.fixture(params=['vllm', 'gemini'])
def kind(request): return request.param

def model(server, kind='vllm', **options): return client(kind, server, **dict(retry=Retry(tries=3))|options)

def sampled(alm, folder, draw=None, **options):
    "Sixteen samples of each clip, as a study takes them; the report and the rows."
    draw = draw or Draw(greedy=False)
    report = sample_pool(alm, CLIPS, wave_of, [DIRECT], draw, Store(folder), progress=False, **options)
    alm.close()
    return report, Store(folder).read(CANDIDATES)

def heard(server):  # The server's names of the clip and of the question of its last request
    parts = server.asked[-1][1]['messages'][0]['content']
    return name_of(parts[0]['input_audio']['data']), parts[1]['text']

# P5: how long to wait
@pytest.mark.parametrize('fault', WAITS)
def test_p5_waits(fault, kind, server):
    time, (least, most) = Time(), WAITS[fault]
    server.wall, server.faults = time.clock, [fault]
    assert model(server, kind, time=time).greedy(WAVE, DIRECT).text in WORDS
    assert len(time.slept)==1 and least<=time.slept[0]<=most

def test_p5_backs_off_at_random_and_gives_up(server):
    time, server.always = Time(), '429'
    with pytest.raises(CallError, match='429: Slow down') as e:
        model(server, time=time, retry=Retry(tries=6)).greedy(WAVE, DIRECT)
    assert e.value.kind=='rate_limit' and len(server.asked)==6
    assert all(2**k/2<=o<=2**k for k, o in enumerate(time.slept)), time.slept
    assert len({o/2**k for k, o in enumerate(time.slept)})==5    # jitter

@pytest.mark.parametrize('text', ['nan', 'inf', '-inf', '', '1_0', '0', '0x10', 'Tue, 99 Foo 2026', '٣', ' ', '9'*999,
                                  'Fri, 31 Dec 99999 23:59:59 GMT', '1e999', '[]', 'None'])
def test_p5_garbage_says_nothing(text): assert wait_seconds(text, 1e9) is None

# P6 and P7: no usable answer. Fault -> kind, requests of each call; or the kind that ends the run
LOST = {'500': ('server', 3), '503': ('server', 3), 'timeout': ('timeout', 3), 'reset': ('connection', 3),
        'slow headers': ('timeout', 3), 'slow body': ('timeout', 3), 'truncated JSON': ('truncated', 2),
        'short body': ('connection', 3), 'HTML body': ('not_json', 2), 'empty choices': ('empty', 2),
        'no choices': ('empty', 2), 'not an object': ('empty', 2), 'null content': ('empty', 2), 'wrong n': ('wrong_n', 2),
        'NaN logprob': ('nan_logprob', 2), 'null logprob': ('nan_logprob', 2), 'bad_request': ('bad_request', 1),
        'context': ('context_too_long', 1), 'redirect': ('bad_request', 1)}
FATAL = {'unauthorized': 'auth', 'forbidden': 'forbidden', 'not_found': 'not_found', 'quota': 'quota'}

@pytest.mark.parametrize(('fault', 'kind'), [(o, k) for o in LOST for k in ('vllm', 'gemini')
                                             if k=='vllm' or o not in ('no choices', 'null logprob')])
def test_p6_p7_bounded_tries_then_a_named_row(fault, kind, server, tmp_path):
    server.always, (error, tries), time = fault, LOST[fault], Time()
    slow = dict(seconds=.15) if error=='timeout' else {}
    report, rows = sampled(model(server, kind, time=time, **slow), tmp_path)
    assert len(time.slept)==(tries-1)*len(CLIPS)
    until(lambda: len(server.asked)>=tries*len(CLIPS))  # it reads what timed out when it can
    assert len(server.asked)==tries*len(CLIPS)
    assert set(rows.error)=={error} and len(rows)==N*len(CLIPS) and report.failed==len(CLIPS)
    assert rows.text.isna().all() and (rows.error_text!='').all()

@pytest.mark.parametrize('fault', [o for o in LOST if LOST[o][0]!='timeout' and LOST[o][1]>1])
def test_p6_one_fault_changes_no_answer(fault, server, tmp_path):
    _, calm = sampled(model(server), tmp_path/'calm')
    server.faults = [fault]
    report, rows = sampled(model(server), tmp_path/'faulty')
    assert report.failed==0 and len(server.asked)==2*len(CLIPS)+1 and rows.key.tolist()==calm.key.tolist()
    if fault=='500': assert rows.downgrades.eq('seed changed after a server error').any() # It failed on its own answer
    else: assert rows.text.tolist()==calm.text.tolist()

@pytest.mark.parametrize('fault', FATAL)
def test_p7_ends_the_run(fault, kind, server, tmp_path):
    server.always, time = fault, Time()
    with pytest.raises(CallError) as e: sampled(model(server, kind, time=time), tmp_path)
    assert e.value.kind==FATAL[fault] and len(server.asked)==1 and not time.slept
    assert not len(Store(tmp_path).read(CANDIDATES))

def test_what_was_answered_before_a_wrong_key_is_kept(server, tmp_path):
    server.faults = [None, 'unauthorized']
    with pytest.raises(CallError, match='Incorrect API key'): sampled(model(server), tmp_path)
    assert len(Store(tmp_path).read(CANDIDATES))==N

# Answers and what is missing from them
@pytest.mark.parametrize(('fault', 'finish'), [('refusal', 'refusal'), ('content filter', 'content_filter'),
    ('one declined choice', 'refusal'), ('one null content', 'empty')])
def test_a_refusal_among_answers_is_named(fault, finish, server):
    server.faults = [fault]
    replies = model(server).sample(WAVE, DIRECT, 4, seed=1)
    assert [o.finish for o in replies]==[finish]+['stop']*3 and replies[0].text not in WORDS
    status = parse(replies[0].text, 'label', 'direct', WORDS, finish=replies[0].finish).status
    assert status==('empty' if finish=='empty' else 'refusal')

def test_all_routes_to_a_number_agree(server):
    alm = model(server)
    sound, question = (alm.greedy(WAVE, DIRECT), heard(server))[1]
    for o in [alm.greedy(WAVE, DIRECT), *alm.sample(WAVE, DIRECT, 5, 3), *alm.beams(WAVE, DIRECT, 3)]:
        assert o.sum_logprob==pytest.approx(total(sound, question, o.text), abs=1e-9)
        assert o.tokens[:-1]==ids_of(o.text) and o.usage['audio_tokens']==30
    scores = alm.score(WAVE, DIRECT, list(WORDS))
    assert scores==pytest.approx([total(sound, question, o) for o in WORDS])
    best = [o.text for o in alm.beams(WAVE, DIRECT, 4)]
    assert best==[WORDS[i] for i in np.argsort(-scores)] and alm.greedy(WAVE, DIRECT).text==best[0]
    base = logprobs('s', 'q', [1, 2])  # which would mean little if the server's numbers did not depend on everything
    assert len({*base, *logprobs('t', 'q', [1, 2]), *logprobs('s', 'r', [1, 2]), *logprobs('s', 'q', [3, 2])})==8

def test_scores_need_the_right_end(server):
    alm = model(server, end=None)
    assert not alm.capabilities.label_scoring and not alm.capabilities.verify
    with pytest.raises(InputError, match='no label_scoring'): alm.score(WAVE, DIRECT, ['sad'])
    with pytest.raises(CallError, match='pass the text of the model.s own end token'):
        model(server, end='</s>').score(WAVE, DIRECT, ['sad'])

@pytest.mark.parametrize('kind', ['openai', 'gemini'])
def test_what_it_cannot_do_is_refused(kind, server):
    alm = model(server, kind)
    for call in (lambda: alm.beams(WAVE, DIRECT, 2), lambda: alm.score(WAVE, DIRECT, ['sad'])):
        with pytest.raises(InputError, match='demo has no'): call()
    assert not server.asked

def test_a_pick_is_checked(server, monkeypatch):
    assert {o.text for o in model(server).pick(WAVE, DIRECT, ['yes', 'no'], n=9)}=={'yes', 'no'}
    assert server.asked[-1][1]['structured_outputs']=={'choice': ['yes', 'no']}
    assert all(o.token_logprobs is None for o in model(server).pick(WAVE, DIRECT, ['yes'], n=2))
    monkeypatch.setattr('loopback.answers', lambda *args: ['something'])
    with pytest.raises(CallError, match='ignores structured_outputs'): model(server).pick(WAVE, DIRECT, ['yes'])

@pytest.mark.parametrize('thought', [(), ('<think>', 'sad?', '</think>', '\n')])
def test_a_reply_says_where_its_tokens_end(server, thought):
    pieces = [b'Ans', b'wer:', b' n', b'\xc3', b'\xa9', b'<|im_end|>']  # a character in two tokens, an end token
    steps = [dict(token='?', bytes=[*o], logprob=-float(i)) for i, o in enumerate([*(t.encode() for t in thought), *pieces])]
    made = dict(choices=[dict(message=dict(content='Answer: né'), finish_reason='stop', logprobs=dict(content=steps))])
    reply, = model(server).replies(made, 1.)
    assert reply.token_ends==[3, 7, 9, 10, 11, 11] and reply.token_logprobs==[-float(i+len(thought)) for i in range(6)]
    made['choices'][0]['message']['content'] = 'Something else'
    assert model(server).replies(made, 1.)[0].token_ends is None

def test_confidence_is_requested_on_demand(server, tmp_path):
    plain = model(server).greedy(WAVE, DIRECT)
    assert 'top_logprobs' not in server.asked[-1][1] and np.isnan(plain.confidence)
    alm = model(server, confidence=True)
    for o in [alm.greedy(WAVE, DIRECT), *alm.sample(WAVE, DIRECT, 4, seed=1)]:
        assert server.asked[-1][1]['top_logprobs']==6
        steps = [sorted([p, *(-.25*(i+1) for i in range(5))], reverse=True)[:5] for p in o.token_logprobs]
        assert o.confidence==pytest.approx(-np.mean(steps))
    _, rows = sampled(alm, tmp_path)
    assert rows.confidence.notna().all() and rows.confidence.nunique()>1

@pytest.mark.parametrize('lacks', [('top_logprobs',), ('logprobs',)], ids=','.join)
def test_a_server_without_confidence(lacks, server, tmp_path):
    server.lacks = lacks
    _, rows = sampled(model(server, confidence=True), tmp_path)
    assert len(rows)==48 and set(rows.error)=={''} and rows.confidence.isna().all()
    assert rows.downgrades.str.contains('top_logprobs refused').all()
    assert rows.sum_logprob.isna().all()==('logprobs' in lacks)

@pytest.mark.parametrize(('kind', 'lacks'), [('vllm', ('n',)), ('vllm', ('logprobs',)), ('vllm', ('seed',)),
    ('vllm', ('n', 'logprobs', 'seed')), ('gemini', ('n',)), ('gemini', ('logprobs',)), ('gemini', ('n', 'logprobs'))])
def test_what_is_refused_is_recorded(kind, lacks, server, tmp_path):
    server.lacks = lacks
    _, rows = sampled(model(server, kind), tmp_path)
    assert len(rows)==48 and set(rows.error)=={''}
    assert all(set(o.split('; '))=={f'{p} refused' for p in lacks} for o in rows.downgrades)
    assert rows.sum_logprob.isna().all()==('logprobs' in lacks)
    each = 48 if 'n' in lacks else 6 if kind=='gemini' else 3    # each refusal is learnt once
    assert len(server.asked)==len(lacks)+each

def test_samples_without_n_differ_and_are_paid_for_each(server):
    server.lacks = ('n',)
    replies = model(server).sample(WAVE, DIRECT, N, seed=1)
    assert len({o['seed'] for _, o in server.asked[1:]})==N and len({o.text for o in replies})>1
    assert replies[0].usage['prompt_tokens']==N*replies[1].usage['prompt_tokens']
    server.asked.clear()
    model(server, without=('n',)).sample(WAVE, DIRECT, 3, seed=1)          # a known lack costs no request
    assert len(server.asked)==3 and not any('n' in o for _, o in server.asked)

def test_the_name_that_answered_is_kept(kind, server):
    for name, note in (('another-model', 'answered by another-model'), ('demo-001', '')):
        server.serves = name
        reply = model(server, kind).greedy(WAVE, DIRECT)
        assert (reply.served, reply.downgrades)==(name, note)

def test_money_is_counted_and_limited(server, tmp_path):
    _, rows = sampled(model(server, names=PRICES), tmp_path/'a', limits=Limits(usd=1))
    written = rows.text.str.len().sum()+len(rows)
    assert rows.cost_measured.sum()==pytest.approx((3*(len(DIRECT.text)+30*2)+3*written)/1e6)
    _, rows = sampled(model(server, 'gemini', names=PRICES), tmp_path/'b')          # two requests for each clip
    assert rows.cost_measured.sum()==pytest.approx((6*(len(DIRECT.text)+32*2)+3*rows.text.str.len().sum())/1e6)
    with pytest.raises(InputError, match='has no price'): sampled(model(server), tmp_path/'a', limits=Limits(usd=1))

def test_no_tokens_of_audio_mean_deafness_only_where_the_server_counts_them(kind, server, tmp_path):
    alm, server.always = model(server, kind), 'unheard'
    assert alm.greedy(WAVE, DIRECT).usage['audio_tokens'] is None            # it may count none ever
    server.always = None
    assert alm.greedy(WAVE, DIRECT).usage['audio_tokens']==dict(vllm=30, gemini=32)[kind]
    server.always, requests = 'unheard', len(server.asked)
    assert set(sampled(alm, tmp_path)[1].error)=={'unheard'} and len(server.asked)==requests+len(CLIPS)

def test_audio_goes_over_as_it_is(server):
    model(server).greedy(WAVE, DIRECT)
    sent = server.asked[-1][1]['messages'][0]['content'][0]['input_audio']
    got, rate = soundfile.read(io.BytesIO(base64.b64decode(sent['data'])), dtype='float32')
    assert rate==16_000 and np.abs(got-WAVE).max()<1/32767 and sent['format']=='wav'
    loud = np.array([1., -1., 0.]*2000, np.float32)
    assert np.abs(soundfile.read(io.BytesIO(wav_bytes(loud)))[0]-loud).max()<1e-4
    every = (np.arange(-2**15, 2**15)/2**15).astype(np.float32)         # what a file of 16 bits can hold
    assert (soundfile.read(io.BytesIO(wav_bytes(every)), dtype='float32')[0]==every).all()

@pytest.mark.parametrize('kind', ['llamacpp', 'vllm', 'openai', 'gemini'])
@pytest.mark.parametrize('words', [None, '', SAID])
def test_words_in_place_of_a_clip_are_text_alone(kind, words, server):
    alm = model(server, kind)
    reply, sent = alm.greedy(words, DIRECT), server.asked[-1][1]
    assert alm.capabilities.text and reply.text in WORDS and reply.usage['audio_tokens']==0
    turn, = sent.get('messages') or sent['contents']
    part, = turn.get('content') or turn['parts']
    assert part['text']==(words or '')+DIRECT.text and set(part)<={'type', 'text'}

@pytest.mark.parametrize('wave', [WAVE[:100], WAVE*np.nan, WAVE*9, WAVE.astype(float), np.tile(WAVE, 150)])
def test_what_cannot_be_heard_is_not_sent(wave, server):
    with pytest.raises(InputError): model(server).greedy(wave, DIRECT)
    assert not server.asked

# P11: secrets
def test_no_key_in_anything_that_is_written(kind, server, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv('SENTINEL_KEY', KEY)
    server.key = KEY
    alm = model(server, kind, key='SENTINEL_KEY', recorder=Recorder(tmp_path/'tape'))
    sampled(alm, tmp_path/'store')                       # the key is right and is used
    assert all(any(KEY in v for v in o.values()) for o in server.headers)
    server.key = 'another'                               # it is wrong, and the server says it back
    with pytest.raises(CallError, match='redacted') as e: sampled(alm, tmp_path/'store', Draw(seed=1))
    for o in forms_of(KEY):                              # in every form
        monkeypatch.setitem(loopback.REFUSALS, 'echo', (400, f'you sent {o} !'))
        server.faults = ['echo']
        with pytest.raises(CallError, match='redacted'): alm.greedy(WAVE, COT)
    (tmp_path/'log.txt').write_text(caplog.text+''.join(traceback.format_exception(e.value))+repr(alm.__dict__))
    alm.close()
    written = [o for o in tmp_path.rglob('*') if o.is_file()]
    assert len(written)>=3 and any(b'[redacted]' in o.read_bytes() for o in written)
    for o in written: assert not leaks(o.read_bytes(), KEY), o.name

def test_a_key_is_named_never_given(server, monkeypatch):
    with pytest.raises(InputError) as e: model(server, key='sk-secret-value-123')
    assert 'secret-value' not in str(e.value)
    with pytest.raises(InputError, match='NO_SUCH_KEY is not set'): model(server, key='NO_SUCH_KEY')
    monkeypatch.setenv('SHORT_KEY', 'abc')
    with pytest.raises(InputError, match='3 characters'): model(server, key='SHORT_KEY')
    with pytest.raises(InputError) as e: EndpointALM('demo', 'vllm', 'http://u:hunter22@127.0.0.1/v1')
    assert 'hunter22' not in str(e.value)

# Options of registered models
@pytest.mark.parametrize(('name', 'options', 'said'), [
    ('ultravox-v0.4', dict(base_url='http://127.0.0.1/v1'), "Did you mean 'base_urls'"),
    ('gpt-audio-1.5', dict(model='gpt-5'), "Unknown option of gpt-audio-1.5 'model'"),
    ('gpt-audio-1.5', dict(key='sk-secret-value-123'), 'is not repeated here'),
    ('gpt-audio-1.5', dict(key='AKIASECRETVALUE123'), 'is not repeated here'),
    ('gpt-audio-1.5', dict(base_urls=['https://u:secret-value@h/v1']), 'password or a query'),
    ('gpt-audio-1.5', dict(base_urls='https://h/v1?key=secret-value'), 'password or a query'),
    ('gemini-3.8-flash', dict(temperature=1), 'Unknown option of gemini-3.8-flash'),
    ('vllm', dict(profile='openai'), "Unknown option of vllm 'profile'"), *(('vllm', o, said) for o, said in (
        (dict(retry={'trys': 3}), "Did you mean 'tries'"), (dict(without=['nn']), "Unknown parameter to do without"),
        (dict(ceiling=0), 'ceiling: found 0 .*wanted a number of 1 or more'), (dict(seconds=-1), 'seconds: found -1 .*a number over 0'),
        (dict(record='a', replay='b'), 'Either record, or replay'), (dict(recorder='here'), 'as `record` or as `replay`'),
        (dict(replay='nowhere'), 'No recordings in nowhere'), (dict(names={'demo': {'price': 1}}), 'field of demo'),
        (dict(model=''), 'Which model')))])
def test_wrong_options_name_what_is_wrong(name, options, said, tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.models.transport.RESULTS', tmp_path)
    with pytest.raises(InputError, match=said) as e:
        load_model(name, **dict(model='demo')|options if name=='vllm' else options)
    assert 'secret-value' not in str(e.value) and 'SECRETVALUE' not in str(e.value)

def test_options_as_a_study_writes_them(server, tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.models.transport.RESULTS', tmp_path)
    options = dict(model='demo', base_urls=[server.url], end=END, record='study/tape', revision='abc', name='mine',
                   retry={'tries': 2}, ceiling=4, seconds=5, without=['seed'], names={'demo': {'text_in': 1}})
    alm = load_model('vllm', **options)
    assert (alm.name, alm.revision, alm.model, alm.ahead)==('mine', 'abc', 'demo', 4)
    live = alm.greedy(WAVE, DIRECT)
    alm.close()
    assert live.downgrades=='seed refused' and list((tmp_path/'study'/'tape').glob('*.jsonl'))
    again = load_model('vllm', **{k: v for k, v in options.items() if k!='record'}, replay='study/tape')
    assert again.greedy(WAVE, DIRECT)==live and len(server.asked)==1

# Recordings
def timed(folder, table):  # Rows whose times are the server's; how long scores took is measured outside the model
    rows = Store(folder).read(table)
    own = rows.decode!='score' if 'decode' in rows else rows.key==''
    assert len(rows) and own.sum() in (0, len(rows)-3*len(WORDS))
    return rows.assign(latency_measured=rows.latency_measured.where(own))

@pytest.mark.parametrize(('kind', 'lacks'), [('vllm', ()), ('vllm', ('n',)), ('vllm', ('n', 'logprobs')), ('gemini', ()),
                                             ('gemini', ('n', 'logprobs'))])
def test_a_study_replays_byte_for_byte(kind, lacks, server, tmp_path):
    scores = kind=='vllm' and not lacks
    draw = Draw(n=20, widths=(3,), score=WORDS) if scores else Draw(n=20)
    server.lacks, server.faults = lacks, ['500', None, 'truncated JSON', 'safety', '429 RetryInfo', 'reset']
    def study(folder, **options):
        alm = model(server, kind, **options)
        sampled(alm, folder, draw)
        if scores: verify_pool(alm, CLIPS, wave_of, WORDS, Store(folder), progress=False); alm.close()
        return files(folder)
    first, requests = study(tmp_path/'live', recorder=Recorder(tmp_path/'tape')), len(server.asked)
    time = Time()
    again = study(tmp_path/'replayed', recorder=Recorder(tmp_path/'tape', 'replay'), time=time, key='NO_SUCH_KEY')
    assert len(server.asked)==requests and not time.slept
    if not scores: assert again==first and len(first)==1
    for table in (CANDIDATES, VERDICTS) if scores else ():
        pd.testing.assert_frame_equal(*(timed(tmp_path/o, table) for o in ('live', 'replayed')))
    rows = Store(tmp_path/'live').read(CANDIDATES)
    assert (rows.error=='').all() and rows.latency_measured.gt(0).any()

def test_a_replay_is_the_same_whatever_the_order(server, tmp_path):
    server.lacks = ('n', 'logprobs')
    recorder = Recorder(tmp_path/'tape')
    def ask(alm, uid, question): return alm.sample(wave_of(uid), question, 3, seed=2)
    first = [ask(model(server, recorder=recorder), o, DIRECT) for o in CLIPS.uid]   # each learns anew
    alm = model(server, recorder=recorder)
    alm.greedy(WAVE, DIRECT); first += [ask(alm, o, COT) for o in CLIPS.uid]
    recorder.close()
    alm = model(server, recorder=Recorder(recorder.folder, 'replay'))
    late = [ask(alm, o, COT) for o in CLIPS.uid[::-1]][::-1]
    assert [ask(alm, o, DIRECT) for o in CLIPS.uid]+late==first

def test_failures_replay_as_failures(server, tmp_path):
    server.faults = ['timeout']*3+['500']*3+['bad_request']
    alm = model(server, recorder=Recorder(tmp_path/'tape'), seconds=.2)
    def wave(uid):
        if uid!='clip0':  # only the first call is in a hurry
            until(lambda: len(server.asked)>=3)
            for o, _ in alm.clients.values(): o.seconds = PATIENCE
        return wave_of(uid)
    sample_pool(alm, CLIPS, wave, [DIRECT], Draw(greedy=False), Store(tmp_path/'live'), progress=False)
    alm.close()
    _, rows = sampled(model(server, recorder=Recorder(tmp_path/'tape', 'replay')), tmp_path/'replayed')
    assert files(tmp_path/'live')==files(tmp_path/'replayed')
    assert rows.groupby('uid').error.first().tolist()==['timeout', 'server', 'bad_request']

def test_an_unrecorded_request_ends_the_run_clearly(server, tmp_path):
    recorder = Recorder(tmp_path/'tape')
    model(server, recorder=recorder).sample(WAVE, DIRECT, 4, seed=1)
    recorder.close()
    line = json.loads(next(recorder.folder.iterdir()).read_text())
    assert line['request']['messages'][0]['content'][0]['input_audio']['data'].startswith('blake2b:') # holds no audio
    assert {'key', 'path', 'call', 'request', 'status', 'headers', 'response', 'seconds', 'at'}==set(line)
    alm = model(server, recorder=Recorder(recorder.folder, 'replay'))
    for ask in (lambda: alm.sample(WAVE, DIRECT, 5, seed=1), lambda: alm.sample(WAVE, DIRECT, 4, seed=2),
                lambda: alm.sample(WAVE, COT, 4, seed=1), lambda: alm.sample(WAVE*.5, DIRECT, 4, seed=1),
                lambda: alm.sample(WAVE, DIRECT, 4, seed=1, temperature=.5), lambda: alm.greedy(WAVE, DIRECT)):
        with pytest.raises(Unrecorded, match='Not in the recordings tape: /chat/completions') as e: ask()
        assert e.value.fatal
    assert len(server.asked)==1

def test_many_threads_and_processes_share_a_folder(tmp_path):
    recorders = [Recorder(tmp_path/'tape') for _ in 'ab']
    keys = [f'{i:032x}' for i in range(200)]
    list(in_flight(lambda i: recorders[i%2].write(keys[i], text='x'*i, i=i), range(200), 8))
    for o in recorders: o.close()
    with open(sorted(recorders[0].folder.iterdir())[0], 'ab') as f: f.write(b'{"key": "'+b'f'*32+b'", "i"')
    replay = Recorder(tmp_path/'tape', 'replay')
    assert [replay.read(o)['i'] for o in keys]==list(range(200)) and len(record_offsets(tmp_path/'tape'))==200

def test_nothing_is_written_behind_half_a_line(tmp_path, monkeypatch):
    recorder, keys, write = Recorder(tmp_path/'tape'), [o*32 for o in 'ab'], os.write
    with monkeypatch.context() as m:
        m.setattr('ambiscale_nb.models.transport.os.write', lambda fd, line: write(fd, line[:50])) # the disk is full
        with pytest.raises(OSError, match='Disk full'): recorder.write(keys[0], i=0)
    recorder.write(keys[1], i=1); recorder.close()                                     # and has room again
    replay = Recorder(tmp_path/'tape', 'replay')
    assert replay.read(keys[1])['i']==1
    with pytest.raises(Unrecorded): replay.read(keys[0])

# Retired names
@pytest.mark.parametrize(('name', 'model', 'said'), [
    ('gpt-4o-audio', 'gpt-4o-audio-preview', 'gpt-4o-audio-preview was shut down on 2026-05-07.*choose gpt-audio-1.5'),
    ('gemini-2-flash', 'gemini-2.0-flash', 'shut down on 2026-06-01.*choose gemini-3.8-flash')])
def test_a_retired_name_sends_nothing_and_replays(name, model, said, server, tmp_path):
    options = dict(base_urls=server.gemini if 'gemini' in name else server.url, key='')
    with pytest.raises(Retired, match=said) as e: load_model(name, **options)
    assert not server.asked and e.value.fatal and e.value.kind=='retired'
    alm = load_model(name, names={model: {'status': 'live'}}, recorder=Recorder(tmp_path/'tape'), **options)
    live = alm.greedy(WAVE, DIRECT)
    alm.close()
    again = load_model(name, recorder=Recorder(tmp_path/'tape', 'replay'))
    assert again.greedy(WAVE, DIRECT)==live and live.served==model
    with pytest.raises(Unrecorded): again.sample(WAVE, DIRECT, 2, seed=1)

def test_names_may_come_from_a_file(server, tmp_path):
    for text, error, said in (
            ('gpt-audio-1.5: {status: retired, successor: gpt-audio-2, since: 2027-01-20}\n', Retired,
             'on 2027-01-20.*choose gpt-audio-2'), ('m: 3\n', InputError, 'names.m: found 3, wanted fields')):
        (tmp_path/'names.yaml').write_text(text)
        with pytest.raises(error, match=said):
            EndpointALM('gpt-audio-1.5', 'openai', server.url, key='', names=tmp_path/'names.yaml')

# Many at once
def test_many_in_flight_within_the_limit_of_a_server():
    with Loopback(most=6) as server:
        server.pause = lambda: (until(lambda: server.refused), time.sleep(.02))  # answers come once the server was full
        alm = EndpointALM('demo', 'vllm', server.url, ceiling=16, retry=Retry(tries=6, first=.05), seconds=PATIENCE)
        limit = next(iter(alm.limits.values()))
        limit.wait = np.inf  # it never asks for more again, however slow this machine is
        done = list(in_flight(lambda i: alm.sample(WAVE, DIRECT, 1, seed=i), range(150), alm.ahead))
        alm.close()
        assert len(done)==150 and server.served==150 and server.peak==6
        assert server.refused<=15, server.refused         # it learns, rather than storms
        assert 4<=limit.edge<=7

def test_many_in_flight_give_the_same_answers(server):
    alm = model(server)
    def one(i): return i, alm.sample(WAVE, DIRECT, 2, seed=i)[1].text
    assert sorted(in_flight(one, range(40), 8))==list(in_flight(one, range(40), 1))

def test_copies_of_a_server_share_the_work():
    with Loopback() as one, Loopback() as two, ThreadPoolExecutor(8) as pool:
        alm, go, calls = EndpointALM('demo', 'vllm', [one.url, two.url], ceiling=4, seconds=PATIENCE), threading.Event(), []
        one.pause = two.pause = go.wait
        assert alm.ahead==8
        for i in range(alm.ahead):
            calls.append(pool.submit(alm.greedy, WAVE, DIRECT))
            until(lambda i=i: len(one.asked)+len(two.asked)>i)
        shares = len(one.asked), len(two.asked)
        go.set()
        assert shares==(4, 4) and all(o.result().text in WORDS for o in calls)
        alm.close()

def test_a_dead_copy_is_passed_over(server, tmp_path):
    with Loopback() as gone: pass
    time, recorder = Time(), Recorder(tmp_path/'tape')
    alm = EndpointALM('demo', 'vllm', [gone.url, server.url], recorder=recorder, **time.options)
    live = [alm.greedy(wave_of(o), DIRECT).text for o in CLIPS.uid]
    assert len(server.asked)==3 and len(time.slept)<=3
    alm.close()
    replay = EndpointALM('demo', 'vllm', 'https://elsewhere.example/other/v1', key='NO_SUCH_KEY',  # needs neither
                         recorder=Recorder(recorder.folder, 'replay'))
    assert [replay.greedy(wave_of(o), DIRECT).text for o in CLIPS.uid]==live

def test_after_an_error_nothing_is_begun_and_all_is_kept(monkeypatch):
    known, begun, kept = threading.Event(), [], []  # `known` once the thread that begins tasks has the error
    class Watched(SimpleQueue):
        def put(self, task): super().put(task); task.exception() and known.set()
    monkeypatch.setattr('ambiscale_nb.models.contract.SimpleQueue', Watched)
    def work(i):
        begun.append(i)
        if i==2: raise CallError('auth', 'wrong key')
        known.wait()
        return i
    with pytest.raises(CallError, match='wrong key'): kept.extend(in_flight(work, range(99), 6))
    assert sorted(begun)==[0, 1, 2, 3, 4, 5] and sorted(kept)==[0, 1, 3, 4, 5]

def test_the_limit_halves_at_most_and_recovers():
    clock = Time()
    limit = ConcurrencyLimit(ceiling=32, limit=32., clock=clock.clock, sleep=clock.sleep)
    for _ in range(32): limit.enter()
    for _ in range(32): limit.leave('rate_limit', None)           # a limit on the rate: all are refused
    assert limit.edge==16 and limit.active==0
    for _ in range(40):
        clock.now += 5
        limit.enter(); limit.leave('')
    assert limit.edge>=32                                          # calm for minutes: all is allowed again
    for _ in range(2): limit.enter()
    for _ in range(2): limit.leave('rate_limit', 30.)
    limit.enter()
    assert clock.slept==[30.]                                      # the second refusal stops everybody
