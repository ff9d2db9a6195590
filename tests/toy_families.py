"""A tiny random instance of every family of local models, built offline.

The model classes are the library's own. So are the processors: Qwen2-Audio's and Audio Flamingo 3's
whole, Qwen2.5-Omni's and Gemma 4's without their parts for pictures and films (which would need
torchvision), and Voxtral's where mistral-common is installed. Where it is not, `StandIn` takes its
place, which gives the same tensors (a test compares them)."""
import base64
import io
import json
import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (AudioFlamingo3Processor, Gemma4AudioFeatureExtractor, Gemma4Processor,
                          PreTrainedTokenizerFast, Qwen2_5OmniProcessor, WhisperFeatureExtractor)
from transformers.feature_extraction_utils import BatchFeature
from ambiscale_nb.models.families import FAMILIES
from ambiscale_nb.models.local import CHAT_TEMPLATE, LocalALM, byte_bpe, toy_processor, toy_qwen2_audio

torch.set_num_threads(1)
WIDTH, SECONDS = 32, 3
TEXT = dict(hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, max_position_embeddings=1024, bos_token_id=None,
            tie_word_embeddings=False)
WHISPER = dict(num_mel_bins=16, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
               intermediate_size=48, max_source_positions=150)
PICTURE = dict(hidden_size=WIDTH, out_hidden_size=WIDTH, intermediate_size=32, num_heads=2, depth=1)

