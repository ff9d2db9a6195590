"""The families of local models on tiny random instances: their answers are those of the library's plain
route, their scores those of a full forward pass, and nothing else than the sound and the question counts;
and loading: what is pinned, recorded and refused."""
import functools
import json
import shutil
from dataclasses import replace
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_families import PROCESSORS, StandIn, toy, toy_model, voxtral_processor
from transformers.utils import logging
from ambiscale_nb.models import families
from ambiscale_nb.core import InputError, seed_of
from ambiscale_nb.models.families import (FAMILIES, find_checkpoint, folder_revision, load_family,
    load_weights, register_family, wrap)
from ambiscale_nb.corpora.audio import wave_sha
from ambiscale_nb.models.local import LocalALM, gumbel, row_starts
from ambiscale_nb.models.contract import MODELS, load_model
from ambiscale_nb.models.prompts import Prompt, verify_prompt

logging.set_verbosity_error()
logging.disable_progress_bar()
ASK = Prompt('label', 'direct', 'Which emotion?', 5)
VERIFY = verify_prompt('sad', ('sad', 'happy'))
ANSWERS = ['sad', 'neutral', '', 'sadness'] # one begins with another, one is empty
ENDS = range(40, 90) # so that some answers end early
PLAIN = dict(top_k=0, top_p=1., repetition_penalty=1.)

def clip(i, seconds=.75):  # Clip number i: noise, so that every clip is another
    return np.random.default_rng(i).normal(0, .1, int(seconds*16_000)).astype(np.float32)

@functools.cache
def model_of(name): return toy(name, ENDS)

@pytest.fixture(params=PROCESSORS)
def name(request): return request.param

@pytest.fixture
def alm(name):  # A family's wrapper that remembers no clip
    one = model_of(name)
    one._memo = (None, None)
    return one

def test_words_alone_take_the_place_of_a_clip(alm):
    "No token of audio; the answer and its score are those of the library's plain route."
    words = 'The speaker says: "no"\n'
    reply = alm.greedy(words, ASK)
    assert reply.usage['audio_tokens']==0 and reply.tokens==library(alm, words, do_sample=False)[0][0]
    assert alm.greedy('The speaker says: "yes"\n', ASK).sum_logprob!=reply.sum_logprob
    assert set(alm.inputs(words, ASK))<={'input_ids', 'attention_mask', 'token_type_ids', 'mm_token_type_ids'}

def ids(replies): return [o.tokens for o in replies]

def library(alm, wave, ask=ASK, **how):
    "The plain route: raw inputs straight into `generate`. Rows up to their end, and all of its output."
    inputs = alm.inputs(wave, ask)
    with torch.inference_mode():
        out = alm.model.generate(**inputs, max_new_tokens=ask.max_new_tokens, output_scores=True,
                                 return_dict_in_generate=True, **PLAIN, **how)
    rows = out.sequences[:, inputs['input_ids'].shape[1]:].tolist()
    ends = [next((i+1 for i, t in enumerate(r) if t in alm.eos), len(r)) for r in rows]
    return [r[:n] for r, n in zip(rows, ends, strict=True)], out

def plain_logits(alm, wave, tokens, ask=ASK): # (len(tokens)+1, V) log-probabilities, the first before any
    "By one forward pass over everything, without a cache."
    inputs = dict(alm.inputs(wave, ask))
    inputs.pop('mm_token_type_ids', None) # of the prompt's length; they matter to pictures only
    full = torch.cat([inputs.pop('input_ids'), torch.tensor([tokens], dtype=torch.long)], 1)
    inputs['attention_mask'] = torch.ones_like(full)
    with torch.inference_mode(): logits = alm.model(input_ids=full, **inputs).logits[0]
    return logits[-len(tokens)-1:].log_softmax(-1)

def plain_logp(alm, wave, tokens, ask=ASK): # (len(tokens),)
    "Log-probability of each given token."
    return plain_logits(alm, wave, tokens, ask)[:-1].gather(1, torch.tensor(tokens)[:, None])[:, 0].numpy()

def plain_score(alm, wave, text, ask=ASK):
    "Log-probability that exactly this text is said: its tokens, then any of the ends."
    tokens = alm.tokenizer(text, add_special_tokens=False)['input_ids']
    logp = plain_logits(alm, wave, tokens, ask)
    said = sum(float(logp[i, t]) for i, t in enumerate(tokens))
    return said+float(logp[-1, sorted(alm.eos)].exp().sum().log())

