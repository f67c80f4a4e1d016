"""What a synthetic set is worth: networks trained from scratch on it, on architectures it never saw, judged on test."""

from evaluation.cross_arch import EvaluationResult, evaluate
from evaluation.learning_rate import choose_learning_rate, stated_learning_rate
from evaluation.recipe import Recipe
from evaluation.recipes import RECIPES
from evaluation.train import check_batches, plan_training, train_network, watching

__all__ = [
    "RECIPES",
    "EvaluationResult",
    "Recipe",
    "check_batches",
    "choose_learning_rate",
    "evaluate",
    "plan_training",
    "stated_learning_rate",
    "train_network",
    "watching",
]
