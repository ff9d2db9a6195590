"""CREMA-D's loader against the genuine vote table: every figure of the corpus, recounted. The table is found through
AMBISCALE_CREMA_D (the corpus folder); without it these tests are skipped and say so."""
import os
from collections import Counter
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from ambiscale_nb.corpora import crema_d
from ambiscale_nb.corpora.ambiguity import (LEVELS, entropy, expand_votes, krippendorff_alpha, soft_labels, strata,
    top_labels)
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus, set_aside, votes_of
from ambiscale_nb.corpora.labels import label_set

ROOT = os.environ.get('AMBISCALE_CREMA_D', '')
SIX = label_set('six').labels
LETTERS = dict(zip(SIX, 'ADFHNS', strict=True))
MODALITIES = ('voice', 'face', 'audio-visual')

@pytest.fixture(scope='module')
def load():
    if not ROOT: pytest.skip('AMBISCALE_CREMA_D is not set: the genuine vote table of CREMA-D was NOT checked')
    cache = {}
    def one(modality='voice', **options):
        key = (modality, *sorted(options.items()))
        if key not in cache: cache[key] = load_corpus('crema_d', ROOT, modality=modality, **options)[0]
        return cache[key]
    return one

def numbers(utterances):  # Votes (U, 6), raters, entropy in bits, how many labels share the first place
    v = votes_of(utterances, SIX)
    return v, v.sum(1), entropy(soft_labels(v)), top_labels(v).sum(1)

COLUMNS = pd.DataFrame({
    'mean raters': (9.2137, 9.6283, 9.6450), 'median raters': (9, 10, 10), 'tied %': (8.65, 6.32, 5.64),
    'no majority %': (32.65, 25.79, 20.55), 'unanimous %': (5.15, 13.54, 15.04),
    'agreement mean': (.6367, .7006, .7259), 'agreement median': (.625, .7, .75), 'entropy sd': (.5285, .6052, .5783),
    'q10': (.4690, 0, 0), 'q25': (.8813, .5033, .4690), 'q75': (1.5710, 1.4855, 1.3610), 'q90': (1.8464, 1.8366, 1.7219),
    'entropy max': (2.5219, 2.5219, 2.5), 'tercile 1': (.9710, .7219, .5436), 'tercile 2': (1.4466, 1.3568, 1.2244),
    'normalised': (.4627, .3902, .3573), 'plurality acted, no ties %': (45.59, 70.73, 76.53)}, index=MODALITIES).T

@pytest.mark.parametrize('modality', MODALITIES)
def test_votes_agreement_and_entropy(load, modality):  # The check of the corpus finds nothing; more figures are above
    u = load(modality)
    report = pd.DataFrame(crema_d.check_crema_d(u))
    assert (report.verdict=='ok').all(), report[report.verdict!='ok'].to_string()
    v, n, h, ties = numbers(u)
    most, own = v.max(1), v[np.arange(len(v)), [SIX.index(o) for o in u.acted]]
    found = {'mean raters': n.mean(), 'median raters': np.median(n), 'tied %': (ties>1).mean()*100,
             'no majority %': (2*most<=n).mean()*100, 'unanimous %': (most==n).mean()*100, 'agreement mean': (most/n).mean(),
             'agreement median': np.median(most/n), 'entropy sd': h.std(ddof=0),
             **{f'q{q}': np.quantile(h, q/100) for q in (10, 25, 75, 90)},
             'entropy max': h.max(), 'tercile 1': np.quantile(h, 1/3), 'tercile 2': np.quantile(h, 2/3),
             'normalised': entropy(soft_labels(v), normalised=True).mean(),
             'plurality acted, no ties %': (own==most)[ties==1].mean()*100}
    assert not {o: (COLUMNS[modality][o], found[o]) for o in COLUMNS.index
                if round(float(found[o]), 2 if o.endswith('%') else 4)!=COLUMNS[modality][o]}

