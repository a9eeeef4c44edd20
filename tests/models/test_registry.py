import math

import pytest
import torch
import torchvision
from torch import nn

from cnnlab.models import Network, get_model, list_models
from cnnlab.models._registry import register

SMALL = [
    "lenet5_1998",
    "lenet5",
    "mnist_cnn",
    "nin_cifar",
    "googlenet_paper",
    "resnet20_cifar",
    "preact_resnet18",
    "wide_resnet16_8_cifar",
    "squeezenet1_1",
    "xception",
    "fractalnet20_cifar",
    "densenet40_cifar",
    "resnext50_32x4d",
    "mobilenet_v1",
    "mobilenet_v2",
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "nasnet_a_mobile",
    "se_resnet18",
    "cbam_resnet18",
    "eca_resnet18",
    "efficientnet_b0",
    "efficientnet_lite0",
    "inception_v3",
]


class TestNames:
    def test_every_network_says_in_one_line_what_it_is(self):
        about = list_models()
        assert len(about) > 100
        assert len(set(about.values())) == len(about)
        for name, line in about.items():
            assert 10 < len(line) <= 100, name
            assert "\n" not in line

    def test_a_pattern_selects(self):
        assert list(list_models("vgg16*")) == ["vgg16", "vgg16_bn"]
        assert list_models("*transformer*") == {}

    @pytest.mark.parametrize(
        ("wrong", "near"),
        [("resnet51", "resnet50"), ("VGG16", "vgg16"), ("mobilenetv2", "mobilenet_v2")],
    )
    def test_an_unknown_name_gets_the_nearest_three(self, wrong, near):
        with pytest.raises(ValueError, match=f"'{wrong}'") as error:
            get_model(wrong)
        suggestions = str(error.value).split("are ")[1].split(", ")
        assert len(suggestions) == 3
        assert suggestions[0] == near
        assert set(suggestions) <= set(list_models())

    def test_a_name_is_given_once(self):
        with pytest.raises(ValueError, match="'resnet18'"):
            register("resnet18", Network, "another")

    def test_an_option_that_no_layer_knows_is_refused(self):
        with pytest.raises(TypeError, match="shortcuts"):
            get_model("resnet18", shortcuts="A", device="meta")
        with pytest.raises(ValueError, match="'D'"):
            get_model("resnet18", shortcut="D", device="meta")
        with pytest.raises(ValueError, match=r"\['cbam', 'eca', 'se'\], got 'sa'"):
            get_model("resnet18", attention="sa", device="meta")
        with pytest.raises(ValueError, match="'5x5'"):
            get_model("resnet50", stride_on="5x5", device="meta")
        with pytest.raises(ValueError, match=r"groups must be one of \[1, 2, 3, 4, 8\], got 5"):
            get_model("shufflenet_v1", groups=5, device="meta")


