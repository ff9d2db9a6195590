"""The shipped weights are what they say, hear what they should, and training can be interrupted."""
import json
from dataclasses import asdict
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from transformers import AutoProcessor
from transformers.utils import logging
from ambiscale_nb.models import tiny_alm
from ambiscale_nb.corpora.audio import wave_sha
from ambiscale_nb.models.local import LocalALM
from ambiscale_nb.models.contract import MODELS, load_model
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, sample_pool
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.prompts import prompt, verify_prompt
from ambiscale_nb.models.tiny_alm import (ASSETS, MAX_SECONDS, Recipe, TINY_SIZES, audio_tokens,
    load_tiny, make_model, make_processor, save_tiny, train, training_data)
from ambiscale_nb.corpora.toyspeech import EMOTIONS, clip, clip_wave

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
SHIPPED = [o for o in TINY_SIZES if (ASSETS/o/'model.safetensors').exists()]
DIRECT = prompt('label', 'direct', EMOTIONS)
EXAM = 40 # clips of the val split that have one plurality

@pytest.fixture(scope='module')
def exam():  # Waves and plurality labels, as indexes
    waves, best, i = [], [], 0
    while len(waves)<EXAM:
        c, i = clip('val', i), i+1
        votes = np.bincount(c['said'], minlength=len(EMOTIONS))
        if (votes==votes.max()).sum()>1: continue
        waves.append(clip_wave(c))
        best.append(int(votes.argmax()))
    return waves, np.array(best)

@pytest.fixture(scope='module', params=SHIPPED)
def size(request): return request.param

@pytest.fixture(scope='module')
def made(): return make_processor()

@pytest.fixture(scope='module')
def alms(): return {o: load_tiny(o) for o in SHIPPED}

@pytest.fixture(scope='module')
def greedy(alms, exam): # size -> (EXAM,) index of the label of the greedy answer, -1 if unread
    def said(alm, wave):
        reply = alm.greedy(wave, DIRECT)
        label = parse(reply.text, 'label', 'direct', EMOTIONS, finish=reply.finish).label
        return EMOTIONS.index(label[0]) if len(label)==1 else -1
    return {k: np.array([said(alm, w) for w in exam[0]]) for k, alm in alms.items()}

def scored(alm, waves): # (n,) index of the likeliest label
    return np.array([alm.score(w, DIRECT, list(EMOTIONS)).argmax() for w in waves])

def chance(n=EXAM): return binom.interval(.999, n, 1/len(EMOTIONS)) # Hits of a guesser
def tensors(folder): # name -> (dtype, shape), from the header of the file itself
    with open(folder/'model.safetensors', 'rb') as f:
        head = json.loads(f.read(int.from_bytes(f.read(8), 'little')))
    return {k: (v['dtype'], v['shape']) for k, v in head.items() if k!='__metadata__'}

# --- on disk
def test_assets_stay_small_and_readable(alms):
    assert SHIPPED and {o.name for o in ASSETS.iterdir() if o.is_dir()}==set(SHIPPED)
    n = [alms[o].n_params for o in SHIPPED] # in the order of TINY_SIZES
    assert n==sorted(set(n)) and len({o.revision for o in alms.values()})==len(alms)
    files = [o for o in ASSETS.rglob('*') if o.is_file()]
    assert sum(o.stat().st_size for o in files)<=6*2**20
    for o in files: assert o.stat().st_mode & 0o777==0o644, o
    for o in ASSETS.rglob('*'):
        if o.is_dir(): assert o.stat().st_mode & 0o555==0o555, o
    assert not [o for o in files if o.suffix in ('.bin', '.pt', '.pkl', '.tmp')] # weights are data

def test_weights_are_half_precision_on_disk_and_registered(alms, size):
    head = tensors(ASSETS/size)
    assert {dtype for dtype, _ in head.values()}=={'F16'}
    assert sum(int(np.prod(shape)) for _, shape in head.values())==alms[size].n_params
    assert {p.dtype for p in alms[size].model.parameters()}=={torch.float64}
    assert all(bool(p.isfinite().all()) for p in alms[size].model.parameters())
    info, alm = MODELS[f'tiny-alm-{size}'], alms[size]
    again = load_model(info.name)
    assert again.name==alm.name==info.name and again.revision==alm.revision and alm.capabilities==info.capabilities
    assert alm.n_params==info.n_params==sum(p.numel() for p in make_model(size, alm.processor).parameters())

