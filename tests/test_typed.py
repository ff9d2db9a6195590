"Values that YAML or a command line reads as another type than was meant are refused in one line; clear ones are taken."
import os
import subprocess
import sys
from pathlib import Path
import pytest
from ambiscale_nb.models import contract as models
from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.study.config import check_parameters, read_study
from ambiscale_nb.study.results import Study
from ambiscale_nb.typed import read_yaml

HEAD = 'name: s\nabout: a test\nruns:\n'
SERVED = HEAD+'  - {model: vllm, load: {model: demo, %s}}\n'
RUN = HEAD+'  - {model: tiny-alm-nano, %s}\n'
STUDY = HEAD+'  - {model: tiny-alm-nano}\n%s\n'

def read(tmp_path, text):
    (tmp_path/'s.yaml').write_text(text)
    return read_study(tmp_path/'s.yaml')

def told(tmp_path, text):
    with pytest.raises(InputError) as e: read(tmp_path, text)
    return str(e.value)

SLURM = [
    ('walltime: 12:00:00', 'walltime: found 12:00:00, which YAML reads as 43200, wanted text: write walltime: "12:00:00"'),
    ('account: 0123', 'account: found 0123, which YAML reads as 83, wanted text: write account: "0123"'),
    ('memory: 4', 'memory: found 4 (a whole number), wanted text, such as memory: 4GB'),
    ('cores: "4"', 'cores: found "4" (text), wanted a whole number: write cores: 4'),
    ('cores: 0', 'cores: Input should be greater than or equal to 1, got 0'),
    ('job_script_prologue: module load x', 'job_script_prologue: found "module load x" (text), wanted a list: write'),
    ('job_extra_directives: [2]', 'job_extra_directives[0]: found 2 (a whole number), wanted text: write "2"'),
    ('walltime: 12h', 'walltime: SLURM takes minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, such as "12:00:00"'),
    ('walltime: "12 hours"', 'walltime: SLURM takes minutes'), ('walltime: ""', 'walltime: SLURM takes minutes'),
    ('walltime: "24:60:99"', 'walltime: SLURM takes minutes'), ('walltime: 1-24', 'walltime: SLURM takes minutes'),
    ('walltime: -5', 'walltime: found -5 (a whole number), wanted text: SLURM takes minutes'),
    ('memory: lots', "memory: wanted a number and a unit, 1MB or more, such as memory: 4GB, got 'lots'"),
    ('memory: -4GB', 'memory: wanted a number and a unit'), ('memory: 0GB', 'memory: wanted a number and a unit'),
    ('memory: "4"', 'memory: wanted a number and a unit'), ('memory: GB', 'memory: wanted a number and a unit'),
    ('job_mem: much', 'job_mem: SLURM takes a whole number and K, M, G or T, such as job_mem: 8G'),
    ('death_timeout: -1', 'death_timeout: Input should be greater than 0, got -1'),
    ('queue: ""', "queue: String should have at least 1 character, got ''"),
    ('cores: 08', 'cores: found "08" (text), wanted a whole number: write cores: 8'),
    ('cores: "0"', 'cores: found "0" (text), wanted a whole number: Input should be greater than or equal to 1'),
    ('cores: null', 'cores: found null, which YAML reads as nothing, wanted a whole number: leave it out'),
    ('wall_time: "1"', "wall_time: Unknown field 'wall_time'. Did you mean 'walltime'?")]
