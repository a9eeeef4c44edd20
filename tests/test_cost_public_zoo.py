"""Models of timm and of transformers: exact, and unharmed by their summary.

Neither is needed by the course. To run this proof, which takes half an hour, install them without
what they pull (``pip install --no-deps timm transformers huggingface-hub safetensors tokenizers``)
in a copy of the environment, and run ``pytest -m slow tests/test_cost_public_zoo.py``.
"""
# ruff: noqa: E501

import copy
import importlib.util
import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.cost import CostWarning, summary

TIMM = """
    convnext_atto convnextv2_atto coat_lite_tiny coatnet_nano_rw_224 convit_tiny
    convmixer_768_32 crossvit_9_240 cs3darknet_s cspresnet50 darknet53 davit_tiny
    deit_tiny_patch16_224 densenet121 dla34 dm_nfnet_f0 dpn68 eca_resnet33ts edgenext_xx_small
    efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnet_b0_gn efficientvit_b0
    efficientvit_m0 ese_vovnet19b_dw fastvit_t8 fbnetc_100 focalnet_tiny_srf
    gc_efficientnetv2_rw_t gcresnet33ts gcvit_xxtiny gernet_s ghostnet_050 ghostnetv2_100
    halonet26t hardcorenas_a hgnet_tiny hgnetv2_b0 hrnet_w18_small inception_next_tiny
    inception_resnet_v2 inception_v3 inception_v4 lambda_resnet26t lcnet_050 legacy_senet154
    legacy_seresnet18 levit_128 levit_128s levit_conv_128 mambaout_femto maxvit_nano_rw_256
    mixer_s16_224 mixnet_s mnasnet_small mobilenet_edgetpu_100 mobilenetv1_100 mobilenetv2_050
    mobilenetv3_small_050 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050
    mvitv2_tiny nest_tiny nextvit_small nf_regnet_b0 nf_regnet_b4 nf_resnet26 nfnet_l0
    pit_ti_224 pit_xs_224 poolformer_s12 poolformerv2_s12 pvt_v2_b0 regnetx_002 regnety_002
    regnetz_b16 repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_14w_8s res2next50 resmlp_12_224
    resnest14d resnet18 resnet18d resnet26t resnet33ts resnet50_gn resnet50_clip resnetblur18
    resnetrs50 resnetv2_50 resnetv2_50d_gn resnetv2_50x1_bit resnext26ts resnext50_32x4d
    rexnet_100 sedarknet21 sehalonet33ts selecsls42 semnasnet_050 sequencer2d_s seresnet18
    seresnext26d_32x4d seresnextaa101d_32x8d shvit_s1 skresnet18 skresnet50 skresnext50_32x4d
    spnasnet_100 starnet_s1 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256
    swinv2_cr_tiny_224 tf_efficientnet_b0 tf_efficientnetv2_b0 tf_mixnet_s
    tf_mobilenetv3_small_075 tiny_vit_5m_224 tinynet_e tnt_s_patch16_224 tresnet_m
    twins_pcpvt_small twins_svt_small vgg11 vgg11_bn visformer_tiny vit_tiny_patch16_224
    vit_base_patch32_clip_224 vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224
    vitamin_small_224 vit_small_r26_s32_224 vovnet39a wide_resnet50_2 xception41 xception65
    xcit_nano_12_p16_224 volo_d1_224 caformer_s18 cait_xxs24_224 ese_vovnet39b_evos
    beit_base_patch16_224 eva02_tiny_patch14_224 flexivit_small hiera_tiny_224 pvt_v2_b1
    bat_resnext26ts botnet26t_256 ecaresnet26t haloregnetz_b deit3_small_patch16_224
    nf_ecaresnet26 nf_seresnet26 regnetv_040 resnet10t rdnet_tiny tf_efficientnet_lite0
    convnext_pico mobilenet_edgetpu_v2_xs edgenext_x_small csatv2 fastvit_sa12
""".split()  # noqa: SIM905

