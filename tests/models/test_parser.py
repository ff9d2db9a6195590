"The rule kept here: an answer is read or it is not, and what is not read never gets a label."
import json
import math
from dataclasses import replace
import pytest
from hypothesis import given, settings, strategies as st
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import LABEL_SETS, SYNONYMS, WORDS, label_set
from ambiscale_nb.models.parser import PARSER_VERSION, STATUSES, parse, parse_verdict

SIX, FOUR, EIGHT = (label_set(o) for o in ('six', 'four', 'eight'))


def read(text, mode='label', style='direct', labels=SIX, finish='stop'):
    return parse(text, mode, style, labels.labels, labels.merged, finish)


# --- a word, asked for directly: text, status, labels ---------------------------------------------
def rows(status, labels, *texts): return [(o, status, labels) for o in texts]

PLAIN = [
    *rows('ok', 'angry', 'angry', 'Angry.', '**Angry**', '```\nangry\n```', '😠 angry 😠',
         '\ufeffangry', '\x1b[31mangry\x1b[0m', '\x00angry\x00', 'angry<|im_end|>',
         '<answer>angry</answer>', 'Answer: angry', 'anger', 'wütend', 'Wütend.', 'WÜTEND', '愤怒',
         '愤怒。', '<think>calm?</think> angry', 'Answer – angry'),
    *rows('ok', 'sad', '  SAD \n', '“sad”', '# sad', '- sad', '(sad)', 'sad\r\n', 'sad</s>',
         'unhappy', 'Unhappy.', 'Antwort: traurig', '答案：难过', 'sadness, sad'),
    *rows('ok', 'happy', '"happy"', "'happy'!", 'joyful', 'Freude'),
    *rows('ok', 'fearful', '*fearful*'),
    *rows('ok', 'disgusted', '_disgusted_'),
    *rows('ok', 'neutral', '`neutral`', 'calm', 'neutral state'),
]
SENTENCES = [
    *rows('repaired', 'angry', 'The speaker sounds angry.', 'Emotion: angry',
         '{"emotion": "angry"}', '\\boxed{angry}', 'angry (80%)',
         'angry\n\nThe voice is loud, with no joy and some calm.', 'The emotion is\nangry',
         '情绪是angry', '说话者很生气', '非常愤怒', 'The man is mad, and his car was made in Sadler',
         'Angry, because the voice is not calm', 'Answer: angry. Not sad.',
         'angry, since there is little joy', 'angry, frustrated',
         'The other speaker is angry', 'Answer: angry\nThe voice was calm before.'),
    *rows('repaired', 'sad', '```json\n{"emotion": "sad"}\n```',
         'Here is my answer, as you wished\n**sad**\nShe is far from happy, even calm.',
         'Sad, though I cannot be sure', 'Answer: sad\n\nThis answer is a guess.'),
    *rows('repaired', 'fearful', 'Die Stimme klingt ängstlich.'),
]
NEGATIONS = [
    *rows('out_of_set', '', 'not angry', 'Not Angry.', 'no anger', 'No sign of anger',
         "isn't happy", 'She isn’t happy', 'she isnt happy', 'un-happy', 'non-angry', 'not unhappy',
         'neither angry nor sad', 'not angry or sad', 'without anger', 'never happy',
         'lacks any joy', 'Anger is absent', "Anger isn't there",
         'I do not think that she is angry', 'nicht wütend', 'keine Freude', '不生气', '没有愤怒', '并不高兴',
         'Answer: not angry'),
    *rows('repaired', 'sad', 'not angry but sad', 'Not angry, sad', 'sad, not angry',
         'sad not angry', 'sad rather than angry', 'sad (not happy)', "She isn't happy: she is sad",
         'There is no doubt that she is sad', 'nicht wütend, sondern traurig', '不是生气而是难过',
         'not only sad'),
    *rows('repaired', 'angry', 'No, angry'),
]
SEVERAL = [
    *rows('repaired', 'angry sad', 'angry or sad', 'angry, sad', 'Sad / Angry', 'angry and sad.',
         '- angry\n- sad', 'wütend oder traurig', '愤怒和难过', 'The speaker sounds angry or sad.',
         'Answer: angry or sad'),
    *rows('repaired', 'angry happy sad', 'angry, sad and happy'),
    *rows('ok', 'angry', 'anger, angry'),
    *rows('out_of_set', '', 'angry at first, later calm',
         'The voice is calm.\nShe is angry.', '{"angry": 60, "sad": 40}'),
    *rows('ok', 'sad', 'Answer: happy\nNo, wait.\nAnswer: sad', 'Answer: angry **Answer**: sad',
         'Answer: angry\n**Answer:** sad', 'Answer: angry\nFinal answer: sad', 'Final answer sad',
         '## Final Answer\n\nsad', 'The answer is angry. The final answer is sad'),
]
FOREIGN = [
    *rows('out_of_set', '', 'frustrated', 'excited', 'surprised (pleasant)',
         'anxious', 'other', 'unknown', 'none', '42', '...', 'made', 'fearless', 'madly sadistic',
         'happyish', 'Angry? No.', 'angry: no', 'Answer:', 'angry. Answer:', 'İ', '\ud800'),
    *rows('ok', 'sad', 'ſad'),
    *rows('ok', 'angry', 'angry\ud800'),
]
REFUSALS = [
    *rows('refusal', '', "I'm sorry, but I cannot determine the emotion.",
         'I’m sorry, I can’t help with that.', 'As an AI, I do not hear audio; it might be angry.',
         'As a large language model I have no ears.',
         'I am unable to tell whether the speaker is angry.', "I can't tell if she is angry or sad",
         "I don't have access to the audio.", 'Answer: I cannot say whether it is anger.',
         'Es tut mir leid, das kann ich nicht.', 'Ich kann das leider nicht beurteilen.',
         '抱歉，我无法判断。', '作为一个AI，我听不到愤怒'),
    *rows('ok', 'sad', 'As an AI I cannot hear. Answer: sad'),
    *rows('repaired', 'sad', 'I am sorry to hear that. Sad.', "Sad\nAs an AI, I can't be sure."),
]
NOTHING = [
    *rows('empty', '', '', ' \n\t', '\x00\x1b[0m'),
    *rows('error', '', None, float('nan'), b'angry', 3),
]
ECHOES = rows('out_of_set', '', ', '.join(SIX.labels), 'One word: ' + ' or '.join(SIX.labels))


