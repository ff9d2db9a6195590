"""The check of a model: whoever answers as a model should passes, and each way of being wrong is found by
the check that is meant for it, whether in this process or behind a server."""
import math
from dataclasses import replace
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from loopback import Loopback, chance, client
from toy_families import PROCESSORS, toy
from ambiscale_nb.corpora.audio import RATE, check_wave
from ambiscale_nb.models.check import (CHECKS, NEAR, check_model, reply_difference, passed,
    route_tolerance)
from ambiscale_nb.core import InputError
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.models.serving import Retry
from ambiscale_nb.models.gemini import GeminiALM
from ambiscale_nb.models.contract import CallError, Capabilities, Reply
from ambiscale_nb.models.prompts import Prompt

WORDS = ('angry', 'happy', 'neutral', 'sad')
def noise(i, seconds=1.): return (np.random.default_rng(i).uniform(-.5, .5, int(RATE*seconds))).astype(np.float32)
WAVE, OTHER = noise(0), noise(1)

class Ideal:  # A model in a few lines: the words have probabilities that depend on all of the clip and the question
    name, revision, n_params, n = 'ideal', '1', 0, 4
    capabilities = Capabilities(max_seconds=8., choices=True)

    def hear(self, wave): return check_wave(wave, self.capabilities.max_seconds)
    def audio_tokens(self, wave): return max(1, len(self.hear(wave))//640)
    def logits(self, wave, ask, words):
        sound = [round(float(o), 3) for o in self.hear(wave)[::len(wave)//50]]
        return np.array([3*chance(sound, ask.text, o) for o in words])
    def logp(self, wave, ask, words=WORDS, temperature=1.):
        x = self.logits(wave, ask, words)/temperature
        return x-x.max()-math.log(np.exp(x-x.max()).sum())
    def reply(self, wave, ask, word):
        logp = float(self.logp(wave, ask)[WORDS.index(word)]) if word in WORDS else -1.
        return Reply(word, [len(word), WORDS.index(word) if word in WORDS else 9, 99], 'stop', [logp, -.01, -.02],
                     dict(audio_tokens=self.audio_tokens(wave), prompt_tokens=50, output_tokens=3), served=self.name)
    def greedy(self, wave, ask): return self.reply(wave, ask, WORDS[int(self.logp(wave, ask).argmax())])
    def sample(self, wave, ask, n, seed, temperature):
        p = np.exp(self.logp(wave, ask, temperature=temperature))
        return [self.reply(wave, ask, o) for o in np.random.default_rng(seed).choice(WORDS, n, p=p/p.sum())]
    def beams(self, wave, ask, width):
        return [self.reply(wave, ask, WORDS[i]) for i in np.argsort(-self.logp(wave, ask))[:width]]
    def score(self, wave, ask, answers):
        one = {o: self.reply(wave, ask, o).sum_logprob for o in WORDS}
        return np.array([one[o] if o in one else -2-5*chance(len(wave), float(wave.sum()), ask.text, o)
                         for o in answers])
    def pick(self, wave, ask, answers, n=1, seed=0):
        return [self.reply(wave, ask, o) for o in np.random.default_rng(seed).choice(answers, n)]

class Partial(Ideal):  # Hears a part of the clip, and counts what it heard
    def part(self, wave): return wave[:4*RATE]
    def hear(self, wave): return self.part(super().hear(wave))
    def score(self, wave, *args): return super().score(self.hear(wave), *args)
class Deaf(Partial):
    def part(self, wave): return np.resize(WAVE, len(wave))
class Nothing(Ideal):
    def audio_tokens(self, wave): return 0
class Quiet:  # Does not say how many tokens were audio
    def reply(self, *args): return replace(super().reply(*args), usage={})
class Secret(Quiet, Partial): pass
class Beheading(Quiet, Partial):
    def part(self, wave): return wave[-4*RATE:]
class Gap(Quiet, Partial):
    def part(self, wave): return np.concatenate([wave[:3*RATE], wave[5*RATE:]])
class Padding(Ideal):  # The same number of tokens for any clip, all of which is heard
    def audio_tokens(self, wave): return 188
class Unbounded(Ideal):
    def hear(self, wave): return wave
class Cutting(Ideal):  # Takes what is too long and cuts it
    def hear(self, wave): return super().hear(wave[:8*RATE])
class Forgetful(Ideal):  # Remembers the last clip for too long
    last = None
    def greedy(self, wave, ask):
        wave, self.last = self.last if self.last is not None else wave, wave
        return super().greedy(wave, ask)
class Mixing(Ideal):  # Mixes the rows of a call for several samples
    def sample(self, wave, ask, n, *args):
        return [super(Mixing, self).sample(wave if i%2 else wave[::-1], ask, 1, *args)[0] for i in range(n)]
class PaddedBatch(Ideal):  # The padding of a batch is heard: every clip is as long as two of the longest
    def many(self, method, calls):
        long = 2*max(len(w) for w, *_ in calls)
        return [getattr(self, method)(np.pad(w, (0, long-len(w))), *more) for w, *more in calls]
class Exchanged(Ideal):  # Rows of a batch come back in another order
    def many(self, method, calls): return [getattr(self, method)(*o) for o in calls[::-1]]
class Reading(Ideal):  # Takes words in place of the sound
    capabilities = replace(Ideal.capabilities, text=True)
    def voice(self, words): return noise(sum(map(ord, words)))
    def audio_tokens(self, wave): return 0 if isinstance(wave, str) else super().audio_tokens(wave)
    def logits(self, wave, *args): return super().logits(self.voice(wave) if isinstance(wave, str) else wave, *args)
class Skipping(Reading):  # Answers the question alone
    def voice(self, words): return noise(7)
class Imagining(Reading):
    def audio_tokens(self, wave): return super().audio_tokens(wave) or 25
class Copies(Ideal):
    def sample(self, *args): return super().sample(*args)[:1]*args[2]
class Few(Ideal):
    def sample(self, wave, ask, n, *args): return super().sample(wave, ask, min(n, 8), *args)
class OneShort(Ideal):
    def sample(self, wave, ask, n, *args): return super().sample(wave, ask, n-1, *args)
class Seedless(Ideal):
    seeds = iter(range(10**6))
    def sample(self, wave, ask, n, seed, t): return super().sample(wave, ask, n, next(self.seeds), t)
class Renormalised(Ideal):  # Log-probabilities after temperature
    def sample(self, wave, ask, n, seed, t):
        return [replace(o, token_logprobs=[p/t for p in o.token_logprobs])
                for o in super().sample(wave, ask, n, seed, t)]
class NoLogprobs(Ideal):
    def greedy(self, *args): return replace(super().greedy(*args), token_logprobs=None)
    def sample(self, *args): return [replace(o, token_logprobs=None) for o in super().sample(*args)]
class NanLogprobs(Ideal):
    def reply(self, *args): return replace(super().reply(*args), token_logprobs=[-1., math.nan, -1.])
class Positive(Ideal):  # Logits in the place of log-probabilities
    def logp(self, *args, **more): return super().logp(*args, **more)+9*(not more)
class Short(Ideal):
    def reply(self, *args):
        one = super().reply(*args)
        return replace(one, token_logprobs=one.token_logprobs[:-1])
class Endless(Ideal):  # Scores leave the end out and are halved
    def score(self, *args): return super().score(*args)/2
class Batchy(Ideal):  # A score depends on what is scored beside it
    def score(self, wave, ask, answers): return super().score(wave, ask, answers)-len(answers)
class EqualBeams(Ideal):
    def beams(self, wave, ask, width): return [self.greedy(wave, ask)]*width
class WorstFirst(Ideal):
    def beams(self, *args): return super().beams(*args)[::-1]
class Yes(Ideal):  # Agrees with everything
    def score(self, wave, ask, answers):
        return np.array([-.1, -2.]) if answers==['yes', 'no'] else super().score(wave, ask, answers)
class Ignoring(Ideal):  # Says what it likes where it should choose
    def pick(self, wave, ask, answers, n=1, seed=0): return [self.greedy(wave, ask)]*n
class Pretending(Ideal):  # Gives beams that it does not declare
    capabilities = replace(Ideal.capabilities, beams=False)
class Scoring(Ideal):  # Scores labels, which it does not declare
    capabilities = replace(Ideal.capabilities, label_scoring=False, verify=False)
class Another(Ideal):
    def reply(self, *args): return replace(super().reply(*args), served='x', downgrades='answered by x')
class Mute(Ideal):
    def reply(self, *args): return replace(super().reply(*args), text='', finish='safety')
class Failing(Ideal):
    def beams(self, *args): raise CallError('server', '500: Internal error')

HALF = SimpleNamespace(dtype='torch.bfloat16')
FOUND = { # Who -> the checks that it fails, all of them
    Deaf: {'hears', 'heard_whole'}, Nothing: {'audio_tokens', 'tokens_grow'},
    Partial: {'tokens_grow', 'heard_whole'}, Secret: {'heard_whole'}, Beheading: {'heard_whole'},
    Gap: {'heard_whole'}, Padding: {'tokens_grow'},
    Mixing: {'one_and_several'}, Copies: {'samples_differ'}, Few: {'max_n'},
    PaddedBatch: {'alone_and_in_a_batch'}, Exchanged: {'alone_and_in_a_batch'}, Skipping: {'words'}, Imagining: {'words'},
    OneShort: {'one_and_several', 'max_n'}, Seedless: {'samples_differ'}, Renormalised: {'one_and_several'},
    NoLogprobs: {'logprobs'}, Positive: {'logprobs', 'label_scoring'}, Short: {'logprobs'},
    Endless: {'scores_fit'}, Batchy: {'label_scoring', 'scores_fit'}, EqualBeams: {'beams'},
    WorstFirst: {'beams'}, Yes: {'verify'}, Ignoring: {'choices'}, Pretending: {'undeclared_is_refused'},
    Scoring: {'undeclared_is_refused'}, Another: {'answers'}, Mute: {'answers', 'choices', 'samples_differ'}, Failing: {'beams'}}

MISSED = { # In bfloat16: what moves a token by less than 1 nat, or a score by less than 2
    Mixing: {'one_and_several'}, Endless: {'scores_fit'}, Batchy: {'scores_fit'}, PaddedBatch: {'alone_and_in_a_batch'}}

def failed(table): return set(table.check[table.ok.eq(False)])
def tried(alm, **more): return check_model(alm, WAVE, OTHER, labels=WORDS, **more)

def test_who_is_as_declared_passes():
    table = tried(Ideal())
    assert passed(tried(Reading())) and table[table.ok.isna()].check.tolist()==['alone_and_in_a_batch', 'words']
    assert passed(table) and table.ok.all() and table.check.tolist()==list(CHECKS)
    assert list(table)==['check', 'ok', 'detail'] and table.detail.str.len().gt(0).all()

@pytest.mark.parametrize('who', [Unbounded, Cutting], ids=lambda o: o.__name__)
def test_a_wrapper_need_not_check_the_length(who): # the sampling run does, see `audio.probe`
    assert passed(tried(who()))

@pytest.mark.parametrize('half', [False, True], ids=['float32', 'bfloat16'])
@pytest.mark.parametrize('who', FOUND, ids=lambda o: o.__name__)
def test_each_fault_is_found_by_its_check(who, half):
    alm = who()
    if half: alm.model = HALF
    assert failed(tried(alm))==FOUND[who]-(MISSED.get(who, set()) if half else set())

@pytest.mark.parametrize(('who', 'checks'), [(Forgetful, {'alone_and_among_others', 'repeats'}),
                                             (NanLogprobs, {'logprobs', 'repeats'})])
def test_some_faults_fail_other_checks_too(who, checks): assert checks<=failed(tried(who()))

def test_what_is_not_told_is_left_open():
    class Silent(Quiet, Ideal): pass
    table = tried(Silent()).set_index('check')
    assert passed(table) and table.ok[['audio_tokens', 'tokens_grow']].isna().all()

def test_growth_is_told_by_all_that_was_read():
    class Total:  # Tells how much was read in all, and not how much of it was audio
        def reply(self, wave, *args):
            return replace(super().reply(wave, *args), usage=dict(audio_tokens=None, prompt_tokens=40+self.audio_tokens(wave)))
    class Whole(Total, Ideal): pass
    class Part(Total, Partial): pass
    assert tried(Whole()).set_index('check').ok['tokens_grow'] and 'tokens_grow' in failed(tried(Part()))

class Words(Ideal):  # Text and nothing else, as from a hosted model
    capabilities = replace(Ideal.capabilities, logprobs=False, label_scoring=False, beams=False, verify=False,
                           seed=False, choices=False)
    def logits(self, wave, ask, words): return 3*super().logits(wave, ask, words)
    def reply(self, *args): return replace(super().reply(*args), token_logprobs=None, tokens=None)
    def beams(self, *args): raise InputError('no beams')
    score = pick = beams
class DeafWords(Words, Deaf): score = Words.score
class Restless(Words):  # Never says the same twice
    count = iter(range(10**6))
    def greedy(self, wave, ask): return replace(super().greedy(wave, ask), text=f'{next(self.count)}')

def test_words_alone_tell_the_deaf():
    pairs = [(noise(i), noise(i+50)) for i in range(4)]     # words are few: two clips may agree by chance
    hearing = [failed(check_model(Words(), *o)) for o in pairs]
    deaf = [failed(check_model(DeafWords(), *o)) for o in pairs]
    assert any('hears' not in o for o in hearing) and all('hears' in o for o in deaf)
    table = tried(Restless()).set_index('check')            # a model that never repeats is not judged by it
    assert table.ok[['repeats', 'alone_and_among_others', 'one_and_several', 'hears']].isna().all()

def test_a_fatal_failure_ends_the_table():
    class Locked(Ideal):
        def greedy(self, *args): raise CallError('auth', '401: Incorrect API key')
    table = tried(Locked())
    assert table.to_dict('records')==[dict(check='answers', ok=False, detail='auth: 401: Incorrect API key')]

def test_near_ties_are_no_fault():
    one = Reply('ab', [1, 2], 'stop', [-.70, -.1])
    assert not reply_difference(one, Reply('cb', [3, 2], 'stop', [-.75, -3.]), .02)
    assert 'nats apart' in reply_difference(one, Reply('cb', [3, 2], 'stop', [-1.5, -.1]), .02)
    assert reply_difference(one, Reply('ab', [1, 2], 'stop', [-.70, math.nan]), .02)

@pytest.mark.parametrize('pair', [(WAVE, WAVE), (WAVE.astype(float), OTHER), (WAVE[:100], OTHER)])
def test_clips_that_cannot_tell_are_refused(pair):
    with pytest.raises(InputError): check_model(Ideal(), *pair)

# Precision
class Rounded(Ideal):
    "Its routes part as those of bfloat16 did on a GPU: a token by .57 nats, the score of a label by .81."
    def sample(self, *args):
        return [replace(o, token_logprobs=[p-.57 for p in o.token_logprobs]) for o in super().sample(*args)]
    def score(self, wave, ask, answers): return super().score(wave, ask, answers)-.81*(len(answers)==1)

def test_tolerance_follows_the_precision_of_the_weights():
    for dtype, near in [*NEAR.items(), ('float64', NEAR['float32'])]:
        alm = Ideal()
        alm.model = SimpleNamespace(dtype=f'torch.{dtype}')
        assert route_tolerance(alm)==near
    assert route_tolerance(Ideal())==NEAR['float32']<NEAR['float16']<NEAR['bfloat16']
    for alm in (EndpointALM('m', 'vllm'), GeminiALM('m', key='')): assert route_tolerance(alm)==NEAR['bfloat16']

def test_rounding_is_a_fault_only_in_a_precision_that_does_not_round_so():
    alm, wrong = Rounded(), {'one_and_several', 'label_scoring', 'scores_fit'}
    assert failed(tried(alm))==wrong
    alm.model = HALF
    assert passed(table := tried(alm)) and '1 nats a token' in table.set_index('check').detail['one_and_several']
    assert failed(tried(alm, tol=.02))==wrong

def test_the_same_route_is_held_to_the_same_numbers_in_bfloat16_too():
    class Drifting(Ideal):  # A tenth of a nat more each time
        def __init__(self): self.count, self.model = 0, HALF
        def greedy(self, *args):
            self.count += 1
            one = super().greedy(*args)
            return replace(one, token_logprobs=[p-.1*self.count for p in one.token_logprobs])
    class SideBySide(Drifting): ahead = 4
    assert failed(tried(Drifting()))=={'repeats', 'alone_and_among_others'} and passed(tried(SideBySide(), n=2))
    alm = Forgetful()
    alm.model = HALF
    assert {'alone_and_among_others', 'repeats'}<=failed(tried(alm))

# Real code paths
@pytest.mark.parametrize('dtype', NEAR)
@pytest.mark.parametrize('name', PROCESSORS)
def test_tiny_instances_of_all_families_pass(name, dtype):
    import torch
    alm = toy(name)
    alm.model.to(getattr(torch, dtype))
    ask = Prompt('label', 'direct', 'Which emotion?', 5)
    table = check_model(alm, WAVE, OTHER, ask, WORDS)
    assert failed(table)<={'answers'}, table[table.ok.eq(False)].detail.tolist()   # of noise: it may say nothing
    logp = alm.sample(WAVE, ask, 2, 1)[0].token_logprobs
    assert len(set(logp))==len(logp) and max(logp)<=0                              # in full precision

def served(server, kind): return client(kind, server, retry=Retry(tries=2))

LESS = (), ('n',), ('n', 'logprobs', 'seed')
@pytest.mark.parametrize(('kind', 'lacks'), [('vllm', ()), *((k, o) for k in ('openai', 'gemini') for o in LESS)])
def test_served_models_pass(kind, lacks):
    with Loopback(lacks=lacks) as server:
        table = tried(served(server, kind), longest=2.)
    assert failed(table)-{'hears', 'heard_whole'}==set(), table[table.ok.eq(False)].detail.tolist()
    if not lacks: assert passed(table), table[table.ok.eq(False)].detail.tolist()
    shown = table.set_index('check').detail
    assert ('n refused' in shown['max_n'])==('n' in lacks)

@pytest.mark.parametrize('kind', ['vllm', 'openai', 'gemini'])
def test_a_server_that_drops_or_cuts_the_audio_is_found(kind):
    with Loopback(hears=0) as server: table = tried(served(server, kind), longest=2.).set_index('check')
    assert 'hears' in failed(table.reset_index()) and 'deaf' in table.detail['hears']
    assert pd.isna(table.ok['audio_tokens'])  # zero of what it may not count says nothing
    with Loopback(hears=1.) as server: table = tried(served(server, kind), longest=2.)
    assert failed(table)=={'tokens_grow', 'heard_whole'}, table.detail.tolist()
    assert 'end' in table.set_index('check').detail['heard_whole']

def test_other_faults_of_servers_are_found(monkeypatch):
    with Loopback(serves='a-cheaper-model') as server: table = tried(served(server, 'openai'), longest=2.)
    assert 'answers' in failed(table) and 'answered by a-cheaper-model' in table.detail[0]
    with Loopback(key='right') as server: table = tried(served(server, 'openai'))
    assert len(table)==1 and table.detail[0].startswith('auth:')       # a wrong key ends the table
    monkeypatch.setattr('loopback.answers', lambda sound, question, ask, n, beam: ['sad']*n)
    with Loopback() as server: assert {'beams', 'choices'}<=failed(tried(served(server, 'vllm'), longest=2.))