LOAD = [
    ('record: 2024_10', 'record: found 2024_10, which YAML reads as 202410, wanted text: write record: "2024_10"'),
    ('replay: 2026-10-01', 'replay: found 2026-10-01 (a date), wanted text: write replay: "2026-10-01"'),
    ('revision: 12e3', 'revision: found 12e3, which YAML reads as 12000.0, wanted text: write revision: "12e3"'),
    ('name: no', 'name: found no, which YAML reads as false, wanted text: write name: "no"'),
    ('name: ~', 'name: found ~, which YAML reads as nothing, wanted text: write name: "~"'),
    ('base_urls: 8000', 'base_urls: found 8000 (a whole number), wanted text or a list, such as base_urls: http://127'),
    ('base_urls: [8000]', 'base_urls[0]: found 8000 (a whole number), wanted text, such as http://127.0.0.1:8000/v1'),
    ('retry: 3', 'retry: found 3 (a whole number), wanted names and values, such as retry: {tries: 3}'),
    ('retry: {tries: "3"}', 'retry.tries: found "3" (text), wanted a whole number: write tries: 3'),
    ('system: off', 'system: found off, which YAML reads as false, wanted text: write system: "off"'),
    ('extra_body: [top_k]', 'extra_body: found a list, wanted names and values'),
    ('extra_body: {1: 2}', 'extra_body[1]: found 1 (a whole number), wanted text'),
    ('extra_body: {max_tokens: 1:30}', 'extra_body.max_tokens: found 1:30, which YAML reads as 90'),
    ('seconds: "30"', 'seconds: found "30" (text), wanted a number: write seconds: 30'),
    ('seconds: 1:30', 'seconds: found 1:30, which YAML reads as 90 (base 60): write 90, or "1:30" for text'),
    ('ceiling: 1e2', 'ceiling: found 1e2, which YAML reads as 100.0, wanted a whole number: write ceiling: 100'),
    ('ceiling: 010', 'ceiling: found 010, which YAML reads as 8 (octal): write 8, or "010" for text'),
    ('confidence: "yes"', 'confidence: found "yes" (text), wanted true or false: write confidence: true'),
    ('without: n', 'without: found "n" (text), wanted a list: write without: [n]'),
    ('names: {demo: {since: 2026-06-01}}', 'names.demo.since: found 2026-06-01 (a date): write "2026-06-01"'),
    ('1: 2', '[1]: found 1 (a whole number), wanted text'),
    ('retry: {tries: 3.5}', 'retry.tries: found 3.5 (a number), wanted a whole number'),
    ('retry: {tries: 0}', 'retry: retry wants 1 try or more'), ('retry: {longest: -1}', 'retry: retry wants 1 try or more'),
    ('retry: {tires: 3}', "retry: Unknown field of retry 'tires'. Did you mean 'tries'?"),
    ('retry: {first: .inf}', 'retry.first: found .inf, wanted a finite number'),
    ('seconds: 0', 'seconds: found 0 (a whole number), wanted a number over 0'),
    ('seconds: -1', 'seconds: found -1 (a whole number), wanted a number over 0'),
    ('seconds: .inf', 'seconds: found .inf, wanted a finite number'),
    ('seconds: null', 'seconds: found null, which YAML reads as nothing, wanted a number: leave it out'),
    ('max_seconds: 0', 'max_seconds: found 0 (a whole number), wanted a number over 0'),
    ('ceiling: 0', 'ceiling: found 0 (a whole number), wanted a number of 1 or more'),
    ('ceiling: -3', 'ceiling: found -3 (a whole number), wanted a number of 1 or more'),
    ('n_params: -7', 'n_params: found -7 (a whole number), wanted a number over 0'),
    ('names: {demo: {text_in: "1"}}', 'names.demo.text_in: found "1" (text), wanted a number: write text_in: 1'),
    ('names: {demo: {text_in: -1}}', 'names.demo.text_in: found -1 (a whole number), wanted a number of 0 or more'),
    ('names: {demo: {text_in: yes}}', 'names.demo.text_in: found yes, which YAML reads as true, wanted a number'),
    ('names: {demo: {status: alive}}', "names.demo.status: found \"alive\" (text), wanted 'live', 'retired' or 'unknown'"),
    ('names: {demo: {price: 1}}', "names.demo: Unknown field of demo 'price'."),
    ('names: {demo: 5}', 'names.demo: found 5 (a whole number), wanted names and values'),
    ('names: {1: {status: live}}', 'names[1]: found 1 (a whole number), wanted text'),
    ('names: nofile.yaml', "names: No table of names at 'nofile.yaml'"), ('names: ""', "names: No table of names at ''"),
    ('without: [N]', "without[0]: Unknown parameter to do without 'N'. Choose from: n, top_logprobs, logprobs, seed."),
    ('without: yes', "without: found yes, which YAML reads as true, wanted a list: Unknown parameter to do without"),
    ('record: a, replay: b', ': Either record, or replay'),
    ('recorder: x', ': recorder is an object of Python: name a folder as `record` or as `replay`'),
    ('record: null', 'record: found null, which YAML reads as nothing, wanted text: leave it out'),
    ('extra_body: {messages: []}', 'extra_body: extra_body cannot set messages: the study sets them'),
    ('base_urls: []', 'base_urls: found a list, wanted a list of 1 or more, such as base_urls: http://127.0.0.1:8000/v1'),
    ('base_urls: [""]', "base_urls[0]: No address of a server: ''"), ('base_urls: h:80', "base_urls: No address of a server: 'h:80'"),
    ('tempo: 1:00', ": Unknown option of vllm 'tempo'.")]