@pytest.mark.parametrize('text, status, labels',
    PLAIN + SENTENCES + NEGATIONS + SEVERAL + FOREIGN + REFUSALS + NOTHING + ECHOES, ids=ascii)
def test_word(text, status, labels):
    answer = read(text)
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note
    n = len(answer.label)
    if labels: assert answer.dist == tuple((o in answer.label)/n for o in SIX.labels)
    else: assert answer.dist is None and answer.span is None


@pytest.mark.parametrize('text, labels, status, label', [
    ('excited', FOUR, 'ok', 'happy'), ('Excitement', FOUR, 'ok', 'happy'),
    ('happy/excited', FOUR, 'ok', 'happy'),
    ('frustrated', FOUR, 'out_of_set', ''), ('fearful', FOUR, 'out_of_set', ''),
    ('surprised (pleasant)', EIGHT, 'repaired', 'surprised'),
    ('contempt', EIGHT, 'ok', 'contemptuous'),
    ('Contemptuous or disgusted', EIGHT, 'repaired', 'contemptuous disgusted')])
def test_label_sets_and_merges(text, labels, status, label):
    answer = read(text, labels=labels)
    assert (answer.status, answer.label) == (status, tuple(label.split())), answer.note


def test_merges_are_the_callers():
    asked = ('label', 'direct', FOUR.labels)
    assert parse('frustrated', *asked, merged=(('frustrated', 'angry'),)).label == ('angry',)
    assert parse('frustrated', *asked, merged=[['frustrated', 'angry']]).label == ('angry',)
    assert parse('bored', *asked, merged=(('bored', 'neutral'),)).label == ('neutral',)
    both = parse('excited', 'label', 'direct', ('excited', 'happy'), FOUR.merged)
    assert both.label == ('excited',)
    assert parse('calm', 'label', 'direct', ('calm', 'neutral')).label == ('calm',)
    assert parse('others', 'label', 'direct', ('happy', 'other')).label == ('other',)
    with pytest.raises(InputError, match='no labels'):
        parse('x', *asked, merged=(('bored', 'boring'),))


