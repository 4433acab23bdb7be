"""Fine-tuning: settings -> task files and a pre-trained checkpoint -> a run with the best model, every seed and their scores.

    task files          -> training and dev examples of each task       (all input is checked before anything is written)
    checkpoint          -> encoder and tokenizer; its size selects the hyperparameters
    examples            -> features
    for every seed:        features -> training -> dev predictions and scores
    scores of the seeds -> the best seed's model

    RUN/config.toml        the settings used
        scores.json        scores of every seed, mean and standard deviation
        predictions.jsonl  the best seed's dev predictions                   (predictions-TASK.jsonl of several tasks)
        best/              the best seed's model, with its card              (best/TASK of several tasks)
        seed-N/            metrics.jsonl, predictions and scores.json; checkpoints/ until the seed is finished

A run has a dict of tasks. One task is a dict of length 1; several ('sst2+rte') share one encoder and train together, a batch of one task at a
time. A seed's score is that of the weights after its last step: choosing the best evaluation on the way would be choosing on the dev set, and
the mean over seeds would be too high. --early-stopping does so, and the scores say it.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from electra.contracts import Example, Features, Head, Prediction
from electra.data.task_batches import FeatureStream, evaluation_batches, task_stream
from electra.finetuning import few_shot, retrieval
from electra.finetuning.hyperparameters import DATA_FILE, RANDOM, has_fitted_head, mixing_power, plan_steps
from electra.finetuning.results import (
    AVERAGE,
    FinetuneResult,
    Scores,
    SeedResult,
    best_seed,
    finetuning_card,
    main_score,
    of_task,
    read_seed,
    summarize,
    write_seed,
)
from electra.finetuning.setup import FinetuneInputs, TaskData, for_ranks, of_seed, read_inputs
from electra.model.encoder import Encoder, parameter_depth
from electra.model.huggingface import reinitialize, save_checkpoint, with_dropout
from electra.model.similarity import SimilarityObjective
from electra.model.task_models import (
    Classifier,
    LinearProbing,
    SentenceEncoder,
    TaskNetwork,
    TaskObjective,
    combined_objective,
    freeze_lowest,
    share_encoder,
    start_pooler,
    task_network,
    task_objective,
)
from electra.settings import FinetuneSettings, LoopSettings
from electra.storage import atomic
from electra.tasks import input_spec, question_answering
from electra.tasks.evaluate import reference
from electra.tasks.input_spec import CALIBRATION
from electra.tasks.metrics import confidences, reliability
from electra.tasks.text_tasks import decode_texts, fit_temperature
from electra.terminal import say
from electra.train import distributed, timing
from electra.train.checkpoint import checkpoints, latest_checkpoint
from electra.train.distributed import Ranks
from electra.train.evaluation import autocast
from electra.train.loop import Run, TrainResult
from electra.train.run_log import RunLog, read_metrics, run_environment

BEST_EVALUATION = "best-evaluation.safetensors"

# ---- the run ----


def finetune(settings: FinetuneSettings) -> FinetuneResult:
    """Fine-tune a checkpoint on one task, or on several together, with every seed; progress and warnings go to standard error.

    With `resume` a stopped run continues where it was. A run that fails before its first checkpoint leaves no files.

    Raises:
        UserError: anything wrong with the settings, the files or the model, or a loss that is not finite.
    """
    inputs = read_inputs(settings)
    settings, output, results = inputs.settings, inputs.settings.output, []
    with distributed.join(settings.loop.device, settings.loop.threads) as ranks, _removed_on_failure(output, ranks):
        inputs = for_ranks(inputs, ranks)
        if ranks.first:
            atomic.remove_partial(output)
            atomic.write_text(output / "config.toml", tomli_w.dumps(inputs.recorded))
            atomic.write_text(output / DATA_FILE, json.dumps(inputs.hashes, indent=1) + "\n")
            for line in inputs.warnings:
                say(line)
        signal = None
        for seed in range(settings.loop.seed, settings.loop.seed + settings.seeds):
            folder = output / f"seed-{seed}"
            result = ranks.agree(read_seed(folder, inputs.by_name) if ranks.first else None)
            if result is None:
                ended, result = SeedRun(inputs, seed, folder, ranks).train()
                if result is None:
                    signal = ended.signal or 15
                    break
            results.append(result)
            if ranks.first:
                remove_state(folder)
                keep_best(inputs, results)
    return FinetuneResult(
        output=output,
        best={name: inputs.part(output / "best", name) for name in inputs.tasks},
        scores=summarize(settings, inputs.facts(), results) if results else {},
        seeds=results,
        signal=signal,
        first=ranks.first,
    )


@contextmanager
def _removed_on_failure(output: Path, ranks: Ranks) -> Iterator[None]:
    """Remove the new run directory of a failed run without a checkpoint or a finished seed, so that the corrected command can use it."""
    fresh = not output.is_dir() or not any(output.iterdir())
    try:
        yield
    except Exception:
        seeds = list(output.glob("seed-*"))
        if ranks.first and fresh and not any((seed / "scores.json").exists() or checkpoints(seed) for seed in seeds):
            shutil.rmtree(output, ignore_errors=True)
        raise


def remove_state(seed: Path) -> None:
    """Remove a finished seed's checkpoints and its best weights so far, several times the model's size."""
    shutil.rmtree(seed / "checkpoints", ignore_errors=True)
    (seed / BEST_EVALUATION).unlink(missing_ok=True)


def keep_best(inputs: FinetuneInputs, results: Sequence[SeedResult]) -> None:
    """Write RUN/scores.json, move the best seed's model to RUN/best and write its card; the other seeds' weights are removed."""
    output, best = inputs.settings.output, best_seed(results)
    folder, summary = output / f"seed-{best.seed}", summarize(inputs.settings, inputs.facts(), results)
    atomic.write_text(output / "scores.json", json.dumps(summary, indent=1) + "\n")
    if (folder / "final").exists():
        atomic.replace_folder(folder / "final", output / "best")
    for name, data in inputs.tasks.items():
        for file in inputs.prediction_files(name):
            (output / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / file, output / file)
        card = finetuning_card(data.task, data.head, data.settings, of_task(summary, name), run_environment())
        if others := ", ".join(other for other in inputs.tasks if other != name):
            card += f"\nIts encoder was trained on this task and {others} (mixing: {inputs.settings.mixing}); seconds and tokens are of all.\n"
        atomic.remove_partial(inputs.part(output / "best", name))
        atomic.write_text(inputs.part(output / "best", name) / "README.md", card)
    for result in results:
        shutil.rmtree(output / f"seed-{result.seed}" / "final", ignore_errors=True)


# ---- one seed ----


class SeedRun:
    """The training of one seed: a network per task on one encoder, their batches, and the files of RUN/seed-N."""

    def __init__(self, inputs: FinetuneInputs, seed: int, folder: Path, ranks: Ranks) -> None:
        self.inputs, self.seed, self.folder, self.ranks = inputs, seed, folder, ranks
        self.settings = inputs.settings
        self.tasks = {name: of_seed(data, inputs.tokenizer, seed) for name, data in inputs.tasks.items()}
        self.networks = {name: build_network(inputs, data, seed) for name, data in self.tasks.items()}
        share_encoder(self.networks)
        size = self.settings.loop.batch_size
        streams = {name: FeatureStream(data.train, size, seed, rank=ranks.rank, world_size=ranks.world_size) for name, data in self.tasks.items()}
        self.stream = task_stream(streams, seed, mixing_power(self.settings.mixing))
        self.loop = replace(plan_steps(self.settings, self.stream.batches_per_epoch), seed=seed)
        networks = [*self.networks.values()]
        module = networks[0] if len(networks) == 1 else nn.ModuleDict(self.networks)
        self.best = BestEvaluation(folder, module, self.settings.early_stopping)
        self.last: dict[str, list[Prediction]] = {}
        self.calibration: dict[str, dict[str, Any]] = {}

    def train(self) -> tuple[TrainResult, SeedResult | None]:
        """Train and score, from the last checkpoint of an interrupted run if there is one -> the result; None if a signal stopped it.

        Writes metrics.jsonl and the loop's other files, final (the model), predictions and, last of all, scores.json.

        Raises:
            UserError: the loss became infinite, or the folder cannot be written.
        """
        if self.settings.few_shot and self.settings.few_shot_method == "frozen":
            result = self.without_training()
            return result, self.ranks.agree(self.finish(result) if self.ranks.first else None)
        depth = depth_of(self.inputs.start.config.num_hidden_layers) if self.settings.optimizer.layerwise_lr_decay != 1.0 else None
        objective = self.objective()
        if warning := self.memory_warning(objective):
            say(warning)
        run = Run(
            objective=objective,
            stream=self.stream,
            settings=self.loop,
            optimizer=self.settings.optimizer,
            log=RunLog(
                self.folder,
                title=f"{'+'.join(self.tasks)} seed {self.seed}",
                active=self.ranks.first,
                logging=self.loop,
                recorded={**self.inputs.recorded, "seed": self.seed},
            ),
            save=self.save,
            evaluate=self.evaluate,
            early_stop=self.best.enough,
            parameter_depth=depth,
            ranks=self.ranks,
        )
        result = run.train(latest_checkpoint(self.folder))
        if result.stopped:
            return result, None
        return result, self.ranks.agree(self.finish(result) if self.ranks.first else None)

    def without_training(self) -> TrainResult:
        """Write final with the encoder as it is, under a logistic regression."""
        start = time.monotonic()
        for network in self.networks.values():
            network.to(self.ranks.device)
        if self.ranks.first:
            atomic.remove_partial(self.folder)
            with atomic.atomic_folder(self.folder / "final") as temporary:
                self.save(temporary)
        seconds = time.monotonic() - start
        return TrainResult(step=0, num_steps=0, stopped=False, signal=None, tokens=0, seconds=seconds, checkpoint=None)

    def fit_heads(self) -> None:
        """With --few-shot make the last layer the logistic regression on the draw's vectors, by the encoder as it is now."""
        for name, data in self.tasks.items() if has_fitted_head(self.settings) else ():
            network = self.networks[name]
            assert isinstance(network, Classifier)
            encoder = SentenceEncoder(network.encoder, "mean").train(network.encoder.training)
            vectors = compute_outputs(encoder, data.labelled, data.head, self.loop, self.ranks.device)
            few_shot.fit_head(network, [vector[0] for vector in vectors], [int(str(feature.label)) for feature in data.labelled])

    def memory_warning(self, objective: nn.Module) -> str | None:
        """The line for a training that does not fit into memory, by the longest examples; None if it fits, or is not known.

        The losses of sentence vectors, and several ranks, keep more than a part of the batch shows.
        """
        if self.ranks.world_size > 1 or any(isinstance(network, SentenceEncoder) for network in self.networks.values()):
            return None
        few = min(4, self.loop.batch_size, *(len(data.train) for data in self.tasks.values()))
        longest = {name: sorted(data.train, key=lambda features: -features.num_tokens)[:few] for name, data in self.tasks.items()}
        batch = next(task_stream({name: FeatureStream(found, few, 0) for name, found in longest.items()}, 0, mixing_power(self.settings.mixing)))
        return timing.memory_warning(timing.memory_needed(objective, batch, few, self.loop, self.ranks, self.settings.optimizer.moments), self.ranks)

    def objective(self) -> nn.Module:
        """The loss of one task, with the teacher's where there is one, or of several together."""
        objectives = {name: self._objective(name, data) for name, data in self.tasks.items()}
        for name, objective in objectives.items():
            freeze(objective, self.networks[name], self.settings, self.stream.batches_per_epoch)
        return combined_objective(objectives, self.settings.distillation)

    def _objective(self, name: str, data: TaskData) -> TaskObjective:
        network = self.networks[name]
        if data.head.kind in ("embedding", "ranking"):
            return retrieval.objective(network, data.head, data.settings.embedding)
        if has_fitted_head(data.settings):
            return SimilarityObjective(SentenceEncoder(network.encoder, "mean"), data.head, loss="cosine")
        return task_objective(network, data.head, data.class_weights)

    def predict(self) -> dict[str, list[Prediction]]:
        """Dev predictions of every task."""
        self.fit_heads()
        found = {}
        for name, data in self.tasks.items():
            outputs = compute_outputs(self.networks[name], data.dev, data.head, self.loop, self.ranks.device)
            found[name] = data.task.decode(outputs, data.dev, data.dev_examples, data.head)
        return found

    def score(self, predictions: Mapping[str, Sequence[Prediction]]) -> Scores:
        """Predictions -> every task's metrics."""
        return {name: data.task.score(data.dev_examples, predictions[name], data.head) for name, data in self.tasks.items()}

    def evaluate(self) -> dict[str, float]:
        """What the loop records of an evaluation: a task's metrics; of several the average and all metrics by TASK_METRIC."""
        self.last = self.predict()
        scores = self.score(self.last)
        main = main_score(scores, self.inputs.by_name)
        self.best.consider(main)
        if len(scores) == 1:
            return dict(*scores.values())
        return {AVERAGE: main} | {f"{name}_{metric}": value for name, found in scores.items() for metric, value in found.items()}

    def save(self, folder: Path) -> None:
        """Write every task's model, as a Hugging Face directory."""
        self.fit_heads()
        for name, data in self.tasks.items():
            place = self.inputs.part(folder, name)
            extra = {"finetuning_task": data.task.name} | input_spec.record(data.task, data.settings.max_length)
            extra |= {CALIBRATION: self.calibration[name]} if name in self.calibration else {}
            extra |= retrieval.CROSS_ENCODER if data.head.kind == "ranking" else {}
            network = self.networks[name]
            if isinstance(network, SentenceEncoder):
                save_checkpoint(network.encoder, place, extra=extra)
                retrieval.save(place, data.settings, self.inputs.start)
            else:
                save_checkpoint(in_label_units(network, data.head), place, labels=data.head.labels, extra=extra)
            self.inputs.tokenizer.save(place, data.settings.max_length)

    def calibrate(self) -> None:
        """Divide the last layer of every network with held-out examples by their temperature, once, and write the models again."""
        for name, data in self.tasks.items():
            if data.held_out:
                outputs = compute_outputs(self.networks[name], data.held_out, data.head, self.loop, self.ranks.device)
                self.calibration[name] = found = calibration(outputs, data.held_out, data.held_out_examples, data.head)
                divide_logits(self.networks[name], found["temperature"])
                before, after = (f"{found[key]:.4f}" for key in ("ece_before", "ece_after"))
                say(
                    f"{name} seed {self.seed}: temperature {found['temperature']:.4f}, fitted on {found['num_examples']:,} training examples that "
                    f"were held out; expected calibration error there {before} before, {after} after"
                )
        if self.calibration:
            with atomic.atomic_folder(self.folder / "final") as temporary:
                self.save(temporary)

    def finish(self, result: TrainResult) -> SeedResult:
        """Score the weights that are kept, and write predictions and scores.json."""
        selected = self.best.restore(self.save)
        self.calibrate()
        # The loop ended with an evaluation, unless a resumed run was complete; restored or calibrated weights have to predict again.
        predictions = self.last if self.last and selected is None and not self.calibration else self.predict()
        scores = self.score(predictions)
        for name, data in self.tasks.items():
            rows, *official = (self.folder / file for file in self.inputs.prediction_files(name))
            atomic.write_text(rows, prediction_rows(data.dev_examples, predictions[name], data.head))
            if official:
                question_answering.write_predictions(official[0].parent, data.dev_examples, predictions[name])
                question_answering.keep_threshold(self.inputs.part(self.folder / "final", name), data.task, scores[name])
        finished = SeedResult(
            seed=self.seed,
            scores=scores,
            main_score=main_score(scores, self.inputs.by_name),
            steps=result.step,
            tokens=result.tokens,
            seconds=round(result.seconds, 2),
            selected_step=selected,
            shares=self.stream.shares(),
            calibration=self.calibration,
        )
        write_seed(self.folder, finished)
        return finished