def test_a_checkpoint_survives_a_round_trip(alms, size, tmp_path, exam):
    "Saved again, it is the same bytes, hence the same revision, and says the same."
    alm = alms[size]
    again = load_tiny(size, save_tiny(alm.model, alm.processor, tmp_path/'again'))
    assert again.revision==alm.revision
    assert again.greedy(exam[0][0], DIRECT).tokens==alm.greedy(exam[0][0], DIRECT).tokens

# --- the processor
TEXTS = ['Pitch high, falling, loud, fast, tense. Answer: angry', '{"angry": 70, "sad": 30}', 'Zoë said “no” 3×\n\ttwice',
         'yes', *[prompt(m, s, EMOTIONS).text for m in ('label', 'dist') for s in ('direct', 'cot')], *EMOTIONS]

def test_processor_round_trip(size, tmp_path, exam, made):
    shipped = AutoProcessor.from_pretrained(ASSETS/size)
    shipped.save_pretrained(tmp_path)
    content = [{'type': 'audio', 'audio': exam[0][0]}, {'type': 'text', 'text': DIRECT.text}]
    def seen(p):
        mel = p.feature_extractor(exam[0][0], sampling_rate=16_000, return_tensors='np').input_features
        return (mel.shape, mel.tobytes(), [p.tokenizer(o)['input_ids'] for o in TEXTS],
                p.apply_chat_template([{'role': 'user', 'content': content}], add_generation_prompt=True))
    one = seen(shipped)
    assert one==seen(AutoProcessor.from_pretrained(tmp_path))==seen(made) and one[0]==(1, 80, 150)
    assert [shipped.tokenizer.decode(o) for o in one[2]]==TEXTS

def test_every_answer_word_is_one_token_and_ends_alike(alms, size):
    tok = alms[size].tokenizer
    assert {len(tok(o)['input_ids']) for e in EMOTIONS for o in (e, f' {e}')}=={1}
    assert len({tok(o)['input_ids'][0] for e in EMOTIONS for o in (e, f' {e}')})==2*len(EMOTIONS)
    assert tok.eos_token_id in alms[size].eos and tok.eos_token_id!=tok.pad_token_id

@pytest.mark.parametrize('seconds', [.15, .5, 1.234, 2.5, MAX_SECONDS])
def test_training_and_wrapper_count_the_same_audio_tokens(alms, seconds):
    "Packed lessons lay out as many places as the processor does."
    alm, wave = next(iter(alms.values())), np.full(int(seconds*16_000), .01, np.float32)
    frames = alm.inputs(wave, DIRECT)['feature_attention_mask'].sum()
    assert alm.prefix([wave], [DIRECT]).audio_tokens==[audio_tokens(int(frames))]

# --- what they hear
def test_trained_weights_hear(greedy, exam, size):
    hits = int((greedy[size]==exam[1]).sum())
    assert hits/EXAM>.5 and hits>chance()[1] and len(set(greedy[size]))>=5 # not one word for everything

def test_greedy_answers_are_the_likeliest_labels(alms, greedy, exam, size):
    "Label scores and greedy decoding are two views of one distribution."
    assert (scored(alms[size], exam[0])==greedy[size]).mean()>.9

@pytest.mark.parametrize('seed', [0, 1])
def test_random_weights_guess(alms, exam, size, seed):
    "The same processor and prompts without training: what is heard is learnt, not leaked."
    alm = LocalALM(make_model(size, alms[size].processor, seed), alms[size].processor, 'random', '', MAX_SECONDS)
    low, high = chance()
    assert low<=(scored(alm, exam[0])==exam[1]).sum()<=high

def test_another_clips_sound_gives_another_answer(greedy, exam, size):
    "Right about the clip it hears and not about the next one."
    hits, swapped = (greedy[size]==exam[1]).sum(), (greedy[size]==np.roll(exam[1], 1)).sum()
    assert swapped<=chance()[1] and hits>=swapped+.25*EXAM