# --- reasons first --------------------------------------------------------------------------------
WHY = 'Pitch high, loudness loud, pace fast, voice tense'

@pytest.mark.parametrize('text, finish, status, labels', [
    (f'{WHY}. Answer: angry', 'stop', 'ok', 'angry'),
    (f'{WHY}.\n**Answer**: Angry.', 'stop', 'ok', 'angry'),
    (f'{WHY}, so angry at first. Answer: sad', 'stop', 'ok', 'sad'),
    (f'{WHY}. It is not sad. Antwort: wütend', 'stop', 'ok', 'angry'),
    (f'{WHY}。答案：生气', 'stop', 'ok', 'angry'),
    (f'<think>{WHY}, calm?</think><answer>sad</answer>', 'stop', 'ok', 'sad'),
    (f'{WHY}. Final answer: sad, not angry', 'stop', 'repaired', 'sad'),
    (f'{WHY}. Answer: sad or angry', 'stop', 'repaired', 'angry sad'),
    (f'{WHY}. Answer: not angry', 'stop', 'out_of_set', ''),
    (f'{WHY}. Answer: tense', 'stop', 'out_of_set', ''),
    (f'{WHY}. Angry. Answer:', 'stop', 'out_of_set', ''),
    (f'{WHY}. Answer: angry', 'length', 'truncated', ''),
    (f'{WHY}. Answer: an', 'length', 'truncated', ''),
    (f'{WHY}. Angry. Answer:', 'length', 'truncated', ''),
    (f'{WHY}, clearly angry', 'length', 'truncated', ''),
    (f'{WHY}.\nangry', 'length', 'truncated', ''),
    (f'{WHY}, melody flat. I cannot make out the words, but', 'length', 'truncated', ''),
    (f'{WHY}.\n**Angry**', 'stop', 'repaired', 'angry'),
    (f'{WHY}.\n```\nangry\n```', 'stop', 'repaired', 'angry'), ('angry', 'stop', 'repaired', 'angry'),
    ('Pitch low, pace slow, voice calm.', 'stop', 'out_of_set', ''),
    (f'{WHY}, so angry.', 'stop', 'repaired', 'angry'),
    ('angry\nbecause of the pitch', 'stop', 'repaired', 'angry'),
    ("I'm sorry, I can't do that.", 'stop', 'refusal', ''),
    ("I'm sorry, but I cannot", 'length', 'refusal', ''), ('', 'length', 'truncated', ''),
    ('', 'content_filter', 'refusal', ''),
    ('The voice', 'content_filter', 'refusal', '')], ids=ascii)
def test_chain_of_thought(text, finish, status, labels):
    answer = read(text, style='cot', finish=finish)
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note


@pytest.mark.parametrize('text, status, labels', [
    ('angry', 'truncated', ''), ('angry\nThe voice is', 'truncated', ''),
    ('angry or', 'truncated', ''),
    ('The speaker sounds angry, but', 'truncated', ''), ('The speaker', 'truncated', ''),
    ('not', 'truncated', '')])
def test_a_word_that_was_cut_off(text, status, labels):
    answer = read(text, finish='length')
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note