GEMINI = [
    ('max_output_tokens: "9"', '.max_output_tokens: found "9" (text), wanted a whole number: write max_output_tokens: 9'),
    ('max_outpt_tokens: 9', ": Unknown field of GenerateContentConfig 'max_outpt_tokens'. Did you mean 'max_output_tokens'?"),
    ('thinking_config: {thinking_budget: "0"}', '.thinking_config.thinking_budget: found "0" (text), wanted a whole number'),
    ('safety_settings: [{category: HARM_CATEGORY_HARASSMENT, threshold: OFF}]', '.safety_settings[0].threshold: found OFF, which '
     'YAML reads as false, wanted text: write threshold: "OFF"'),
    ('thinking_config: {budget: 0}', '.thinking_config.budget: found 0 (a whole number), wanted no field of this name')]
VERIFIER = [
    ('record: 2024_10', 'record: found 2024_10, which YAML reads as 202410, wanted text: write record: "2024_10"'),
    ('revision: 0123', 'revision: found 0123, which YAML reads as 83, wanted text: write revision: "0123"'),
    ('seconds: 0', 'seconds: found 0 (a whole number), wanted a number over 0'),
    ('retry: 3', 'retry: found 3 (a whole number), wanted names and values, such as retry: {tries: 3}')]
FIELDS = [
    ('verify: "no"', 'verify: found "no" (text), wanted true or false: write verify: false'),
    ('modes: label', 'modes: found "label" (text), wanted a list: write modes: [label]'),
    ('modes: [[label]]', 'modes[0]: found a list, wanted text'),
    ('labels: 6', "labels: found 6 (a whole number), wanted text or names and values: Unknown label set '6'. "),
    ('max_seconds: 30', 'max_seconds: found 30 (a whole number), wanted text: write drop (leave long clips out) or crop (hear'),
    ('condition: null', 'condition: found null, which YAML reads as nothing, wanted text: leave it out'),
    ('condition: no', "condition: found no, which YAML reads as false, wanted text: Unknown condition 'no'. Did you mean 'none'?"),
    ('modes: null', 'modes: found null, which YAML reads as nothing, wanted a list: leave it out'),
    ('options: {longest: 1:00}', "options: Unknown option of toyspeech 'longest'."),
    ('widths: ["3"]', 'widths[0]: found "3" (text), wanted a whole number: write 3'),
    ('options: {n: "3"}', 'options.n: found "3" (text), wanted a whole number: write n: 3'),
    ('corpus: msp_podcast, options: {release: 1.10}', 'options.release: found 1.10, which YAML reads as 1.1, wanted text: '
     'write release: "1.10"')]
TOP = [
    ('n: "8"', 'n: found "8" (text), wanted a whole number: write n: 8'),
    ('n: 8.0', 'n: found 8.0 (a number), wanted a whole number: write n: 8'),
    ('seed: 0123', 'seed: found 0123, which YAML reads as 83 (octal): write 83, or "0123" for text'),
    ('temperature: .inf', 'temperature: found .inf, wanted a finite number'),
    ('ks: 4', 'ks: found 4 (a whole number), wanted a list: write ks: [4]'),
    ('limits: 5', 'limits: found 5 (a whole number), wanted names and values'),
    ('limits:', 'limits: found nothing, wanted names and values'),
    ('limits: {seconds: 1:00:00}', 'limits.seconds: found 1:00:00, which YAML reads as 3600 (base 60): write 3600'),
    ('limits: {fail_on_error: "yes"}', 'limits.fail_on_error: found "yes" (text), wanted true or false or a number'),
    ('limits: {fail_on_error: -1}', 'limits.fail_on_error: Input should be greater than or equal to 0, got -1'),
    ('limits: {fail_on_error: 10%}', 'limits.fail_on_error: found "10%" (text), wanted true or false or a number'),
    ('limits: {fail_on_error: 1.5}', 'limits.fail_on_error: fail_on_error must be True, False, a share between 0 and 1, or a number'),
    ('limits: {fail_on_error: 0}', 'limits.fail_on_error: fail_on_error must be True, False, a share between 0 and 1, or a number'),
    ('limits: {usd: 1,000}', 'limits[0]: Keys should be strings, got 0 (write 1000, not 1,000: a comma starts another field)'),
    ('figures: 3', 'figures: found 3 (a whole number), wanted a list: write figures: ["3"]'),
    ('figures: fig3', 'figures: found "fig3" (text), wanted a list: write figures: [fig3]')]