@pytest.mark.parametrize('mode', ['label', 'dist'])
@pytest.mark.parametrize('style', ['direct', 'cot'])
def test_answers_parse_in_every_crossing(alms, exam, size, mode, style):
    asked = prompt(mode, style, EMOTIONS)
    replies = [alms[size].greedy(w, asked) for w in exam[0][:6]]
    replies += alms[size].sample(exam[0][0], asked, 8, seed=1, temperature=.7)
    read = [parse(o.text, mode, style, EMOTIONS, finish=o.finish) for o in replies]
    assert np.mean([o.dist is not None for o in read])>.9
    for o in read:
        if o.dist is not None: assert abs(sum(o.dist)-1)<1e-6
    if style=='cot': assert np.mean(['Pitch' in o.text for o in replies])>.9 # it reasons first

def test_the_verifier_prefers_what_raters_said(alms, exam, size):
    def yes(wave, e):
        a, b = alms[size].score(wave, verify_prompt(e, EMOTIONS), ['yes', 'no'])
        return 1/(1+np.exp(b-a))
    waves, best = exam[0][:15], exam[1][:15]
    right = np.mean([yes(w, EMOTIONS[i]) for w, i in zip(waves, best, strict=True)])
    wrong = np.mean([yes(w, EMOTIONS[(i+3)%6]) for w, i in zip(waves, best, strict=True)])
    assert right>wrong+.3

def test_names_change_no_answer(alms, exam, tmp_path):
    "Clips renamed, to names that give an answer away at that, are answered as before."
    waves, alm = exam[0][:4], next(iter(alms.values()))
    def texts(names, folder):
        items = pd.DataFrame(dict(corpus='toyspeech', uid=names, speaker=names, audio_sha=[wave_sha(w) for w in waves]))
        store, wave_of = Store(tmp_path/folder), dict(zip(names, waves, strict=True)).__getitem__
        sample_pool(alm, items, wave_of, (DIRECT,), Draw(n=4, widths=(2,), score=EMOTIONS), store, progress=False)
        rows = store.read(CANDIDATES)
        rows['clip'] = rows.uid.map({o: i for i, o in enumerate(names)})
        rows = rows.sort_values(['clip', 'decode', 'index', 'text'])
        return rows[['clip', 'decode', 'seed', 'text', 'sum_logprob']].reset_index(drop=True)
    plain = texts([f'val-{i}' for i in range(4)], 'a')
    assert set(plain.decode)=={'greedy', 'sample', 'beam', 'score'}
    telling = [f'{o}-clip' for o in ('sad', 'happy', 'calm', 'x')]
    pd.testing.assert_frame_equal(plain, texts(telling, 'b'))

# --- training
class Killed(Exception):
    "Stands for a lost power supply."

@pytest.fixture(scope='module')
def short(tmp_path_factory, made):  # A run of 3 + 6 steps on 48 clips, with its data
    data = training_data('train', 48, made, tmp_path_factory.mktemp('mel'), workers=1)
    recipe = Recipe('nano', seed=3, clips=48, hear_epochs=1, answer_epochs=2, batch=16)
    return recipe, data, made

@pytest.fixture(scope='module')
def whole(short, tmp_path_factory):
    return train(*short, tmp_path_factory.mktemp('whole'), every=2)

def same(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)

@pytest.mark.parametrize('deaths', [(2,), (3,), (1, 6, 3)])
def test_a_killed_run_goes_on_where_it_was(short, whole, tmp_path, monkeypatch, deaths):
    """`deaths`: steps after which each attempt dies, with or without a checkpoint behind it: in the
    first stage, between the stages, in the second, and several times."""
    real, left = tiny_alm.train_step, 0
    def mortal(*args):
        nonlocal left
        if not left: raise Killed
        left -= 1
        return real(*args)
    monkeypatch.setattr(tiny_alm, 'train_step', mortal)
    for left in deaths:
        torch.manual_seed(left) # the state of the process plays no part
        with pytest.raises(Killed): train(*short, tmp_path, every=2)
    (tmp_path/'answer.tmp').write_bytes(b'half a checkpoint')
    monkeypatch.setattr(tiny_alm, 'train_step', real)
    assert same(train(*short, tmp_path, every=2), whole)

def test_a_finished_run_is_not_trained_again_and_another_seed_is_another_model(short, whole, tmp_path, monkeypatch):
    assert same(train(*short, tmp_path, every=100), whole) # how often it saves plays no part
    assert not same(train(Recipe(**{**asdict(short[0]), 'seed': 4}), *short[1:], tmp_path/'other'), whole)
    def never(*args): raise AssertionError('trained again')
    monkeypatch.setattr(tiny_alm, 'train_step', never)
    assert same(train(*short, tmp_path), whole)

