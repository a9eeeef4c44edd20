"""Training: equal to a loop by hand, resumable, and plain about what went wrong."""

import csv
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from cnnlab.data import Batches, ImageSet, augmentation, digits, patterns
from cnnlab.models import get_model
from cnnlab.progress import progress_bar, somebody_watches
from cnnlab.training import (
    RECIPES,
    Recipe,
    evaluate,
    first_nonfinite_layer,
    fit,
    get_recipe,
    predict,
)
from cnnlab.training.checkpoint import save_checkpoint
from tests import facts

ROOT = Path(__file__).parents[1]


def small_net(seed=0, dropout=0.0, classes=10) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(144, classes)
    )


def few_digits(count=160) -> ImageSet:
    whole = digits("train")
    return ImageSet(whole.images[:count], whole.labels[:count], whole.classes, "few digits")


def blobs(count=160) -> ImageSet:
    """As many images of ten noisy patterns: a lab's own Python may lack scikit-learn."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10
    patterns = torch.rand(10, 1, 8, 8, generator=generator)
    noise = torch.rand(count, 1, 8, 8, generator=generator)
    return ImageSet(0.8 * patterns[labels] + 0.2 * noise, labels, range(10), "blobs")


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


def on_cpu(model, data, recipe=None, **options):
    """`fit` as the tests want it; a short recipe unless one is given."""
    return fit(model, data, recipe or Recipe(epochs=3, batch_size=32), device="cpu", **options)


# --- what is computed


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        (
            {"learning_rate": 0.05, "weight_decay": 1e-3},
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
        ),
        (
            {"optimizer": "adam", "learning_rate": 1e-3},
            lambda p: torch.optim.Adam(p, 1e-3),
        ),
        (
            {"optimizer": "adamw", "learning_rate": 1e-3},
            lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0),
        ),
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_fit_equals_a_loop_by_hand(settings, make):
    recipe = Recipe(epochs=2, batch_size=32, schedule="constant", **settings)
    data, ours, theirs = few_digits(), small_net(), small_net()
    history = on_cpu(ours, data, recipe)
    optimizer, batches = make(theirs.parameters()), Batches(data, 32, shuffle=True)
    losses = []
    for epoch in range(2):
        for images, labels in batches.epoch(epoch):
            loss = nn.functional.cross_entropy(theirs(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-6)
    assert history["train_loss"] == pytest.approx([np.mean(losses[:5]), np.mean(losses[5:])])


def test_accumulated_batches_make_the_step_of_one_large_batch():
    data, whole, parts = few_digits(), small_net(), small_net()
    on_cpu(whole, data, Recipe(epochs=2, batch_size=64, schedule="constant"))
    on_cpu(parts, data, Recipe(epochs=2, batch_size=16, accumulate=4, schedule="constant"))
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)


def test_clipping_limits_the_first_step():
    model = small_net()
    before = weights(model)
    recipe = Recipe(epochs=1, batch_size=160, learning_rate=1, schedule="constant", clip_norm=0.01)
    on_cpu(model, few_digits(), recipe)
    assert (weights(model) - before).norm() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "step", "milestones": (1, 3)}, [1, 0.1, 0.1, 0.01]),
        ({"schedule": "cosine"}, [1, 0.8536, 0.5, 0.1464]),
        ({"schedule": "constant", "warmup": 2}, [0.5, 0.75, 1, 1]),
    ],
    ids=["step", "cosine", "warmup"],
)
def test_schedules_follow_their_formula(settings, expected):
    recipe = Recipe(epochs=4, learning_rate=1, **settings)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    history = on_cpu(model, few_digits(64), recipe)
    assert history["learning_rate"] == pytest.approx(expected, abs=1e-4)


def test_plateau_lowers_the_rate_when_the_loss_stops_falling():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    recipe = Recipe(epochs=6, schedule="plateau", patience=1, learning_rate=1e-6)
    rates = on_cpu(model, few_digits(64), recipe)["learning_rate"]
    assert rates[0] == rates[2] > rates[-1]


def test_auxiliary_heads_count_three_tenths():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aux = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x):
            x = x.flatten(1)
            return (self.main(x), self.aux(x)) if self.training else self.main(x)

    torch.manual_seed(0)
    model, data = Heads(), few_digits(64)
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(y, data.labels) for y in model(data.images)]
    history = on_cpu(model, data, Recipe(epochs=1, batch_size=64))
    assert history["train_loss"][0] == pytest.approx((losses[0] + 0.3 * losses[1]).item())


def test_early_stop_goes_back_to_the_best_weights():
    data, validation = few_digits(64), digits("validation")
    model = small_net()
    recipe = Recipe(epochs=40, learning_rate=0.3, schedule="constant", early_stop=3)
    history = on_cpu(model, data, recipe, validation=validation)
    assert len(history) < 40 and history.stopped.startswith("stopped early: 3 epochs")
    best = min(history["validation_loss"])
    assert evaluate(model, validation, device="cpu").loss == pytest.approx(best)
    assert history["validation_loss"].index(best) == len(history) - 4


def test_frozen_parts_do_not_change_not_even_batch_norm():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )
    for parameter in model[:2].parameters():
        parameter.requires_grad_(False)
    frozen, head = weights(model[:2]), weights(model[4])
    on_cpu(model, few_digits())
    assert torch.equal(weights(model[:2]), frozen)
    assert not torch.equal(weights(model[4]), head)


def test_fit_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5), random.seed(5)
    expected = torch.rand(1).item(), random.random()
    model = small_net()
    torch.manual_seed(5), random.seed(5)
    on_cpu(model, few_digits())
    assert (torch.rand(1).item(), random.random()) == expected


def test_equal_seeds_give_equal_runs_and_others_do_not():
    runs = []
    for seed in (0, 0, 1):
        model = small_net(dropout=0.5)
        on_cpu(model, few_digits(), Recipe(epochs=2, seed=seed))
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_autocast_and_channels_last_change_rounding_only():
    data, plain, other = few_digits(), small_net(), small_net()
    first = on_cpu(plain, data)
    second = on_cpu(other, data, autocast=True, channels_last=True)
    assert second["train_loss"] == pytest.approx(first["train_loss"], rel=0.03)
    assert not torch.equal(weights(plain), weights(other))
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_compiling_changes_rounding_only():
    data, plain, compiled = few_digits(), small_net(), small_net()
    first = on_cpu(plain, data)
    second = on_cpu(compiled, data, compile=True)
    assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-4)


class OnDisk(Dataset):
    """Images that a DataLoader has to fetch one by one."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, label = self.data[index]
        return image, int(label)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_from_workers_train_like_images_in_memory(workers):
    data, memory, loaded = few_digits(), small_net(), small_net()
    on_cpu(memory, data)
    on_cpu(loaded, OnDisk(data), workers=workers)
    assert torch.equal(weights(memory), weights(loaded))