def everything(alm, i):  # All kinds of answers about a clip
    return (ids(alm.sample(clip(i), ASK, 4, 7)), alm.greedy(clip(i), ASK).tokens,
            ids(alm.beams(clip(i), ASK, 3)), alm.score(clip(i), ASK, ANSWERS).tolist())

# --- the same answers as the library
@pytest.mark.parametrize('temperature', [.5, 1.5])
def test_samples_are_those_of_plain_passes_and_noise(alm, temperature):
    "Token by token: the most likely one by a full forward pass, after noise from the content."
    found = ids(alm.sample(clip(0), ASK, 8, 3, temperature))
    starts = row_starts([seed_of(3, wave_sha(clip(0)), ASK.text)], 8, 'cpu')
    heard = [o for o in found if alm.model.config.audio_token_id not in o]
    for row, tokens in zip(starts, found, strict=True):
        if tokens not in heard: continue
        logp = plain_logits(alm, clip(0), tokens[:-1]).double()/temperature
        noise = torch.cat([gumbel(row[None], i, logp.shape[1]) for i in range(len(tokens))])
        assert (logp+noise).argmax(-1).tolist()==tokens
    assert len({len(o) for o in heard})>1 # some ended early

def test_clips_of_a_batch_are_answered_as_if_alone(alm):
    "Clips and prompts of several lengths, so that every row but one is padded."
    calls = [(clip(i, s), ask) for i, s in enumerate((.75, 1.5, 1.)) for ask in (ASK, VERIFY)]
    calls = [(w, Prompt(o.mode, o.style, o.text, 5)) for w, o in calls]
    more = dict(greedy=(), sample=(4, 7, 1.), beams=(3,), score=(ANSWERS,))
    for method, given in more.items():
        given = [(*o, *given) for o in calls]
        if method=='score': given[1] = (*calls[1], ['yes', 'no']) # another number of answers
        for one, call in zip(alm.many(method, given), given, strict=True):
            alone = getattr(alm, method)(*call)
            if method=='score': np.testing.assert_allclose(one, alone, atol=1e-4)
            else: same_replies(one, alone)

def same_replies(some, others):
    for a, b in zip(*(o if type(o) is list else [o] for o in (some, others)), strict=True):
        assert (a.text, a.tokens, a.finish, a.usage, a.token_ends)==(b.text, b.tokens, b.finish, b.usage, b.token_ends)
        np.testing.assert_allclose(a.token_logprobs, b.token_logprobs, atol=1e-4)
        assert abs(a.confidence-b.confidence)<1e-4

def test_greedy_and_beams_are_the_librarys(alm):
    for i in range(2): assert alm.greedy(clip(i), ASK).tokens==library(alm, clip(i), do_sample=False)[0][0]
    found = alm.beams(clip(0), ASK, 4)
    expected, out = library(alm, clip(0), num_beams=4, num_return_sequences=4, do_sample=False,
                            length_penalty=0., early_stopping=True)
    assert ids(found)==expected
    scores = [o.sum_logprob for o in found]
    assert len(set(map(tuple, expected)))==4 and scores==sorted(scores, reverse=True)
    np.testing.assert_allclose(scores, out.sequences_scores, atol=1e-4)

def test_logprobs_are_those_of_a_full_forward_pass(alm):  # Before temperature; nothing behind the first end
    replies = [*alm.sample(clip(0), ASK, 6, 1, temperature=.5), *alm.beams(clip(0), ASK, 3),
               alm.greedy(clip(0), ASK)]
    sound = alm.model.config.audio_token_id # said by a random model, a plain pass takes it for a place
    replies = [o for o in replies if sound not in o.tokens]
    assert len({len(o.tokens) for o in replies})>1
    for o in replies:
        assert len(o.token_logprobs)==len(o.tokens)==o.usage['output_tokens']
        assert (o.finish=='stop')==(o.tokens[-1] in alm.eos)
        np.testing.assert_allclose(o.token_logprobs, plain_logp(alm, clip(0), o.tokens), atol=2e-4)

