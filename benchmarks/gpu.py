"""What a GPU changes: sixteen samples by three routes, and how far its answers agree.

    python benchmarks/gpu.py [--save] [--repeats 3] [--tokens 4 16 64]
    python benchmarks/gpu.py --table        # gpu.json's figures into README.md, without a run

Random weights in the published sizes of Qwen2-Audio 7B (bfloat16, then float32), made on the card, so
that nothing is downloaded; and a smaller model, whose answers are compared with the CPU's. Every route
runs through `ambiscale_nb.models.local`. It fails where float32 routes part, where the wrapper does not repeat
itself under one seed, and where memory grows from clip to clip. `--tiny --device cpu` tries the script
itself. The last line of the output is JSON.
"""
import argparse
import copy
import gc
import json
import os
import re
import time
from datetime import date
from functools import partial
from pathlib import Path
import numpy as np
import torch
import transformers
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids
from prefill import LABELS, N, Bench, endless, gap
from ambiscale_nb.models.check import check_clips, check_model
from ambiscale_nb.models import local
from ambiscale_nb.models.local import BEAMS, GREEDY, LocalALM, byte_bpe, toy_processor
from ambiscale_nb.models.prompts import prompt, verify_prompt

HERE, WIDTH, LONG = Path(__file__).parent, 8, 32 # beams; tokens of a greedy answer
GUARD = local.repeatable
WHISPER = dict(num_mel_bins=128, max_source_positions=1500)
SIZES = { # encoder, language model: the published ones, a small pair of published ones, a toy
    '7B': (dict(d_model=1280, encoder_layers=32, encoder_attention_heads=20, encoder_ffn_dim=5120),
           dict(vocab_size=156_032, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32,
                num_attention_heads=32, num_key_value_heads=32)),
    'small': (dict(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048),
              dict(vocab_size=156_032, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                   num_attention_heads=14, num_key_value_heads=2)),
    'tiny': (dict(d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128),
             dict(vocab_size=2000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                  num_attention_heads=4, num_key_value_heads=2))}
NAMES = dict(A='16 calls', B='num_return_sequences=16', C='shared prefix', E1='6 forward passes',
             E3='shared prefix', E4='prefix already read', K1='num_beams=8', K3='shared prefix',
             V1='12 forward passes', V3='shared prefix')

# --- a model and every route

def make_model(size, processor, device, dtype):
    "A random Qwen2-Audio, made on the device. Its head is so large that answers are not equally likely."
    audio, text = SIZES[size]
    tok = processor.tokenizer
    end, pad, sound = tok.convert_tokens_to_ids(['<|im_end|>', '<|pad|>', '<|AUDIO|>'])
    text = dict(text, model_type='qwen2', max_position_embeddings=8192, tie_word_embeddings=False,
                eos_token_id=end, pad_token_id=pad, bos_token_id=None)
    config = Qwen2AudioConfig(audio_config=dict(audio, **WHISPER), text_config=text,
                              audio_token_id=sound)
    torch.manual_seed(0); torch.set_default_dtype(dtype)
    try:
        with torch.device(device): model = Qwen2AudioForConditionalGeneration(config)
    finally: torch.set_default_dtype(torch.float32)
    places = model.model.audio_tower.embed_positions.weight
    places.data = sinusoids(*places.shape).to(places)
    model.lm_head.weight.data *= 4
    g = model.generation_config
    g.eos_token_id, g.pad_token_id, g.bos_token_id = end, pad, None
    return model.eval()

def noise(i, seconds=5.): # clip number i
    return np.random.default_rng(i).normal(0, .1, int(seconds*16_000)).clip(-1, 1).astype(np.float32)