# --- the batches


def test_every_epoch_has_each_image_once_in_another_order():
    data = TensorDataset(torch.arange(50.0)[:, None, None, None], torch.arange(50))
    batches = Batches(data, 8, shuffle=True)
    first, second = (torch.cat([y for _, y in batches.epoch(e)]).tolist() for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and len(batches) == 7


def test_processes_share_an_epoch_in_equal_parts():
    data = TensorDataset(torch.arange(51.0)[:, None, None, None], torch.arange(51))
    whole = Batches(data, 8, shuffle=True)
    parts = [Batches(data, 4, shuffle=True, rank=rank, world=2) for rank in (0, 1)]
    for (_, labels), *halves in zip(whole.epoch(3), *(p.epoch(3) for p in parts), strict=True):
        if len(labels) == 8:
            assert set(labels.tolist()) == set(torch.cat([y for _, y in halves]).tolist())
    assert {p.images for p in parts} == {25}


def test_shift_and_flip_draws_for_each_image():
    torch.manual_seed(0)
    image = torch.arange(64.0).view(1, 1, 8, 8)
    out = augmentation("shift_flip")(image.expand(200, 2, 8, 8))
    assert out.shape == (200, 2, 8, 8)
    assert torch.equal(out[:, 0], out[:, 1])  # all channels alike
    padded = nn.functional.pad(image, [4] * 4)[0, 0]
    crops = {bytes(padded[i : i + 8, j : j + 8].numpy()) for i in range(9) for j in range(9)}
    crops |= {
        bytes(padded[i : i + 8, j : j + 8].flip(1).contiguous().numpy())
        for i in range(9)
        for j in range(9)
    }
    seen = {bytes(picture.contiguous().numpy()) for picture in out[:, 0]}
    assert seen <= crops and len(seen) > 80


@pytest.mark.parametrize("name", ["affine", "colour", "heavy"])
def test_augmentations_change_every_image_differently(name):
    data = patterns(count=1, difficulty=0)
    out = augmentation(name)(data.images.expand(6, 3, 32, 32))
    assert out.shape == (6, 3, 32, 32)
    assert len({bytes(picture.numpy()) for picture in out}) == 6


def test_augmentation_acts_on_training_images_only():
    seen = []

    def spy(images):
        seen.append(len(images))
        return images

    on_cpu(small_net(), few_digits(64), Recipe(epochs=1, batch_size=64, augment=spy),
           validation=digits("validation"))  # fmt: skip
    assert seen == [64]


# --- recipes


def test_the_published_recipes_are_those_of_the_papers():
    alexnet, resnet = RECIPES["alexnet"], RECIPES["resnet"]
    assert (alexnet.batch_size, alexnet.momentum, alexnet.learning_rate) == (128, 0.9, 0.01)
    assert (alexnet.weight_decay, alexnet.schedule, alexnet.factor) == (5e-4, "plateau", 0.1)
    assert (resnet.batch_size, resnet.momentum, resnet.learning_rate) == (256, 0.9, 0.1)
    assert (resnet.weight_decay, resnet.schedule, resnet.factor) == (1e-4, "plateau", 0.1)


def test_the_slides_weight_decay_is_noted_as_an_erratum():
    for key in ("S000-122", "S001-099", "S003-056"):
        fact = facts.get(key)
        assert fact.status == "erratum" and fact.value == 1e-5
        assert fact.ours == RECIPES["resnet"].weight_decay
        assert key in RECIPES["resnet"].source


def test_a_recipe_by_name_with_changes():
    assert get_recipe("resnet", epochs=3) == Recipe(**{**RECIPES["resnet"].__dict__, "epochs": 3})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_recipe("vgg"), "recipe 'vgg' is none of quick, alexnet, resnet, resnet_cifar"),
        (lambda: get_recipe("quick", lr=1), "a recipe has no 'lr', only "),
        (lambda: Recipe(optimizer="lion"), "optimizer 'lion' is none of sgd, adam, adamw"),
        (lambda: Recipe(schedule="wave"), "schedule 'wave' is none of constant, step"),
        (lambda: Recipe(epochs=0), "epochs 0 is below 1"),
        (lambda: Recipe(learning_rate=0), "learning_rate 0 is not above 0"),
        (lambda: Recipe(schedule="step"), "the step schedule needs milestones"),
        (lambda: Recipe(schedule="plateau", warmup=1), "warmup does not go with the plateau"),
        (lambda: Recipe(augment="zoom"), "augmentation 'zoom' is none of none, shift"),
        (lambda: Batches(few_digits(), 0), "batch_size 0 is below 1 image"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- what can go wrong


def test_a_label_that_does_not_fit_is_refused_before_any_step():
    for data in (few_digits(), OnDisk(few_digits())):
        model = small_net(classes=5)
        before = weights(model)
        with pytest.raises(ValueError, match="labels 0 to 9 do not fit the network's 5 outputs"):
            on_cpu(model, data, workers=0)
        assert torch.equal(weights(model), before)
        with pytest.raises(ValueError, match="do not fit the network's 5 outputs"):
            evaluate(model, data, device="cpu", workers=0)


class Root(nn.Module):
    """Not a number wherever its input is below zero."""

    def forward(self, x):
        return x.sqrt()


def test_a_nan_names_the_first_layer_that_produced_it():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), Root(), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(FloatingPointError) as error:
        on_cpu(model, few_digits())
    assert str(error.value) == (
        "the loss is nan at epoch 1, step 1: the first layer whose output is not finite is "
        "1 (Root); its weights still are. Lower the learning rate 0.05, or set clip_norm=1"
    )
    assert first_nonfinite_layer(model, few_digits().images)[0] == "1"
    assert first_nonfinite_layer(small_net(), few_digits().images) is None


