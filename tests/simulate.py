"""A world whose truth is known: speakers, opinions, raters, a model and its verifier, for tests and benchmarks.

How people would vote on a clip is a draw from a Dirichlet distribution; raters are a multinomial draw from it. The
model's own distribution is a blend of what people say and a draw that has nothing to do with the clip. Speakers share a
part of how hard their clips are. An answer is a draw from the model's distribution (label mode) or a Dirichlet draw about
it (dist mode). People, verdicts and each pool have random streams of their own, so that another N keeps people and
verdicts, and another `auc` keeps the answers.
"""
from dataclasses import dataclass
import numpy as np
from scipy.special import expit, ndtr, ndtri
from ambiscale_nb.corpora.labels import LABEL_SETS
from ambiscale_nb.strategies.pool import Pool

RATERS = 8 # per clip
CONCENTRATION = 2. # sum of the Dirichlet parameters of opinions, whose mean is uniform; small: people agree
SPREAD = 1. # of skill over clips; 0: the same for all
PRECISION = 8. # of stated distributions about the model's own; large: no noise

@dataclass(frozen=True)
class World:
    "The parameters of a simulated world."
    n_speakers: int = 20
    per_speaker: int = 25 # clips, on average
    sizes_sd: float = 0. # standard deviation of the logarithm of clips per speaker
    K: int = 6 # labels, 2 to 16
    N: int = 16 # answers per clip
    icc: float = 0. # share of the speaker in the variance of how hard a clip is, 0 to 1
    skill: float = .7 # mean weight of people's opinion in the model's, 0 to 1
    rho: float = .3 # correlation of an answer's likelihood with its quality, within a clip
    auc: float = .75 # of the verifier, right label against wrong ones
    unparsed: float = 0. # chance that an answer cannot be read
    unjudged: float = 0. # chance that a verdict is missing
    wordings: int = 0 # strings in which a label can come, label mode; 0: no two answers alike

@dataclass(eq=False)
class Simulated:
    "A world and what is true in it."
    world: World
    uids: np.ndarray # (U,)
    speakers: np.ndarray # (U,)
    labels: tuple # K class names
    votes: np.ndarray # (U, K) integers, what the raters said
    truth: np.ndarray # (U, K) what all people would say
    model: np.ndarray # (U, K) what infinitely many answers would say
    skill: np.ndarray # (U,) weight of people's opinion in the model's
    pools: dict # 'label' and 'dist' (samples), 'greedy', 'score', 'beam3', ... -> Pool

    @property
    def y(self): return self.votes/self.votes.sum(1, keepdims=True) # (U, K) soft labels

def speaker_numbers(world, rng):
    "(U,) number of the speaker of each clip, sorted."
    z = rng.standard_normal(world.n_speakers)*world.sizes_sd - world.sizes_sd**2/2
    return np.repeat(np.arange(world.n_speakers), np.maximum(np.rint(world.per_speaker*np.exp(z)), 1).astype(int))

def clustered_normal(codes, icc, rng):
    "(U,) standard normal numbers, correlated `icc` within a speaker."
    own = rng.standard_normal(codes.max(initial=-1)+1)[codes]
    return np.sqrt(icc)*own + np.sqrt(1-icc)*rng.standard_normal(len(codes))

def draw_dirichlet(alpha, rng):
    "Dirichlet draws; where all parameters are tiny, one label gets all, as in the limit."
    x = rng.standard_gamma(alpha)
    total = x.sum(-1, keepdims=True)
    lost = total[..., 0]<1e-290
    if lost.any():
        x[lost] = rng.multinomial(1, alpha[lost]/alpha[lost].sum(-1, keepdims=True))
        total = np.where(lost[..., None], 1, total)
    return x/total

def draw_people(world, codes, rng):
    "What all people would say (truth), what some raters said (votes), and what the model believes (model)."
    alpha = np.full((len(codes), world.K), CONCENTRATION/world.K)
    truth, other = draw_dirichlet(alpha, rng), draw_dirichlet(alpha, rng)
    votes, hard = rng.multinomial(RATERS, truth), clustered_normal(codes, world.icc, rng)
    skill = ndtr(ndtri(world.skill)*np.sqrt(1+SPREAD**2) - SPREAD*hard)
    model = skill[:, None]*truth + (1-skill[:, None])*other
    return dict(truth=truth, votes=votes, skill=skill, model=model/model.sum(-1, keepdims=True))

