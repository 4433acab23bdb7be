"""A checkpoint folder, run directory, shipped model, hub name or artefact -> a predictor."""

from __future__ import annotations

from pathlib import Path

from electra import hub, shipped
from electra.data.tokenizer import load_tokenizer
from electra.deploy.artefact import is_artefact, open_artefact
from electra.deploy.network import Network, architecture_of, open_network, require_classifier, require_span_finder
from electra.deploy.predictor import Predictor
from electra.deploy.tagging import ARCHITECTURE
from electra.errors import UserError


def load(
    source: str | Path | None = None,
    *,
    role: str = "any",
    device: str = "auto",
    threads: int = 0,
    max_length: int = 0,
    batch_size: int = 32,
) -> Predictor:
    """A checkpoint folder, run directory, hub name or artefact -> its network and tokenizer, ready to answer.

    Args:
        source: a folder made here or by `transformers`, a run directory, a name on the Hugging Face hub (through its cache), or what
            'electra build' made (a folder or .zip), which needs no torch; 'shipped:NAME' for what comes with electra (see `electra.shipped`).
            None: the shipped one that plays the role, which without a role is the detector of replaced tokens.
        role: 'any', or what is needed: 'discriminator', 'generator', 'classifier', 'tagger', 'span finder', 'encoder'.
        device: 'auto' (CUDA where there is one), 'cpu', 'cuda'.
        threads: CPU threads; 0 leaves the choice to PyTorch or the artefact's runtime.
        max_length: longest window in tokens; 0: the model's limit.
        batch_size: pieces of text at a time.

    Raises:
        UserError: no such checkpoint, a damaged one, or it lacks what `role` asks for.

    Examples:
        >>> from electra import load  # doctest: +SKIP
        >>> electra = load("google/electra-small-discriminator")  # doctest: +SKIP
        >>> for token in electra.detect(["The quick brown fox fake over the lazy dog"])[0].tokens:  # doctest: +SKIP
        ...     print(f"{token.token:10} {'fake' if token.replaced else 'real'} {token.probability:.2f}")
    """
    if source is None:
        source = shipped.default(role)
    name = str(source)
    if role in ("classifier", "span finder"):
        require = require_classifier if role == "classifier" else require_span_finder
        require(name, architecture_of(source))
    network: Network
    if is_artefact(source):
        from electra.deploy.built_network import open_built_network

        artefact = open_artefact(source)
        network, folder = open_built_network(artefact, role=role, device=device, threads=threads), artefact.path
    else:
        network = open_network(source, role=role, device=device, threads=threads)
        folder = hub.resolve(source)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > network.vocab_size:
        sizes = f"its tokenizer has {tokenizer.vocab_size} word pieces, its network only {network.vocab_size}"
        raise UserError(f"{name}: {sizes}; they do not belong together")
    return Predictor(network, tokenizer, name, max_length=max_length, batch_size=batch_size)


def is_tagger(source: str | Path) -> bool:
    """Whether a checkpoint tags words.

    Raises:
        UserError: no such checkpoint.
    """
    return architecture_of(source) == ARCHITECTURE
