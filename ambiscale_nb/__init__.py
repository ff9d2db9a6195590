"""Ambiguous speech emotion recognition under test-time scaling. The names that people use most are here; each is
imported from its room when it is first asked for."""
from importlib import import_module

__version__ = "0.1.0"

HOMES = {
    'corpora.registry': ('Corpus', 'load_corpus', 'register_corpus'),
    'corpora.labels': ('label_set',),
    'corpora.ambiguity': ('entropy', 'noise_floor', 'soft_labels', 'strata'),
    'models.contract': ('Capabilities', 'ModelInfo', 'Reply', 'load_model', 'register_model'),
    'models.prompts': ('prompt',),
    'models.parser': ('parse',),
    'metrics.metrics': ('jsd', 'metric'),
    'strategies.pool': ('pool_of', 'predict', 'strategy'),
    'study.results': ('Study',),
}
HOME = {name: module for module, names in HOMES.items() for name in names}
__all__ = sorted(HOME)


def __getattr__(name):
    if name in HOME: return getattr(import_module(f'{__name__}.{HOME[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__(): return sorted({*globals(), *__all__})
