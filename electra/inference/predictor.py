"""Texts -> labels, verdicts, vectors, words: one face for everything a trained network can say.

Nothing here imports torch; the network does, when it is one of PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra import bundled
from electra.contracts import Features, Head, Prediction
from electra.data.tokenizer import load_tokenizer
from electra.data.windows import Piece, Window, answer, pair_pieces, single_pieces
from electra.errors import UserError
from electra.inference import masked_lm, replaced_tokens, token_classification
from electra.inference.artifact import Artefact, is_artefact, open_artefact
from electra.inference.backends import PRETRAINED_NAMES, Network, architecture_of, open_network, require_classifier, require_span_finder
from electra.inference.masked_lm import Score
from electra.inference.question_answering import QuestionAnswerer
from electra.inference.replaced_tokens import Corruption, Detection, probabilities_of
from electra.inference.text_io import Text
from electra.inference.token_classification import ARCHITECTURE, Sentence, Tagged
from electra.storage import resolve
from electra.tasks.data_warnings import head_line
from electra.tasks.evaluate import Opened

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Array, Network


Input = str | tuple[str, str] | Text


class Predictor(QuestionAnswerer):
    """A loaded checkpoint and its tokenizer. Make one with `electra.load`.

    Texts may have any length: what does not fit is read in overlapping windows and joined. Token-wise answers come from the
    window in which a token has most context; labels average the windows' probabilities and vectors the tokens, so that every
    token counts once.

    Attributes:
        network: answers for pieces of text.
        tokenizer: text -> word-piece ids.
        name: where it came from.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer, name: str, *, max_length: int = 0, batch_size: int = 32) -> None:
        """Put a network and its tokenizer together.

        Args:
            network: answers for pieces of text.
            tokenizer: the one it was trained with.
            name: what messages call it.
            max_length: longest window in tokens; 0, or more than the network's limit: that limit.
            batch_size: pieces at a time.
        """
        self.network = network
        self.tokenizer = tokenizer
        self.name = name
        self.max_length = min(max_length or network.max_length, network.max_length)
        self.batch_size = batch_size
        if self.max_length < 8:
            raise UserError(f"max_length {self.max_length} leaves no room for text; expected at least 8")

    @property
    def model(self) -> Any:
        """What runs: a torch.nn.Module in evaluation mode, or what opens an artefact's model file."""
        return self.network.module

    @cached_property
    def generator(self) -> Network:
        """The generator beside this discriminator (CKPT/generator), or this checkpoint where it is one.

        Raises:
            UserError: there is none.
        """
        if self.network.architecture == "ElectraForMaskedLM":
            return self.network
        source: str | Path = self.name
        threads = getattr(self.network, "threads", 0)
        if isinstance(artefact := getattr(self.network, "artefact", None), Artefact):
            from electra.inference.backends import open_built_network

            return open_built_network(artefact, role="generator", threads=threads)
        if self.name in PRETRAINED_NAMES:
            source = self.name.replace("discriminator", "generator")
        elif not (resolve.resolve(self.name) / "generator" / "config.json").exists():
            raise UserError(f"{self.name} comes without its generator; give a checkpoint of 'electra pretrain' (it has a generator/ folder)")
        found = open_network(source, role="generator", device=getattr(self.network, "device", "auto"))
        if found.vocab_size != self.tokenizer.vocab_size:
            raise UserError(f"the generator of {self.name} has another vocabulary than its discriminator; give a checkpoint of one run")
        return found

    # ---- labels ----

    def predict(self, texts: Iterable[Input]) -> list[Prediction]:
        """Texts, or (text, text) pairs -> label and probabilities of each; a number for a regression.

        Raises:
            UserError: the checkpoint has no classification head.

        Examples:
            >>> load("runs/sst2/best").predict(["what a film"])[0].label  # doctest: +SKIP
            'positive'
        """
        return list(self.iterate_predictions(texts))

    def iterate_predictions(self, texts: Iterable[Input]) -> Iterator[Prediction]:
        """`predict` for any number of texts, in constant memory and in order."""
        require_classifier(self.name, self.network.architecture)
        stream = answer((_text(t) for t in texts), prepare=self._prepare_texts, run=self._classify, size=lambda t: t.size, batch_size=self.batch_size)
        for _, pieces, results in stream:
            weights = np.array([piece.weight for piece in pieces], dtype=np.float64)
            yield self._prediction(np.average(np.stack(results), axis=0, weights=weights), len(pieces))

    def _prepare_texts(self, texts: list[Text]) -> list[tuple[Text, list[Piece]]]:
        first = self.tokenizer.encode([t.text for t in texts])
        pairs = iter(self.tokenizer.encode([t.pair for t in texts if t.pair]))
        out = []
        for text, ids in zip(texts, first, strict=True):
            if not text.pair:  # an empty second text is none, as in the original and in `transformers`
                out.append((text, single_pieces(ids, self.tokenizer, self.max_length)))
            else:
                out.append((text, pair_pieces(ids, next(pairs), self.tokenizer, self.max_length)))
        return out

    def _classify(self, pieces: list[Piece]) -> list[Array]:
        logits = self.network.class_logits(pieces).astype(np.float64)
        if self.network.is_multilabel:
            return list(0.5 + 0.5 * np.tanh(logits / 2))
        return list(logits if self.network.is_regression else probabilities_of(logits))

    def _prediction(self, values: Array, num_windows: int) -> Prediction:
        if self.network.is_regression:
            return Prediction(label=float(values[0]), num_windows=num_windows)
        table = {label: float(p) for label, p in zip(self.network.labels, values, strict=True)}
        if self.network.is_multilabel:
            return Prediction(label=tuple(name for name, p in table.items() if p > 0.5), probabilities=table, num_windows=num_windows)
        best = int(values.argmax())
        return Prediction(label=self.network.labels[best], probability=float(values[best]), probabilities=table, num_windows=num_windows)

    # ---- tags ----

    def tag(self, sentences: Iterable[Sentence], *, constrained: bool = False) -> list[Tagged]:
        """Texts, or lists of words -> a tag with its probability for each word, and the spans the tags mark.

        Each word has its likeliest tag; `constrained`: the likeliest sequence that the scheme of the tags allows.

        Raises:
            UserError: the checkpoint has no head for tags.

        Examples:
            >>> [(e.text, e.kind) for e in load("runs/ner/best").tag(["Ada Lovelace lived in London."])[0].entities]  # doctest: +SKIP
            [('Ada Lovelace', 'PER'), ('London', 'LOC')]
        """
        return list(self.iterate_tags(sentences, constrained=constrained))

    def iterate_tags(self, sentences: Iterable[Sentence], *, constrained: bool = False) -> Iterator[Tagged]:
        """`tag` for any number of sentences, in constant memory and in order."""
        return token_classification.tag(self, sentences, constrained=constrained)

    # ---- replaced tokens ----

    def detect(self, texts: Iterable[str], *, threshold: float = 0.5) -> list[Detection]:
        """Texts -> every token with the probability that it was replaced, and its place in the text.

        Raises:
            UserError: the checkpoint is no discriminator.

        Examples:
            >>> [t.token for t in load("runs/mini/final").detect(["the chef ate the meal"])[0].tokens if t.replaced]  # doctest: +SKIP
            ['ate']
        """
        return list(self.iterate_detections(texts, threshold=threshold))

    def iterate_detections(self, texts: Iterable[str], *, threshold: float = 0.5) -> Iterator[Detection]:
        """`detect` for any number of texts, in constant memory and in order."""
        self._require_detector()
        return replaced_tokens.detect(self.network, self.tokenizer, texts, threshold=threshold, batch_size=self.batch_size)

    def corrupt(
        self,
        texts: Iterable[str],
        *,
        mask_prob: float = 0.15,
        temperature: float = 1.0,
        seed: int = 1,
        threshold: float = 0.5,
        num_proposals: int = 5,
    ) -> Iterator[Corruption]:
        """Texts -> masked, filled by the generator, judged by the discriminator (see `electra.inference.replaced_tokens.corrupt`).

        Raises:
            UserError: no discriminator, no generator, or a share or temperature out of range.
        """
        self._require_detector()
        if not 0 < mask_prob <= 1:
            raise UserError(f"mask_prob {mask_prob}: expected a share above 0, at most 1")
        if not temperature > 0:
            raise UserError(f"temperature {temperature}: expected a number above 0")
        if seed < 0:
            raise UserError(f"seed {seed}: expected 0 or more")
        return replaced_tokens.corrupt(
            self.network,
            self.generator,
            self.tokenizer,
            texts,
            mask_prob=mask_prob,
            temperature=temperature,
            seed=seed,
            threshold=threshold,
            num_proposals=num_proposals,
            batch_size=self.batch_size,
        )

    # ---- likelihoods ----

    def score(self, texts: Iterable[str]) -> list[Score]:
        """Texts -> their pseudo-log-likelihoods, by an Electric in one pass or by a masked LM (an ELECTRA's generator is one) token by token.

        Raises:
            UserError: the checkpoint is neither, and has no generator.

        Examples:
            >>> [s.score for s in load("runs/electric/final").score(["the chef ate", "the chef eight"])]  # doctest: +SKIP
            [-9.1, -17.4]
        """
        return list(self.iterate_scores(texts))

    def iterate_scores(self, texts: Iterable[str]) -> Iterator[Score]:
        """`score` for any number of texts, in constant memory and in order."""
        network = self.network
        if network.architecture == "ElectraForPreTraining" and not network.is_electric:
            network = self.generator
        elif network.architecture not in ("ElectraForPreTraining", "ElectraForMaskedLM"):
            remedy = "give an Electric (pre-trained with --objective electric), a masked LM, or an ELECTRA with its generator"
            raise UserError(f"{self.name} gives no likelihoods (it is an {network.architecture}); {remedy}")
        return masked_lm.score(network, self.tokenizer, texts, batch_size=self.batch_size)

    # ---- vectors ----

    def embed(self, texts: Iterable[str], *, normalize: bool = False) -> Array:
        """N texts -> (N, D) float32: the mean of a text's last hidden states, [CLS] and [SEP] included, each token once.

        Examples:
            >>> load("runs/mini/final").embed(["a sentence", "another"]).shape  # doctest: +SKIP
            (2, 128)
        """
        rows = list(self.iterate_embeddings(texts, normalize=normalize))
        return np.stack(rows) if rows else np.zeros((0, self.network.hidden_size), dtype=np.float32)

    def iterate_embeddings(self, texts: Iterable[str], *, normalize: bool = False) -> Iterator[Array]:
        """`embed` for any number of texts, in constant memory: one (D,) vector each, in order."""

        def run(pieces: list[Piece]) -> list[tuple[Array, int]]:
            kept = [_kept(piece, states) for piece, states in zip(pieces, self.network.hidden_states(pieces), strict=True)]
            return [(states.sum(0, dtype=np.float64), len(states)) for states in kept]

        for _, _, results in answer(texts, prepare=self._prepare_singles, run=run, size=len, batch_size=self.batch_size):
            vector = np.sum([total for total, _ in results], axis=0) / sum(count for _, count in results)
            if normalize:
                vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
            yield vector.astype(np.float32)

    def token_vectors(self, texts: Iterable[str]) -> Iterator[Array]:
        """Texts -> (L, D) float32 each: the last hidden state of [CLS], every token, [SEP]."""

        def run(pieces: list[Piece]) -> list[Array]:
            return [_kept(piece, states) for piece, states in zip(pieces, self.network.hidden_states(pieces), strict=True)]

        for _, _, results in answer(texts, prepare=self._prepare_singles, run=run, size=len, batch_size=self.batch_size):
            yield np.concatenate(results)

    def _prepare_singles(self, texts: list[str]) -> list[tuple[int, list[Piece]]]:
        out = []
        for ids in self.tokenizer.encode(texts):
            pieces = single_pieces(ids, self.tokenizer, self.max_length)
            out.append((len(ids), pieces))
        return out

    # ---- words ----

    def fill(self, text: str, *, top_k: int = 5, targets: Sequence[str] | None = None) -> list[list[tuple[str, int, float, str]]]:
        """A text with [MASK] in it -> per mask, the generator's best (word piece, id, probability, filled text); of `targets` alone if given.

        The filled text is the decoded one, with every other mask left as it is.

        Raises:
            UserError: no [MASK], or no generator.
        """
        masked_lm.require_mask(text)
        return masked_lm.fill(self.generator, self.tokenizer, text, self.max_length, top_k, targets)

    def _require_detector(self) -> None:
        if self.network.is_electric:
            raise UserError(f"{self.name} is an Electric: it says how likely tokens are, not which were replaced; use 'electra score'")
        if self.network.architecture != "ElectraForPreTraining":
            raise UserError(f"{self.name} detects no replaced tokens (it is an {self.network.architecture}); give a pre-trained discriminator")