def test_a_rate_too_high_is_told_from_a_broken_layer():
    recipe = Recipe(epochs=5, learning_rate=1e20, schedule="constant")
    with pytest.raises(FloatingPointError, match=r"ower the learning rate 1e\+20"):
        on_cpu(small_net(), few_digits(), recipe)


def test_images_that_are_nan_already_are_told_apart():
    data = few_digits()
    data.images[3, 0, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="the images already have a number"):
        on_cpu(small_net(), data)


def test_a_nan_leaves_the_last_good_checkpoint(tmp_path):
    path, data = tmp_path / "run.pt", few_digits()
    poisoned = []

    def poison(images):
        poisoned.append(1)
        return images * math.nan if len(poisoned) > 5 else images

    with pytest.raises(FloatingPointError):
        on_cpu(small_net(), data, Recipe(epochs=3, batch_size=32, augment=poison), checkpoint=path)
    state = torch.load(path, weights_only=True)
    assert len(state["epochs"]) == 1
    assert all(value.isfinite().all() for value in state["model"].values())


def test_weights_broken_by_the_last_step_are_not_stored(tmp_path):
    path, model = tmp_path / "run.pt", nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=3e38, schedule="constant")
    data = few_digits(64)
    data.images *= 1000
    with pytest.raises(FloatingPointError, match="after epoch 1 the weights 1.weight are not"):
        on_cpu(model, data, recipe, checkpoint=path)
    assert not path.exists()


