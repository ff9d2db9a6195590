"""Servers that fail as real ones do: a study of 12 clips with 4 samples each meets one fault from beginning to end, and
ends with every answer kept once, every failure named, few requests, and the key in no file."""
import json
import logging
import math
import quopri
import re
import traceback
from collections import Counter
from pathlib import Path
import pandas as pd
import pytest
import yaml
from loopback import CLIPS, DIRECT, END, WAVE, WORDS, Loopback, Time, client, forms_of, leaks, wave_of
from ambiscale_nb.core import InputError
from ambiscale_nb.models.endpoint import answer_start, read_choice
from ambiscale_nb.models.serving import GONE, ConcurrencyLimit
from ambiscale_nb.models.transport import Recorder, find_error, read_failure
from ambiscale_nb.models.gemini import GeminiALM
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import CallError, cleaned, cleaner, load_model
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import ALIKE, Draw, Limits, answers, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, Judge, verify_pool
from waiting import until

N, CALLS = 4, len(CLIPS)
KEY = 'sk-Zq/7+x=9%AbxcD-0123456789'
TABLE = Path(__file__).parents[1]/'server_faults.md'

# What becomes of a call ('ends' is the end of the run), most requests of 12 calls, calls that the next run makes -> faults
KEPT, REFUSED = 'answered', 'refusal'
OUTCOMES = {
    (KEPT, CALLS, 0): ['no usage', 'usage is null', 'usage is {}', 'usage has other names', 'usage is zero', 'unheard',
        'content is a list', 'log-probabilities of thoughts', 'log-probabilities of something else'],
    (KEPT, N*CALLS, 0): ['n ignored', 'two at most'], ('truncated', CALLS, 0): ['thoughts used up the budget'],
    (REFUSED, CALLS, 0): ['a filter in a 200', 'content_filter', 'data_inspection_failed', 'content_policy_violation',
        'flagged', 'unavailable for legal reasons'],
    ('ends: rate_limit', 5*ALIKE, CALLS): ['429 in a 200', 'a quota of the minute, as Google says it'],
    ('ends: failed', 2*ALIKE, CALLS): ['an error of no kind in a 200', 'finish: error'],
    ('ends: server or failed', 2*ALIKE, CALLS): ['one choice failed'],
    ('ends: server', GONE, CALLS): ['503 in a 200', 'an error in words in a 200', '503'],
    ('ends: auth', 1, CALLS): ['401 in a 200', 'an error of Tencent in a 200'],
    ('ends: quota', 1, CALLS): ['402 in a 200', 'a quota of the day', 'a quota of the day, as Google says it',
        'a billing limit', 'no credit'],
    ('ends: no_audio', 1, CALLS): ['no audio', 'no endpoint with audio'],
    ('ends: bad_request', 5, CALLS): ['bad_request'], ('ends: connection', GONE, CALLS): ['reset']}
FAULTS = {fault: outcome for outcome, faults in OUTCOMES.items() for fault in faults}
PROTOCOLS = ('openai', 'gemini')

def model(protocol, server, *time, **options):
    return client({'openai': 'vllm'}.get(protocol, protocol), server, *time, **options)

def run(alm, store, **options):  # What a study samples; the error that ended it, if one did
    draw = Draw(n=N, greedy=False)
    try: sample_pool(alm, CLIPS, wave_of, [DIRECT], draw, store, progress=False, **options)
    except CallError as e:
        assert e.fatal and len(str(e))<800
        return e

CASES = [*((o, p, 1) for o in FAULTS for p in PROTOCOLS ),
         *((o, 'openai', 32) for o in ('429 in a 200', '503 in a 200', '401 in a 200', 'finish: error', 'content_filter',
                                       'no audio', 'bad_request', 'reset', 'n ignored', 'two at most'))]

