"""Find the class of a model, and the classes of transformers that load its files.

A model that reads images or sound, too, is loaded as a whole: its language model is
pruned, and all else is kept.
"""

from __future__ import annotations

import transformers
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from surgeon_engine.base.errors import ModelError

# The class that chooses one by the config, and its choices by the type of the model.
_AUTO = {
    "AutoModelForCausalLM": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "AutoModelForImageTextToText": (
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    ),
    "AutoModelForMultimodalLM": modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
}
_NAMES = {name for choices in _AUTO.values() for name in choices.values()}


def is_known(model_type: str) -> bool:
    """Return whether transformers has a language model of this type."""
    return any(model_type in choices for choices in _AUTO.values())


def model_class(config: PretrainedConfig) -> type[PreTrainedModel]:
    """Return the class of a model: the one that its config names, if it is known.

    Raises:
        ModelError: transformers has no language model of this type.
    """
    choices = [x[config.model_type] for x in _AUTO.values() if config.model_type in x]
    # A part of a model has a class of its own under the type of the whole.
    names = [name for name in config.architectures or () if name in _NAMES]
    for name in (*names, *choices):
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, PreTrainedModel):
            return found
    raise unknown_type(config.model_type)


def unknown_type(model_type: str) -> ModelError:
    """Return the error for a model type without a language model in transformers."""
    return ModelError(
        "transformers {version} knows no decoder of the type {model_type}.",
        "Surgeon does not run code from a model's folder.",
        version=transformers.__version__,
        model_type=model_type,
    )


def auto_classes(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of the auto classes that choose the class of a model."""
    name, model_type = type(model).__name__, model.config.model_type
    found = tuple(
        auto for auto, choices in _AUTO.items() if choices.get(model_type) == name
    )
    return found or ("AutoModelForCausalLM",)
