"""What sixteen samples cost: sixteen calls, `num_return_sequences=16`, or one shared prefix.

    python benchmarks/prefill.py [--save] [--repeats 3] [--tokens 4 16 64]

Costs are CPU seconds of one thread, so that other work on the machine hardly counts. Every route
delivers the same: features, tokens and log-probabilities. It fails where routes that must agree do
not. The last line of the output is JSON; `--save` keeps it in prefill.json and README.md.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')  # numpy too: CPU time adds its threads up
import argparse
import json
import platform
import re
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
import numpy as np
import torch
import transformers
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.local import LocalALM, byte_bpe, toy_processor, toy_qwen2_audio
from ambiscale_nb.models.prompts import prompt

HERE, N, LABELS = Path(__file__).parent, 16, label_set('six').labels
NAMES = dict(A='16 calls', B='num_return_sequences=16', C='shared prefix', E1='6 forward passes',
             E3='shared prefix', E4='prefix already read')

def endless(model):
    "Make the end of an answer so unlikely that every route makes as many tokens."
    def hook(head, args, logits): logits[..., model.generation_config.eos_token_id] = -30.
    model.lm_head.register_forward_hook(hook)

class Bench:
    "A clip, a prompt, a random Qwen2-Audio with the true window of 3000 frames, and every route."
    def __init__(self, width=512, layers=5, ffn=1536, heads=8):
        processor = toy_processor(byte_bpe())
        model = toy_qwen2_audio(processor, width, layers, ffn, ffn, heads)
        self.alm, self.rows = LocalALM(model, processor, 'bench', 'random'), 0
        self.wave = np.random.default_rng(0).normal(0, .1, 4*16_000).clip(-1, 1).astype(np.float32)
        self.ask = prompt('label', 'direct', LABELS)
        model.model.audio_tower.register_forward_hook(self.count)
        endless(model)

    def count(self, tower, args, out): self.rows += len(out[0])

    def budget(self, tokens):
        self.ask = replace(self.ask, max_new_tokens=tokens)
        self.settings = dict(self.alm.settings, max_new_tokens=tokens, do_sample=True,
                             temperature=1., top_k=0, top_p=1.)

    def inputs(self): return dict(self.alm.inputs(self.wave, self.ask))

    def library(self, inputs, n): # rows of tokens and their log-probabilities
        out = self.alm.model.generate(**inputs, num_return_sequences=n, output_logits=True,
                                      **self.settings)
        logp = self.alm.model.compute_transition_scores(out.sequences, out.logits, None, True)
        new = out.sequences[:, inputs['input_ids'].shape[1]:]
        return list(zip(new.tolist(), logp.tolist(), strict=True))

    def A(self):
        inputs = self.inputs()
        return [self.library(inputs, 1)[0] for _ in range(N)]

    def B(self): return self.library(self.inputs(), N)

    def C(self, n=N):
        self.alm._memo = (None, None)
        replies = self.alm.sample(self.wave, self.ask, n, seed=1)
        return [(o.tokens, o.token_logprobs) for o in replies]

    def forward(self, inputs, tokens): # log-probability of each token, by a plain forward pass
        ids = torch.cat([inputs['input_ids'], torch.tensor([tokens])], 1)
        out = self.alm.model(**{**inputs, 'input_ids': ids, 'attention_mask': torch.ones_like(ids)})
        logp = out.logits[0, -len(tokens)-1:-1].log_softmax(-1)
        return logp.gather(1, ids[0, -len(tokens):, None])[:, 0].numpy()

    def E1(self):
        inputs, tok = self.inputs(), self.alm.tokenizer
        return [self.forward(inputs, tok(o+tok.eos_token)['input_ids']).sum() for o in LABELS]

    def E3(self): self.alm._memo = (None, None); return self.E4()

    def E4(self): return self.alm.score(self.wave, self.ask, list(LABELS))

    def cost(self, route): # CPU seconds, rows through the encoder, result; always the same seed
        torch.manual_seed(1)
        self.rows, start = 0, time.process_time()
        with torch.inference_mode(): result = getattr(self, route)()
        return time.process_time()-start, self.rows, result

def gap(a, b): return float(np.abs(np.array(a)-np.array(b)).max())

def agree(bench, out): # out: results of A, B, C
    "Largest difference in log-probability from a plain forward pass; B and C draw in ways of their own."
    tokens = {k: [t for t, _ in v] for k, v in out.items()}
    assert bench.C(1)[0][0]==tokens['C'][0], 'a sample depends on how many are drawn'
    assert {len(t) for v in tokens.values() for t in v}=={bench.ask.max_new_tokens}
    with torch.inference_mode():
        return max(gap(bench.forward(bench.inputs(), t), p) for k in 'BC' for t, p in out[k][:2]
                   if bench.alm.model.config.audio_token_id not in t)

def measure(bench, routes, repeats, check): # each repeat runs every route in turn
    "Median CPU seconds, encoder rows and largest difference; ratios are medians over repeats."
    runs = [{k: bench.cost(k) for k in routes} for _ in range(repeats)]
    seconds = {k: np.array([r[k][0] for r in runs]) for k in routes}
    ratio = {k: np.median(seconds[routes[0]]/seconds[k]) for k in routes[1:]}
    worst = check({k: v[2] for k, v in runs[-1].items()})
    assert worst<1e-3, f'log-probabilities differ by {worst}'
    return dict(seconds={k: round(float(np.median(v)), 3) for k, v in seconds.items()},
                encoder_rows={k: v[1] for k, v in runs[-1].items()},
                largest_difference=float(f'{worst:.1e}'),
                ratio={k: round(float(v), 2) for k, v in ratio.items()})

def table(out): # text for the README
    "Last figures in Markdown."
    rows = [*((f'{N} samples of {t} tokens', o) for t, o in out['samples'].items()),
            (f'{len(LABELS)} label scores', out['labels'])]
    head = (f"Last figures: {out['device']}; {out['model']}; torch {out['torch']}, transformers "
            f"{out['transformers']}; {out['date']}.\n\n"
            f"| task | route | CPU s | encoder rows | times cheaper |\n|---|---|--:|--:|--:|\n")
    return head+'\n'.join(
        f"| {task} | {NAMES[k]} | {s:.2f} | {o['encoder_rows'][k]} | {o['ratio'].get(k, 1):.1f} |"
        for task, o in rows for k, s in o['seconds'].items())

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--save', action='store_true', help='keep the figures')
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--tokens', type=int, nargs='+', default=[4, 16, 64], help='new tokens a sample')
    a = p.parse_args()
    torch.set_num_threads(1); transformers.logging.set_verbosity_error()
    bench, samples = Bench(), {}
    bench.budget(2); bench.A(); bench.B(); bench.C() # warm up
    for t in a.tokens:
        bench.budget(t)
        samples[t] = measure(bench, 'ABC', a.repeats, lambda out: agree(bench, out))
        print(f"{t} new tokens: {samples[t]}", flush=True)
    labels = measure(bench, ('E1', 'E3', 'E4'), a.repeats,
                     lambda out: max(gap(out['E1'], out[k]) for k in ('E3', 'E4')))
    print(f"6 labels: {labels}")
    out = dict(benchmark='prefill', n=N, repeats=a.repeats, samples=samples, labels=labels,
        model=f'random Qwen2-Audio of {bench.alm.n_params/1e6:.0f} M parameters',
        device=f'{os.cpu_count()}-core {platform.machine()} CPU, one thread',
        torch=torch.__version__.partition('+')[0], transformers=transformers.__version__,
        date=str(date.today()))
    if a.save:
        (HERE/'prefill.json').write_text(json.dumps(out, indent=1)+'\n')
        readme = HERE/'README.md'
        readme.write_text(re.sub(r'(?s)(<!-- prefill -->\n).*(<!-- end -->)',
                                 lambda m: m[1]+table(out)+'\n'+m[2], readme.read_text()))
    print(json.dumps(out))

if __name__=='__main__': main()
