"""A checkpoint or artifact -> a `Predictor`: labels, tags, answers, replaced tokens, vectors, likelihoods and words for masks.

Nothing here imports torch; the backend does where it is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from electra import bundled
from electra.contracts import Head, Prediction, Task
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError, did_you_mean
from electra.inference import answerer as questions
from electra.inference import masked_lm, replaced_tokens
from electra.inference.answerer import Answerer, answerer, describe_head, head_of, model_spec, require_head, task_of, text_example
from electra.inference.artifact import ROLE_ALIASES, Artifact
from electra.inference.backends import (
    PRETRAINED_NAMES,
    Array,
    Backend,
    architecture_of,
    open_artifact_backend,
    open_backend,
    require_classifier,
    require_question_answering,
)
from electra.inference.call_forms import each, one_text, probability, whole
from electra.inference.embeddings import PLAIN, Embedder, SentenceModules, check_widths, read_modules
from electra.inference.masked_lm import MarkedText, TextLikelihood
from electra.inference.replaced_tokens import Corruption, CorruptOptions, Detection, EncodedText, text_or_tokens
from electra.inference.text_io import Input
from electra.settings import EvaluateSettings
from electra.storage import resolve
from electra.tasks.input_spec import InputSpec, record
from electra.tasks.text_tasks import TRUNCATIONS

if TYPE_CHECKING:
    from electra.inference.token_classification import Sentence, Tagged


class Predictor:
    """A loaded model and its tokenizer. Make one with `electra.load`.

    Inputs are made as the model was trained (its input spec); `max_length` and `truncate` of `load` override that. Where a text is read in
    overlapping windows, token-wise answers come from the window in which a token has most context, labels average the windows' probabilities and
    vectors the tokens, so that every token counts once.

    Attributes:
        backend: token ids -> logits and states.
        tokenizer: text -> token ids.
        name: where it came from.
        spec: how inputs are made.
        batch_size: inputs at a time.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        name: str,
        *,
        max_length: int = 0,
        batch_size: int = 32,
        truncate: str | None = None,
        limit: int = 0,
        modules: SentenceModules = PLAIN,
    ) -> None:
        """Combine a backend and its tokenizer.

        Args:
            backend: runs the model.
            tokenizer: the one it was trained with.
            name: used in messages.
            max_length: longest input in tokens; 0: as trained.
            batch_size: inputs at a time.
            truncate: 'head', 'tail', 'head-tail' or 'windows' of longer texts; None: as trained.
            limit: longest input that the tokenizer allows; 0: the model's positions.
            modules: how vectors are made.

        Raises:
            UserError: a length below eight.
        """
        self.backend = backend
        self.tokenizer = tokenizer
        self.name = name
        self.batch_size = batch_size
        self.modules, values = modules, dict(backend.hf_config)
        self.limit = self.token_limit = min(limit or backend.max_length, backend.max_length)
        if modules.declared:
            self.limit = backend.max_length
            values |= record(None, modules.length(limit, self.limit))
        self.spec = modules.spec(model_spec(values, head_of(backend), self.limit, max_length=max_length, truncate=truncate), truncate)
        self.embedder = Embedder(backend, tokenizer, modules, self.spec.max_length, truncate or modules.truncate)

    @property
    def network(self) -> Backend:
        """The backend, under its name of version 0.1."""
        return self.backend

    @property
    def model(self) -> Any:
        """What runs: a torch.nn.Module in evaluation mode, or an artifact's runner."""
        return self.backend.module

    @property
    def max_length(self) -> int:
        """Longest input in tokens."""
        return self.spec.max_length

    @property
    def vector_spec(self) -> InputSpec:
        """What is read of a text for its vector: a classifier's vectors are of all windows of a text."""
        return replace(self.spec, options={**self.spec.options, "truncate": self.embedder.truncate})

    @property
    def hf_config(self) -> Mapping[str, Any]:
        """config.json."""
        return self.backend.hf_config

    @property
    def head(self) -> Head:
        """The head of a fine-tuned model.

        Raises:
            UserError: it is pre-trained only.
        """
        return require_head(self.name, self.backend)

    @cached_property
    def answerer(self) -> Answerer:
        """What answers with labels, numbers, tags or spans.

        Raises:
            UserError: the model is pre-trained only.
        """
        return answerer(self.backend, self.tokenizer, task_of(self.head), self.head, self.spec)

    def for_task(self, task: Task, wanted: Head, settings: EvaluateSettings | None = None) -> Answerer:
        """What answers a task with its head `wanted`, by the input spec of the model or, where given, the flags of `settings`, such as --labels.

        Raises:
            UserError: the model answers with something else than the task wants, or a flag that is not an option of the task.
        """
        from electra.tasks.evaluate import matched_head, task_input_spec

        head = matched_head(self.name, self.hf_config, self.head, task, wanted, () if settings is None else settings.labels)
        return answerer(self.backend, self.tokenizer, task, head, task_input_spec(self.hf_config, task, self.limit, settings))

    @cached_property
    def generator(self) -> Backend:
        """The generator of this discriminator (CKPT/generator), or this model where it is a generator.

        Raises:
            UserError: there is none.
        """
        if resolve.head_of(self.backend.architecture) == "masked-lm":
            if self.hf_config.get("electra_objective") == "clm":
                raise UserError(f"{self.name} {resolve.CAUSAL_ONLY}")
            return self.backend
        source: str | Path = self.name
        threads = getattr(self.backend, "threads", 0)
        if isinstance(artifact := getattr(self.backend, "artifact", None), Artifact):
            return open_artifact_backend(artifact, role="generator", threads=threads)
        if self.name in PRETRAINED_NAMES:
            source = self.name.replace("discriminator", "generator")
        elif not (resolve.resolve(self.name) / "generator" / "config.json").exists():
            raise UserError(f"{self.name} comes without its generator; give a checkpoint of 'electra pretrain' (it has a generator/ folder)")
        precision = getattr(self.backend, "precision", "fp32")
        found = open_backend(source, role="generator", device=getattr(self.backend, "device", "auto"), precision=precision)
        if found.vocab_size < (size := self.tokenizer.vocab_size):
            raise UserError(
                f"the generator of {self.name} has {found.vocab_size} tokens, its discriminator's tokenizer {size}: another vocabulary; "
                "give a checkpoint of one run"
            )
        return found

    # ---- labels ----

    def predict(self, texts: Iterable[Input]) -> list[Prediction]:
        """Texts, or (text, text) pairs -> label and probabilities of each; a number for a regression.

        Raises:
            UserError: the model has no classification head.

        Examples:
            >>> load("runs/sst2/best").predict(["what a film"])[0].label  # doctest: +SKIP
            'positive'
        """
        return list(self.iterate_predictions(texts))

    def iterate_predictions(self, texts: Iterable[Input]) -> Iterator[Prediction]:
        """`predict` for any number of texts, in constant memory and in order."""
        return self.classifier().stream(each(texts, "predict", text_example), self.batch_size)

    def classifier(self) -> Answerer:
        """What answers with labels or numbers.

        Raises:
            UserError: the model has no classification head.
        """
        require_classifier(self.name, self.backend.architecture)
        return self.answerer

    @property
    def is_reranker(self) -> bool:
        """Whether it gives one number to a text or a pair."""
        return resolve.head_of(self.backend.architecture) == "classification" and len(self.backend.labels) == 1

    def reranker(self) -> Answerer:
        """What says how relevant a passage is to a query.

        Raises:
            UserError: the model is no cross-encoder.
        """
        if not self.is_reranker:
            remedy = "train one by 'electra finetune rerank', or give a cross-encoder with one output"
            raise UserError(f"{self.name} is not a re-ranker (a classifier of pairs with one output); {remedy}")
        return self.answerer

    # ---- tags ----

    def tag(self, sentences: Iterable[Sentence], *, constrained: bool = False) -> list[Tagged]:
        """Texts, or lists of words -> a tag with its probability for each word, and the spans that the tags mark.

        Each word has its likeliest tag; `constrained`: the likeliest sequence that the scheme of the tags allows.

        Raises:
            UserError: the model is not a token classifier.

        Examples:
            >>> [(e.text, e.kind) for e in load("runs/ner/best").tag(["Ada Lovelace lived in London."])[0].entities]  # doctest: +SKIP
            [('Ada Lovelace', 'PER'), ('London', 'LOC')]
        """
        return list(self.iterate_tags(sentences, constrained=constrained))

    def iterate_tags(self, sentences: Iterable[Sentence], *, constrained: bool = False) -> Iterator[Tagged]:
        """`tag` for any number of sentences, in constant memory and in order."""
        from electra.inference.token_classification import tag

        model = self.token_classifier()
        sentences = each(sentences, "tag", lambda sentence, place: sentence)
        return tag(model.with_options(constrained=True) if constrained else model, sentences, self.batch_size)

    def token_classifier(self) -> Answerer:
        """What answers with tags.

        Raises:
            UserError: the model is not a token classifier.
        """
        if resolve.head_of(self.backend.architecture) != "tagging":
            remedy = f"fine-tune it first: electra finetune tagging --model {self.name} --train FILE --dev FILE --output RUN"
            raise UserError(f"{self.name} tags no words (it is {resolve.with_article(self.backend.architecture)}); {remedy}")
        return self.answerer

    # ---- answers to questions ----

    def answer(self, question: str, context: str, **choices: Any) -> list[questions.FoundAnswer]:
        """A question and a text -> the `top_k` likeliest answers, the best first.

        Args:
            question: the question.
            context: the text that may answer it, of any length.
            choices: top_k, handle_impossible, null_threshold, max_answer_length (tokens), stride (tokens); None: as the model was trained.

        Raises:
            UserError: the model is not a question-answering model, or a number out of range.

        Examples:
            >>> load("runs/squad/best").answer("Who cooked?", "The chef cooked the meal.")[0].text  # doctest: +SKIP
            'The chef'
        """
        return next(self.iterate_answers([(question, context)], **choices))

    def iterate_answers(self, pairs: Iterable[tuple[str, str]], **choices: Any) -> Iterator[list[questions.FoundAnswer]]:
        """`answer` for any number of (question, context), in constant memory and in order."""
        model, top_k = questions.with_choices(self.question_answerer(), choices)
        return questions.answer_questions(model, each(pairs, "answer", questions.question_pair), top_k, self.batch_size)

    def question_answerer(self) -> Answerer:
        """What answers questions.

        Raises:
            UserError: the model is not a question-answering model.
        """
        require_question_answering(self.name, self.backend.architecture)
        return self.answerer

    # ---- replaced tokens ----

    def detect(self, texts: Iterable[str | EncodedText], *, threshold: float = 0.5) -> list[Detection]:
        """Texts -> every token with the probability that it was replaced, and its place in the text.

        Raises:
            UserError: the model is not a discriminator.

        Examples:
            >>> [t.token for t in load("runs/mini/final").detect(["the chef ate the meal"])[0].tokens if t.replaced]  # doctest: +SKIP
            ['ate']
        """
        return list(self.iterate_detections(texts, threshold=threshold))

    def iterate_detections(self, texts: Iterable[str | EncodedText], *, threshold: float = 0.5, batch_size: int = 0) -> Iterator[Detection]:
        """`detect` for any number of texts, in constant memory and in order."""
        self._require_detector()
        sizes = {"max_length": self.max_length, "batch_size": batch_size or self.batch_size}
        threshold = probability("detect", "threshold", threshold)
        return replaced_tokens.detect(self.backend, self.tokenizer, each(texts, "detect", text_or_tokens), threshold=threshold, **sizes)

    def corrupt(
        self,
        texts: Iterable[str | EncodedText],
        *,
        mask_prob: float = 0.15,
        temperature: float = 1.0,
        seed: int = 1,
        threshold: float = 0.5,
        num_proposals: int = 5,
    ) -> Iterator[Corruption]:
        """Texts -> masked, filled by the generator, read by the discriminator (see `electra.inference.replaced_tokens.corrupt`).

        Raises:
            UserError: no discriminator, no generator, or a probability or temperature out of range.
        """
        self._require_detector()
        if not 0 < mask_prob <= 1:
            raise UserError(f"mask_prob {mask_prob}: expected a probability above 0, at most 1")
        if not temperature > 0:
            raise UserError(f"temperature {temperature}: expected a number above 0")
        if seed < 0:
            raise UserError(f"seed {seed}: expected 0 or more")
        return replaced_tokens.corrupt(
            self.backend,
            self.generator,
            self.tokenizer,
            each(texts, "corrupt", text_or_tokens),
            CorruptOptions(mask_prob=mask_prob, temperature=temperature, seed=seed, threshold=threshold, num_proposals=num_proposals),
            max_length=min(self.max_length, self.generator.max_length),
            batch_size=self.batch_size,
        )

    def _require_detector(self) -> None:
        if self.backend.is_electric:
            raise UserError(f"{self.name} is an Electric: it says how likely tokens are, not which were replaced; use 'electra score'")
        if resolve.head_of(self.backend.architecture) != "replaced-tokens":
            kind = resolve.with_article(self.backend.architecture)
            raise UserError(f"{self.name} detects no replaced tokens (it is {kind}); give a pre-trained discriminator")

    # ---- likelihoods ----

    def score(self, texts: Iterable[str]) -> list[TextLikelihood]:
        """Texts -> their pseudo-log-likelihoods, by an Electric in one pass or by a masked LM (an ELECTRA's generator is one) token by token.

        Raises:
            UserError: the model is neither, and has no generator.

        Examples:
            >>> [s.score for s in load("runs/electric/final").score(["the chef ate", "the chef eight"])]  # doctest: +SKIP
            [-9.1, -17.4]
        """
        return list(self.iterate_scores(texts))

    def iterate_scores(self, texts: Iterable[str]) -> Iterator[TextLikelihood]:
        """`score` for any number of texts, in constant memory and in order."""
        backend = self.backend
        head = resolve.head_of(backend.architecture)
        if head == "masked-lm" or (head == "replaced-tokens" and not backend.is_electric):
            backend = self.generator
        elif head != "replaced-tokens":
            remedy = "give an Electric (pre-trained with --objective electric), a masked LM, or an ELECTRA with its generator"
            raise UserError(f"{self.name} gives no likelihoods (it is {resolve.with_article(backend.architecture)}); {remedy}")
        return masked_lm.score(backend, self.tokenizer, texts, max_length=min(self.max_length, backend.max_length), batch_size=self.batch_size)

    # ---- vectors ----

    def embed(
        self,
        texts: Iterable[str | EncodedText],
        *,
        normalize: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate_dim: int | None = None,
    ) -> Array:
        """N texts -> (N, D) float32: as the modules of a sentence-transformers folder say, equal to its `encode`.

        Of other models the mean of a text's last hidden states, [CLS] and [SEP] included, each token once.

        Args:
            texts: any number of them.
            normalize: scale the vectors to length one.
            prompt: text before every text.
            prompt_name: the same by its name in the model's files; neither: the model's default, if it has one.
            truncate_dim: numbers that are kept of each vector; None: as the model's files say.

        Raises:
            UserError: no prompt of that name, or a size below one.

        Examples:
            >>> load("runs/mini/final").embed(["a sentence", "another"]).shape  # doctest: +SKIP
            (2, 128)
        """
        rows = list(self.iterate_embeddings(texts, normalize=normalize, prompt=prompt, prompt_name=prompt_name, truncate_dim=truncate_dim))
        return np.stack(rows) if rows else np.zeros((0, self.modules.width(self.backend.hidden_size, truncate_dim)), dtype=np.float32)

    def iterate_embeddings(self, texts: Iterable[str | EncodedText], *, batch_size: int = 0, **options: Any) -> Iterator[Array]:
        """`embed` for any number of texts, in constant memory: one (D,) vector each, in order."""
        return self.embedder.vectors(each(texts, "embed", text_or_tokens), batch_size or self.batch_size, **options)

    def similarity(self, first: Array, second: Array) -> Array:
        """(N, D) and (M, D) vectors -> (N, M) similarities, by the cosine or what the model's files name."""
        return self.modules.scores(first, second)

    def token_vectors(self, texts: Iterable[str | EncodedText], *, batch_size: int = 0) -> Iterator[Array]:
        """Texts -> (L, D) float32 each: the last hidden state of [CLS], every token, [SEP]; of all tokens, whatever the modules say."""
        length = self.token_limit if self.modules.declared and "max_length" not in self.spec.overridden else self.max_length
        return replace(self.embedder, max_length=length, truncate="windows").token_vectors(
            each(texts, "embed", text_or_tokens), batch_size or self.batch_size
        )

    def fill(self, text: str | MarkedText, *, top_k: int = 5, targets: str | Sequence[str] | None = None) -> list[list[masked_lm.Proposal]]:
        """A text with [MASK] in it -> per mask, the generator's best (token, id, probability, filled text); of `targets` alone if given.

        The filled text is the decoded one; where there are several masks, with the others, [CLS] and [SEP].

        Raises:
            UserError: no text, no [MASK], no generator, or no whole number above 0.
        """
        whole("fill", "top_k", top_k)
        marked = text if isinstance(text, MarkedText) else masked_lm.encode_marked(one_text(text, "fill"), self.tokenizer)
        return masked_lm.fill(self.generator, self.tokenizer, marked, min(self.max_length, self.generator.max_length), top_k, targets)