def test_scores_are_those_of_full_forward_passes_and_depend_on_the_clip(alm):  # So does the verifier's yes or no
    for ask, answers, spread in ((ASK, ANSWERS, .01), (VERIFY, ['yes', 'no'], 0)):
        scores = np.array([alm.score(clip(i), ask, answers) for i in range(3)])
        np.testing.assert_allclose(scores[0], [plain_score(alm, clip(0), a, ask) for a in answers], atol=2e-4)
        assert np.isfinite(scores).all() and (scores.std(0)>1e-4).all() and scores.std(0).max()>spread
        np.testing.assert_array_equal(alm.score(clip(0), ask, answers), scores[0])
    assert np.std(scores[:, 0]-scores[:, 1])>5e-3
    empty, = alm.score(clip(0), ASK, ['']) # the end that the tokenizer names is one of many, as in Qwen2-Audio
    assert len(alm.eos)==len(ENDS)+1 and empty>plain_logits(alm, clip(0), [])[0, alm.tokenizer.eos_token_id]+1

# --- the sound, and nothing else
def test_answers_do_not_depend_on_what_was_asked_before(alm):
    "Nor on what a model keeps of its last prompt (Qwen2.5-Omni keeps positions on itself)."
    calls = []
    hook = alm.model.model.audio_tower.register_forward_pre_hook(lambda m, args: calls.append(1))
    expected = [everything(alm, i) for i in range(2)]
    hook.remove()
    assert calls==[1, 1] # a clip is encoded once
    assert [everything(alm, i) for i in (1, 0)]==expected[::-1]
    held = alm._memo # of clip 0: put back after another clip of another length was read
    alm.greedy(clip(5, 2.), VERIFY)
    alm._memo = held
    assert everything(alm, 0)==expected[0]

def test_audio_tokens_are_counted_and_grow_with_the_clip(alm):
    counts = []
    for seconds in (.2, 1., 2.):
        use = alm.greedy(clip(0, seconds), ASK).usage
        tokens = alm.inputs(clip(0, seconds), ASK)['input_ids'][0].tolist()
        assert use['audio_tokens']==tokens.count(alm.model.config.audio_token_id)>=2
        assert use['prompt_tokens']==len(tokens)
        counts.append(use['audio_tokens'])
    if alm.name=='voxtral': assert counts==[375]*3 # silence fills its windows
    else: assert counts==sorted(set(counts))

def test_a_short_clip_is_heard_or_refused(alm):  # At .1 s, where the shared gate begins; never answered unheard.
    try: use = alm.greedy(clip(0, .1), ASK).usage
    except InputError as e: assert 'too short for this model' in str(e)
    else:
        assert use['audio_tokens']>=2
        scores = [alm.score(clip(i, .1), ASK, ANSWERS) for i in range(2)]
        assert np.abs(scores[0]-scores[1]).max()>1e-4

def test_a_prompt_without_sound_is_refused(alm):
    "What a template that drops the sound would give: the library answers it, from the text alone."
    def deaf(processor, wave, text):
        out = alm.render(processor, wave, text)
        keep = out['input_ids'][0]!=alm.model.config.audio_token_id
        return type(out)({k: out[k][:, keep] for k in ('input_ids', 'attention_mask')})
    one = LocalALM(alm.model, alm.processor, alm.name, 'random', render=deaf)
    one.model.generation_config = alm.model.generation_config
    with pytest.raises(InputError, match='gave 0 audio tokens'): one.greedy(clip(0), ASK)

def spoilt(n, value): # the first n samples are no numbers
    return np.where(np.arange(12_000)<n, value, clip(0)).astype(np.float32)

WRONG = ((clip(0)*9000).astype(np.int16), 'int16'), (clip(0).astype(float), 'float64'), ([0., .1], 'list'), (
    np.stack([clip(0), clip(1)]), r'\(2, 12000\)'), (spoilt(7, np.nan), '7 samples are NaN'), (
    spoilt(2, np.inf), '2 samples are NaN or infinite'), (clip(0)[:0], '0 samples'), (
    clip(0)[:800], '0.050 s is under 0.1 s'), (clip(0)*0+9, 'peak 9 is over 1')

def test_a_wrong_clip_is_refused_before_the_model_runs(alm):
    too_long = (clip(0, alm.capabilities.max_seconds+.1), "over the model's")
    calls = []
    hook = alm.model.register_forward_pre_hook(lambda m, args: calls.append(1))
    for wave, why in (*WRONG, too_long):
        for ask in (lambda w=wave: alm.greedy(w, ASK), lambda w=wave: alm.sample(w, ASK, 2, 1),
                    lambda w=wave: alm.beams(w, ASK, 2), lambda w=wave: alm.score(w, ASK, ['x'])):
            with pytest.raises(InputError, match=why): ask()
    hook.remove()
    assert not calls