class GpuBench(Bench):
    "The routes of prefill.py around a model of any size, on any device."
    def __init__(self, model, processor, clips=8):
        self.clips = clips # that routes are compared on
        self.alm, self.rows = LocalALM(model, processor, 'bench', 'random'), 0
        self.wave, self.ask = noise(0), prompt('label', 'direct', LABELS)
        self.model, self.cuda = model, model.device.type=='cuda'
        endless(model)
        self.own = self.allocated()

    def allocated(self): return torch.cuda.memory_allocated() if self.cuda else 0

    def forget(self): self.alm._memo = (None, None)

    def forward(self, inputs, tokens): # log-probability of each token, by a plain forward pass
        ids = torch.cat([inputs['input_ids'], torch.tensor([tokens], device=self.model.device)], 1)
        with torch.inference_mode(): out = self.model(
            **{**inputs, 'input_ids': ids, 'attention_mask': torch.ones_like(ids)})
        logp = out.logits[0, -len(tokens)-1:-1].float().log_softmax(-1)
        return logp.gather(1, ids[0, -len(tokens):, None])[:, 0].cpu().numpy()

    def plain(self, rows=1, **how): # `library` for other settings, or for a batch of equal rows
        inputs = {k: torch.cat([v]*rows) for k, v in self.inputs().items()}
        settings = {**self.settings, 'temperature': None, **how}
        with torch.inference_mode():
            out = self.model.generate(**inputs, output_logits=True, **settings)
            logp = self.model.compute_transition_scores(out.sequences, out.logits,
                getattr(out, 'beam_indices', None), normalize_logits=True)
        new = out.sequences[:, inputs['input_ids'].shape[1]:]
        return list(zip(new.tolist(), logp.tolist(), strict=True))

    def beside(self): # C with another clip in its batch
        calls = [(o, self.ask, N, 1, 1.) for o in (self.wave, noise(99, 6.))]
        return [(o.tokens, o.token_logprobs) for o in self.alm.many('sample', calls)[0]]

    def K1(self): return self.plain(num_beams=WIDTH, num_return_sequences=WIDTH, **BEAMS)

    def K3(self):
        self.forget()
        return [(o.tokens, o.token_logprobs) for o in self.alm.beams(self.wave, self.ask, WIDTH)]

    def judged(self, score): # log P(yes)/P(no) of every label; each is a prompt of its own
        kept, out = self.ask, []
        for o in LABELS:
            self.ask = verify_prompt(o, LABELS)
            yes, no = score()
            out.append(yes-no)
        self.ask = kept
        return out

    def V1(self):
        tok = self.alm.tokenizer
        ids = [tok(o+tok.eos_token)['input_ids'] for o in ('yes', 'no')]
        return self.judged(lambda: [self.forward(self.inputs(), o).sum() for o in ids])

    def V3(self):
        self.forget()
        return self.judged(lambda: self.alm.score(self.wave, self.ask, ['yes', 'no']))

    def greedy(self): # from the shared prefix
        self.forget()
        reply = self.alm.greedy(self.wave, self.ask)
        return [(reply.tokens, reply.token_logprobs)]

    def cost(self, route): # seconds, peak bytes above the weights, result; always the same seed
        if route=='E4': self.alm.prefix([self.wave], [self.ask])
        else: self.forget()
        gc.collect()
        if self.cuda: torch.cuda.synchronize(); torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(1)
        start = time.perf_counter()
        with torch.inference_mode(): result = getattr(self, route)()
        if self.cuda: torch.cuda.synchronize()
        spent = time.perf_counter()-start
        return spent, torch.cuda.max_memory_allocated()-self.own if self.cuda else 0, result

def measure(bench, routes, repeats):
    """Median seconds, peak memory, and how many times faster than the first route. Sixteen calls are made
    once: they repeat each other."""
    runs = [{k: bench.cost(k)[:2] for k in routes if i==0 or k!='A'} for i in range(repeats)]
    seconds = {k: np.median([r[k][0] for r in runs if k in r]) for k in routes}
    return dict(seconds={k: round(float(v), 3) for k, v in seconds.items()},
                peak_gib={k: round(runs[0][k][1]/2**30, 2) for k in routes},
                ratio={k: round(float(seconds[routes[0]]/v), 2) for k, v in seconds.items()})

# --- how far two routes agree

def compare(*pairs):
    """Rows of tokens with log-probabilities, by two routes. Differences are of tokens up to the first
    that is another one; behind it the routes answer different questions."""
    far, parted, tokens, gaps = [], 0, 0, []
    for a, b in ((x, y) for one, two in pairs for x, y in zip(one, two, strict=True)):
        same = next((i for i, (s, t) in enumerate(zip(a[0], b[0], strict=True)) if s!=t), len(a[0]))
        parted += same<len(a[0])
        tokens += same+(same<len(a[0]))
        far += np.abs(np.array(a[1][:same])-np.array(b[1][:same])).tolist()
        if same<len(a[0]): gaps.append(abs(a[1][same]-b[1][same]))
    return dict(rows=sum(len(o) for o, _ in pairs), rows_parted=parted, tokens=tokens,
                median=short(np.median(far)) if far else None, largest=short(max(far, default=0.)),
                widest_gap_at_a_parting=short(max(gaps, default=0.)))