# ---- loading ----


def load(
    source: str | Path | None = None,
    *,
    role: str = "any",
    device: str = "auto",
    threads: int = 0,
    precision: str = "fp32",
    max_length: int = 0,
    batch_size: int = 32,
    truncate: str | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
) -> Predictor:
    """A checkpoint folder, run directory, hub name or artifact -> its model and tokenizer, ready to predict.

    Args:
        source: a folder made here or by `transformers`, a run directory, a name on the Hugging Face hub (through its cache), or what
            'electra build' made (a folder or .zip), which needs no torch; 'shipped:NAME' for a bundled model (see `electra.bundled`).
            None: the bundled one for the role, which without a role is the detector of replaced tokens.
        role: 'any', or what it must do: 'discriminator', 'generator', 'classifier', 'token-classification', 'question-answering', 'encoder'.
        device: 'auto' (CUDA where there is one), 'cpu', 'cuda'.
        threads: CPU threads; 0 leaves the choice to PyTorch or the artifact's runtime.
        precision: of a checkpoint's matmuls: 'fp32'; 'bf16', faster on CPUs with AVX512_BF16 or AMX and on GPUs; 'fp16' on GPUs.
        max_length: longest input in tokens, at most the model's positions; 0: as trained.
        batch_size: inputs at a time.
        truncate: what is read of longer texts by a classifier: 'head', 'tail', 'head-tail', or all in 'windows'; None: as trained.
        tokenizer: a folder or hub name, where it is not that of the model.

    Raises:
        UserError: no such checkpoint, a damaged one, or it cannot do what `role` says.
    """
    role = ROLE_ALIASES.get(role, role)
    for key, value, least in (("threads", threads, 0), ("max_length", max_length, 0), ("batch_size", batch_size, 1)):
        whole("load", key, value, least)
    if source is None:
        source = bundled.default(role)
    name = str(source)
    if truncate is not None and truncate not in TRUNCATIONS:
        raise UserError(f"unknown truncate '{truncate}'; {did_you_mean(truncate, TRUNCATIONS)}")
    if role in ("classifier", "question-answering"):
        require = require_classifier if role == "classifier" else require_question_answering
        require(name, architecture_of(source, role))
    backend = open_backend(source, role=role, device=device, threads=threads, precision=precision)
    artifact = getattr(backend, "artifact", None)
    folder = artifact.path if isinstance(artifact, Artifact) else resolve.resolve(source)
    modules = read_modules(resolve.modules_folder(source, folder))
    check_widths(modules, backend.hidden_size, name)
    own = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer or folder)
    own = own.lowercased() if modules.lowercase else own
    if own.vocab_size > backend.vocab_size:
        sizes = f"its tokenizer has {own.vocab_size} tokens, its network only {backend.vocab_size}"
        raise UserError(f"{name}: {sizes}; they do not belong together")
    if backend.architecture == "ElectraOriginalQuestionAnswering":
        from electra.tasks.question_answering import check_segments

        check_segments(own, name)
    limit = own.settings.max_length
    return Predictor(backend, own, name, max_length=max_length, batch_size=batch_size, truncate=truncate, limit=limit, modules=modules)


def is_token_classifier(source: str | Path) -> bool:
    """Whether a checkpoint tags words.

    Raises:
        UserError: no such checkpoint.
    """
    return resolve.head_of(architecture_of(source)) == "tagging"


def describe(model: Predictor, spec: InputSpec | None = None) -> str:
    """'m: ElectraForSequenceClassification, head: classification into 2 classes (0, 1); input: the first 128 tokens (as trained)'."""
    return f"{describe_head(model.name, model.backend)}; {(spec or model.spec).describe()}"


def load_for(settings: Any, source: str | Path, role: str = "any") -> Predictor:
    """`load` with what a command's settings say: threads, precision, batch size, lengths."""
    names = ("threads", "precision", "batch_size", "max_length", "truncate")
    return load(source, role=role, **{name: getattr(settings, name) for name in names if hasattr(settings, name)})


def open_fine_tuned(source: str, *, threads: int = 0, device: str = "auto", precision: str = "fp32") -> Predictor:
    """`load` of a model that is fine-tuned for some task.

    Raises:
        UserError: no such model, or one that is pre-trained only.
    """
    return load(source, role="task", threads=threads, device=device, precision=precision)