class TestBuilding:
    @pytest.mark.parametrize("name", list_models())
    def test_on_meta_with_another_type_and_number_of_classes(self, name):
        network = get_model(name, num_classes=7, device="meta", dtype=torch.float64).eval()
        tensors = [*network.parameters(), *network.buffers()]
        assert {t.device.type for t in tensors} == {"meta"}
        assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}
        x = torch.empty(2, *network.input_size, device="meta", dtype=torch.float64)
        assert network(x).shape == (2, 7)

    @pytest.mark.parametrize("name", SMALL)
    @pytest.mark.parametrize("init", ["he", "paper"])
    def test_no_weight_is_left_unset(self, name, init):
        torch.use_deterministic_algorithms(True)  # fills new memory with NaN
        try:
            network = get_model(name, num_classes=10, init=init)
        except ValueError as error:
            assert "states no initialization" in str(error)
            return
        finally:
            torch.use_deterministic_algorithms(False)
        for path, tensor in network.state_dict().items():
            assert torch.isfinite(tensor).all(), path
            if path.endswith("weight") and tensor.ndim > 1:
                assert tensor.std() > 0 or tensor.numel() == 1, path

    def test_other_channels(self):
        for name in ("lenet5", "resnet20_cifar", "nin_d2l", "efficientnet_b0"):
            network = get_model(name, in_channels=2, device="meta").eval()
            assert network.input_size[0] == 2
            network(torch.empty(1, *network.input_size, device="meta"))

    def test_a_generator_repeats_the_weights(self):
        networks = [
            get_model("lenet5", generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
        ]
        first, same, other = (torch.cat([p.flatten() for p in n.parameters()]) for n in networks)
        assert torch.equal(first, same)
        assert not torch.equal(first, other)

    def test_building_leaves_the_global_generator_alone(self):
        state = torch.get_rng_state()
        get_model("resnet20_cifar", generator=torch.Generator().manual_seed(0))
        assert torch.equal(torch.get_rng_state(), state)


class TestInitialization:
    def test_he_keeps_the_signal_at_any_depth(self):
        generator = torch.Generator().manual_seed(0)
        network = get_model("vgg19", generator=generator, num_classes=10)
        x = torch.randn(2, 3, 64, 64, generator=generator)
        sizes = []
        for layer in network.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                sizes.append(x.std().item())
        assert max(sizes) / min(sizes) < 10
        assert all(p.abs().max() == 0 for n, p in network.named_parameters() if "bias" in n)

    @pytest.mark.parametrize("name", ["resnet20_cifar", "mobilenet_v2", "squeezenet1_1", "lenet5"])
    def test_the_first_loss_is_near_the_logarithm_of_the_classes(self, name):
        generator = torch.Generator().manual_seed(0)
        network = get_model(name, num_classes=10, generator=generator)
        side = 32 if network.input_size[1] <= 32 else 96
        x = torch.randn(10, network.input_size[0], side, side, generator=generator)
        loss = nn.functional.cross_entropy(network(x), torch.arange(10))
        assert loss.item() == pytest.approx(math.log(10), rel=0.15)

    def test_alexnets_own(self):
        network = get_model("alexnet_two_gpu", init="paper", num_classes=10)
        convs = [m for m in network.features if isinstance(m, nn.Conv2d)]
        assert [conv.bias.mean().item() for conv in convs] == [0, 1, 0, 1, 1]
        assert all(conv.weight.std().item() == pytest.approx(0.01, rel=0.05) for conv in convs)
        linear = [m for m in network.classifier if isinstance(m, nn.Linear)]
        assert [layer.bias.mean().item() for layer in linear] == [1, 1, 0]

    def test_lenets_own(self):
        network = get_model("lenet5_1998", init="paper")
        assert network.c1.weight.abs().max().item() == pytest.approx(2.4 / 25, rel=0.05)
        assert network.f6.weight.abs().max().item() == pytest.approx(2.4 / 120, rel=0.05)

    def test_vggs_and_zfnets_own(self):
        vgg = get_model("vgg11", init="paper", num_classes=10)
        assert vgg.features[3].weight.var().item() == pytest.approx(0.01, rel=0.05)
        zfnet = get_model("zfnet", init="paper", num_classes=10)
        assert zfnet.features[4].weight.std().item() == pytest.approx(0.01, rel=0.05)

    def test_a_paper_that_states_none(self):
        with pytest.raises(ValueError, match="nin states no initialization"):
            get_model("nin", init="paper", device="meta")
        with pytest.raises(ValueError, match="'xavier'"):
            get_model("nin", init="xavier", device="meta")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def place(cache, name, state):
    url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    torch.save(state, cache / url.rsplit("/", 1)[1])


class TestPublishedWeights:
    @pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v2"])
    def test_load_from_the_cache(self, cache, name):
        theirs = torchvision.models.get_model(name)
        place(cache, name, theirs.state_dict())
        ours = get_model(name, weights="IMAGENET1K_V1")
        for path, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[path], tensor), path

    def test_densenets_old_names(self, cache):
        theirs = torchvision.models.densenet121().state_dict()
        old = {
            path.replace("norm1", "norm.1").replace("norm2", "norm.2")
            .replace("conv1", "conv.1").replace("conv2", "conv.2")
            if "denselayer" in path else path: tensor
            for path, tensor in theirs.items() if "num_batches_tracked" not in path
        }  # fmt: skip
        place(cache, "densenet121", old)
        ours = get_model("densenet121", weights="IMAGENET1K_V1").state_dict()
        assert torch.equal(
            ours["features.denseblock4.denselayer16.conv2.weight"],
            theirs["features.denseblock4.denselayer16.conv2.weight"],
        )

    @pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
    @pytest.mark.parametrize("aux_logits", [True, False])
    def test_auxiliary_heads_and_the_input_that_the_weights_expect(self, cache, name, aux_logits):
        theirs = torchvision.models.get_model(name, init_weights=False).eval()
        place(cache, name, theirs.state_dict())
        ours = get_model(name, weights="IMAGENET1K_V1", aux_logits=aux_logits).eval()
        assert any("aux" in path.lower() for path in ours.state_dict()) == aux_logits
        theirs.transform_input = True  # as torchvision sets it with these weights
        x = torch.randn(1, 3, 96, 96)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)

    def test_a_file_of_another_network_is_refused(self, cache):
        place(cache, "resnet18", torchvision.models.squeezenet1_1().state_dict())
        with pytest.raises(RuntimeError, match="Missing key"):
            get_model("resnet18", weights="IMAGENET1K_V1")

    def test_offline_says_which_file_goes_where(self, cache):
        with pytest.raises(RuntimeError) as error:
            get_model("resnet18", weights="IMAGENET1K_V1")
        message = str(error.value)
        assert "resnet18-f37072fd.pth" in message
        assert str(cache) in message
        assert "no route to host" in message
        assert "\n" not in message

    def test_what_does_not_exist(self):
        with pytest.raises(ValueError, match="no published weights for 'nin'"):
            get_model("nin", weights="IMAGENET1K_V1")
        with pytest.raises(ValueError, match="resnet18 has no weights 'V3', only IMAGENET1K_V1"):
            get_model("resnet18", weights="V3")
        with pytest.raises(ValueError, match="1000 classes, got num_classes=10"):
            get_model("resnet18", weights="IMAGENET1K_V1", num_classes=10)