def compare_beams(a, b):
    "Two lists of beams: is the best one the same, how many are in both, how far are their sums."
    one, two = ({tuple(t): sum(p) for t, p in o} for o in (a, b))
    both = set(one) & set(two)
    return dict(beams=len(a), best_is_the_same=a[0][0]==b[0][0], in_both=len(both),
                largest=short(max((abs(one[o]-two[o]) for o in both), default=0.)),
                best_sums_apart=short(abs(sum(a[0][1])-sum(b[0][1]))))

def short(x): return float(f'{x:.1e}')

def per_clip(bench, *routes):
    "Every route on every clip: a list of pairs."
    out = []
    for i in range(bench.clips):
        bench.wave = noise(i, 2+i%3*1.5)
        out.append(tuple(bench.cost(o)[2] if isinstance(o, str) else o() for o in routes))
    bench.wave = noise(0)
    return out

def agreement(bench):
    "Of all routes, in nats; what must hold in float32 is asserted by the caller."
    bench.budget(16)
    out = dict(samples_alone_and_in_a_batch=compare(*per_clip(bench, 'C', bench.beside)))
    c = bench.cost('C')[2]
    out['samples_and_forward_pass'] = short(max(gap(bench.forward(bench.inputs(), t), p)
        for t, p in c[:4] if bench.model.config.audio_token_id not in t))
    out['label_scores_and_forward_pass'] = short(gap(bench.cost('E1')[2], bench.cost('E3')[2]))
    out['verdicts_and_forward_pass'] = short(gap(bench.cost('V1')[2], bench.cost('V3')[2]))
    out['beams_prefix_and_plain'] = compare_beams(bench.cost('K1')[2], bench.cost('K3')[2])
    score, one = partial(bench.alm.score, bench.wave, bench.ask), list(LABELS)
    alone = [score([o])[0] for o in one]
    out['label_scores_alone_and_among'] = {n: short(gap(alone, score((one*9)[:n])[:6]))
                                           for n in (6, 16, 48)}
    bench.budget(LONG)
    out['greedy_prefix_and_plain'] = compare(*per_clip(bench, lambda: bench.plain(**GREEDY), 'greedy'))
    out['greedy_alone_and_in_a_batch_of_16'] = compare(*per_clip(
        bench, lambda: bench.plain(**GREEDY), lambda: bench.plain(N, **GREEDY)[:1]))
    bench.budget(16)
    logp = [p for _, row in c for p in row]
    out['mean_logprob_of_a_sampled_token'] = round(float(np.mean(logp)), 2)
    return out

def teacher_forced(bench, rows): # log-probabilities of given tokens, from the shared prefix
    "What a model gives to each token of given rows."
    return [bench.forward(bench.inputs(), t) for t in rows]

def memory(bench):
    "Bytes held after each of several clips of one length, less those after the first."
    held = []
    for i in range(5):
        bench.wave = noise(20+i)
        bench.alm.sample(bench.wave, bench.ask, N, 1); bench.alm.score(bench.wave, bench.ask, LABELS)
        gc.collect()
        held.append(bench.allocated())
    bench.wave = noise(0)
    bench.forget(); gc.collect()
    return dict(a_prefix_mib=round((held[0]-bench.own)/2**20), growth=[o-held[0] for o in held[1:]],
                left_when_forgotten=bench.allocated()-bench.own)

def exact_float32(on): # convolutions too: the library's default rounds their factors to TF32 on a card
    "Full float32 arithmetic, or torch's defaults."
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = not on

def beside_the_cpu(bench):
    "The small model's answers and the CPU's, both in float32."
    cpu = GpuBench(copy.deepcopy(bench.model).cpu(), bench.alm.processor)
    for o in (bench, cpu): o.budget(16)
    rows = [t for t, _ in bench.cost('C')[2][:4]]
    exact_float32(False); rounded = teacher_forced(bench, rows)
    exact_float32(True); ours = teacher_forced(bench, rows)
    theirs = teacher_forced(cpu, rows)
    greedy = [(bench.cost('greedy')[2], cpu.cost('greedy')[2])]
    return dict(tokens=gap(ours, theirs) and short(gap(ours, theirs)),
                tokens_with_tf32_convolutions=short(gap(rounded, theirs)),
                label_scores=short(gap(bench.cost('E3')[2], cpu.cost('E3')[2])),
                greedy=compare(*greedy),
                same_samples_under_one_seed=[t for t, _ in cpu.C()]==[t for t, _ in bench.C()])