ALL = [*((STUDY % f'slurm: {{{o}}}', 5, 'slurm.'+said) for o, said in SLURM),
       *((SERVED % o, 4, f'runs[0].load{"" if said[0] in "[:" else "."}{said}') for o, said in LOAD),
       *((SERVED.replace('vllm', 'gemini') % f'config: {{{o}}}', 4, 'runs[0].load.config'+said) for o, said in GEMINI),
       *((STUDY % f'verifier: {{model: vllm, load: {{model: demo, {o}}}}}', 5, 'verifier.load.'+said) for o, said in VERIFIER),
       (HEAD+'  - {model: vllm, load: {model: ""}}', 4, 'runs[0].load.model: Which model?'),
       (HEAD+'  - {model: vllm}', 4, 'runs[0].load.model: Which model?'),
       (HEAD+'  - {model: vllm, load: {model: null}}', 4, 'runs[0].load.model: found null, which YAML reads as nothing, wanted text: '
        'Which model?'),
       (HEAD+'  - {model: qwen2-audio, load: {dtype: float17}}', 4, "runs[0].load.dtype: Unknown dtype 'float17'. Did you mean"),
       (HEAD+'  - {model: qwen2-audio, load: {batch: -1}}', 4, 'runs[0].load.batch: found -1 (a whole number), wanted a number of 0 or'),
       (HEAD+'  - {model: null}', 4, 'runs[0].model: found null, which YAML reads as nothing, wanted text'),
       *((RUN % o, 4, 'runs[0].'+said) for o, said in FIELDS), *((STUDY % o, 5, said) for o, said in TOP),
       (STUDY.replace('a test', '1.10') % '', 2, 'about: found 1.10, which YAML reads as 1.1, wanted text: write about: "1.10"'),
       (STUDY.replace('name: s', 'name: 2024') % '', 1, 'name: found 2024 (a whole number), wanted text: write name: "2024"')]

@pytest.mark.parametrize(('text', 'line', 'said'), ALL, ids=lambda o: o.splitlines()[0] if isinstance(o, str) else '')
def test_a_value_of_another_type_is_one_line(tmp_path, text, line, said):
    found = told(tmp_path, text)
    assert found.startswith(f's.yaml, line {line}: {said}') and '\n' not in found

def test_all_wrong_values_are_reported_together_each_with_its_line(tmp_path):
    found = told(tmp_path, 'name: 2024\nruns:\n  - model: 3\n    load: {record: 1_0}\nslurm:\n  walltime: 12:00:00\nn: "8"')
    assert [o.split(': ')[:2] for o in found.splitlines()[1:]] == [
        ['  line 1', 'name'], ['  line 3', 'runs[0].model'], ['  line 6', 'slurm.walltime'], ['  line 7', 'n']]

def test_a_merged_line_keeps_its_spelling(tmp_path):
    found = told(tmp_path, 'name: s\nruns:\n  - &a {model: tiny-alm-nano, split: 0123}\n  - {<<: *a, condition: swap}')
    assert found.count('found 0123, which YAML reads as 83') == 2

