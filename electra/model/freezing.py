"""Parts of an encoder that do not learn: its lowest layers throughout, or all of it until the head has learned."""

from __future__ import annotations

from torch import nn

from electra.errors import UserError
from electra.model.encoder import parameter_depth


def check_layers(frozen: int | None, num_hidden_layers: int) -> None:
    """Nothing, unless more layers are to be frozen than there are.

    Raises:
        UserError: they are.
    """
    if frozen is not None and not 0 <= frozen <= num_hidden_layers:
        raise UserError(f"--freeze-layers {frozen}: the model has {num_hidden_layers} layers; give 0 (embeddings alone) to that many")


def freeze_lowest(encoder: nn.Module, num_layers: int) -> None:
    """The embeddings and the lowest `num_layers` layers are no longer trained (0: the embeddings alone)."""
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(parameter_depth(name) > num_layers)


class HeadFirst:
    """An encoder that stands still for the first share of a run, then learns with the head.

    Parameters without gradients are left alone by the optimizer, whose moments of them are still zero when they begin to learn. Nothing is
    kept between steps: the share of the run that is over decides, so a resumed run goes on as it was.
    """

    def __init__(self, encoder: nn.Module, share: float) -> None:
        """`share` is that of the run, 0..1; parameters that are frozen already stay so."""
        self.parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        self.share = share

    def advance(self, done: float) -> None:
        """Freeze or release; `done` is the share of the run that is over before an update."""
        learns = done >= self.share - 1e-9
        for parameter in self.parameters:
            parameter.requires_grad_(learns)
