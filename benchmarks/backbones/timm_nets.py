"""The networks of timm: one of each family, small and on small images where the family allows it."""

from functools import partial
from typing import Any

import timm

from benchmarks.backbones.entry import Entry, images

UNEQUAL = {"auto": "token_pool=True"}
"""Refused where the stages have tokens of unequal number."""

POOLED: dict[str, Any] = {"options": {"token_pool": True}, "refused": UNEQUAL}
"""What such a network needs."""

WINDOWS: dict[str, Any] = {
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 32,
    "depths": (2, 2, 2, 2),
    "num_heads": (2, 2, 4, 4),
}
"""A small transformer of windows."""

FACTS = ("layout", "channels", "refused", "fast", "options")
"""Fields of `Entry`; all other options are arguments of `timm.create_model`."""


def _net(name: str, side: int = 64, layers: str = "", **options: Any) -> Entry:
    facts = {key: options.pop(key) for key in FACTS if key in options}
    make = partial(timm.create_model, name, pretrained=False, num_classes=16, **options)
    return Entry(name, "timm", make, images(side), tuple(layers.split()), **facts)


def _vit(name: str, side: int = 64, **options: Any) -> Entry:
    """A transformer that takes its sizes as arguments, made small."""
    sizes = {"img_size": side, "embed_dim": 64, "depth": 6, "num_heads": 2}
    return _net(name, side, **sizes | options)