VISION = {"image_size": 64, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 96, "patch_size": 16}  # fmt: skip
TEXT = {"vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 96, "max_position_embeddings": 64}  # fmt: skip
GPT = {"vocab_size": 99, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64}
T5 = {"vocab_size": 99, "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 0}  # fmt: skip
IMAGE, WORDS = {"pixel_values": (3, 64, 64)}, {"input_ids": torch.zeros(1, 12, dtype=torch.long)}
BOTH = {**WORDS, "decoder_input_ids": torch.zeros(1, 5, dtype=torch.long)}
TRANSFORMERS = {  # class: settings, inputs
    "ViTModel": (VISION, IMAGE), "DeiTModel": (VISION, IMAGE), "BeitModel": (VISION, IMAGE),
    "Dinov2Model": (VISION, IMAGE), "IJepaModel": (VISION, IMAGE), "ViTMSNModel": (VISION, IMAGE),
    "ViTMAEModel": (VISION, IMAGE), "YolosModel": ({**VISION, "image_size": [64, 64]}, IMAGE),
    "ConvNextModel": ({"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64]}, IMAGE),
    "ConvNextV2Model": ({"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64]}, IMAGE),
    "ResNetModel": ({"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64]}, IMAGE),
    "RegNetModel": ({"depths": [1, 1, 1, 1], "hidden_sizes": [24, 48, 96, 192], "groups_width": 24}, IMAGE),
    "SwinModel": ({"image_size": 64, "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}, IMAGE),
    "Swinv2Model": ({"image_size": 64, "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}, IMAGE),
    "SegformerModel": ({}, IMAGE), "SegformerForSemanticSegmentation": ({}, IMAGE),
    "LevitModel": ({"image_size": 224}, {"pixel_values": (3, 224, 224)}),
    "MobileNetV1Model": ({}, IMAGE), "MobileNetV2Model": ({}, IMAGE), "MobileViTModel": ({"image_size": 64}, IMAGE),
    "PvtModel": ({"image_size": 224}, {"pixel_values": (3, 224, 224)}), "PoolFormerModel": ({}, IMAGE),
    "CvtModel": ({}, IMAGE), "FocalNetModel": ({"image_size": 64}, IMAGE), "BitModel": ({}, IMAGE),
    "EfficientNetModel": ({"image_size": 64}, IMAGE), "DPTForDepthEstimation": (
        {**VISION, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "is_hybrid": False,
         "neck_hidden_sizes": [16, 16, 16, 16], "fusion_hidden_size": 16}, IMAGE),
    "BertModel": (TEXT, WORDS), "RobertaModel": (TEXT, WORDS), "DistilBertModel": (
        {"vocab_size": 99, "dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96}, WORDS),
    "GPT2Model": (GPT, WORDS), "LlamaModel": (TEXT, WORDS), "MistralModel": ({**TEXT, "num_key_value_heads": 2}, WORDS),
    "Qwen2Model": ({**TEXT, "num_key_value_heads": 2}, WORDS), "T5Model": (T5, BOTH), "AlbertModel": (
        {**TEXT, "embedding_size": 24}, WORDS),
    "ElectraModel": ({**TEXT, "embedding_size": 24}, WORDS), "BartModel": (
        {"vocab_size": 99, "d_model": 48, "encoder_layers": 1, "decoder_layers": 1,
         "encoder_attention_heads": 4, "decoder_attention_heads": 4}, BOTH),
}  # fmt: skip

needs = {name: importlib.util.find_spec(name) is not None for name in ("timm", "transformers")}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors(item)]
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in tensors(item)]
    return []


def counted(model, given):
    """FlopCounterMode's MACs, or None where it cannot follow the model itself.

    On the meta device, where it sees an LSTM's products (on a CPU one fused operation hides them);
    with values for what decides by them.
    """
    for device in ("meta", "cpu"):
        try:
            there = copy.deepcopy(model).to(device)
            on_it = {name: value.to(device) for name, value in given.items()}
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                there(**on_it)
        except Exception:
            continue
        return counter.get_total_flops() // 2
    return None


def assert_exact_and_unharmed(model, given):
    model.eval()
    twin = copy.deepcopy(model)
    real = {
        name: value if isinstance(value, torch.Tensor) else torch.zeros(1, *value)
        for name, value in given.items()
    }
    hooks = [len(m._forward_hooks) for m in model.modules()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CostWarning)
        result = summary(model, given)
    assert result.rows and str(result)
    assert result.total_params == sum(p.numel() for p in model.parameters())
    expected = counted(twin, real)
    products = sum(op.macs for op in result._ops if op.label == "mv")  # which torch leaves out
    if expected is not None:
        assert result.total_macs - products == expected
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    copy.deepcopy(model)
    state, before = model.state_dict(), twin.state_dict()
    assert state.keys() == before.keys() and all(torch.equal(state[k], before[k]) for k in state)
    with torch.no_grad():
        torch.manual_seed(0)
        got = tensors(model(**real))
        torch.manual_seed(0)
        wanted = tensors(twin(**real))
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    return result


@pytest.mark.skipif(not needs["timm"], reason="timm is not installed: see the head of this file")
@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    import timm

    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    model = timm.create_model(name)
    assert_exact_and_unharmed(model, {"x": model.pretrained_cfg["input_size"]})


@pytest.mark.skipif(
    not needs["transformers"], reason="transformers is not installed: see the head of this file"
)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    import transformers

    kind = getattr(transformers, name)
    settings, given = TRANSFORMERS[name]
    torch.manual_seed(0)
    result = assert_exact_and_unharmed(kind(kind.config_class(**settings)), given)
    result.to_csv(), result.to_dict(), result.sources