def build_network(inputs: FinetuneInputs, data: TaskData, seed: int) -> TaskNetwork:
    """The start's encoder (or one of its shape with random weights) under a new head; everything new comes from `seed`."""
    encoder = Encoder(with_dropout(inputs.start.config, inputs.settings.dropout))
    encoder.load_state_dict(inputs.start.encoder.state_dict())
    if data.head.kind == "embedding":
        return retrieval.network(encoder, inputs.start.encoder, data.settings.embedding)
    network = task_network(encoder, data.head, data.settings.head)
    is_random = inputs.settings.model.startswith(RANDOM)
    reinitialize(network if is_random else network.head, seed)
    if not is_random:
        start_pooler(network, inputs.start.encoder)
    return network


def compute_outputs(network: TaskNetwork, features: Sequence[Features], head: Head, settings: LoopSettings, device: torch.device) -> list[np.ndarray]:
    """Features -> what `Task.decode` reads, float32, in their order, a regression's in the label's unit. The network's mode is kept."""
    found: dict[int, np.ndarray] = {}
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), autocast(device, settings.precision):
            for indices, batch in evaluation_batches(features, settings.batch_size):
                found.update(zip(indices, (output.cpu().numpy() for output in network.outputs(batch.to(device))), strict=True))
    finally:
        network.train(was_training)
    outputs = [found[i] for i in range(len(features))]
    return [output * head.scale + head.offset for output in outputs] if head.kind == "regression" else outputs