@pytest.mark.parametrize(('name', 'seconds'), [('audio-flamingo-3', 5.), ('voxtral', 45.)])
def test_a_clip_of_several_windows_is_heard_to_its_end(alm, seconds):
    """By every sample. The library's own `num_return_sequences` is no yardstick here: it deals the windows
    of one clip out among the rows, so that each hears a part of the clip, some of it twice."""
    wave = clip(0, seconds)
    assert len(alm.inputs(wave, ASK)['input_features'])==2
    assert alm.greedy(wave, ASK).tokens==library(alm, wave, do_sample=False)[0][0]
    sound = alm.model.config.audio_token_id
    replies = [o for o in alm.sample(wave, ASK, 4, 3)+alm.beams(wave, ASK, 2) if sound not in o.tokens]
    assert len(replies)>2
    for o in replies:
        np.testing.assert_allclose(o.token_logprobs, plain_logp(alm, wave, o.tokens), atol=2e-4)
    other = wave.copy()
    other[-8000:] = clip(1, .5)
    assert np.abs(alm.score(wave, ASK, ANSWERS)-alm.score(other, ASK, ANSWERS)).max()>1e-4

@pytest.mark.parametrize('name', ['qwen2-audio', 'qwen2.5-omni', 'gemma-4'])
def test_the_silent_cut_is_real_and_out_of_reach(alm, name):
    "Beyond its window a processor makes the same tensors of two clips; the wrapper stops there."
    window = alm.processor.feature_extractor.chunk_length if name!='gemma-4' else 30
    long, longer = clip(0, window), np.concatenate([clip(0, window), clip(1, 1.)])
    assert alm.capabilities.max_seconds==window
    assert alm.inputs(long, ASK)['input_ids'].shape==alm.inputs(longer, ASK)['input_ids'].shape
    with pytest.raises(InputError, match="over the model's"): alm.greedy(longer, ASK)

def test_a_checkpoints_own_settings_have_no_say(name):
    mean = toy(name, ENDS, own=dict(do_sample=True, top_k=2, top_p=.5, temperature=.2, num_beams=3,
                                    repetition_penalty=5., min_p=.5, no_repeat_ngram_size=1,
                                    suppress_tokens=[5, 6], length_penalty=3., typical_p=.2, max_time=1e-3))
    assert everything(mean, 0)==everything(model_of(name), 0)

# --- Voxtral's processor
def test_the_stand_in_gives_the_tensors_of_voxtrals_own_processor(tmp_path):
    pytest.importorskip('mistral_common')
    real, ours = voxtral_processor(tmp_path), StandIn()
    render = FAMILIES['voxtral'].render
    for seconds in (.1, .75, 30., 45.):
        a, b = (render(o, clip(0, seconds), 'Which emotion? ü') for o in (real, ours))
        assert set(a)==set(b)
        for k in a: assert torch.equal(a[k], b[k]), k
    for text in ('sad', '', 'ü'):
        assert real.tokenizer(text, add_special_tokens=False)['input_ids']==ours.tokenizer(text)['input_ids']
    said = [142, 124, 2]
    assert real.tokenizer.decode(said, skip_special_tokens=True)==ours.tokenizer.decode(said)=='sa'

def test_base64_keeps_every_sample():  # 16 bits would round them
    heard, ear = [], StandIn()
    features = ear.feature_extractor
    ear.feature_extractor = lambda wave, **options: heard.append(wave) or features(wave, **options)
    FAMILIES['voxtral'].render(ear, clip(0), 'x')
    np.testing.assert_array_equal(heard[0][:12_000], clip(0))
    assert not heard[0][12_000:].any()

# --- loading
COMMIT = '0123456789abcdef0123456789abcdef01234567'

@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):  # Folders of Qwen2-Audio and Audio Flamingo 3, as their authors would publish them
    root = tmp_path_factory.mktemp('checkpoints')
    for name in ('qwen2-audio', 'audio-flamingo-3'):
        alm = toy(name)
        for part in (alm.model, alm.processor): part.save_pretrained(root/name)
    return root

@pytest.fixture
def cache(checkpoint, tmp_path, monkeypatch):  # A hub cache that holds Qwen2-Audio at one commit, which `main` names
    repo = tmp_path/'models--Qwen--Qwen2-Audio-7B-Instruct'
    shutil.copytree(checkpoint/'qwen2-audio', repo/'snapshots'/COMMIT)
    (repo/'refs').mkdir()
    (repo/'refs'/'main').write_text(COMMIT)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    return repo/'snapshots'/COMMIT