# --- the same again?

WRAPPER = 'the wrapper' # which keeps cuDNN's attention out; elsewhere its guard is taken away
SETTINGS = { # what torch is told
    WRAPPER: lambda on: None,
    'as torch chooses': lambda on: None,
    'deterministic convolutions': lambda on: setattr(torch.backends.cudnn, 'deterministic', on),
    'deterministic algorithms': lambda on: torch.use_deterministic_algorithms(on, warn_only=True),
    'attention without cuDNN': lambda on: torch.backends.cuda.enable_cudnn_sdp(not on),
    'attention in plain steps': lambda on: [f(not on) for f in (
        torch.backends.cuda.enable_cudnn_sdp, torch.backends.cuda.enable_flash_sdp,
        torch.backends.cuda.enable_mem_efficient_sdp)],
    'sums in float32': lambda on: setattr(
        torch.backends.cuda.matmul, 'allow_bf16_reduced_precision_reduction', not on)}

def kept(bench): # 16 samples from one and the same prefix
    "What the shared prefix gives when it is not read again."
    replies = bench.alm.sample(bench.wave, bench.ask, N, 1)
    return [(o.tokens, o.token_logprobs) for o in replies]

def repeats(bench, settings, times):
    "How many different outcomes a route has in some runs under one seed: 1 is the same bits every time."
    out = {}
    for name in settings:
        SETTINGS[name](True)
        if name!=WRAPPER: local.repeatable = torch.inference_mode
        found = {k: len({repr(bench.cost(k)[2]) for _ in range(times)}) for k in ('B', 'C', 'E3', 'K3')}
        bench.cost('C')
        found['one prefix'] = len({repr(kept(bench)) for _ in range(times)})
        local.repeatable = GUARD
        SETTINGS[name](False)
        out[name] = found
    return dict(runs=times, outcomes=out)

# --- the whole

def run(a, processor, fails, out):
    "Every figure, after those that `out` has."
    big, little = ('tiny', 'tiny') if a.tiny else ('7B', 'small')
    exact_float32(True)
    clips, start = 2 if a.tiny else 8, time.perf_counter()
    def keep(name, work):
        if a.only and name not in a.only: return
        out[name] = work()
        if a.save: (HERE/'gpu.json').write_text(json.dumps(out, indent=1)+'\n')
        print(f'{time.perf_counter()-start:.0f} s: {name}: {json.dumps(out[name])}', flush=True)
    def settle(bench): # kernels are chosen and loaded at first use; a matrix library takes its workspace
        bench.budget(2)
        for k in ('A', 'B', 'C', 'E1', 'E3', 'K1', 'K3', 'V1', 'V3'): bench.cost(k)
        bench.forget(); gc.collect()
        bench.own = bench.allocated()
        bench.budget(16)
    def speed(bench, routes, tokens=16):
        bench.budget(tokens)
        found = measure(bench, routes, a.repeats)
        bench.budget(16)
        return found
    def checked(bench):
        del bench.alm.settings['min_new_tokens']
        rows = check_model(bench.alm, *check_clips()).astype(object)
        bench.budget(16)
        return rows.where(rows.notna(), None).to_dict('records')
    bench = GpuBench(make_model(big, processor, a.device, torch.bfloat16), processor, clips)
    weights = bench.own
    settle(bench)
    keep('model', lambda: dict(n_params=bench.alm.n_params, weights_gib=round(weights/2**30, 2),
                               prompt_tokens=bench.inputs()['input_ids'].shape[1]))
    keep('repeats_bfloat16', lambda: repeats(bench, SETTINGS, 4))
    keep('agreement_bfloat16', lambda: agreement(bench))
    keep('memory', lambda: memory(bench))
    for t in a.tokens: keep(f'samples_{t}', lambda t=t: speed(bench, 'ABC', t))
    keep('labels', lambda: speed(bench, ('E1', 'E3', 'E4')))
    keep('beams', lambda: speed(bench, ('K1', 'K3')))
    keep('verifier', lambda: speed(bench, ('V1', 'V3')))
    keep('check', lambda: checked(bench))
    full = GpuBench(copy.deepcopy(bench.model).float(), processor, clips)
    full.budget(16)
    rows = [t for t, _ in full.cost('C')[2][:4]]
    keep('bfloat16_and_float32', lambda: short(gap(teacher_forced(bench, rows),
                                                   teacher_forced(full, rows))))
    keep('greedy_bfloat16_and_float32', lambda: compare(*((x, y) for (x,), (y,) in zip(
        per_clip(bench, 'greedy'), per_clip(full, 'greedy'), strict=True))))
    bench = None; gc.collect()
    settle(full)
    keep('repeats_float32', lambda: repeats(full, [WRAPPER, 'as torch chooses'], 2))
    keep('agreement_float32', lambda: agreement(full))
    keep('samples_16_float32', lambda: speed(full, 'BC'))
    full = None; gc.collect()
    bench = GpuBench(make_model(little, processor, a.device, torch.float32), processor)
    keep('small', lambda: dict(n_params=bench.alm.n_params))
    keep('small_and_cpu', lambda: beside_the_cpu(bench))
    judge(out, fails)
    return out