# --- checkpoints


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    data, validation = few_digits(), digits("validation")
    recipe = Recipe(epochs=4, batch_size=32, augment="affine", early_stop=10)
    whole = small_net(dropout=0.5)
    history = on_cpu(whole, data, recipe, validation=validation)

    class Interrupted(Exception):
        pass

    def crash(images):
        raise Interrupted

    path, resumed = tmp_path / "run.pt", None
    for stop in (1, 2, 3, None):  # each call gets one epoch further, with a fresh model
        resumed = small_net(seed=99, dropout=0.5)
        if stop == 1:
            resumed.load_state_dict(small_net(dropout=0.5).state_dict())
        done = torch.load(path, weights_only=True)["epochs"] if path.exists() else []
        assert len(done) == (stop or 4) - 1
        if stop is None:
            again = on_cpu(resumed, data, recipe, validation=validation, checkpoint=path)
        else:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
                from cnnlab.training import loop

                keep = loop.save_checkpoint

                def save_and_stop(*args, keep=keep):
                    keep(*args)
                    raise Interrupted

                patch.setattr(loop, "save_checkpoint", save_and_stop)
                on_cpu(resumed, data, recipe, validation=validation, checkpoint=path)
    assert torch.equal(weights(whole), weights(resumed))
    assert again.results() == history.results()