@pytest.mark.parametrize(('fault', 'protocol', 'ahead'), CASES)
def test_a_study_ends_whatever_a_server_does(fault, protocol, ahead, server, tmp_path, monkeypatch, caplog, capfd,
                                             record_property):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv('SENTINEL_KEY', KEY)
    server.always, server.echo, (outcome, most, again) = fault, True, FAULTS[fault]
    prices = {'demo': dict(text_in=1., audio_in=2., text_out=3.)}
    alm = model(protocol, server, key='SENTINEL_KEY', recorder=Recorder(tmp_path/'tape'), names=prices)
    ended = run(alm, Store(tmp_path/'store'), in_flight=ahead)
    alm.close()
    requests, rows = len(server.asked), Store(tmp_path/'store').read(CANDIDATES)

    assert not rows.key.duplicated().any()
    failed = rows[rows.error!='']
    if 'usage' in fault:                                                # unknown counts are unknown
        assert rows[['n_tokens', 'n_in_tokens', 'n_audio_tokens', 'cost_measured']].isna().all(axis=None)
    if 'budget' in fault:                                               # the remedy is named
        assert rows.downgrades.str.contains('allow more tokens, or switch thinking off').all()
        assert rows.downgrades.str.contains('config' if protocol=='gemini' else 'extra_body').all()
    if ended is not None: found = f'ends: {ended.kind}'
    elif len(failed): found = f"failed: {'/'.join(sorted(set(failed.error)))}"
    else:
        assert len(rows)==N*CALLS and rows.groupby('uid').size().eq(N).all()
        status = set(answers(rows, label_set('four')).parse_status)
        found = {'ok': KEPT}.get(*status) or status.pop()
    assert found==outcome.replace('server or failed', 'server' if protocol=='openai' else 'failed'), (
        found, rows.error_text.unique())
    assert failed.text.isna().all() and failed.error_text.ne('').all()
    if found in (KEPT, 'truncated') and most==CALLS: most *= 1+(protocol=='gemini')  # which gives 8 answers at most
    slack = ahead-1 if ended is not None else 0                         # calls that were under way when the first failed
    each = most//ALIKE if most in (2*ALIKE, 5*ALIKE) else 0             # their requests, where a call makes all its tries
    assert requests<=most+min(slack, CALLS-ALIKE if each else CALLS)*max(each, 1), requests
    if 'rate_limit' not in found: assert requests<=2*CALLS or fault in ('n ignored', 'two at most')

    server.always, before = None, len(server.asked)                     # the server has recovered
    fresh = model(protocol, server, key='SENTINEL_KEY')
    assert run(fresh, Store(tmp_path/'store')) is None
    fresh.close()
    whole = Store(tmp_path/'store').read(CANDIDATES)
    anew = CALLS-rows[rows.error==''].uid.nunique()
    assert anew==again and len(server.asked)-before==anew
    assert len(whole)==N*CALLS and whole.error.eq('').all()

    (tmp_path/'log.txt').write_text(caplog.text+''.join(capfd.readouterr())+repr(alm.__dict__))
    (tmp_path/'error.txt').write_text(''.join(traceback.format_exception(ended)) if ended else '')
    assert all(any(KEY in v for v in o.values()) for o in server.headers)
    for o in tmp_path.rglob('*'):
        if o.is_file(): assert not leaks(o.read_bytes(), KEY), o
    text = pd.concat([rows, whole], ignore_index=True).to_json()
    assert not leaks(text.encode(), KEY)
    if ahead==1: record_property('server_fault', [fault, protocol, found, requests, anew])

# Kind 1: keys
ODD = {'“AIza-0123456789abc”': 'double quotation mark', 'sk-0123456789Жabc': 'cyrillic', 'sk-01234567\nsk-89abcdef': 'u+000a',
       'sk-0123 456789': 'space', 'Bearer sk-0123456789': 'space', '"sk-0123456789abc"': 'quotation mark',
       "'sk-0123456789abc": 'apostrophe', 'sk-012345\x006789': 'u+0000', 'sk-0123456789é': 'e with acute',
       '\ufeffsk-0123456789': 'zero width', 'sk-0123456789\x7f': 'u+007f', 'sk-01234\u200b56789': 'zero width space',
       'OPENAI_API_KEY=sk-0123456': 'equals', '<sk-0123456789abc>': 'less-than', '(sk-0123456789abc)': 'left parenthesis',
       'sk-0123456789abc;': 'semicolon', 'sk-0123456789,sk-9876543': 'comma', 'sk-0123456789\\nabc': 'reverse solidus',
       'sk-01234\r\n56789': 'u+000d', 'sk-🔑0123456789': 'key', 'sk-0123456789\xa0x': 'no-break'}

