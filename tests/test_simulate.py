"The simulated world has the properties that were chosen, and estimators recover what was put in."
import numpy as np
from simulate import World, answer_variance, clustered_normal, draw_dirichlet, draw_people, draw_verdicts, simulate
from ambiscale_nb.metrics.metrics import brier as sq_error
from ambiscale_nb.strategies.budget import curve, oracle_loss

def test_shares_of_speakers_skill_and_verifier_are_as_chosen():
    rng = np.random.default_rng(0)
    z = clustered_normal(np.repeat(np.arange(4000), 4), .3, rng).reshape(4000, 4)
    assert abs(np.corrcoef(z[:, 0], z[:, 1])[0, 1]-.3)<.04 and abs(z.std()-1)<.02
    people = draw_people(World(skill=.6, icc=.2), np.repeat(np.arange(500), 20), rng)
    assert abs(people['skill'].mean()-.6)<.02 and (people['votes'].sum(1)==8).all()
    one = draw_people(World(skill=1), np.arange(5), rng)
    np.testing.assert_allclose(one['model'], one['truth'])
    truth = draw_dirichlet(np.full((20_000, 3), .7), rng)
    top = truth.argmax(1)
    for auc in (.5, .75, .9):
        v, row = draw_verdicts(truth, World(K=3, auc=auc), rng), np.arange(len(top))
        assert abs((v[row, top]>v[row, (top+1)%3]).mean()-auc)<.015

def test_the_debiased_curve_is_that_of_fresh_answers_against_all_people():
    sim = simulate(np.random.default_rng(2), n_speakers=60, per_speaker=40)
    noise = (1-(sim.y**2).sum(1))/(sim.votes.sum(1)-1)
    for mode in ('label', 'dist'):
        for o in curve(sim.pools[mode], 'mean', (1, 4, 16), sim.y, {'brier': sq_error}, n_subsets=2):
            true = ((sim.model-sim.truth)**2).sum(-1) + answer_variance(sim.model, mode)/o.k
            assert abs((o.metrics['brier']-noise).mean()-true.mean())<.01

def test_best_of_n_recovers_as_much_as_likelihood_knows_of_quality():
    def recovery(rho, k=8):
        sim = simulate(np.random.default_rng(4), n_speakers=60, per_speaker=40, rho=rho)
        pool, y = sim.pools['dist'], sim.truth
        one, more = (o.metrics['brier'].mean() for o in curve(pool, 'bon', (1, k), y, {'brier': sq_error}))
        return (one-more)/(one-oracle_loss(pool, y, sq_error, k).mean())
    nothing, some, much, all_of = (recovery(o) for o in (0, .3, .6, 1))
    assert abs(nothing)<.03 and some<much and abs(all_of-1)<1e-6

def test_more_answers_and_another_verifier_keep_the_people():
    def world(**how): return simulate(np.random.default_rng(1), n_speakers=4, per_speaker=10, K=3, **how)
    small, other, more = world(N=8), world(N=8, auc=.9), world(N=16)
    assert (other.pools['dist'].dist==small.pools['dist'].dist).all() and (more.votes==small.votes).all()
    assert (more.pools['dist'].label_verdict==small.pools['dist'].label_verdict).all()