# --- distributions --------------------------------------------------------------------------------
TWO = dict(angry=.6, sad=.4)

@pytest.mark.parametrize('text, status, share', [
    *rows('ok', TWO, '{"angry": 60, "sad": 40}', '{"angry": 0.6, "sad": 0.4}',
         '{"angry": 60.0, "sad": 40.}', '{"angry":60,"sad":40,"happy":0}',
         '{"sad": 40, "angry": 60}', '{"Angry": "60%", "SAD": "40%"}',
         '{"angry": 60%, "sad": 40 %}', "{'angry': 60, 'sad': 40}", '{angry: 60, sad: 40}',
         '{"angry": 60, "sad": 40,}', '{“angry”：60，“sad”：40}', '{"angry": "60", "sad": ".4e2"}',
         '{\n  "angry": 60,\n  "sad": 40\n}', '```json\n{"angry": 60, "sad": 40}\n```',
         '**{"angry": 60, "sad": 40}**', '\x1b[1m{"angry": 60, "sad": 40}\x00',
         '{"anger": 60, "unhappy": 40}', '{"wütend": 60, "难过": 40}',
         '{"angry": 30, "anger": 30, "sad": 40}', '{"angry": 60, "angry": 60, "sad": 40}',
         'Answer: {"angry": 60, "sad": 40}'),
    *rows('ok', dict(sad=1), '{"sad": 100}', '{"sad": 1}', '{"sad": "100%"}'),
    *rows('ok', dict(angry=.5, sad=.5), '{"angry": 49, "sad": 49}', '{"angry": .51, "sad": .51}'),
    *rows('repaired', dict(angry=.5, sad=.5), '{"angry": 45, "sad": 45}'),
    *rows('out_of_set', None, '{"angry": 3, "sad": 2}', '{"angry": 1.2, "sad": 0.8}',
         '{"angry": 600, "sad": 400}', '{"angry": "0.6%", "sad": "0.4%"}', '{"angry": 1e99}',
         '{"angry": 50, "sad": 30}', '{"angry": 0.6, "sad": 40}', '{"angry": 60, "anger": 60, "sad": 40}',
         '{"emotion": "angry", "probability": 0.9}', 'angry: 10-20, sad: 80-90', 'angry: 90%, bored: 10%'),
    *rows('ok', TWO, '[{"angry": 60}, {"sad": 40}]', '{"angry": 0,6, "sad": 0,4}', '{"angry": 60/100, "sad": 40/100}',
         '[{"emotion": "angry", "probability": 0.6}, {"emotion": "sad", "probability": 0.4}]',
         '[{"label": "anger", "score": "60%"}, {"label": "sad", "score": "40%"}]', '{"angry": 60, "sad": 40, "surprised": 0}',
         '{"angry": 60, "sad": 40, "happy": -0.0001}', '{"angry": 0.6, "sad": 0.4, "happy": 1e-12}',
         '<think>{"angry": 10, "sad": 90}</think>{"angry": 60, "sad": 40}', '{"angry": 6e-1, "sad": 4E-1}'),
    *rows('repaired', TWO, 'So: angry: 60%, sad: 40%', 'angry = 60\nsad = 40', 'angry (60), sad (40)', '60% angry, 40% sad',
         'angry: 60; sad: 40; sum: 100', 'angry: 60/100, sad: 40/100', 'angry: 60 out of 100, sad: 40 out of 100',
         '| angry | 60 |\n| sad | 40 |', '{"angry": 63, "sad": 42}',
         'Here you are: {"angry": 60, "sad": 40}', '{"scores": {"angry": 60, "sad": 40}}',
         '{"angry": 60, "sad": 40} or so', 'angry: 60%\nsad: 40%',
         '- **Angry**: 60%\n- **Sad**: 40%.', '1. angry: 0.6\n2. sad: 0.4', 'angry: 60, sad: 40',
         'Votes, of 100:\nangry: 60\nsad: 40', '{"angry": 60, "sad": 40} {"angry": 60, "sad": 40}'),
    *rows('out_of_set', None, '{"angry": -20, "sad": 120}', '{"angry": NaN, "sad": 40}',
         '{"angry": Infinity}', '{"angry": true, "sad": false}', '{"angry": null, "sad": 100}',
         '{"angry": [60], "sad": 40}', '{"angry": "high", "sad": 40}', '{"angry": 60, "bored": 40}',
         '{"angry": 60, "excited": 40}', '{"angry": 60, "other": 40}', '{"angry": 0, "sad": 0}',
         '{"angry": 0}', '{}', '{"angry": 60, "angry": 50, "sad": 40}',
         '{"angry": "60%", "sad": 0.4}', '{"angry": 60} {"sad": 40}',
         '{"emotion": "angry", "confidence": 90}',
         '{"not angry": 60, "sad": 40}', 'angry', '60, 40',
         'angry: 60%\nbored: 40%', 'angry: high\nsad: 40', '[0.6, 0.4]',
         '{"angry": 1e999}', '{"angry": "\ud800"}'),
    *rows('truncated', None, '{"angry": 60, "sad": 40', '{"angry": 60, "sa', '{',
         '{"angry": 60, "sad": 40}, no: {"angry": 5'),
    *rows('empty', None, ''),
    *rows('error', None, None),
    *rows('refusal', None, "I'm sorry, but I cannot judge emotions."),
], ids=ascii)
def test_distribution(text, status, share):
    answer = read(text, 'dist')
    assert answer.status == status, answer
    if share is None: assert answer.dist is None and answer.label == ()
    else:
        assert answer.dist == pytest.approx([share.get(o, 0) for o in SIX.labels], abs=1e-12)
        assert answer.label == tuple(o for o in SIX.labels if share.get(o) == max(share.values()))


