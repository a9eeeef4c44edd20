"""Training: a recipe, a loop that can be read, and what came of it.

>>> from cnnlab.data import digits
>>> from cnnlab.models import get_model
>>> from cnnlab.training import evaluate, fit
>>> model = get_model("lenet_slide")
>>> history = fit(model, digits("train", size=28), "quick", validation=digits("validation", 28))
>>> evaluate(model, digits("test", size=28)).accuracy  # doctest: +SKIP
"""

from cnnlab.training.diagnose import first_nonfinite_layer
from cnnlab.training.history import History
from cnnlab.training.loop import Score, evaluate, fit, predict
from cnnlab.training.recipes import RECIPES, Recipe, get_recipe

__all__ = [
    "RECIPES",
    "History",
    "Recipe",
    "Score",
    "evaluate",
    "first_nonfinite_layer",
    "fit",
    "get_recipe",
    "predict",
]