def draw_answers(q, world, mode, rng):
    "(U, N, K) independent answers of a model with distributions q; one-hot in label mode."
    if mode=='dist': return draw_dirichlet(np.tile(PRECISION*q[:, None], (1, world.N, 1)), rng)
    chosen = (rng.random((len(q), world.N))[..., None]>np.cumsum(q, 1)[:, None, :-1]).sum(-1)
    return np.eye(q.shape[1])[chosen]

def answer_variance(q, mode):
    "(U,) expected squared distance of one answer from q."
    return (1-(q**2).sum(-1))/(1 if mode=='label' else 1+PRECISION)

def draw_likelihood(dist, text_id, mean, truth, rho, rng):
    "(U, N) summed log-probabilities in nats, correlated `rho` with quality, and numbers of tokens."
    z = mean[:, None]-((dist-truth[:, None])**2).sum(-1)
    z, row = z/np.maximum(np.sqrt((z**2).mean()), 1e-12), np.arange(len(dist))[:, None]
    size = len(dist), text_id.max(initial=0)+1
    noise, length = rng.standard_normal(size)[row, text_id], rng.integers(2, 9, size)[row, text_id]
    score = np.minimum(-3+.5*(rho*z+np.sqrt(1-rho**2)*noise), 0)
    return score*length, length.astype(float)

def draw_verdicts(truth, world, rng):
    "(U, K) verdicts in [0, 1]; the label that most people hear lies above another one with chance `auc`."
    right = truth==truth.max(-1, keepdims=True)
    gap, noise = np.sqrt(2)*ndtri(world.auc), rng.standard_normal(truth.shape)
    return np.where(rng.random(truth.shape)<world.unjudged, np.nan, expit(np.where(right, gap/2, -gap/2)+noise))

def sample_answers(people, world, mode, rng, **known):
    "A sampled pool."
    q, truth = people['model'], people['truth']
    dist = draw_answers(q, world, mode, rng)
    U, N = dist.shape[:2]
    text_id = np.tile(np.arange(N), (U, 1))
    if mode=='label' and world.wordings:
        text_id = dist.argmax(-1)*world.wordings + rng.integers(world.wordings, size=(U, N))
    mean = ((q-truth)**2).sum(-1) + answer_variance(q, mode)
    logprob, length = draw_likelihood(dist, text_id, mean, truth, world.rho, rng)
    parsed = rng.random((U, N))>=world.unparsed
    return Pool(mode=mode, style='direct', kind='sample', dist=dist*parsed[..., None], parsed=parsed,
                sum_logprob=logprob, n_tokens=length, text_id=text_id, **known)

def likeliest_answers(q, name, **known):
    "A pool without chance: the likeliest labels (greedy, beam3: three), or all in order (score)."
    kind, n = name.rstrip('0123456789'), {'greedy': 1, 'score': q.shape[1]}.get(name) or int(name[4:])
    order = np.tile(np.arange(q.shape[1]), (len(q), 1)) if kind=='score' else np.argsort(-q, 1, kind='stable')[:, :n]
    logprob = np.log(np.maximum(np.take_along_axis(q, order, 1), 1e-300))
    return Pool(mode='label', style='direct', kind=kind, dist=np.eye(q.shape[1])[order], text_id=order,
                parsed=np.ones(order.shape, bool), sum_logprob=logprob, n_tokens=np.ones(order.shape), **known)

def simulate(rng, pools=('label', 'dist'), **parameters):
    "Draw a world of these parameters, with pools 'label', 'dist', 'greedy', 'score', 'beam2', ..."
    world = World(**parameters)
    streams = dict(zip(('people', 'verdicts', 'label', 'dist'), rng.spawn(4), strict=True))
    codes = speaker_numbers(world, streams['people'])
    people = draw_people(world, codes, streams['people'])
    known = dict(uids=np.array([f'c{i:06d}' for i in range(len(codes))], object),
                 labels=LABEL_SETS['six' if world.K<=6 else 'sixteen'].labels[:world.K])
    more = known | dict(label_verdict=draw_verdicts(people['truth'], world, streams['verdicts']))
    made = {o: sample_answers(people, world, o, streams[o], **more) if o in streams else
            likeliest_answers(people['model'], o, **more) for o in pools}
    return Simulated(world, speakers=np.array([f's{i:04d}' for i in codes], object), **known, **people, pools=made)
