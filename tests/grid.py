"Stand-ins for the local models and the corpora of `conf/paper.yaml`, a plugin; its served models ask a loopback server."
from dataclasses import replace

import numpy as np
from ambiscale_nb.models import check  # noqa: F401 (models register)
from ambiscale_nb.corpora import emov_db, toyspeech, validate  # noqa: F401 (corpora register)
from ambiscale_nb.corpora.registry import CORPORA, register_corpus
from ambiscale_nb.models.contract import MODELS, register_model
from ambiscale_nb.models.template import MODEL_TEMPLATE

SIZES = {'qwen2-audio': 8e9, 'qwen2.5-omni': 7e9, 'voxtral': 3e9, 'audio-flamingo-3': 2e9}
TOY = {}
exec(MODEL_TEMPLATE.replace('NAME', 'toy'), TOY)
MODELS.pop('toy')

def local_model(name):
    "The template's model, with beams, under the name and with the capabilities of a local model."
    info = MODELS[name]

    class Toy(TOY['Model']):
        revision, n_params, capabilities = 'toy', int(SIZES[name]), info.capabilities
        def heard(self, wave):  # words, which take the place of a clip, as numbers
            return np.frombuffer(wave.encode()*20, np.uint8)/256. if isinstance(wave, str) else wave
        def logp(self, wave, *about): return super().logp(self.heard(wave), *about)
        def reply(self, wave, *about): return super().reply(self.heard(wave), *about)
        def beams(self, wave, prompt, width):
            found = zip(self.texts(prompt), self.logp(wave, prompt), strict=True)
            both = [(f'{o}{dot}', float(p-len(dot))) for o, p in found for dot in ('', '.')]
            return [replace(self.greedy(wave, prompt), text=o, token_logprobs=[p, 0.])
                    for o, p in sorted(both, key=lambda o: -o[1])[:width]]
    Toy.name = name
    register_model(replace(info, factory=Toy, n_params=Toy.n_params, options=(), ready=None))

def corpus(name):
    "Twelve embedded clips with the name, the labels and the splits of a corpus; EmoV-DB's are acted and without votes."
    def load(root, split):
        clips, ratings = toyspeech.load_toyspeech(None, 'test', 12)
        clips, ratings = (o.assign(corpus=name, uid=f'{name}-'+o.uid) for o in (clips, ratings))
        if name!='emov_db': return clips, ratings
        calm = clips.reference_neutral.gt(clips.reference_angry)
        return clips.assign(acted=calm.map({True: 'neutral', False: 'angry'}), ambiguity_source='acted', n_raters=0), None
    register_corpus(replace(CORPORA[name], load=load, published=None, audio={}))

for _name in SIZES: local_model(_name)
for _name in ('iemocap', 'crema_d', 'msp_podcast', 'emov_db'): corpus(_name)
