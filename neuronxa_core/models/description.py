"""What is known of a model: where it comes from, what its layers are, and the loaded model itself.

A neuron is one column of the feed-forward network's inner layer. Its activation is read at one of two places:

- MLP_POST, `product` for users: the input of the network's last projection (`down_proj`, `c_proj`, `fc2`, ...);
- GATE_POST, `gate` for users: the output of the activation function, act(W_gate x), LAPE's definition (Tang et al.,
  ACL 2024). In a plain, ungated network the two are one.

In a mixture of experts, a layer's neurons are the columns of all its routed experts; see moe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import transformers
from transformers import PreTrainedModel

from neuronxa_core.errors import ModelError

Neuron = Literal["product", "gate"]
MLP_POST: Neuron = "product"
GATE_POST: Neuron = "gate"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: `demo`, a local `folder`, or the `hub`."""

    name: str
    location: str
    kind: Literal["demo", "folder", "hub"]
    revision: str | None = None


# what every `from_pretrained` gets: never remote code, and no call to the hub, whose files `sources.local` fetches
LOCAL_ONLY = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward network of one layer: module paths from the text model on, and its width in neurons.

    experts: how many routed experts it has, 0 where it is dense. Of a mixture, last_projection is the module that holds
    all experts, and neuron number = expert x width + column.
    """

    layer: str
    last_projection: str
    activation: str | None
    neurons: int
    gated: bool
    experts: int = 0

    @property
    def width(self) -> int:
        """Columns of the network, or of one expert."""
        return self.neurons // (self.experts or 1)

    def module_for(self, neuron: Neuron) -> tuple[str, Literal["input", "output"]]:
        """The module to hook for a neuron definition, and which side of it to read.

        Raises ModelError where the definition cannot be read, and for a mixture: see moe.recording.
        """
        if self.experts:
            raise ModelError(f"the neurons of {self.layer}, a mixture of experts, are those of no single module")
        self.check_readable(neuron)
        if neuron == MLP_POST or not self.gated:
            return self.last_projection, "input"
        return self.activation, "output"

    def check_readable(self, neuron: Neuron) -> None:
        """Raise ModelError where a neuron definition has no place in the network."""
        if neuron == GATE_POST and self.gated and self.activation is None:
            raise ModelError(
                f"the output of the activation function of {self.layer} does not stand by itself, so the neuron "
                "definition 'gate' cannot be read there; choose 'product'"
            )


@dataclass(frozen=True)
class ModelInfo:
    """What can be said of a model without its weights.

    neurons: per layer; of a mixture, of all its routed experts. experts: per layer, 0 where it is dense. chosen:
    experts that a token is sent to. projected: weights of linear projections, which int8 and nf4 shrink. attention:
    width of the queries. scored: heads whose attention scores are held in memory, 0 where a fused kernel holds none.
    """

    name: str
    class_name: str
    layers: int
    neurons: int
    hidden: int
    parameters: int
    gated: bool
    causal: bool
    stored_dtype: str
    max_length: int
    """Tokens of a sentence that the model can read; longer ones are cut and counted."""
    experts: int = 0
    chosen: int = 0
    projected: int = 0
    attention: int = 0
    scored: int = 0

    def layers_of(self, state: str) -> int:
        """Layers of a representation: HID has the embeddings, too."""
        return self.layers + (state == "hid")

    def width_of(self, state: str) -> int:
        """Length of a representation's vectors."""
        return self.neurons if state in ("nas", "nav") else self.hidden


@dataclass
class LoadedModel:
    """A model ready for extraction, and with its head for likelihood.

    model: the text model, whose modules the feed_forwards name. head: the whole language model around it, sharing its
    weights; None where it was loaded without.
    """

    info: ModelInfo
    model: PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    feed_forwards: tuple[FeedForward, ...]
    device: torch.device
    dtype: str
    head: PreTrainedModel | None = None

    @property
    def vocabulary(self) -> int:
        """How many token ids the model has a vector for."""
        return self.model.get_input_embeddings().weight.shape[0]

    @property
    def padding_id(self) -> int:
        """What fills rows up: the model's padding token, or 0 where it has none that has a vector."""
        padding = self.model.config.get_text_config().pad_token_id
        return padding if padding is not None and 0 <= padding < self.vocabulary else 0