def noisy_run(checkpoint: Path, epochs: int) -> tuple[dict, list[dict]]:
    """A run with everything random in it: dropout, augmentation, batch norm, a new order."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(1568, 8),
    )
    recipe = Recipe(epochs, batch_size=16, optimizer="adam", learning_rate=1e-3, augment="shift")
    train, validation = patterns("train", 500, 16), patterns("validation", 100, 16)
    history = on_cpu(model, train, recipe, validation=validation, checkpoint=checkpoint)
    return model.state_dict(), history.results()


KILLED = """
import sys
from pathlib import Path
from tests.test_training import noisy_run
print("ready", flush=True)
noisy_run(Path(sys.argv[1]), int(sys.argv[2]))
"""


def kill_and_resume(tmp_path: Path, kills: int, epochs: int) -> None:
    """Kill a training process with SIGKILL at random moments, then finish it and compare."""
    began = time.monotonic()
    weights_whole, history_whole = noisy_run(tmp_path / "whole.pt", epochs)
    duration, moments = time.monotonic() - began, random.Random(0)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path / "killed.pt", str(epochs)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(moments.uniform(0.1, 1.5) * duration / kills)
        process.send_signal(signal.SIGKILL)
        process.wait()
    weights_killed, history_killed = noisy_run(tmp_path / "killed.pt", epochs)
    assert history_killed == history_whole
    for name, value in weights_whole.items():
        assert torch.equal(value, weights_killed[name]), name


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    kill_and_resume(tmp_path, kills=1, epochs=10)


@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_the_same_bits(tmp_path):
    kill_and_resume(tmp_path, kills=10, epochs=40)


def test_a_finished_run_is_read_not_run_again(tmp_path):
    path, model = tmp_path / "run.pt", small_net()
    first = on_cpu(model, few_digits(), checkpoint=path)
    other = small_net(seed=1)
    assert on_cpu(other, few_digits(), checkpoint=path).epochs == first.epochs
    assert torch.equal(weights(model), weights(other))


def test_a_checkpoint_that_does_not_belong_is_refused_and_kept(tmp_path):
    path = tmp_path / "run.pt"
    on_cpu(small_net(), few_digits(), checkpoint=path)
    before = path.read_bytes()
    other = small_net(classes=12)
    with pytest.raises(ValueError, match=r"of another architecture: 4.weight is 10×144 there and "
                                         r"12×144 in this Sequential; move it away"):  # fmt: skip
        on_cpu(other, few_digits(), checkpoint=path)
    with pytest.raises(ValueError, match=r"features\.0\.weight is missing there and 6×1×5×5 in"):
        on_cpu(get_model("lenet5"), digits("train", 32), checkpoint=path)
    with pytest.raises(ValueError, match="was made with batch_size=32, not 16"):
        on_cpu(small_net(), few_digits(), Recipe(epochs=3, batch_size=16), checkpoint=path)
    with pytest.raises(ValueError, match="was made with images=160, not 64"):
        on_cpu(small_net(), few_digits(64), checkpoint=path)
    frozen = small_net()
    frozen[0].requires_grad_(False)
    with pytest.raises(ValueError, match="was made with trained=1490, not 1450"):
        on_cpu(frozen, few_digits(), checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [0, 1000, -1])
def test_a_broken_checkpoint_is_refused_and_kept(tmp_path, cut):
    path = tmp_path / "run.pt"
    on_cpu(small_net(), few_digits(), checkpoint=path)
    path.write_bytes(path.read_bytes()[:cut])
    before, model = path.read_bytes(), small_net()
    start = weights(model)
    with pytest.raises(ValueError, match=rf"checkpoint {path} cannot be read \(.+\); move it away"):
        on_cpu(model, few_digits(), checkpoint=path)
    assert path.read_bytes() == before and torch.equal(weights(model), start)


@pytest.fixture
def full_disk():
    """As on a full disk: no file may grow beyond 100 kB."""
    resource = pytest.importorskip("resource")  # Windows has none
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, full_disk):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"good": torch.ones(10)})
    with pytest.raises(OSError) as caught:
        save_checkpoint(path, {"large": torch.ones(1_000_000)})
    assert f"checkpoint {path} could not be written (" in str(caught.value)
    assert str(caught.value).endswith("the one from before is untouched")
    assert torch.load(path, weights_only=True)["good"].sum() == 10
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


# --- what is shown


def test_a_history_goes_to_csv_and_to_a_picture(tmp_path):
    history = on_cpu(small_net(), few_digits(), validation=digits("validation"))
    history.to_csv(tmp_path / "run.csv")
    with open(tmp_path / "run.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["train_loss"]) for row in rows] == history["train_loss"]
    picture = history.plot("Digits")
    assert picture.alt.startswith("Digits over 3 epochs: train loss from ")
    assert picture.mime == "image/png" and len(picture.data) > 5000
    last = history.epochs[-1]
    assert repr(history) == (
        f"3 epochs: train loss {last['train_loss']:.3f}, accuracy {last['train_accuracy']:.1%}; "
        f"validation loss {last['validation_loss']:.3f}, "
        f"accuracy {last['validation_accuracy']:.1%}"
    )
    with pytest.raises(KeyError, match="no column 'loss', only epoch, learning_rate"):
        history["loss"]


def test_predictions_are_probabilities_that_agree_with_evaluate():
    model, data = small_net(), digits("test")
    on_cpu(model, digits("train"))
    probabilities = predict(model, data, device="cpu")
    assert probabilities.shape == (353, 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(353))
    accuracy = (probabilities.argmax(1) == data.labels).float().mean().item()
    score = evaluate(model, data, device="cpu")
    assert score.accuracy == pytest.approx(accuracy)
    labels = DataLoader(data, 353)
    images, wanted = next(iter(labels))
    assert score.loss == pytest.approx(nn.functional.cross_entropy(model(images), wanted).item())


def test_a_bar_shows_loss_accuracy_and_speed_where_it_is_wanted(capsys):
    on_cpu(small_net(), few_digits(), progress=True)
    shown = capsys.readouterr().err
    for part in ("epoch 3/3", "loss ", "images/s", "%"):
        assert part in shown
    on_cpu(small_net(), few_digits(), progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("environment", "in_notebook", "expected"),
    [
        ({"CNNLAB_PROGRESS": "0", "JPY_SESSION_NAME": "a.ipynb"}, True, False),
        ({"CNNLAB_PROGRESS": "1"}, False, True),
        ({"JPY_SESSION_NAME": "a.ipynb"}, True, True),
        ({}, True, False),  # nbconvert and nbval
        ({}, False, False),  # stderr is a file
    ],
)
def test_bars_move_only_where_somebody_watches(monkeypatch, environment, in_notebook, expected):
    for name in ("CNNLAB_PROGRESS", "JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if in_notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", object())
    else:
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert somebody_watches() is expected
    assert progress_bar(1, "x").disable is not expected


# --- LeNet on the digits


def lenet_accuracies(name: str, size: int, seeds: range) -> list[float]:
    accuracies = []
    for seed in seeds:
        model = get_model(name, generator=torch.Generator().manual_seed(seed))
        fit(model, digits("train", size), get_recipe("quick", seed=seed), device="cpu")
        accuracies.append(evaluate(model, digits("test", size), device="cpu").accuracy)
    return accuracies


def test_lenet_reads_the_digits():
    assert lenet_accuracies("lenet5", 32, range(1))[0] >= 0.96


@pytest.mark.slow
def test_lenet_of_the_slides_is_right_on_97_5_percent_in_the_mean_of_five_seeds():
    accuracies = lenet_accuracies("lenet_slide", 28, range(5))
    mean, error = np.mean(accuracies), np.std(accuracies, ddof=1) / math.sqrt(5)
    print(f"LeNet on the digits: {mean:.2%} ± {error:.2%} (standard error of five seeds)")
    assert mean >= 0.975


@pytest.mark.gpu
def test_a_gpu_trains_like_a_cpu():
    data, here, there = blobs(), small_net(), small_net()
    on_cpu(here, data)
    history = fit(there, data, Recipe(epochs=3, batch_size=32), device="cuda", autocast=False)
    assert torch.allclose(weights(here), weights(there).cpu(), atol=1e-3)
    assert history["images_per_second"][-1] > 0


@pytest.mark.gpu
def test_a_gpu_resumes_and_uses_bfloat16(tmp_path):
    data, path = blobs(), tmp_path / "run.pt"
    recipe = Recipe(epochs=3, batch_size=32)
    first, second = small_net(dropout=0.5), small_net(dropout=0.5)
    fit(first, data, recipe, device="cuda", checkpoint=path)
    history = fit(second, data, recipe, device="cuda", checkpoint=path)
    assert len(history) == 3 and torch.equal(weights(first), weights(second))


@pytest.mark.gpu
def test_a_nan_on_a_gpu_names_its_layer():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), Root(), nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(FloatingPointError, match=r"is 1 \(Root\)"):
        fit(model, blobs(), Recipe(epochs=1), device="cuda")


# --- what a beginner gives it


PIXELS, CLASSES = torch.rand(65, 1, 8, 8), torch.arange(65) % 10
FLAT = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (DataLoader(blobs(), 8), "fit takes the dataset, not a DataLoader"),
        ([(object(), 1)] * 4, "an image of the dataset is a object, not a tensor"),
        (TensorDataset((255 * PIXELS).byte(), CLASSES), r"images are torch.uint8, .* / 255"),
        (TensorDataset(PIXELS, torch.eye(10)[CLASSES]), r"shape \(10,\) and is torch.float32"),
        (TensorDataset(PIXELS, CLASSES.float()), r"labels.long\(\) for floats"),
    ],
)
def test_data_that_no_network_can_learn_from_are_refused(data, sentence):
    with pytest.raises(TypeError, match=sentence):
        on_cpu(FLAT, data)


def test_a_layer_that_does_not_fit_is_named_with_what_it_should_be():
    wrong = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(100, 10))
    with pytest.raises(ValueError, match="Linear '2' expects 100 features, .* in_features=144"):
        on_cpu(wrong, few_digits())
    with pytest.raises(ValueError, match="LeNet takes images of 32×32"):
        on_cpu(get_model("lenet5"), digits("train", size=28))


def test_a_last_batch_of_one_is_explained_where_batch_norm_needs_more():
    norm = nn.Sequential(FLAT, nn.BatchNorm1d(10))
    with pytest.raises(ValueError, match="a batch of 1 image leaves batch norm one value"):
        on_cpu(norm, TensorDataset(PIXELS, CLASSES), Recipe(1, 64))
    on_cpu(norm, TensorDataset(PIXELS, CLASSES), Recipe(1, 63))


def test_all_frozen_is_said():
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        on_cpu(frozen, few_digits())


def test_a_softmax_before_the_cross_entropy_is_warned_of_once():
    with pytest.warns(UserWarning, match="the network's outputs are probabilities") as record:
        on_cpu(nn.Sequential(small_net(), nn.Softmax(1)), few_digits())
    assert len(record) == 1 and record[0].filename == __file__.replace(".pyc", ".py")


@pytest.mark.parametrize("last", [nn.Identity, nn.ReLU, lambda: nn.LogSoftmax(1), nn.Sigmoid])
def test_other_outputs_are_not_warned_of(last, recwarn):
    on_cpu(nn.Sequential(small_net(), last()), few_digits(), Recipe(1, 32))
    assert not [w for w in recwarn if "probabilities" in str(w.message)]