def _text(item: Input) -> Text:
    if isinstance(item, Text):
        return item
    if isinstance(item, str):
        return Text(item)
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return Text(item[0], item[1])
    raise UserError(f"expected a text or a (text, text) pair, got {type(item).__name__} {_short(repr(item))}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _kept(piece: Piece, states: Array) -> Array:
    """(L, D) of a piece -> the rows it answers for: its own tokens, [CLS] with a text's first token, [SEP] with its last.

    A window begins with the text when nothing comes before it, and ends with it when it answers for all it reads behind.
    """
    inside = piece.inside
    first = 0 if piece.window.first == 0 else inside.start
    last = len(states) if inside.stop == len(states) - 1 else inside.stop
    return states[first:last]


# ---- A checkpoint folder, run directory, shipped model, hub name or artefact -> a predictor ----


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
        source = bundled.default(role)
    name = str(source)
    if role in ("classifier", "span finder"):
        require = require_classifier if role == "classifier" else require_span_finder
        require(name, architecture_of(source))
    network: Network
    if is_artefact(source):
        from electra.inference.backends import open_built_network

        artefact = open_artefact(source)
        network, folder = open_built_network(artefact, role=role, device=device, threads=threads), artefact.path
    else:
        network = open_network(source, role=role, device=device, threads=threads)
        folder = resolve.resolve(source)
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


# ---- Which of a model's heads answers, in words: a checkpoint of somebody else's may hold another than one thinks ----


OTHER_HEADS = {
    "ElectraForPreTraining": "whether each token was replaced",
    "ElectraForMaskedLM": "words for the masked places",
    "ElectraModel": "none, its last hidden states",
}


def task_head(model: Predictor) -> Head | None:
    """The head of a fine-tuned model; None for one that is pre-trained only."""
    network = model.network
    if network.architecture in ("ElectraForQuestionAnswering", "ElectraOriginalQuestionAnswering"):
        return Head(kind="span")
    if network.architecture == "ElectraForTokenClassification":
        return Head(kind="tagging", labels=network.labels)
    if network.architecture in OTHER_HEADS:
        return None
    if network.is_regression:
        return Head(kind="regression")
    return Head(kind="multilabel" if network.is_multilabel else "classification", labels=network.labels)


def head_said(model: Predictor) -> str:
    """'runs/sst2/best: ElectraForSequenceClassification, its head: classification into 2 classes (0, 1)'."""
    head = task_head(model)
    if head is not None:
        return head_line(model.name, {"architectures": [model.network.architecture]}, head)
    what = "how likely each token is (Electric)" if model.network.is_electric else OTHER_HEADS[model.network.architecture]
    return f"{model.name}: {model.network.architecture}, its head: {what}"


# ---- A task's examples through a network, whatever runs it: checkpoints and built artefacts are asked in the same words. Needs no torch ----


KINDS = {"ElectraForTokenClassification": "tagging", "ElectraForQuestionAnswering": "span", "ElectraOriginalQuestionAnswering": "span"}


def open_fine_tuned(source: str, *, threads: int = 0, device: str = "auto") -> Opened:
    """A checkpoint folder, run, hub name or artefact -> a fine-tuned model.

    Args:
        source: what `electra.load` opens.
        threads: CPU threads; 0 leaves the library's choice.
        device: 'auto' (CUDA where there is one), 'cpu', 'cuda'.

    Raises:
        UserError: no such model, or one that was not fine-tuned.
    """
    predictor = load(source, role="task", threads=threads, device=device)
    network, head = predictor.network, head_of(predictor.network)

    def compute(features: Sequence[Features], batch_size: int) -> list[np.ndarray]:
        return compute_outputs(network, features, head, batch_size)

    return Opened(
        name=str(source),
        head=head,
        tokenizer=predictor.tokenizer,
        max_length=network.max_length,
        hf_config=network.hf_config,
        compute=compute,
    )


def head_of(network: Network) -> Head:
    """What a network's head is for; a regression answers in the label's own unit, so nothing is left to scale."""
    if (kind := KINDS.get(network.architecture)) is not None:
        return Head(kind=kind, labels=tuple(network.labels) if kind == "tagging" else ())
    if network.is_regression:
        return Head(kind="regression")
    return Head(kind="multilabel" if network.is_multilabel else "classification", labels=tuple(network.labels))


def compute_outputs(network: Network, features: Sequence[Features], head: Head, batch_size: int) -> list[np.ndarray]:
    """Features -> (C,) logits of a text, (L, C) of its tokens or what a span head says of each, float32, in their order.

    Similar lengths share a batch, the longest first: memory runs out at once or never.
    """
    pieces = [Piece(feature.ids, feature.segments, Window(0, 0, 0, 0)) for feature in features]  # type: ignore[arg-type]
    ask = {"tagging": network.token_logits, "span": network.span_outputs}.get(head.kind, network.class_logits)
    order = sorted(range(len(pieces)), key=lambda i: -len(pieces[i].ids))
    found: dict[int, np.ndarray] = {}
    with _precision(network):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found.update(zip(batch, ask([pieces[i] for i in batch]), strict=True))
    return [found[i] for i in range(len(pieces))]


def _precision(network: Network) -> AbstractContextManager[object]:
    """On CUDA that of training's own evaluations, so that a checkpoint scores as it did there."""
    device = getattr(network, "device", "cpu")
    if not str(device).startswith("cuda"):
        return nullcontext()
    import torch

    from electra.train.evaluation import autocast

    return autocast(torch.device(device), "auto")