@pytest.mark.parametrize('text, finish, status, share', [
    (f'{WHY}. Answer: {{"angry": 60, "sad": 40}}', 'stop', 'ok', TWO),
    (f'{{"happy": 100}}? {WHY}. Answer: {{"angry": 60, "sad": 40}}', 'stop', 'ok', TWO),
    (f'{WHY}.\n**Answer:**\n```json\n{{"angry": 60, "sad": 40}}\n```', 'stop', 'ok', TWO),
    (f'{WHY}. {{"angry": 60, "sad": 40}}', 'stop', 'repaired', TWO),
    (f'{WHY}. Answer: angry: 60, sad: 40', 'stop', 'repaired', TWO),
    (f'{WHY}. Answer: {{"angry": 60, "sad": 40}}\nso', 'length', 'truncated', None),
    (f'{WHY}. Answer: {{"angry": 60, "sa', 'length', 'truncated', None),
    (WHY, 'length', 'truncated', None),
    (f'{WHY}. Answer: angry: 60, sad: 4', 'length', 'truncated', None),
    (f'{WHY}. angry: 60, sad: 40', 'stop', 'out_of_set', None),
    (f'{WHY}\nangry: 60\nsad: 40', 'stop', 'out_of_set', None),
    (f'{WHY}. Answer: {{"angry": 60, "sad": 40}}', 'length', 'truncated', None), (WHY, 'stop', 'out_of_set', None),
    (f'{WHY}. Answer: angry', 'stop', 'out_of_set', None)], ids=ascii)
def test_distribution_after_reasons(text, finish, status, share):
    answer = read(text, 'dist', 'cot', finish=finish)
    assert answer.status == status, answer
    assert answer.dist == (share and pytest.approx([share.get(o, 0) for o in SIX.labels]))


def test_merged_mass_adds_up_and_ties_do_not_hang_on_rounding():
    for text in ('{"happy": 30, "excited": 20, "sad": 50}',
                 '{"happy": .1, "excited": .4, "sad": .5}'):
        assert read(text, 'dist', labels=FOUR).label == ('happy', 'sad')
    assert 'sum to 110' in read('{"happy": 60, "sad": 50}', 'dist').note