NETS = [
    # convolutional, one resolution after the other
    _net("resnet18"),
    _net("resnetv2_50x1_bit"),
    _net("resnext50_32x4d"),
    _net("seresnext26d_32x4d"),
    _net("res2net50_14w_8s"),
    _net("resnest14d"),
    _net("skresnet18"),
    _net("regnetx_002", layers="s2 s3 s4", fast=True),
    _net("regnety_002", layers="s2 s3 s4"),
    _net("nf_resnet26", layers="stages.1 stages.2 stages.3"),
    _net("nfnet_l0"),
    _net("test_nfnet", fast=True),
    _net("efficientnet_b0"),
    _net("efficientnet_lite0"),
    _net("tf_efficientnet_lite0"),
    _net("tf_efficientnetv2_b0"),
    _net("tf_mobilenetv3_small_minimal_100", fast=True),
    _net("mobilenetv2_035", fast=True),
    _net("mobilenetv3_small_050"),
    _net("mobilenetv4_conv_small"),
    _net("mobilenetv4_hybrid_medium"),
    _net("mobilenetv5_base", channel_multiplier=0.25),
    _net("mnasnet_small"),
    _net("lcnet_050"),
    _net("tinynet_e"),
    _net("mixnet_s"),
    _net("fbnetc_100"),
    _net("hardcorenas_a"),
    _net("rexnet_100", layers="features.4 features.10 features.15"),
    _net("ghostnet_050"),
    _net("ghostnetv2_100"),
    _net("repvgg_a0"),
    _net("mobileone_s0"),
    _net("densenet121", layers="features.denseblock2 features.denseblock3 features.denseblock4"),
    _net("dla46_c", layers="level3 level4 level5"),
    _net(
        "hrnet_w18_small",
        layers="stage2.0.branches.0 stage3.0.branches.0 stage4.0.branches.0",
    ),
    _net("inception_v3", 96, "Mixed_5d Mixed_6e Mixed_7c"),
    _net("inception_v4", 96, "features.9 features.17 features.21"),
    _net("xception41", layers="blocks.3 blocks.10 blocks.11"),
    _net("vgg11", layers="features.10 features.15 features.20"),
    _net("cspresnet50"),
    _net("darknet53"),
    _net("ese_vovnet19b_dw"),
    _net("dpn48b", layers="features.conv3_4 features.conv4_6 features.conv5_3"),
    _net("selecsls42", layers="features.1.conv6 features.3.conv6 features.5.conv6"),
    _net("hgnetv2_b0"),
    _net("convnext_atto"),
    _net("convnextv2_atto"),
    _net("convmixer_768_32", layers="blocks.10 blocks.20 blocks.31"),
    _net("rdnet_tiny", layers="dense_stages.2 dense_stages.3 dense_stages.6"),
    _net("starnet_s050", fast=True),
    _net("inception_next_atto"),
    _net("fasternet_t0"),
    _net("mambaout_femto", layout="BHWC", channels=(96, 192, 288)),
    # convolution and attention
    _net("fastvit_t8"),
    _net("repvit_m0_9"),
    _net("edgenext_xx_small"),
    _net("efficientvit_b0"),
    _net("efficientvit_m0", 224),
    _net("efficientformer_l1", 224, "stages.0 stages.1 stages.2", refused={"auto": "maps and token sequences"}),
    _net("efficientformerv2_s0", 224),
    _net("mobilevit_xxs"),
    _net("mobilevitv2_050"),
    _net("maxvit_pico_rw_256", 64, img_size=64),
    _net("maxvit_tiny_tf_224", 64, img_size=64),
    _net("coatnet_pico_rw_224", 64, img_size=64),
    _net("botnet26t_256", 128, img_size=128),
    _net("lambda_resnet26t", 64),
    _net("halonet26t", 256),
    _net("levit_128s", 224, **POOLED, fast=True),
    _net("visformer_tiny", 224, layers="stage1 stage2 stage3"),
    _net("swiftformer_xs", 64, fast=True),
    _net("shvit_s1", 128),
    _net("nextvit_small", layers="stages.1 stages.2 stages.3"),
    _net("tiny_vit_5m_224", 224, layers="stages.1 stages.2 stages.3"),
    _net("poolformer_s12"),
    _net("caformer_s18"),
    _net("convformer_s18"),
    _net("pvt_v2_b0"),
    _net("twins_svt_small", 64, "blocks.2.3 blocks.2.6 blocks.2.9", img_size=64, refused=UNEQUAL),
    _net("twins_pcpvt_small", 64, "blocks.2.1 blocks.2.3 blocks.2.5", img_size=64, refused=UNEQUAL),
    _net("davit_tiny", 64),
    _net("gcvit_xxtiny", 64, img_size=64),
    _net("focalnet_tiny_srf", 64, "layers.1 layers.2 layers.3"),
    _net("mvitv2_tiny", 64, img_size=64, **POOLED),
    _net("coat_lite_tiny", 64, "serial_blocks3.0 serial_blocks3.1", img_size=64, refused=UNEQUAL),
    _net("nest_tiny", 64, "levels.0 levels.1 levels.2", img_size=64, channels=(96, 384, 384)),
    # windows, channels last
    _net("swin_tiny_patch4_window7_224", 64, **WINDOWS, layout="BHWC", channels=(64, 128, 256), fast=True),
    _net("swinv2_tiny_window8_256", 64, **WINDOWS, layout="BHWC", channels=(64, 128, 256)),
    _net("swinv2_cr_tiny_224", 64, **WINDOWS),
    _net("hiera_tiny_224", 64, "blocks.5 blocks.7 blocks.9", img_size=(64, 64), refused=UNEQUAL),
    _net("sam2_hiera_tiny", 64, layout="BHWC"),
    _net(
        "samvit_base_patch16",
        64,
        img_size=64,
        embed_dim=64,
        depth=6,
        num_heads=2,
        layout="BHWC",
        global_attn_indexes=(2, 5),
        channels=(64, 64, 64),
        fast=True,
    ),
    # tokens
    _vit("vit_tiny_patch16_224", fast=True),
    _vit("vit_small_patch14_reg4_dinov2", 56, fast=True),
    _vit("vit_medium_patch16_reg4_gap_256"),
    _vit("vit_small_patch16_dinov3"),
    _vit("vit_base_patch16_siglip_224"),
    _vit("vit_base_patch16_clip_224"),
    _vit("flexivit_small"),
    _net("naflexvit_base_patch16_gap", 64, embed_dim=64, depth=6, num_heads=2),
    _vit("deit_tiny_patch16_224"),
    _vit("deit_tiny_distilled_patch16_224", fast=True),
    _vit("deit3_small_patch16_224"),
    _vit("beit_base_patch16_224"),
    _vit("beitv2_base_patch16_224"),
    _vit("eva02_tiny_patch14_224", 56),
    _vit("cait_xxs24_224", fast=True),
    _vit("xcit_nano_12_p16_224"),
    _vit("convit_tiny", num_heads=4),
    _net(
        "tnt_s_legacy_patch16_224",
        64,
        img_size=64,
        refused={"auto": "one sample of a batch changes others", "paths": "one sample of a batch changes others"},
        fast=True,
    ),
    _net(
        "pit_ti_224",
        224,
        "transformers.1.blocks.1 transformers.1.blocks.3 transformers.1.blocks.5",
        refused={"auto": "first item of the tuple"},
    ),
    _net(
        "crossvit_tiny_240",
        240,
        "blocks.0.fusion.0 blocks.1.fusion.0 blocks.2.fusion.0",
        refused={"cache": "what lies behind"},
    ),
    _net("volo_d1_224", 64, "network.0 network.2 network.4", img_size=64, layout="BHWC"),
    _net("aimv2_large_patch14_224", 56, img_size=56, embed_dim=64, depth=6, num_heads=2),
    _net("mixer_s32_224", 96, img_size=96),
    _net("resmlp_12_224", 64, img_size=64),
    _net("gmlp_ti16_224", 64, img_size=64),
    _net("sequencer2d_s", layout="BHWC"),
]
