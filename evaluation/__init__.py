"""Evaluates synthetic sets: trains networks of any architecture from scratch on a set and tests them on real images.

Each name below is imported only when it is used for the first time. So `import evaluation` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.cross_arch import Earlier as Earlier
    from evaluation.cross_arch import EvaluationResult as EvaluationResult
    from evaluation.cross_arch import evaluate as evaluate
    from evaluation.learning_rate import RateChoice as RateChoice
    from evaluation.learning_rate import RatePolicy as RatePolicy
    from evaluation.learning_rate import choose_learning_rate as choose_learning_rate
    from evaluation.learning_rate import stated_learning_rate as stated_learning_rate
    from evaluation.metrics import DIVERGED as DIVERGED
    from evaluation.metrics import METRICS as METRICS
    from evaluation.metrics import Metric as Metric
    from evaluation.predictions import confusion_matrix as confusion_matrix
    from evaluation.predictions import from_predictions as from_predictions
    from evaluation.recipe import Recipe as Recipe
    from evaluation.recipes import RECIPES as RECIPES
    from evaluation.recipes import recipe_for as recipe_for
    from evaluation.train import check_batches as check_batches
    from evaluation.train import check_compilation as check_compilation
    from evaluation.train import plan_training as plan_training
    from evaluation.train import train_network as train_network
    from evaluation.train import watching as watching
    from evaluation.trainer import Trainer as Trainer

_HOMES = {  # each public name, and the module that defines it
    "DIVERGED": "evaluation.metrics",
    "METRICS": "evaluation.metrics",
    "RECIPES": "evaluation.recipes",
    "recipe_for": "evaluation.recipes",
    "Earlier": "evaluation.cross_arch",
    "EvaluationResult": "evaluation.cross_arch",
    "Metric": "evaluation.metrics",
    "RateChoice": "evaluation.learning_rate",
    "RatePolicy": "evaluation.learning_rate",
    "Recipe": "evaluation.recipe",
    "Trainer": "evaluation.trainer",
    "check_batches": "evaluation.train",
    "check_compilation": "evaluation.train",
    "choose_learning_rate": "evaluation.learning_rate",
    "confusion_matrix": "evaluation.predictions",
    "evaluate": "evaluation.cross_arch",
    "from_predictions": "evaluation.predictions",
    "plan_training": "evaluation.train",
    "stated_learning_rate": "evaluation.learning_rate",
    "train_network": "evaluation.train",
    "watching": "evaluation.train",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'evaluation' has no attribute '{name}'")
