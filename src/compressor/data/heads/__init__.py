"""The heads: what a task may ask of a model. A head is one entry of `HEADS`, in a file each."""

from typing import TYPE_CHECKING, Any

from compressor.data.heads.classification import CLASSIFICATION
from compressor.data.heads.embedding import EMBEDDING
from compressor.data.heads.head import Head, ModelForm
from compressor.data.heads.multi_label import MULTI_LABEL
from compressor.data.heads.multiple_choice import MULTIPLE_CHOICE
from compressor.data.heads.regression import REGRESSION
from compressor.data.heads.rerank import RERANK, RERANK_SCORES
from compressor.data.heads.token_classification import TOKEN_CLASSIFICATION
from compressor.errors import ModelError, shorten_value

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEADS: dict[str, Head] = {
    head.name: head
    for head in (
        CLASSIFICATION,
        REGRESSION,
        MULTIPLE_CHOICE,
        MULTI_LABEL,
        TOKEN_CLASSIFICATION,
        RERANK,
        RERANK_SCORES,
        EMBEDDING,
    )
}


def form_of(model: "PreTrainedModel") -> ModelForm:
    """Return the form of a model, by its class; sliced ones are called like stock ones."""
    return _find_form(type(model).__name__)


def form_of_config(config: Any) -> ModelForm:
    """Return the form of a saved model, by the class that its configuration names."""
    return _find_form((config.architectures or [""])[0])


def head_of_config(config: Any) -> Head:
    """Return the head of a fine-tuned model, by its class and its kind of problem, as transformers distinguishes them.

    Raises:
        ModelError: its kind of problem is none that there is a head for.
    """
    form = form_of_config(config)
    if form != CLASSIFICATION.form:
        return next(head for head in HEADS.values() if head.form == form)
    # As transformers' own models decide where a configuration leaves it open.
    kind = config.problem_type or ("regression" if config.num_labels == 1 else CLASSIFICATION.name)
    name = _PROBLEMS.get(kind, kind)
    if name not in HEADS:
        raise ModelError(
            f"the problem_type of a model must be one of {', '.join(map(str, _PROBLEMS))} or regression, but its "
            f"config.json says {shorten_value(kind)}. Correct it, or choose another model."
        )
    return HEADS[name]


_PROBLEMS = {"single_label_classification": "classification", "multi_label_classification": "multi_label"}
"""Names of heads by what transformers calls them in a configuration."""


def _find_form(class_name: str) -> ModelForm:
    """Return the form of a class; sequence classification's where the name is of none."""
    forms = [head.form for head in HEADS.values()]
    return next((form for form in forms if class_name.endswith(form.suffix)), CLASSIFICATION.form)