# --- tokenizers and processors
def tokenizer(special, end, pad, **named):
    "Bytes and special tokens; `named` become attributes, as `audio_token` of Qwen2.5-Omni."
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator([], trainers.BpeTrainer(
        special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return PreTrainedTokenizerFast(tokenizer_object=tok, eos_token=end, pad_token=pad,
                                   padding_side='left', extra_special_tokens=named,
                                   clean_up_tokenization_spaces=False)

def whisper(seconds=SECONDS):
    return WhisperFeatureExtractor(feature_size=16, chunk_length=seconds, return_attention_mask=True)

def flamingo_processor():
    tok = tokenizer(['<|pad|>', '<|im_start|>', '<|im_end|>', '<sound>'], '<|im_end|>', '<|pad|>')
    template = CHAT_TEMPLATE.replace('<|audio_bos|><|AUDIO|><|audio_eos|>', '<sound>')
    return AudioFlamingo3Processor(whisper(), tok, template, max_audio_len=2*SECONDS)

class Blind:  # Takes `None` for the parts that read pictures and films: those need torchvision
    def check_argument_for_proper_class(self, name, part): pass

class BlindOmni(Blind, Qwen2_5OmniProcessor): pass
class BlindGemma(Blind, Gemma4Processor): pass

def omni_processor():
    named = dict(image_token='<|IMAGE|>', video_token='<|VIDEO|>', audio_token='<|AUDIO|>',
                 vision_bos_token='<|vision_bos|>', vision_eos_token='<|vision_eos|>',
                 audio_bos_token='<|audio_bos|>', audio_eos_token='<|audio_eos|>')
    tok = tokenizer(['<|endoftext|>', '<|im_start|>', '<|im_end|>', *named.values()],
                    '<|im_end|>', '<|endoftext|>', **named)
    return BlindOmni(None, None, whisper(), tok, CHAT_TEMPLATE)

def gemma_processor():
    named = dict(image_token='<|image|>', audio_token='<|audio|>', boi_token='<|image>',
                 eoi_token='<image|>', boa_token='<|audio>', eoa_token='<audio|>')
    tok = tokenizer(['<pad>', '<eos>', '<bos>', '<|turn>', '<turn|>', *named.values()], '<eos>', '<pad>',
                    **named)
    template = ("<bos>{% for m in messages %}<|turn>{{ m['role'] }}\n{% for p in m['content'] %}"
                "{% if p['type']=='audio' %}<|audio|>{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
                "<turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}")
    return BlindGemma(Gemma4AudioFeatureExtractor(feature_size=16), None, tok, None, template)

# --- Voxtral: mistral-common's own control tokens; [AUDIO] is number 24 in the library's code
CONTROL = ['<unk>', '<s>', '</s>', '[INST]', '[/INST]', '[AVAILABLE_TOOLS]', '[/AVAILABLE_TOOLS]',
           '[TOOL_RESULTS]', '[/TOOL_RESULTS]', '[TOOL_CALLS]', '[IMG]', '<pad>', '[IMG_BREAK]',
           '[IMG_END]', '[PREFIX]', '[MIDDLE]', '[SUFFIX]', '[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]',
           '[TOOL_CONTENT]', '[ARGS]', '[CALL_ID]', '[UNUSED_1]', '[UNUSED_2]', '[AUDIO]',
           '[BEGIN_AUDIO]', '[TRANSCRIBE]']

class Bytes:  # The tokenizer of `StandIn`: control tokens, then the 256 bytes in order
    eos_token_id, pad_token_id = 2, 11
    def __call__(self, text, add_special_tokens=True):
        return {'input_ids': [len(CONTROL)+b for b in text.encode()]}
    def decode(self, tokens, skip_special_tokens=True):
        return bytes(t-len(CONTROL) for t in tokens if t>=len(CONTROL)).decode(errors='replace')
    def __len__(self): return len(CONTROL)+256

class StandIn:  # What a `VoxtralProcessor` makes of one clip (or none) and one question, without mistral-common
    def __init__(self): self.tokenizer, self.feature_extractor = Bytes(), whisper(30)

    def apply_chat_template(self, talk):
        *sounds, text = talk[0]['content']
        at = {t: i for i, t in enumerate(CONTROL)}
        asked = [*self.tokenizer(text['text'])['input_ids'], at['[/INST]']]
        if not sounds:
            ids = [at['<s>'], at['[INST]'], *asked]
            return BatchFeature(dict(input_ids=[ids], attention_mask=[[1]*len(ids)]), tensor_type='pt')
        sound, = sounds
        assert set(sound)=={'type', 'base64'} and set(text)=={'type', 'text'}
        wave, rate = soundfile.read(io.BytesIO(base64.b64decode(sound['base64'])), dtype='float32')
        assert rate==16_000 and wave.ndim==1
        n = -(-len(wave)//(30*rate)) # windows: the last is filled with silence
        wave = np.pad(wave, (0, n*30*rate-len(wave)))
        mel = self.feature_extractor(wave, sampling_rate=rate, padding=True, truncation=False,
                                     return_tensors='pt')['input_features']
        mel = mel.reshape(16, n, -1).transpose(0, 1)
        places = [at['[AUDIO]']]*(n*mel.shape[-1]//8) # stride 2, then four in one
        ids = [at['<s>'], at['[INST]'], at['[BEGIN_AUDIO]'], *places, *asked]
        return BatchFeature(dict(input_ids=[ids], attention_mask=[[1]*len(ids)], input_features=mel),
                            tensor_type='pt')

def tekken(path):  # A tokenizer file of mistral-common's own format: the same tokens as those of `StandIn`
    config = dict(pattern=r'[^\s]+|\s+', num_vocab_tokens=256, version='v7',
                  default_vocab_size=len(CONTROL)+256, default_num_special_tokens=len(CONTROL))
    vocab = [dict(rank=i, token_bytes=base64.b64encode(bytes([i])).decode(),
                  token_str=chr(i) if i<128 else None) for i in range(256)]
    special = [dict(rank=i, token_str=t, is_control=True) for i, t in enumerate(CONTROL)]
    audio = dict(sampling_rate=16_000, frame_rate=12.5, chunk_length_s=30.,
                 audio_encoding_config=dict(num_mel_bins=16, hop_length=160, window_size=400))
    path.write_text(json.dumps(dict(config=config, vocab=vocab, special_tokens=special, audio=audio)))
    return path

def voxtral_processor(folder):  # The library's own, where mistral-common is installed
    from transformers import VoxtralProcessor
    from transformers.tokenization_mistral_common import MistralCommonBackend
    return VoxtralProcessor(whisper(30), MistralCommonBackend(tekken(folder/'tekken.json')))

# --- models
def settings(name, processor):  # The arguments of a family's configuration class
    tok = processor.tokenizer
    text = dict(TEXT, vocab_size=len(tok), eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id)
    sound = getattr(processor, 'audio_token_id', 24)
    if name=='audio-flamingo-3':
        return dict(audio_config=WHISPER, text_config=dict(text, model_type='qwen2'), audio_token_id=sound)
    if name=='voxtral': # its windows are of 30 s; four places of 32 become one token of 128
        audio = dict(WHISPER, intermediate_size=4*WIDTH, max_source_positions=1500)
        return dict(audio_config=audio, text_config=dict(text, model_type='llama'), audio_token_id=sound)
    if name=='qwen2.5-omni':
        audio = dict(num_mel_bins=16, d_model=WIDTH, encoder_layers=2, encoder_attention_heads=2,
                     encoder_ffn_dim=48, n_window=20, output_dim=WIDTH, max_source_positions=150)
        rope = dict(rope_type='default', rope_theta=1e6, mrope_section=[2, 3, 3])
        return dict(audio_config=audio, vision_config=PICTURE, text_config=dict(text, rope_parameters=rope),
                    audio_token_index=sound, image_token_index=processor.image_token_id,
                    video_token_index=processor.video_token_id,
                    vision_start_token_id=tok.convert_tokens_to_ids('<|vision_bos|>'))
    audio = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, output_proj_dims=WIDTH,
                 subsampling_conv_channels=[16, 4])
    text = dict(text, num_hidden_layers=3, layer_types=['sliding_attention']*2+['full_attention'],
                sliding_window=8, hidden_size_per_layer_input=8, vocab_size_per_layer_input=len(tok),
                global_head_dim=16, tie_word_embeddings=True, bos_token_id=2)
    return dict(audio_config=audio, text_config=text, vision_config=None, audio_token_id=sound,
                image_token_id=tok.image_token_id, video_token_id=processor.video_token_id)

def toy_model(name, processor, scale=12.):
    """A random model with weights so large that sound and place matter (at their usual size its logits
    are nearly flat)."""
    import transformers
    if name=='qwen2-audio': model = toy_qwen2_audio(processor, width=32, layers=2, ffn=48, lm_ffn=48, heads=2)
    else:
        cls = getattr(transformers, FAMILIES[name].model)
        torch.manual_seed(0)
        model = cls(cls.config_class(**settings(name, processor)))
    for at, p in model.named_parameters():
        if p.ndim>1 and 'embed_positions' not in at: p.data *= scale
    return model

PROCESSORS = {'qwen2-audio': lambda: toy_processor(byte_bpe(), mels=80, seconds=SECONDS, hop=320),
              'audio-flamingo-3': flamingo_processor, 'qwen2.5-omni': omni_processor,
              'voxtral': StandIn, 'gemma-4': gemma_processor}

def toy(name, ends=(), own=None):
    """A family's wrapper around its tiny instance. Tokens in `ends` end its replies too, so that some
    come early; `own` are a checkpoint's own settings of decoding."""
    processor = PROCESSORS[name]()
    model = toy_model(name, processor)
    config = model.generation_config
    config.eos_token_id = [processor.tokenizer.eos_token_id, *ends]
    for k, v in (own or {}).items(): setattr(config, k, v)
    family = FAMILIES[name]
    seconds = {'audio-flamingo-3': 2*SECONDS, 'voxtral': 60, 'gemma-4': 30}.get(name, SECONDS)
    return LocalALM(model, processor, name, 'random', max_seconds=seconds, render=family.render)