def test_the_span_is_where_the_answer_stands():
    for text, mode, expected in [('\x1b[1mVoice calm. Answer: **sad**!', 'label', 'sad'),
            ('so: {"sad": 100}.', 'dist', '{"sad": 100}'), ('Answer: angry or sad.', 'label',
            'angry or sad')]:
        low, high = read(text, mode).span
        assert text[low:high] == expected


# --- properties -----------------------------------------------------------------------------------
@pytest.mark.parametrize('name', LABEL_SETS)
def test_every_known_word_is_read_as_its_emotion_or_refused(name):
    labels = LABEL_SETS[name]
    for emotion, words in SYNONYMS.items():
        target = emotion if emotion in labels.labels else dict(labels.merged).get(emotion)
        for word in (emotion, *words):
            answer = read(word, labels=labels)
            assert answer.label == ((target,) if target else ()), word
            assert (answer.status == 'ok') == bool(target), word
            assert read(f'not {word}', labels=labels).label == (), word


def test_every_label_round_trips():
    for labels in LABEL_SETS.values():
        for o in labels.labels:
            assert read(o, labels=labels).label == read(f'{{"{o}": 100}}',
            'dist', labels=labels).label == (o,)


PIECES = [*WORDS, 'not', 'no', "isn't", 'but', 'or', 'and', 'Answer:', '**Answer**:',
          'Final answer', '答案', 'Antwort:',
          '<answer>', '{', '}', '"', "'", ':', ',', '%', '60', '.4', '-1', 'NaN', 'true', '1e99',
          '\n', '\x1b[1m', '\x00',
          '\ud800', 'ſ', 'İ', 'K', '```json', "I'm sorry, but I cannot", 'As an AI', '🙂', '，', '：']
TEXT = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=())),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map(''.join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(' '.join),
    st.dictionaries(st.sampled_from(list(WORDS)),
                    st.floats() | st.integers() | st.booleans() | st.none()).map(str))

@settings(deadline=None, max_examples=600, derandomize=True)
@given(TEXT, st.sampled_from(['label', 'dist']), st.sampled_from(['direct', 'cot']),
       st.sampled_from(list(LABEL_SETS.values())),
       st.sampled_from(['stop', 'length', 'content_filter', '']), st.randoms())
def test_any_text_is_read_or_refused_in_any_order_of_labels(text, mode, style, labels, finish, rng):
    answer = read(text, mode, style, labels, finish)
    answer.note.encode()                                       # a note can always be stored
    if answer.dist is None:
        assert answer.status in STATUSES[2:] and answer.note
        assert (answer.label, answer.span) == ((), None)
    else:
        best = [o for o, p in zip(labels.labels, answer.dist, strict=True) if p == max(answer.dist)]
        assert answer.status in STATUSES[:2] and answer.label == tuple(best)
        assert math.isclose(math.fsum(answer.dist), 1, abs_tol=1e-9) and min(answer.dist) >= 0
        assert 0 <= answer.span[0] < answer.span[1] <= len(text)
    order = rng.sample(range(len(labels)), len(labels))
    other = parse(text, mode, style, [labels.labels[o] for o in order], labels.merged, finish)
    assert other == replace(answer, dist=answer.dist and tuple(answer.dist[o] for o in order))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.integers(0, 100), min_size=6, max_size=6).filter(any))
def test_stated_distributions_are_kept(votes):
    total = sum(votes)
    for text in (json.dumps(dict(zip(SIX.labels, votes, strict=True))),
                 json.dumps({o: 100*n/total for o, n in zip(SIX.labels, votes, strict=True)})):
        answer, off = read(text, 'dist'), 0 if '.' in text or total == 1 else abs(total-100)
        assert answer.status == ('ok' if off <= 2 else 'repaired' if off <= 15 else 'out_of_set')
        if off <= 15: assert answer.dist == pytest.approx([o/total for o in votes], abs=1e-9)