@pytest.mark.parametrize('text', [
    STUDY % 'n: 1_000', STUDY % 'temperature: .5', STUDY % 'temperature: 1', STUDY % 'limits: {usd: 1e3, tokens: 1.5e6}',
    STUDY % 'limits: {fail_on_error: yes}', STUDY % 'limits: {fail_on_error: .1}', STUDY % 'slurm: {}', RUN % 'verify: off',
    RUN % 'n: null', SERVED % 'retry: {tries: 3, first: .5}', SERVED % 'base_urls: [http://a/v1, http://b/v1]',
    SERVED % 'system: null, extra_body: null', SERVED % 'system: "", extra_body: {}',
    SERVED % 'system: Be brief., extra_body: {top_k: 3, chat_template_kwargs: {enable_thinking: false}, stop: [x]}',
    SERVED % 'revision: "0123", seconds: 30, end: null, n_params: 7_000_000', SERVED % 'base_urls: http://127.0.0.1:8000/v1',
    STUDY % 'slurm: {walltime: "12:00:00", account: "0123", queue: gpu, memory: 4GB, job_extra_directives: ["--gres=gpu:1"]}',
    *(STUDY % f'slurm: {{walltime: "{o}"}}' for o in ('90', '90:00', '12:00:00', '1-12', '1-12:30', '1-12:30:59')),
    *(STUDY % f'slurm: {{memory: {o}, job_mem: "8G"}}' for o in ('4 GB', '4gb', '4.5GiB', '500M')),
    SERVED % 'retry: {tries: 1, first: 0}, without: [n, seed], names: {demo: {status: live, text_in: 0, since: "2026"}}',
    SERVED % 'record: a, base_urls: http://a:80/v1, extra_body: {messages_kept: 3}', STUDY % 'limits: {fail_on_error: 1}',
    SERVED.replace('vllm', 'gemini') % 'config: {max_output_tokens: 9, thinkingConfig: {thinking_level: low}, temperature: 0}',
    STUDY % 'figures: ["3"]', STUDY % 'slurm: {walltime: 1-12}'])
def test_what_is_meant_without_doubt_is_taken(tmp_path, text): read(tmp_path, text)

def test_values_reach_slurm_and_models_as_they_were_written(tmp_path):
    study = read(tmp_path, SERVED % 'revision: "0123", record: "2024_10", seconds: 1e1'+'slurm: {walltime: "12:00:00"}')
    assert study.slurm.model_dump(exclude_unset=True) == dict(walltime='12:00:00')
    assert study.runs[0].load == dict(model='demo', revision='0123', record='2024_10', seconds=10.)

def test_the_line_is_that_of_the_field(tmp_path):
    text = HEAD+'  - model: vllm\n    load:\n      model: demo\n      retry:\n        tries: 2\n        tires: 3\n      ceilling: 3\n'
    assert told(tmp_path, text).startswith("s.yaml, line 9: runs[0].load.retry: Unknown field of retry 'tires'.")
    text = text.replace('tires', 'cap')
    assert told(tmp_path, text).startswith("s.yaml, line 10: runs[0].load: Unknown option of vllm 'ceilling'.")
    assert told(tmp_path, text.replace('cap', '1')).startswith('s.yaml, line 9: runs[0].load.retry[1]: found 1 (a whole number)')

def test_a_folder_whose_name_is_no_text_is_refused():
    with pytest.raises(InputError, match=r'study: found 2024 \(a whole number\), wanted text.*papermill: -r study 2024'): Study(2024)

@pytest.mark.parametrize('field', ['seconds: {0}', 'key: {0}', 'without: {0}', 'names: {{demo: {0}}}', 'retry: {{tries: {0}}}',
                                   'confidence: {0}', 'base_urls: {{a: {0}}}', 'without: [{0}]', 'recorder: {0}',
                                   'names: {{demo: {{status: {0}}}}}'])
def test_a_key_in_the_wrong_place_is_not_repeated(tmp_path, field):
    for key in ('sk-sentinel+0123/456789=abc', 'AIzaSy0123456789abcdefghij'):
        found = told(tmp_path, SERVED % field.format(key))
        assert key not in found and 's.yaml, line 4: runs[0].load' in found

@pytest.mark.parametrize('url', ['http://u:%s@[::1/v1', 'http://u:%s@h:99999/v1', 'http://h:x/v1?key=%s', 'h/v1?key=%s', '//u:%s@'])
def test_an_address_with_a_key_is_not_repeated(url):
    with pytest.raises(InputError) as e: models.load_model('vllm', model='demo', base_urls=url % 'sk-sentinel0123456789')
    assert 'sentinel' not in str(e.value)