@pytest.mark.parametrize('key', ODD, ids=ascii)
def test_a_key_that_cannot_be_sent_is_refused_when_the_model_is_loaded(key, server, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.models.contract.os.environ', {'ODD_KEY': key})          # the system's own takes no NUL
    for load in (lambda: load_model('vllm', model='demo', key='ODD_KEY', base_urls=server.url),
                 lambda: load_model('gemini', model='demo', key='ODD_KEY', base_urls=server.gemini)):
        with pytest.raises(InputError, match='The key in ODD_KEY cannot be sent') as e: load()
        assert ODD[key] in str(e.value) and not leaks(str(e.value).encode(), key) and '0123' not in str(e.value)
    assert not server.asked
    monkeypatch.setattr('ambiscale_nb.models.contract.os.environ', {'ODD_KEY': f'{KEY}\n'})  # a line end is no part of it
    assert model('openai', server, key='ODD_KEY').greedy(WAVE, DIRECT).text in WORDS

@pytest.mark.parametrize('key', [KEY, *ODD], ids=ascii)
def test_no_form_of_a_key_survives_in_a_text(key):
    clean = cleaner([key])
    for o in forms_of(key):
        left = clean(f'<{o}>')
        assert '[redacted]' in left and o[len(o)//3:2*len(o)//3] not in left, o
    header = f'Bearer {key}'
    for e in (UnicodeEncodeError('ascii', header, 7, 8, 'ordinal not in range(128)'), ValueError(header.encode('utf-8')),
              ValueError(f'Illegal header value {header.encode()!r}'), KeyError(header), OSError(5, header)):
        for text in (str(e), repr(e), repr(repr(e)), json.dumps(str(e)), json.dumps(repr(e))):
            assert not leaks(clean(text).encode(), key), clean(text)

def test_text_without_a_key_stays():
    for text in ('a **bold** answer ... and so on', 'sad***', '\\u0041%41&#65;', KEY[:-1], 'x'*10_000):
        assert cleaner([KEY])(text)==text

def test_an_exception_of_an_sdk_brings_no_key(server, tmp_path, monkeypatch):
    "Whatever is raised where the key is at hand becomes a row without it."
    monkeypatch.setenv('SENTINEL_KEY', KEY)
    def fail(self, request): raise UnicodeEncodeError('ascii', f'Bearer {KEY}', 7, 8, 'ordinal not in range(128)')
    monkeypatch.setattr('ambiscale_nb.models.transport.Transport.handle_request', fail)
    store = Store(tmp_path)
    for protocol in PROTOCOLS:
        run(model(protocol, server, key='SENTINEL_KEY', name=protocol), store)
        with pytest.raises(CallError) as e: model(protocol, server, key='SENTINEL_KEY').greedy(WAVE, DIRECT)
        assert not leaks(''.join(traceback.format_exception(e.value)).encode(), KEY)
    rows = store.read(CANDIDATES)
    assert set(rows.error)=={'malformed'} and rows.error_text.str.contains('redacted', regex=False).all()
    assert not leaks(rows.to_json().encode(), KEY)

def test_a_failure_of_any_model_brings_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv('SENTINEL_KEY', KEY)
    class Odd:
        name, revision, capabilities = 'odd', '1', load_model('vllm', model='demo', end=END).capabilities
        def sample(self, *args): raise RuntimeError(f'header {KEY.encode()!r}')
        def score(self, *args): raise RuntimeError(f'header {KEY!r}')
    store = Store(tmp_path)
    sample_pool(Odd(), CLIPS, wave_of, [DIRECT], Draw(n=N, greedy=False), store, progress=False)
    verify_pool(Odd(), CLIPS, wave_of, WORDS, store, progress=False)
    for table in (CANDIDATES, VERDICTS):
        rows = store.read(table)
        assert rows.error_text.eq("header b'[redacted]'" if table is CANDIDATES else "header '[redacted]'").all()
    assert KEY not in cleaned(f'{KEY} {KEY!r}')

@pytest.mark.parametrize('key', [KEY, *(o for o in ODD if max(o)>'~')], ids=ascii)
def test_no_damaged_form_of_a_key_survives_in_a_text(key):
    clean, raw, at = cleaner([key]), key.encode(), len(key)//2
    plain = ''.join(o for o in key if '!'<=o<='~')
    for text in (quopri.encodestring(raw).decode(), key.encode('utf-16-le').hex(), key.encode('utf-16-be').hex(), raw.hex(':'),
                 repr(key.encode('utf-16-le')), key.encode('ascii', 'namereplace').decode(), key.encode('ascii', 'replace').decode(),
                 key.encode('ascii', 'ignore').decode(), raw.decode('ascii', 'replace'), raw.decode('cp1252', 'replace'),
                 ascii(raw.decode('ascii', 'surrogateescape')), ''.join(f'\\u{{{ord(o):x}}}' for o in key),
                 f'{key[:at]}\n    {key[at:]}', f'{key[:at]} │\n│ {key[at:]}', '\u200b'.join(key)):
        left = clean(f'<{text}>')
        assert '[redacted]' in left, text
        assert not any(plain[i:i+8] in left for i in range(len(plain)-7)), left

# Kind 2: what an error is called
KINDS = yaml.safe_load((Path(__file__).parent/'errors.yaml').read_text())

@pytest.mark.parametrize(('kind', 'status', 'body'), [(k, s, o) for k in KINDS for s in KINDS[k] for o in KINDS[k][s]],
                         ids=lambda o: str(o)[:60])
def test_errors_are_called_by_what_they_are(kind, status, body):
    if isinstance(body, str): body = {'error': {'message': body, 'code': None}}
    assert read_failure(status, {}, body['raw'] if 'raw' in body else json.dumps(body), 0.).kind==kind

@pytest.mark.parametrize('body', [{'choices': [1], 'error': None}, {'choices': [1], 'error': {}}, {'choices': [], 'error': ''},
    {'candidates': []}, {'choices': [1], 'error': {'code': 0, 'message': 'success'}}, {'choices': [1], 'message': 'fine'},
    {'base_resp': {'status_code': 0, 'status_msg': ''}, 'choices': [1]}, {}, [], 'fine', None, 7], ids=str)
def test_what_is_no_error(body): assert find_error(body)=={}

@pytest.mark.parametrize(('choice', 'found'), [
    ({'message': {'content': [{'type': 'refusal', 'refusal': 'no'}]}}, ('no', 'refusal')),
    ({'message': {'content': [{'type': 'refusal', 'text': 'no'}]}}, ('no', 'refusal')),
    ({'message': {'content': [{'type': 'text', 'text': 'sad', 'refusal': None}]}}, ('sad', 'stop')),
    ({'message': {'content': None, 'refusal': [{'type': 'text', 'text': 'no'}]}}, ('no', 'refusal')),
    ({'message': 'sad'}, ('sad', 'stop')), ({'text': 'sad', 'finish_reason': 'stop'}, ('sad', 'stop')),
    ({'delta': {'content': 'sad'}}, ('sad', 'stop')), ({'message': {'content': 'sad', 'error': {'code': 0}}}, ('sad', 'stop')),
    ({'message': {'content': ''}, 'finish_reason': 'error', 'native_finish_reason': 'SAFETY'}, ('', 'refusal')),
    ({'message': {'content': ''}, 'finish_reason': 'error', 'native_finish_reason': 'PROHIBITED_CONTENT'}, ('', 'refusal')),
    ({'message': {'content': ''}, 'content_filter_results': {'hate': {'filtered': True, 'severity': 'high'}}}, ('', 'refusal')),
    ({'message': {'content': ''}, 'content_filter_results': {'hate': {'filtered': False}}}, ('', 'empty')),
    ({'message': {'content': 'sad'}, 'content_filter_results': {'hate': {'filtered': True}}}, ('sad', 'stop'))], ids=str)
def test_what_a_choice_says_in_whatever_shape(choice, found): assert read_choice(choice)==found

@pytest.mark.parametrize(('choice', 'kind'), [
    ({'message': {'content': 'sad', 'error': {'code': 429}}}, 'rate_limit'), ({'message': {'content': ''}, 'error': 'boom'}, 'failed'),
    ({'message': {'content': ''}, 'finish_reason': 'error', 'native_finish_reason': 'STOP'}, 'failed'),
    ({'message': {'content': 'sad', 'error': {'message': 'insufficient balance'}}}, 'quota')], ids=str)
def test_a_choice_with_an_error_is_a_failed_call(choice, kind):
    with pytest.raises(CallError) as e: read_choice(choice)
    assert e.value.kind==kind and e.value.paid

# Kind 3: what is known of an answer
def test_only_a_server_that_counts_audio_can_be_deaf(server):
    with Loopback() as other:
        alm = client('vllm', server, base_urls=[server.url, other.url])
        def ask(url):                                                   # the other one is busy
            for o in alm.limits: alm.limits[o].until = -math.inf if o==url else math.inf
            return alm.greedy(WAVE, DIRECT).usage['audio_tokens']
        other.always = 'unheard'
        assert [ask(server.url), ask(other.url)]==[30, None] and len(other.asked)==1
        server.always = 'unheard'
        with pytest.raises(CallError, match='0 tokens of audio'): ask(server.url)

@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_log_probabilities_are_those_of_the_answer(protocol, server):
    def scores(): return [(o.text, o.token_logprobs) for o in model(protocol, server).sample(WAVE, DIRECT, 4, 1)]
    calm = scores()
    assert all(p for _, p in calm)
    server.always = 'log-probabilities of thoughts'
    assert scores()==calm
    server.always = 'log-probabilities of something else'
    assert scores()==[(o, None) for o, _ in calm]

def test_further_fields_are_sent_and_name_another_pool(server):
    extra = dict(chat_template_kwargs=dict(enable_thinking=False), max_tokens=99)
    alm = load_model('gpt-audio-1.5', base_urls=server.url, key='', extra_body=extra)
    alm.greedy(WAVE, DIRECT)
    sent = server.asked[-1][1]
    assert sent.items()>=extra.items() and 'max_completion_tokens' not in sent
    assert alm.revision.startswith('gpt-audio-1.5+') and alm.model=='gpt-audio-1.5'
    others = {load_model('gpt-audio-1.5', base_urls=server.url, key='', extra_body=o).revision
              for o in (None, {}, {'max_tokens': 9}, extra)}
    assert len(others)==3
    with pytest.raises(InputError, match='extra_body cannot set n'): load_model('vllm', model='m', extra_body={'n': 2})
    GeminiALM('demo', server.gemini, key='', config=dict(max_output_tokens=999)).greedy(WAVE, DIRECT)
    assert server.asked[-1][1]['generationConfig']['maxOutputTokens']==999

@pytest.mark.parametrize('content', [['an', {'type': 'text', 'text': 'gry'}], [{'type': 'output_text', 'text': 'angry'}],
    [{'type': 'reasoning', 'text': 'sad'}, {'text': 'angry'}], [{'type': 'text', 'text': {'value': 'angry'}}, None, 7, {}],
    [{'type': 'thinking', 'thinking': [{'type': 'text', 'text': 'sad'}]}, {'type': 'text', 'text': 'angry'}]], ids=str)
def test_a_text_is_joined_from_its_parts(content): assert read_choice({'message': {'content': content}})==('angry', 'stop')

@pytest.mark.parametrize(('tokens', 'text', 'hidden', 'begin'), [
    (['an', 'gry', '<|im_end|>'], 'angry', False, 0), (['\n', 'an', 'gry'], 'angry', True, 0),
    (['<think>', 'angry', '</think>', 'angry'], 'angry', False, 3), (['hm', ' sad', '</s>'], 'sad', True, 1),
    (['▁sad', '</s>'], 'sad', False, 0), (['token_id:1', 'token_id:2'], 'sad', False, 0), (['token_id:1'], 'sad', True, None),
    (['Ã', '¤'], 'ä', False, 0), (['quite', ' something', ' else', ' and', ' longer', ' than'], 'sad', False, None),
    (['other'], 'sad', True, None), ([], 'sad', False, 0), (['a'], '', False, None), (['sad', ' (stop)'], 'sad', False, 0)])
def test_where_an_answer_begins(tokens, text, hidden, begin): assert answer_start(tokens, text, hidden)==begin

# Kind 4: what is paid for once
def test_a_server_without_several_answers_is_learnt_once_and_replays(server, tmp_path):
    server.always, recorder = 'two at most', Recorder(tmp_path/'tape')
    live = Store(tmp_path/'live')
    run(model('openai', server, recorder=recorder), live); recorder.close()
    requests, rows = len(server.asked), live.read(CANDIDATES)
    assert requests==CALLS*N-1 and rows.downgrades.eq('n refused').all()
    assert [o.get('n') for _, o in server.asked].count(N)==1
    first = rows[rows.uid=='clip0']
    assert first.n_in_tokens.iloc[0]==(N-1)*first.n_in_tokens.iloc[1]           # what all its requests read
    run(model('openai', server, recorder=Recorder(recorder.folder, 'replay')), Store(tmp_path/'again'))
    pd.testing.assert_frame_equal(Store(tmp_path/'again').read(CANDIDATES), rows)
    assert len(server.asked)==requests

def test_too_few_answers_in_two_calls_are_learnt_too(server, tmp_path):
    server.always = 'wrong n'                                                        # one of sixteen is missing
    run(model('openai', server), Store(tmp_path), limits=Limits(fail_on_error=99))
    assert [o.get('n') for _, o in server.asked].count(N)==4

def test_refusals_that_differ_or_are_accepted_do_not_end_a_run(server, tmp_path):
    server.always = 'bad_request'
    assert run(model('openai', server), Store(tmp_path/'a'), limits=Limits(fail_on_error=99)) is None
    server.always, server.faults = 'bad_request', [None]
    assert run(model('openai', server), Store(tmp_path/'b')) is None                 # one call was answered
    assert run(model('openai', server), Store(tmp_path/'b')) is None                 # in an earlier run
    assert Store(tmp_path/'b').read(CANDIDATES).error.ne('').sum()==N*(CALLS-1)

@pytest.mark.parametrize(('fault', 'requests'), [('429', 5), ('429 in a 200', 5), ('an error of no kind in a 200', 2),
    ('null content', 2), ('finish: error', 2), ('HTML body', 2)])
def test_calls_that_fail_alike_after_an_answer_end_the_run(fault, requests, server, tmp_path):
    server.always, server.faults = fault, [None]*3
    ended = run(model('openai', server), Store(tmp_path))
    assert 'since the last answer' in str(ended) and len(server.asked)==3+requests*ALIKE
    rows = Store(tmp_path).read(CANDIDATES).drop_duplicates('uid')
    assert rows.error.eq('').sum()==3 and rows.error.ne('').sum()==ALIKE
    assert run(model('openai', server), Store(tmp_path), limits=Limits(fail_on_error=99)) is None

def test_a_verifier_that_fails_alike_ends_its_run_too(server, tmp_path):
    server.always = 'null content'
    with pytest.raises(CallError, match=f'{ALIKE} calls failed alike and none was answered'):
        verify_pool(model('openai', server), CLIPS, wave_of, WORDS, Store(tmp_path), Judge('text'), progress=False)
    assert len(server.asked)==2*ALIKE

def test_failures_between_answers_or_of_several_causes_end_no_run(server, tmp_path):
    server.faults = (['finish: error']*2*(ALIKE-1)+[None])*2
    assert run(model('openai', server), Store(tmp_path/'a')) is None
    server.faults = (['finish: error']*2*(ALIKE-1)+['null content']*2*(ALIKE-1))
    assert run(model('openai', server), Store(tmp_path/'b')) is None
    assert Store(tmp_path/'b').read(CANDIDATES).error.ne('').sum()==N*2*(ALIKE-1)

def test_a_server_that_was_gone_is_asked_again_after_a_while(server, tmp_path):
    time = Time()
    alm, server.always = model('openai', server, time), '503'
    assert run(alm, Store(tmp_path)).fatal and len(server.asked)==GONE
    server.always = None
    time.now += 100
    assert alm.greedy(WAVE, DIRECT).text in WORDS

@pytest.mark.parametrize('each', [1, 4])
def test_a_short_outage_ends_no_run(each, server, tmp_path):
    "Twelve requests are refused, of each call fewer than it makes, in whatever order threads come."
    met = Counter()
    def outage(ask):
        clip = ask['messages'][-1]['content'][0]['input_audio']['data']
        if met.total()==12 or met[clip]==each: return None
        met[clip] += 1
        return '503'
    server.always = outage
    assert run(model('openai', server), Store(tmp_path), in_flight=8) is None
    rows = Store(tmp_path).read(CANDIDATES)
    assert met.total()==12 and len(server.asked)==12+CALLS
    assert rows.error.eq('').all() and rows.groupby('uid').size().eq(N).all() and rows.uid.nunique()==CALLS

@pytest.mark.parametrize('fault', ['a quota of the day', '401 in a 200', 'no audio'])
def test_calls_that_wait_when_the_run_ends_are_not_made(fault, server, tmp_path, monkeypatch):
    begun, enter = [], ConcurrencyLimit.enter
    monkeypatch.setattr(ConcurrencyLimit, 'enter', lambda self: (begun.append(1), enter(self))[1])
    server.always, server.pause = fault, lambda: until(lambda: len(begun)==CALLS)
    alm = model('openai', server)
    assert run(alm, Store(tmp_path), in_flight=CALLS).fatal and len(server.asked)==8 # places at first
    server.always = server.pause = None
    assert alm.greedy(WAVE, DIRECT).text in WORDS                                    # the same model, asked later

def test_everything_about_a_declined_clip_is_asked_once(server, tmp_path):
    server.always, store, draw = 'content_filter', Store(tmp_path), Draw(n=N, widths=(3,), score=WORDS)
    for _ in 'ab':
        requests = len(server.asked)
        for judge in (Judge('score'), Judge('text')):
            sample_pool(model('openai', server), CLIPS[:2], wave_of, [DIRECT], draw, store, progress=False)
            verify_pool(model('openai', server), CLIPS[:2], wave_of, WORDS, store, judge, progress=False)
    assert len(server.asked)==requests==2*(4+2*len(WORDS))
    rows, verdicts = store.read(CANDIDATES), store.read(VERDICTS)
    assert rows.error.eq('').all() and rows.finish.eq('refusal').all() and rows.sum_logprob.isna().all()
    assert verdicts.error.eq('').all() and verdicts.score.isna().all()

# The table
def test_the_table_is_that_of_these_faults():
    rows = [re.split(r' *\| *', o)[1:-1] for o in TABLE.read_text().splitlines() if o.startswith('| ') and 'fault' not in o]
    assert {(o[0], o[1]) for o in rows}=={(f, p) for f, p, n in CASES if n==1}
    for fault, _, outcome, requests, again in rows:
        wanted, most, anew = FAULTS[fault]
        assert outcome.partition(':')[0]==wanted.partition(':')[0]
        assert int(requests)<=2*most and int(again)==anew