def in_label_units(network: TaskNetwork, head: Head) -> TaskNetwork:
    """A regression's classifier whose last layer also undoes the scaling of the targets; any other network as it is."""
    if head.kind != "regression":
        return network
    assert isinstance(network, Classifier)
    scaled = copy.deepcopy(network).cpu()
    output = scaled.head.output
    assert isinstance(output, torch.nn.Linear)
    with torch.no_grad():
        output.weight.mul_(head.scale)
        output.bias.mul_(head.scale).add_(head.offset)
    return scaled


def calibration(outputs: Sequence[np.ndarray], features: Sequence[Features], examples: Sequence[Example], head: Head) -> dict[str, Any]:
    """Logits of held-out examples -> their temperature, and the expected calibration error before and after it."""
    gold = np.zeros((len(examples), len(head.labels)))
    for place, example in enumerate(examples):
        names = example.label if isinstance(example.label, tuple) else (str(example.label),)
        gold[place, [head.labels.index(name) for name in names]] = 1
    logits = np.stack(outputs).astype(np.float64)
    temperature = fit_temperature(logits, features, gold, head)
    errors = []
    for scaled in (logits, logits / temperature):
        found = confidences(examples, decode_texts(list(scaled), features, examples, head), head)
        errors.append(round(reliability(*found)["expected_calibration_error"], 6))
    before, after = errors
    where = "held out of training"
    return {"temperature": temperature, "ece_before": before, "ece_after": after, "num_examples": len(examples), "examples": where}


