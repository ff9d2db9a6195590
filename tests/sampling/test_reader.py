"""A verifier that reads: it is shown the words and the reasons of the answers, never the clip, and its results say so."""
import json
import re
import pytest
from loopback import Loopback
from test_store import FOUR, clips
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import Capabilities
from ambiscale_nb.sampling.files import CANDIDATES
from ambiscale_nb.sampling.store import answers
from ambiscale_nb.sampling.verify import VERDICTS, Judge, evidence_of, plan_verdicts, reasons_of
from ambiscale_nb.study import config, results
from ambiscale_nb.study.plans import plan_run
from ambiscale_nb.study.sample import SamplingRun
from ambiscale_nb.study.scoring import score_study

RUN = dict(study='demo', model='tiny-alm-nano', alias='', load={}, corpus='toyspeech', name='', root='', split='', labels='',
           convention='rater', options={}, condition='none', modes=['label'], styles=['direct', 'cot'], n=4, temperature=1.5,
           widths=[], limit=5, max_seconds='drop', window=0., beam_limit=0, score=False, verify=False, listwise=0,
           listwise_limit=0, lists_of=[], wordings=1, prompts='', reads='audio', audit=0, seed=0, ask=True, part='', limits={}, progress=False)

def go(**more):
    run = SamplingRun(RUN | more)
    run.read_clips(); run.write_plans(); run.sample(); run.verify(); run.finish(); run.check()
    return run

def prefers_sad(sound, question, ask, n, beam):
    "Numbers for the labels of a list."
    listed = re.search(r'fit the voice: (.*)\?', question)[1]
    return [json.dumps({o: 90 if o=='sad' else 10 for o in re.split(', | or ', listed)})]*n

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "Answers of a model that listens, judged by one that reads; the study, and the requests to the second."
    with pytest.MonkeyPatch.context() as patch, Loopback(slots=4) as server:
        patch.setattr(results, 'RESULTS', tmp_path_factory.mktemp('results'))
        patch.setattr('loopback.answers', prefers_sad)
        load = dict(model='demo', base_urls=server.url, key='')
        reader = dict(model='llamacpp', alias='reader', load=load, modes=[], lists_of=['tiny-alm-nano'], listwise=2, reads='text')
        go()
        run = go(**reader)
        asked = len(server.asked)
        go(**reader)
        assert len(server.asked)==asked  # what is stored is not asked again
        common = dict(limit=5, temperature=1.5, n=4, score=False, verify=False)
        whole = config.StudyConfig(name='demo', runs=[dict(common, model='tiny-alm-nano', modes=['label']), common | reader])
        planned = plan_run(whole, whole.runs[1])[1]['listwise_plans']  # as `status` counts them
        assert {*planned.group}=={*run.here.read('listwise_plans', run.stem).group}
        score_study(run.here, ks=(1, 4), progress=False)
        yield run.here, run.clips, [o for _, o in server.asked]

def test_it_reads_words_and_reasons_and_never_hears_the_clip(study):
    here, clips, asked = study
    assert asked and all([p['type'] for p in o['messages'][0]['content']]==['text'] for o in asked)
    texts = [o['messages'][0]['content'][0]['text'] for o in asked]
    assert {re.search('speaker says: "(.*)"', o)[1] for o in texts}<={*clips.transcript}
    rows, plan = here.store.read(VERDICTS), here.read('listwise_plans', 'reader--toyspeech--none')
    assert set(rows.verifier)=={'listwise-reader'} and set(rows.status)=={'ok'} and {*plan.evidence}=={
        o.partition('How well')[0] for o in texts}
    chosen = label_set('six')
    known = reasons_of(here.store.read(CANDIDATES), chosen)
    assert any(text in o for why in known.values() for _, text in why for o in texts)

def test_results_say_that_it_never_heard_the_clip(study):
    scores = study[0].read('scores')
    judged = scores.verifier.eq('reader')
    assert judged.any() and set(scores.reading[judged])=={'verifier never heard the clip'}

def test_reasons_stand_in_front_of_the_first_answer_with_a_label():
    rows = clips(1).assign(style='cot', mode='label', decode='sample', width=0, block=0, error='', finish='stop')
    rows = rows.loc[[0]*4].reset_index(drop=True).assign(index=range(4), key=[*'abcd'], text=[
        'A low, slow voice. Answer: sad', 'Loud and fast.\nAnswer: angry', 'Quiet. Answer: sad', 'Who knows?'])
    found = reasons_of(rows, label_set('four'))
    assert answers(rows, label_set('four')).parse_status.tolist()[:3]==['ok']*3
    assert found=={rows.uid[0]: (('sad', 'A low, slow voice.'), ('angry', 'Loud and fast.'))}
    text = evidence_of('', FOUR[:2], found[rows.uid[0]])
    assert 'words are not known' in text and 'no reason given' in text

def test_what_it_cannot_read_is_refused():
    class Reader: name, revision, capabilities = 'reader', 'r', Capabilities(text=True)
    class Hearer: name, revision, capabilities = 'hearer', 'r', Capabilities()
    items, judge = clips(2), Judge('listwise-reader')
    lists = items.assign(options=[FOUR]*2)[['uid', 'options']]
    with pytest.raises(InputError, match='has no transcripts, so a verifier'): plan_verdicts(Reader(), items, FOUR, judge, lists)
    with pytest.raises(InputError, match='hearer takes no question without audio'):
        plan_verdicts(Hearer(), items.assign(transcript='no'), FOUR, judge, lists)
    plan = plan_verdicts(Reader(), items.assign(transcript=['no', '']), FOUR, judge, lists)
    assert len(plan)==4 and plan.evidence.nunique()==2

MODELS = '{model: tiny-alm-nano}', '{model: tiny-alm-tiny}', '{model: tiny-alm-nano, condition: swap}'
STUDY = 'name: demo\nruns:\n'+''.join(f'  - {o}\n' for o in MODELS)

def test_the_verifier_of_a_study_is_one_more_run_for_each_corpus(tmp_path):
    path = tmp_path/'s.yaml'
    path.write_text(STUDY+'verifier: {model: llamacpp, alias: reader, load: {model: demo}, reads: text}\n')
    study = config.read_study(path)
    run, = study.runs[3:]
    assert (run.model, run.reads, run.lists_of, run.modes)==('llamacpp', 'text', ['tiny-alm-nano', 'tiny-alm-tiny'], [])
    asked = config.run_parameters(study, run)
    assert asked['listwise']==2 and not asked['verify'] and not asked['audit'] and study.verifier is None
    for wrong, what in (('verifier: {model: llamacp}', "Did you mean 'llamacpp'"),
                        ('verifier: {model: llamacpp, load: {model: demo}, reads: sound}', 'way to judge'),
                        ('verifier: {model: llamacpp, load: {model: demo}, reads: text, listwise: 0}', r'verifier.listwise: .* lists alone'),
                        ('verifier: {model: tiny-alm-tiny}', 'verifier.alias: tiny-alm-tiny also answers')):
        path.write_text(f'{STUDY}{wrong}\n')
        with pytest.raises(InputError, match=what): config.read_study(path)
    path.write_text('name: demo\nruns:\n  - {model: tiny-alm-nano, condition: transcript}\nverifier: {model: tiny-alm-tiny}\n')
    with pytest.raises(InputError, match='line 4: verifier: no run under condition none'): config.read_study(path)
    path.write_text(STUDY+'  - {model: llamacpp, load: {model: demo}, reads: text}\n')
    with pytest.raises(InputError, match='judges answers of others'): config.read_study(path)