@pytest.mark.parametrize(('options', 'message'), [
    (dict(retry=dict(tries=3.5)), 'retry.tries: found 3.5 .a number., wanted a whole number'),
    (dict(retry=dict(tries=0)), 'retry wants 1 try or more'), (dict(retry=dict(first=-1)), 'no seconds below 0'),
    (dict(names=dict(m=dict(text_in='1'))), 'm.text_in: found "1" .text., wanted a number'),
    (dict(names=dict(m=dict(since=2026))), 'm.since: found 2026'),
    (dict(base_urls='http://[::1/v1'), 'No address of a server'), (dict(base_urls='http://h:99999/v1'), 'No address of a server'),
    (dict(revision=1234567), 'vllm: revision: found 1234567'), (dict(base_urls=[8000]), r'vllm: base_urls\[0\]: found 8000')])
def test_a_value_of_another_type_is_refused_where_a_model_is_loaded_by_hand(options, message):
    with pytest.raises(InputError, match=message): models.load_model('vllm', model='demo', **options)

# Parameters of a notebook
GIVEN = dict(study='s', model='tiny-alm-nano', n=4, temperature=1., limits={}, widths=[3], progress=True)
HINTS = dict(study=str, model=str, n=int, temperature=float, limits=dict, widths=list, progress=bool)

@pytest.mark.parametrize(('wrong', 'said'), [
    (dict(study=2024), 'study: found 2024 (a whole number), wanted text'), (dict(study=1.1), 'study: found 1.1 (a number)'),
    (dict(study=True), 'study: found true, wanted text'), (dict(study=None), 'study: found nothing, wanted text'),
    (dict(n='8'), 'n: found "8" (text), wanted a whole number'), (dict(n=-1), 'n: Input should be greater than or equal to 0'),
    (dict(n=8.), 'n: found 8.0 (a number), wanted a whole number'), (dict(temperature=float('nan')), 'temperature: '),
    (dict(limits=dict(calls='9')), 'limits.calls: found "9" (text), wanted a whole number'),
    (dict(limits=dict(cals=9)), "limits.cals: Unknown field 'cals'"), (dict(widths=['3']), 'widths[0]: found "3" (text)'),
    (dict(widths=3), 'widths: found 3 (a whole number), wanted a list'), (dict(progress='no'), 'progress: found "no" (text)')])
def test_parameters_of_a_notebook_are_compared_with_its_types(wrong, said):
    check_parameters(GIVEN | dict(__annotations__=HINTS))
    with pytest.raises(InputError) as e: check_parameters(GIVEN | wrong | dict(__annotations__=HINTS))
    assert said in str(e.value)

NUMBER = ('-p', 'study', '2024'), ('study: found 2024 (a whole number), wanted text', 'papermill: -r study')
SERVER = '-r', 'model', 'vllm', '-y'

@pytest.mark.parametrize(('notebook', 'words', 'said'), [
    ('01_sample', *NUMBER), ('02_score', *NUMBER), ('../figures/fig3_size', *NUMBER),
    ('01_sample', (*SERVER, 'load: {model: demo, extra_body: 5}'), ['vllm: extra_body: found 5 (a whole number), wanted names']),
    ('01_sample', (*SERVER, 'load: {model: demo, system: no}'), ['vllm: system: found false, wanted text'])])
def test_a_wrong_type_by_papermill_is_refused_before_anything_is_asked(tmp_path, notebook, words, said):
    for o in ('nbs', 'ambiscale_nb', 'conf'): (tmp_path/o).symlink_to(ROOT/o)
    source = ROOT/f'nbs/experiments/{notebook}.ipynb'
    done = subprocess.run([Path(sys.executable).with_name('papermill'), '-k', 'python3', source, tmp_path/'out.ipynb', *words],
                          env=os.environ | {'AMBISCALE_ROOT': str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1 and all(o in done.stderr+done.stdout for o in said), done.stderr[-2000:]
    assert not (tmp_path/'results').exists()

def test_every_study_of_the_project_is_read():
    for o in (ROOT/'conf').glob('*.yaml'): assert read_study(o).name and read_yaml(o).content
