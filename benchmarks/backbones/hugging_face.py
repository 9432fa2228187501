"""Networks of Hugging Face transformers, from small configurations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.backbones.entry import Entry

SMALL = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 64}
DECODER = SMALL | {"num_key_value_heads": 2, "vocab_size": 99, "use_cache": False}
STAGED = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 40]}


def _make(model: str, config: str, sizes: dict[str, Any]) -> nn.Module:
    import transformers

    made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**sizes))
    return made


def _ids(samples: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, 99, (samples, 9))}


def _pixels(samples: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(samples, 3, 64, 64)}


def _net(
    name: str,
    model: str,
    config: str,
    sizes: dict[str, Any],
    inputs: Callable[[int], Any],
    layers: str = "",
    **facts: Any,
) -> Entry:
    return Entry(name, "transformers", partial(_make, model, config, sizes), inputs, tuple(layers.split()), **facts)


NETS = [
    _net("bert", "BertForSequenceClassification", "BertConfig", SMALL | {"vocab_size": 99}, _ids, fast=True),
    _net("roberta", "RobertaForSequenceClassification", "RobertaConfig", SMALL | {"vocab_size": 99}, _ids),
    _net(
        "distilbert",
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"dim": 32, "n_layers": 6, "n_heads": 2, "hidden_dim": 64, "vocab_size": 99},
        _ids,
    ),
    _net(
        "gpt2",
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 32, "n_layer": 6, "n_head": 2, "vocab_size": 99, "n_positions": 32, "use_cache": False},
        _ids,
        fast=True,
    ),
    _net("llama", "LlamaForCausalLM", "LlamaConfig", DECODER, _ids, fast=True),
    _net("qwen2", "Qwen2ForCausalLM", "Qwen2Config", DECODER, _ids),
    _net("mistral", "MistralForCausalLM", "MistralConfig", DECODER, _ids),
    _net(
        "mamba",
        "MambaForCausalLM",
        "MambaConfig",
        {"hidden_size": 32, "num_hidden_layers": 6, "state_size": 4, "vocab_size": 99, "use_cache": False},
        _ids,
        "backbone.layers.1 backbone.layers.3 backbone.layers.5",
    ),
    _net(
        "t5_encoder",
        "T5EncoderModel",
        "T5Config",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 6, "num_heads": 2, "vocab_size": 99},
        _ids,
        "encoder.block.1.layer.1 encoder.block.3.layer.1 encoder.block.5.layer.1",
    ),
    _net("vit", "ViTForImageClassification", "ViTConfig", SMALL | {"image_size": 64}, _pixels, fast=True),
    _net(
        "dinov2",
        "Dinov2ForImageClassification",
        "Dinov2Config",
        SMALL | {"image_size": 56, "mlp_ratio": 2},
        lambda samples: {"pixel_values": torch.randn(samples, 3, 56, 56)},
    ),
    _net(
        "swin",
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": 64, "embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 2, 2], "window_size": 4},
        _pixels,
        "swin.encoder.layers.0.blocks.0 swin.encoder.layers.0.blocks.1",
        refused={"auto": "token_pool=True"},
        fast=True,
    ),
    _net(
        "convnext",
        "ConvNextForImageClassification",
        "ConvNextConfig",
        STAGED,
        _pixels,
        "convnext.encoder.stages.1 convnext.encoder.stages.2 convnext.encoder.stages.3",
        fast=True,
    ),
    _net(
        "resnet",
        "ResNetForImageClassification",
        "ResNetConfig",
        STAGED | {"embedding_size": 16},
        _pixels,
        "resnet.encoder.stages.1 resnet.encoder.stages.2 resnet.encoder.stages.3",
    ),
    _net(
        "segformer",
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        STAGED | {"depths": [1, 1, 3, 1], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 32},
        _pixels,
        "segformer.stages.2.blocks.0 segformer.stages.2.blocks.1 segformer.stages.2.blocks.2",
        refused={"cache": "what lies behind"},
        fast=True,
    ),
    _net("clip_vision", "CLIPVisionModel", "CLIPVisionConfig", SMALL | {"image_size": 64, "patch_size": 16}, _pixels),
    _net(
        "siglip_vision",
        "SiglipVisionModel",
        "SiglipVisionConfig",
        SMALL | {"image_size": 64, "patch_size": 16},
        _pixels,
    ),
    _net(
        "whisper_encoder",
        "WhisperForAudioClassification",
        "WhisperConfig",
        {
            "d_model": 32,
            "encoder_layers": 6,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "num_mel_bins": 16,
            "max_source_positions": 50,
            "classifier_proj_size": 32,
        },
        lambda samples: {"input_features": torch.randn(samples, 16, 100)},
        "encoder.layers.1 encoder.layers.3 encoder.layers.5",
        options={"causal": False},
        fast=True,
    ),
    _net(
        "wav2vec2",
        "Wav2Vec2ForSequenceClassification",
        "Wav2Vec2Config",
        SMALL
        | {
            "conv_dim": [16, 16, 16],
            "conv_kernel": [10, 3, 3],
            "conv_stride": [5, 2, 2],
            "num_feat_extract_layers": 3,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
            "classifier_proj_size": 32,
            "apply_spec_augment": False,
        },
        lambda samples: {"input_values": torch.randn(samples, 1600)},
        "wav2vec2.encoder.layers.1 wav2vec2.encoder.layers.3 wav2vec2.encoder.layers.5",
        options={"causal": False},
    ),
]