@pytest.mark.parametrize('name', ['qwen2-audio', 'audio-flamingo-3'])
def test_a_folder_answers_like_the_model_that_wrote_it(checkpoint, name):
    loaded, made = load_model(name, folder=checkpoint/name, device='cpu'), toy(name)
    assert everything(loaded, 0)==everything(made, 0) and loaded.n_params==made.n_params
    assert loaded.model.dtype is torch.float32 and not loaded.model.training
    window = {'qwen2-audio': 3, 'audio-flamingo-3': 6}[name]
    assert loaded.capabilities.max_seconds==window<FAMILIES[name].max_seconds # of this processor

def test_the_precision_follows_the_device(checkpoint):
    half = load_model('qwen2-audio', folder=checkpoint/'qwen2-audio', device='cpu:0', dtype='bfloat16')
    assert half.model.dtype is torch.bfloat16 and half.greedy(clip(0), ASK).tokens

def rewrite(folder, change):  # The weights of a checkpoint, changed in place
    weights = load_file(folder/'model.safetensors')
    change(weights)
    save_file(weights, folder/'model.safetensors', metadata={'format': 'pt'})

def test_a_folder_is_known_by_its_weights(checkpoint, tmp_path):
    family, copied = FAMILIES['qwen2-audio'], tmp_path/'renamed'
    shutil.copytree(checkpoint/'qwen2-audio', copied)
    one = folder_revision(find_checkpoint(family, checkpoint/'qwen2-audio'))
    assert folder_revision(find_checkpoint(family, copied))==one and len(one)==16
    rewrite(copied, lambda weights: next(iter(weights.values())).view(-1)[0].add_(1))
    assert folder_revision(find_checkpoint(family, copied))!=one

@pytest.mark.parametrize('revision', [COMMIT, 'main'])
def test_what_is_recorded_is_the_commit(cache, revision):
    alm = load_family('qwen2-audio', revision=revision, device='cpu')
    assert alm.revision==COMMIT

def test_a_pinned_family_needs_no_revision(cache, monkeypatch):
    monkeypatch.setattr(families, 'FAMILIES', dict(FAMILIES))
    register_family(replace(FAMILIES['qwen2-audio'], name='pinned', revision=COMMIT))
    try: assert load_model('pinned', device='cpu').revision==COMMIT
    finally: MODELS.pop('pinned')

def refused(match, name='qwen2-audio', **options):
    "Nothing is read, and no library's loader is called, before the refusal."
    with pytest.raises(InputError, match=match) as e, pytest.MonkeyPatch.context() as m:
        m.setattr(families, 'load_weights', lambda *args: pytest.fail('loaded'))
        m.setattr('transformers.AutoProcessor.from_pretrained', lambda *a, **k: pytest.fail('loaded'))
        load_family(name, **options)
    return str(e.value)

def test_what_is_not_there_is_refused_first(cache, tmp_path):
    refused(f'no revision is pinned.*the cache holds {COMMIT}') # to be pinned
    refused(f'hf download Qwen/Qwen2-Audio-7B-Instruct --revision {"f"*40}', revision='f'*40)
    refused('hf download mistralai/Voxtral.* --revision main', 'voxtral', revision='main')
    refused('check `folder`', folder=tmp_path/'nowhere')
    refused("Unknown family 'qwen-audio'. Did you mean 'qwen2-audio'", 'qwen-audio')

@pytest.mark.parametrize('device', ['gpu', 'cuda:99', 'cuda:-7', 'meta'])
def test_a_device_that_is_not_there_is_refused_before_weights_are_read(checkpoint, device):  # Nor is the CPU taken
    refused(f"No device '{device}' .* name another", folder=checkpoint/'qwen2-audio', device=device)

def test_a_broken_download_and_another_familys_folder_are_refused(cache, checkpoint):
    refused("type 'audioflamingo3', and qwen2-audio reads qwen2_audio", folder=checkpoint/'audio-flamingo-3')
    (cache/'model.safetensors').unlink()
    refused('lacks model.safetensors', revision=COMMIT)
    index = dict(weight_map={'a': 'model-1-of-2.safetensors', 'b': 'model-2-of-2.safetensors'})
    (cache/'model.safetensors.index.json').write_text(json.dumps(index))
    (cache/'model-1-of-2.safetensors').write_bytes(b'')
    assert '(1 of 2 files of weights)' in refused('lacks model-2-of-2.safetensors', revision=COMMIT)