def test_voice_in_detail(load):
    u = load()
    v, n, h, ties = numbers(u)
    assert Counter(n.astype(int))=={4: 2, 5: 9, 6: 57, 7: 316, 8: 1155, 9: 2663, 10: 2890, 11: 346, 12: 4}
    assert round((n>7).mean()*100, 2)==94.84
    alone = u.consensus[~u.consensus.str.contains(':')].map(LETTERS)
    assert alone.value_counts().to_dict()==dict(N=3897, A=986, F=645, D=547, S=370, H=353)
    assert Counter(ties[ties>1])=={2: 574, 3: 59, 4: 10, 5: 1}
    pairs = u.consensus[ties==2].map(lambda o: ':'.join(LETTERS[e] for e in o.split(':')))
    assert pairs.value_counts().head(5).to_dict()=={'N:S': 114, 'F:N': 93, 'D:N': 81, 'A:D': 73, 'H:N': 73}
    assert Counter((v>0).sum(1))=={1: 383, 2: 2043, 3: 2893, 4: 1708, 5: 401, 6: 14}
    bins = np.bincount(np.digitize(h.round(12), [0, .5, 1, 1.5, 2], right=True))
    assert bins.tolist()==[383, 370, 2193, 2283, 1887, 326]
    pattern = strata(v)
    assert Counter(pattern)=={'unanimous': 383, 'strong': 2559, 'weak': 3856, 'tie': 644}
    assert ((3*v.max(1)==2*n) & (pattern=='weak')).sum()==472 and set(pattern)==set(LEVELS)
    assert (strata(soft_labels(v))==pattern).all()      # soft labels give the same
    assert [':'.join(np.array(SIX)[o]) for o in top_labels(v)]==u.consensus.tolist()
    assert .2<krippendorff_alpha(expand_votes(v))<.35

def test_acted_classes_and_the_neutral_sink(load):
    u = load()
    v, n, h, _ = numbers(u)
    assert u.acted.value_counts().to_dict()=={'neutral': 1087, **{o: 1271 for o in SIX if o!='neutral'}}
    mean = pd.Series(h).groupby(u.acted.map(LETTERS)).mean().round(3).to_dict()
    assert mean==dict(A=1.120, D=1.422, F=1.263, H=1.230, N=.858, S=1.235)
    total = pd.DataFrame(v, columns=list('ADFHNS')).groupby(u.acted.map(LETTERS)).sum()
    mix = total.div(total.sum(axis=1), axis=0).round(3)
    for acted, heard, share in ('S', 'N', .531), ('S', 'S', .250), ('H', 'N', .450), ('H', 'H', .290), ('D', 'N', .377), \
            ('D', 'D', .286), ('F', 'N', .383), ('F', 'F', .321), ('A', 'A', .532), ('A', 'D', .211), ('N', 'N', .762):
        assert mix.loc[acted, heard]==share

def test_four_classes(load):
    u, four = load(labels='four'), label_set('four')
    v = votes_of(u, four.labels)
    acted, some = u.acted.isin(four.labels).to_numpy(), v.sum(1)>0
    assert (acted.sum(), (acted&some).sum(), v[acted].sum(), (~some).sum())==(4900, 4898, 37150, 46)
    kept = v[acted&some]
    assert round(entropy(soft_labels(kept)).mean(), 4)==.6676 and (top_labels(kept).sum(1)>1).sum()==313
    assert np.allclose(v.sum(1)+u.out_of_set, u.n_raters)
    rest, aside = set_aside(u, four)
    assert len(aside)==46 and set(aside.reason)=={'no vote in the label set'} and len(rest)==7442-46
    with pytest.raises(InputError, match='46 of 7442 clips have no vote'): soft_labels(v)

def test_clips_speakers_levels(load):
    u = load()
    assert u.groupby('speaker').size().value_counts().to_dict()=={82: 86, 81: 2, 76: 3}
    assert u.level.value_counts().to_dict()==dict(XX=6077, LO=455, MD=455, HI=455)
    assert set(u.sentence[u.level!='XX'])=={'IEO'}
    assert u.drop_duplicates('speaker').gender.value_counts().to_dict()==dict(m=48, f=43)
    assert sum(len(load_corpus('crema_d', ROOT, split=f'fold{i}')[0]) for i in range(1, 6))==7442
    flags = u['flags'].str.split(';').explode().value_counts().to_dict()
    assert {k: v for k, v in flags.items() if k not in ('', 'no_audio')}==dict(no_sound=1, rated_media_broken=3, same_wav=6)
    v, _, h, _ = numbers(u)
    rows = pd.DataFrame(dict(votes=[tuple(map(int, o)) for o in v], h=h.round(4), consensus=u.consensus.to_numpy()), u.uid)
    for uid, want in {
            '1001_DFA_ANG_XX': ((6, 2, 0, 0, 1, 0), 1.2244, 'angry'), '1076_MTI_NEU_XX': ((0, 0, 0, 0, 7, 0), 0, 'neutral'),
            '1006_TIE_HAP_XX': ((0, 0, 0, 1, 7, 1),), '1006_TIE_NEU_XX': ((0, 1, 0, 1, 9, 0),),
            '1013_WSI_DIS_XX': ((0, 6, 0, 0, 2, 2),), '1013_WSI_SAD_XX': ((1, 6, 0, 0, 1, 0),),
            '1017_IWW_ANG_XX': ((0, 2, 3, 0, 4, 1),), '1017_IWW_FEA_XX': ((0, 1, 6, 0, 2, 1),)}.items():
        assert tuple(rows.loc[uid])[:len(want)]==want
    assert tuple(rows.loc['1040_TAI_ANG_XX'])[1:]==(2.5, 'angry:sad')

