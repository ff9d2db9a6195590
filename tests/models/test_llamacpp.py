"""llama.cpp's server, against recorded ways of the real one (`benchmarks/llamacpp.py` asks it): text alone, answers scored by a
grammar, as many answers as it has slots, answers that it cannot read."""
import numpy as np
import pytest
from loopback import WORDS, Loopback, ids_of, total
from test_endpoint import CLIPS, DIRECT, WAVE, model, sampled, wave_of
from ambiscale_nb.core import InputError
from ambiscale_nb.models.contract import CallError
from ambiscale_nb.models.transport import Recorder
from ambiscale_nb.sampling.estimate import stand_in
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, Judge, verify_pool

SAID = 'The speaker says: "no"\n'

@pytest.fixture
def server():
    with Loopback(slots=4) as s: yield s

def llama(server, **options): return model(server, 'llamacpp', end=None, **options)
def samples(n): return Draw(n, greedy=False)

@pytest.mark.parametrize('kind', ['llamacpp', 'vllm', 'openai', 'gemini'])
@pytest.mark.parametrize('words', [None, '', SAID])
def test_words_in_place_of_a_clip_are_text_alone(kind, words, server, monkeypatch):
    monkeypatch.setattr('loopback.Handler.gemini', lambda self, ask, fault: self.refuse(400, 'seen', {}, {}))
    alm = model(server, kind)
    assert alm.capabilities.text
    if kind=='gemini':
        with pytest.raises(CallError, match='seen'): alm.greedy(words, DIRECT)
        parts = [o for c in server.asked[0][1]['contents'] for o in c['parts']]
        assert parts==[{'text': (words or '')+DIRECT.text}]
    else:
        assert alm.greedy(words, DIRECT).text in WORDS
        content = server.asked[0][1]['messages'][-1]['content']
        assert content==[{'type': 'text', 'text': (words or '')+DIRECT.text}]

def test_an_answer_has_ids_ends_and_its_own_log_probabilities(server):
    reply = llama(server).greedy(SAID, DIRECT)
    assert reply.tokens[:-1]==ids_of(reply.text) and reply.token_ends[-1]==len(reply.text)
    assert reply.sum_logprob==pytest.approx(total('', SAID+DIRECT.text, reply.text))
    assert reply.usage['audio_tokens']==0 and reply.usage['output_tokens']==len(reply.text)+1 # Asked in writing
    assert server.asked[0][1]['top_logprobs']==1

def test_a_grammar_scores_and_restricts_answers(server):
    alm, odd = llama(server), ['sad', 'say "no"', 'é']
    assert alm.capabilities.label_scoring and alm.capabilities.verify and not alm.capabilities.beams
    want = [total('', SAID+DIRECT.text, o) for o in odd]
    assert alm.score(SAID, DIRECT, odd)==pytest.approx(want) and len(server.asked)==3
    assert {o.text for o in alm.pick(SAID, DIRECT, ['yes', 'no'], n=4)}=={'yes', 'no'}
    assert stand_in('llamacpp', model='demo').capabilities.label_scoring
    with pytest.raises(InputError, match='no beams'): alm.beams(WAVE, DIRECT, 2)

def test_a_score_without_a_grammar_or_an_end_is_none(server, monkeypatch):
    monkeypatch.setattr('loopback.answers', lambda *args: ['happy'])
    with pytest.raises(CallError, match='ignores grammar'): llama(server).score(SAID, DIRECT, ['sad'])
    monkeypatch.setattr('loopback.Handler.as_llama', lambda self, out, ask: [
        o['logprobs']['content'].pop() for o in out['choices']])
    with pytest.raises(CallError, match='without that of the end'): llama(server).score(SAID, DIRECT, ['happy'])

def test_it_is_asked_for_as_many_answers_as_it_has_slots(server, tmp_path):
    recorder = Recorder(tmp_path/'tape')
    _, rows = sampled(llama(server, recorder=recorder), tmp_path/'live', samples(10))
    assert [o.get('n', 1) for _, o in server.asked]==[10, 4, 4, 2, *[4, 4, 2]*2]  # learnt once
    assert set(rows.error)=={''} and rows.downgrades.eq('').all() and len(rows)==30
    asked = len(server.asked)
    again = llama(server, recorder=Recorder(tmp_path/'tape', 'replay'))
    sample_pool(again, CLIPS[::-1], wave_of, [DIRECT], samples(10), Store(tmp_path/'again'), progress=False)
    assert Store(tmp_path/'again').read(CANDIDATES).sort_values('key').text.tolist()==rows.sort_values('key').text.tolist()
    assert len(server.asked)==asked  # also where the clip that learnt it comes last

def test_answers_that_it_cannot_read_are_asked_for_one_by_one(server, tmp_path):
    server.always = lambda ask: 'peg-native' if ask.get('n', 1)>1 else None
    _, rows = sampled(llama(server), tmp_path, samples(4))
    assert set(rows.error)=={''} and len(rows)==12 and rows.downgrades.str.contains('n refused').all()
    assert len(server.asked)==3*(2+4)  # the seed was changed once, then each answer is a call of its own
    server.always = 'peg-native'
    _, rows = sampled(llama(server), tmp_path/'never', samples(4))
    assert set(rows.error)=={'bad_format'}

def test_sound_without_a_projector_ends_the_run_and_says_why(server, tmp_path):
    server.hears = 0
    with pytest.raises(CallError, match='mmproj') as e: sampled(llama(server), tmp_path, samples(4))
    assert e.value.fatal and e.value.kind=='no_audio' and len(server.asked)==1

@pytest.mark.parametrize('how', ['score', 'text'])
def test_it_judges_from_words(how, server, tmp_path):
    store = Store(tmp_path)
    report = verify_pool(llama(server), CLIPS, lambda uid: SAID, WORDS, store, Judge(how), progress=False)
    rows = store.read(VERDICTS)
    assert report.failed==0 and set(rows.status)=={'ok'} and len(rows)==len(CLIPS)*len(WORDS)
    assert len(server.asked)==len(rows)*(2 if how=='score' else 1) and not np.isnan(rows.score).any()