@pytest.mark.parametrize(('name', 'kind', 'remedy'), [
    ('qwen2.5-omni', 'qwen2_5_omni', 'needs torchvision: .*belongs to your torch'),
    ('gemma-4', 'gemma4', 'needs torchvision: .*belongs to your torch'),
    ('voxtral', 'voxtral', r"needs mistral_common: pip install 'mistral-common\[audio\]'")])
def test_a_processor_that_can_not_be_imported_is_refused(tmp_path, monkeypatch, name, kind, remedy):
    monkeypatch.setattr('importlib.util.find_spec', lambda o: None)
    (tmp_path/'config.json').write_text(json.dumps(dict(model_type=kind)))
    (tmp_path/'model.safetensors').write_bytes(b'')
    refused(remedy, name, folder=tmp_path)

def test_missing_weights_are_not_made_up(checkpoint, tmp_path):  # The library would draw them at random, and warn
    shutil.copytree(checkpoint/'qwen2-audio', tmp_path, dirs_exist_ok=True)
    rewrite(tmp_path, lambda weights: weights.pop(next(o for o in weights if 'audio_tower.layers.1.fc1.weight' in o)))
    with pytest.raises(InputError, match='1 weights of Qwen2AudioFor.*layers.1.fc1.weight'):
        load_family('qwen2-audio', folder=tmp_path, device='cpu')

def test_the_thinker_is_found_in_the_speaking_models_checkpoint(tmp_path):
    "Published is the whole model, its parts named `thinker.`, `talker.` and `token2wav.`."
    processor = PROCESSORS['qwen2.5-omni']()
    model = toy_model('qwen2.5-omni', processor)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path/'config.json').read_text())
    (tmp_path/'config.json').write_text(json.dumps(dict(model_type='qwen2_5_omni', thinker_config=config)))
    def whole(weights):
        for k in [*weights]: weights[f'thinker.{k}'] = weights.pop(k)
        weights['talker.codec_head.weight'] = torch.zeros(2, 2)
    rewrite(tmp_path, whole)
    mine, theirs = model.state_dict(), load_weights(FAMILIES['qwen2.5-omni'], tmp_path, 'float32').state_dict()
    assert mine.keys()==theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)

def test_code_of_a_checkpoint_is_never_run(checkpoint, tmp_path):
    shutil.copytree(checkpoint/'qwen2-audio', tmp_path, dirs_exist_ok=True)
    (tmp_path/'trap.py').write_text(f"open({str(tmp_path/'sprung')!r}, 'w')\nclass M: pass\n")
    for file, key in (('config.json', 'AutoModel'), ('processor_config.json', 'AutoProcessor')):
        content = json.loads((tmp_path/file).read_text())
        (tmp_path/file).write_text(json.dumps(content | dict(auto_map={key: 'trap.M'})))
    alm = load_family('qwen2-audio', folder=tmp_path, device='cpu')
    assert type(alm.model).__module__.startswith('transformers.')
    assert type(alm.processor).__module__.startswith('transformers.')
    assert not (tmp_path/'sprung').exists()

# --- the registry

def test_the_registry_states_what_a_family_can_do(alm, name):
    info, family = MODELS[name], FAMILIES[name]
    assert (info.backend, info.n_params)==('local', None) and family.repo in info.about
    assert replace(info.capabilities, max_seconds=alm.capabilities.max_seconds)==alm.capabilities
    assert info.capabilities.max_seconds==family.max_seconds and alm.capabilities.sampler=='gumbel-splitmix64'
    assert type(alm.model).__name__==family.model and set(FAMILIES)==set(PROCESSORS) # all are tried here

def test_a_model_without_any_end_is_refused(name='audio-flamingo-3'):
    processor = PROCESSORS[name]()
    model = toy_model(name, processor)
    model.generation_config.eos_token_id = None
    assert wrap(FAMILIES[name], model, processor, 'r').eos=={processor.tokenizer.eos_token_id}
    model.generation_config.eos_token_id = processor.tokenizer.eos_token = None
    with pytest.raises(InputError, match='names the token that ends an answer: put eos_token_id'):
        wrap(FAMILIES[name], model, processor, 'r')