def divide_logits(network: TaskNetwork, temperature: float) -> None:
    """Make the temperature a part of the weights, in place: every client then has it, and the likeliest class stays the same."""
    output = network.head.output
    assert isinstance(output, torch.nn.Linear)
    with torch.no_grad():
        output.weight.div_(temperature)
        output.bias.div_(temperature)


def freeze(objective: TaskObjective, network: TaskNetwork, settings: FinetuneSettings, batches_per_epoch: int) -> None:
    """Freeze the lowest layers, and the whole encoder during linear probing, as set."""
    if settings.freeze_layers is not None:
        freeze_lowest(network.encoder, settings.freeze_layers)
    if settings.freeze_encoder_epochs:
        steps = plan_steps(settings, batches_per_epoch).num_train_steps
        assert steps is not None
        frozen = math.ceil(batches_per_epoch * settings.freeze_encoder_epochs / settings.loop.accumulation)
        objective.probing = LinearProbing(network.encoder, frozen / steps)


def depth_of(num_hidden_layers: int) -> Callable[[str], int]:
    """Parameter name -> depth for layer-wise learning rates: embeddings 0, layers 1..n, head n + 2, as the original counts."""

    def depth(name: str) -> int:
        found = parameter_depth(name)
        return found if found >= 0 else num_hidden_layers + 2

    return depth