UNITS = ['a', ' ', '\n', '{', '}', '{"angry":', '"', ',', ':', '*', '1', '.', 'angry ', 'not ',
         'angry: 60\n',
         '{"angry": 60} ', 'Answer:', 'answer ', 'Answer: angry ', '\x1b[', '\x1b[0', '\x00',
         'I can', 'ich kann a ', 'sad, ',
         'sad. ', '不', '愤怒', '\ud800', '<|a', "n't ", '0.', '60%', "angry '"]

@pytest.mark.parametrize('unit', UNITS, ids=ascii)
def test_a_long_text_is_read_in_linear_time(unit):
    "Nothing is timed: at quadratic cost this would take many minutes, and the next test hours."
    text = unit*(100_000//len(unit))
    for mode, style in (('label', 'direct'), ('label', 'cot'), ('dist', 'direct')):
        assert read(text+'x', mode, style).status in STATUSES
    assert math.isnan(parse_verdict(text)) or 0 <= parse_verdict(text) <= 1


@pytest.mark.parametrize('text, mode, status', [
    ('a'*1_000_000 + ' angry', 'label', 'repaired'),
    ('the voice is loud, '*50_000 + 'Answer: angry', 'label', 'ok'),
    ('{"angry": '*100_000, 'dist', 'truncated'),
    ('{"angry": 1' + ' '*1_000_000 + '}', 'dist', 'ok'),
    ('{"angry": ' + '1'*1_000_000 + '}', 'dist', 'out_of_set'),
    ('{"' + '\\'*1_000_000 + '": 1}', 'dist', 'out_of_set')],
    ids=lambda o: ascii(o[:12]))
def test_a_text_of_a_million_characters_is_read(text, mode, status):
    assert read(text, mode).status == status


# --- verdicts and misuse --------------------------------------------------------------------------
@pytest.mark.parametrize('text, value', [
    ('yes', 1), ('Yes.', 1), ('**Yes**', 1), ('Yes, there is no doubt', 1), ('no', 0),
    ('No, she sounds sad', 0), ('Nein', 0),
    ('ja', 1), ('是', 1), ('是的', 1), ('否', 0), ('不是', 0), ('Pitch high. Answer: no', 0),
    ('100', 1), ('0', 0), ('85', .85),
    ('85%', .85), ('85/100', .85), ('0.85', .85), ('.5', .5), ('1.0', 1), ('1', 1), ('1%', .01), ('No doubt', 1), ('No question about it', 1), ('No audio was provided', None),
    ('No way to tell', None), ('True', 1), ('False', 0), ('<think>no</think>yes', 1), ('yes and no', None),
    ('Score: 70', .7), ('87.5', .875),
    ('yes or no', None), ('Yes/No', None), ('no or yes', None), ('Not sure', None),
    ('No idea', None), ('101', None),
    ('-5', None), ('8/10', None), ('nan', None), ('maybe', None), ('', None), (None, None),
    (5, None), ("I'm sorry", None),
    ('是否', None), ('yesterday', None), ('\x00', None), ('\ud800', None),
    ('between 60 and 80', None)], ids=ascii)
def test_verdict(text, value):
    read = parse_verdict(text)
    assert math.isnan(read) if value is None else read == pytest.approx(value)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(TEXT)
def test_a_verdict_is_a_probability_or_missing(text):
    value = parse_verdict(text)
    assert math.isnan(value) or 0 <= value <= 1


def test_misuse_is_refused():
    for mode, style in (('verify', 'direct'), ('label', 'vanilla')):
        with pytest.raises(InputError, match='Choose from'): parse('yes', mode, style, SIX.labels)


def test_the_version_says_what_was_read_by_which_rules():
    assert PARSER_VERSION.split('-')[0].isdigit() and len(PARSER_VERSION.split('-')[1]) == 8