def judge(out, fails):
    "What must hold of the figures that there are."
    for k in ('samples', 'greedy', 'beams'):
        o = out.get('agreement_float32', {}).get(f'{k}_prefix_and_plain')
        apart = o and (o['beams']-o['in_both'] if k=='beams' else o['rows_parted'])
        if o and (apart or o['largest']>1e-3): fails.append(f'float32 {k}: {o}')
    for k in ('repeats_bfloat16', 'repeats_float32'):
        found = out.get(k, {}).get('outcomes', {}).get(WRAPPER, {})
        if any(n>1 for route, n in found.items() if route!='B'): # B is the library's own
            fails.append(f'{k}: one seed, several answers: {found}')
    o = out.get('memory')
    if o and (max(o['growth'])>0 or o['left_when_forgotten']): fails.append(f'memory: {o}')

def table(out): # text for the README
    "Last figures in Markdown."
    tasks = [*((f'16 samples of {k[8:]} tokens', o) for k, o in out.items() if re.fullmatch(r'samples_\d+', k)),
             ('6 label scores', out['labels']), ('8 beams of 16 tokens', out['beams']),
             ('6 verdicts', out['verifier'])]
    head = (f"Last figures: {out['device']}; random Qwen2-Audio of {out['model']['n_params']/1e9:.1f} G "
            f"parameters, bfloat16, {out['model']['weights_gib']} GiB; torch {out['torch']}, transformers "
            f"{out['transformers']}; {out['date']}.\n\n| task | route | s | GiB above weights | times faster |\n"
            f"|---|---|--:|--:|--:|\n")
    rows = [f"| {task} | {NAMES[k]} | {s:.2f} | {o['peak_gib'][k]:.2f} | {o['ratio'][k]:.1f} |"
            for task, o in tasks for k, s in o['seconds'].items()]
    return head+'\n'.join(rows)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--save', action='store_true', help='keep the figures in gpu.json')
    p.add_argument('--table', action='store_true', help='write gpu.json into README.md, run nothing')
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--tokens', type=int, nargs='+', default=[4, 16, 64], help='new tokens a sample')
    p.add_argument('--device', default='cuda')
    p.add_argument('--only', nargs='+', help='these figures; the others stay as gpu.json has them')
    p.add_argument('--tiny', action='store_true', help='a toy, to try the script')
    a = p.parse_args()
    if a.table:
        readme, out = HERE/'README.md', json.loads((HERE/'gpu.json').read_text())
        readme.write_text(re.sub(r'(?s)(<!-- gpu -->\n).*?(<!-- end gpu -->)',
                                 lambda m: m[1]+table(out)+'\n'+m[2], readme.read_text()))
        return
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(os.cpu_count())
    texts = [prompt('label', o, LABELS).text for o in ('direct', 'cot')]
    texts += [verify_prompt(o, LABELS).text for o in LABELS]
    processor, fails = toy_processor(byte_bpe(texts)), []
    out = dict(benchmark='gpu', n=N, repeats=a.repeats,
               device=torch.cuda.get_device_name() if a.device=='cuda' else 'CPU',
               torch=torch.__version__, transformers=transformers.__version__, date=str(date.today()))
    if a.only:
        old = json.loads((HERE/'gpu.json').read_text())
        if any(old[k]!=v for k, v in out.items()): raise SystemExit(f'gpu.json is of another machine: {out}')
        out = old
    print(json.dumps(run(a, processor, fails, out)))
    if fails: raise SystemExit('\n'.join(fails))

if __name__=='__main__': main()