def prediction_rows(examples: Sequence[Example], predictions: Sequence[Prediction], head: Head) -> str:
    """JSON lines of id, label, prediction and its probability."""
    rows = []
    for example, answer in zip(examples, predictions, strict=True):
        row: dict[str, Any] = {"id": example.id, "label": reference(example, head), "prediction": answer.label}
        rows.append(row if answer.probability is None else {**row, "probability": round(answer.probability, 6)})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# ---- early stopping ----


class BestEvaluation:
    """The best of a run's evaluations: its weights are kept, and the run ends after `patience` evaluations without a better one."""

    def __init__(self, folder: Path, network: nn.Module, patience: int) -> None:
        """`patience` is in evaluations; 0: no early stopping."""
        self.path, self.metrics_file = folder / BEST_EVALUATION, folder / "metrics.jsonl"
        self.network, self.patience = network, patience
        self.evaluations = 0

    def _kept(self) -> tuple[int, float]:
        """(number of the best evaluation, from 1; its score)."""
        if not self.path.exists():
            return 0, float("-inf")
        with safe_open(self.path, "pt") as file:
            values = file.metadata()
        return int(values["evaluation"]), float(values["score"])

    def _evaluated_steps(self) -> list[int]:
        lines = read_metrics(self.metrics_file) if self.metrics_file.exists() else []
        return [line["step"] for line in lines if line.get("kind") == "evaluation"]

    def consider(self, score: float) -> None:
        """Keep the weights if this evaluation's score is the best so far; called before the evaluation is logged."""
        if not self.patience:
            return
        self.evaluations = len(self._evaluated_steps()) + 1
        if score > self._kept()[1]:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.network.state_dict().items()}
            with atomic.atomic_file(self.path) as temporary:
                save_file(tensors, temporary, metadata={"evaluation": str(self.evaluations), "score": repr(float(score))})

    def enough(self) -> bool:
        """Whether none of the last `patience` evaluations was better."""
        return self.patience > 0 and self.evaluations - self._kept()[0] >= self.patience

    def restore(self, save: Callable[[Path], None]) -> int | None:
        """Load the best evaluation's weights into the network and write them to FOLDER/final by `save` -> that evaluation's step.

        None without early stopping.
        """
        if not self.patience or not self.path.exists():
            return None
        step = self._evaluated_steps()[self._kept()[0] - 1]
        with torch.no_grad():
            self.network.load_state_dict(load_file(self.path))
        with atomic.atomic_folder(self.path.parent / "final") as temporary:
            save(temporary)
        return step