@pytest.mark.parametrize('wrong', ['all modalities', 'acted as heard', 'ties cut by order', 'three lost'])
def test_a_wrong_loader_is_found_out(load, wrong):
    u = load().copy()
    v, *_, ties = numbers(u)
    v = v.copy()
    if wrong=='all modalities':
        v = sum(votes_of(load(o), SIX) for o in MODALITIES)
        assert v.sum()==212_000
    if wrong=='acted as heard': u['acted'] = u.consensus.str.split(':').str[0]
    if wrong=='ties cut by order': v[np.arange(len(v)), v.argmax(1)] += ties>1
    u[['votes_'+o for o in SIX]] = v
    if wrong=='three lost': u = u.iloc[3:]
    assert (pd.DataFrame(crema_d.check_crema_d(u)).verdict!='ok').any()

# --- look-alikes -------------------------------------------------------------------------------------
ROWS = [(100001, '1001_DFA_ANG_XX', (6, 2, 0, 0, 1, 0)), (100002, '1040_ITH_SAD_XX', (0, 0, 0, 0, 3, 3)),
        (200001, '1001_DFA_ANG_XX', (9, 0, 0, 0, 0, 0)), (200002, '1040_ITH_SAD_XX', (0, 0, 0, 0, 0, 9))]

@pytest.fixture
def table(tmp_path):  # A vote table of the real layout
    out = [[key, *v, name, sum(v), max(v)/sum(v), ':'.join(e for e, n in zip('ADFHNS', v, strict=True) if n==max(v))]
           for key, name, v in ROWS]
    path = tmp_path/'processedResults/tabulatedVotes.csv'
    path.parent.mkdir(parents=True)
    columns = ['', *'ADFHNS', 'fileName', 'numResponses', 'agreement', 'emoVote']
    pd.DataFrame(out, columns=columns).to_csv(path, index=False)
    return path

@pytest.mark.parametrize('change, message', [
    (lambda t: t.replace(',9,', ',8,', 1), 'contradict themselves, first 1001_DFA_ANG_XX'),
    (lambda t: t.replace('N:S', 'N'), 'contradict themselves, first 1040_ITH_SAD_XX'),
    (lambda t: t.replace('emoVote', 'vote'), "lacks the columns .'emoVote'."),
    (lambda t: t.replace('_ANG_', '_JOY_'), '1001_JOY|1001_DFA_JOY')])
def test_a_damaged_table_is_refused(table, tmp_path, change, message):
    table.write_text(change(table.read_text()))
    with pytest.raises(InputError, match=message): load_corpus('crema_d', tmp_path)

@pytest.mark.parametrize('convention', ['rater', 'label', 'first'])
@pytest.mark.parametrize('labels', ['six', 'six+other', 'four', 'four+other', 'eight', 'five'])
def test_every_label_set_keeps_every_vote(table, tmp_path, labels, convention):
    "What is not in a class is out of the set: no vote is lost or made; one modality is read, whatever ends a line."
    table.write_bytes(table.read_bytes().replace(b'\n', b'\r\n'))
    u, _ = load_corpus('crema_d', tmp_path, labels=labels, convention=convention)
    assert np.allclose(votes_of(u, label_set(labels).labels).sum(1)+u.out_of_set, u.n_raters)
    assert u.n_raters.tolist()==[9, 6] and u.consensus.tolist()==['angry', 'neutral:sad']
    if labels.endswith('+other'): assert not u.out_of_set.any()

def test_an_old_copy_with_a_short_name(table, tmp_path):
    (tmp_path/'AudioWAV').mkdir()
    (tmp_path/'AudioWAV/1040_ITH_SAD_X.wav').touch()
    u, _ = load_corpus('crema_d', tmp_path)
    assert [Path(o).name for o in u.path]==['1001_DFA_ANG_XX.wav', '1040_ITH_SAD_X.wav']
    assert u['flags'].tolist()==['no_audio', '']

@pytest.mark.parametrize('options, message', [
    (dict(root='none'), 'No folder'), (dict(root='.'), 'no processedResults'), (dict(split='test'), 'split of crema_d'),
    (dict(modality='audio-visual'), 'query type 3'), (dict(votes='responses'), 'finishedResponses.csv')])
def test_wrong_folders_and_options_are_reported(table, tmp_path, options, message):
    with pytest.raises(InputError, match=message): load_corpus('crema_d', **{'root': tmp_path, **options})
