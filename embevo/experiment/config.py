"""The settings of an experiment: one frozen dataclass, and its TOML form."""

import codecs
import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self, get_type_hints

import tomli_w

from embevo.errors import ArgumentError, ConfigError
from embevo.experiment.arrays import WEIGHTS, parse_record
from embevo.experiment.chosen_tokens import ALL_TOKENS, check_tokens
from embevo.experiment.setting import about, checked
from embevo.run.format.schedule import Schedule, at, every
from embevo.run.format.schedule_text import parse_schedule
from embevo.run.format.settings import Meaning
from embevo.run.reading.reader import open_run
from embevo.run.writing.effort_choice import DEFAULT_BUDGET

Init = Literal["normal", "qwen", "qwen-unit"]
FloatType = Literal["float32", "bfloat16"]
Objective = Literal["next-token", "seed"]
# What settings are called elsewhere, on the command line above all.
_SHORT: Final = {"lr": "learning_rate", "batch_size": "batch"}
# A schedule that is the one of the setting every.
_AS_EVERY: Final = "every"
_NEVER: Final = "none"


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides what a run computes and records. The defaults are the notebook's.

    Raises:
        ConfigError: a value has the wrong type or cannot work.
    """

    vocab_size: Literal[128, 256] = field(
        default=128, metadata=about("Token ids: 128 for ASCII, 256 for all bytes.")
    )
    dim: int = field(default=64, metadata=about("Width of the embedding matrix.", 1))
    layers: int = field(default=2, metadata=about("Transformer blocks.", 1))
    heads: int = field(default=2, metadata=about("Attention heads; they divide dim.", 1))
    context: int = field(default=128, metadata=about("Tokens per training example.", 3))
    init: Init = field(
        default="qwen",
        metadata=about(
            "Embedding at step 0: GPT-2's own, one N(0, I) vector for all tokens, or that at length 1.",
        ),
    )
    init_sigma: float = field(
        default=0.0, metadata=about("Standard deviation of Gaussian jitter on every element at step 0.", 0)
    )
    init_dtype: FloatType = field(default="float32", metadata=about("Where the jitter is drawn and added."))
    learning_rate: float = field(
        default=1e-3, metadata=about("AdamW's learning rate at step 1; it falls linearly to 0.", 0)
    )
    weight_decay: float = field(
        default=0.01, metadata=about("AdamW's decay, not applied to biases and LayerNorm.", 0)
    )
    batch: int = field(default=16, metadata=about("Training examples per step.", 1))
    steps: int = field(default=5000, metadata=about("Training steps.", 1))
    corpus: str = field(
        default="python-reference",
        metadata=about(
            "A corpus by name (see embevo corpus list), or the path of a file.", meaning="content"
        ),
    )
    drop_out_of_vocab: bool = field(
        default=False, metadata=about("Leave out corpus bytes that are not token ids.")
    )
    seed: int = field(default=42, metadata=about("Seed of initialisation and sampling.", 0, meaning="sample"))
    device: str = field(
        default="auto",
        metadata=about(
            "auto, cpu, cuda, cuda:N or mps; auto takes the first of cuda, mps, cpu.", meaning="conduct"
        ),
    )
    dtype: FloatType = field(default="bfloat16", metadata=about("Type of the model's parameters."))
    matmul: Literal["auto", "native", "float32"] = field(
        default="auto",
        metadata=about(
            "Products of bfloat16 matrices: PyTorch's own, or accumulated in float32 and rounded. auto takes "
            "float32 on CPUs without bfloat16 instructions, where it is several times as fast."
        ),
    )
    compile: bool = field(
        default=False,
        metadata=about(
            "Train with torch.compile: more steps a second, other bits. It needs a C++ compiler on CPUs."
        ),
    )
    objective: Objective = field(
        default="next-token",
        metadata=about("Predict the next byte, or two bytes ahead as the notebook did by mistake."),
    )
    store: Literal["zarr", "safetensors", "both"] = field(
        default="both", metadata=about("What to write: trajectory, files, or both.", meaning="storage")
    )
    zarr_dtype: Literal["float32", "native"] = field(
        default="float32",
        metadata=about("How Zarr stores a 16-bit matrix: widened exactly, or as it is.", meaning="storage"),
    )
    every: int = field(
        default=1, metadata=about("Record every N-th step; step 0 and the last are always recorded.", 1)
    )
    schedule: str = field(
        default=_AS_EVERY,
        metadata=about(
            "Which steps to record: every:10, log:20 (a decade), dense:100,50 (all before 100, then every "
            "50th), 0,1,10,100, or several joined by +; every for what --every says. Step 0 and the last "
            "are always recorded.",
            kept=False,
        ),
    )
    record: str = field(
        default=WEIGHTS,
        metadata=about(
            "What to record of the embedding: weights, and with commas grad, exp_avg, exp_avg_sq, "
            "hidden_mean, hidden_var, logits.",
            meaning="storage",
            kept=False,
        ),
    )
    tokens: str = field(
        default=ALL_TOKENS,
        metadata=about(
            "Which tokens to record: ids, ASCII characters, ranges of either such as 0-31,65,a-z, dead, "
            "live, or all.",
            kept=False,
        ),
    )
    when_full: Literal["block", "drop", "error"] = field(
        default="block",
        metadata=about(
            "What a capture does when the disk is too slow and the ring is full.", meaning="conduct"
        ),
    )
    effort: Literal["auto", "none", "fast", "small"] = field(
        default="auto",
        metadata=about(
            "How hard the trajectory is compressed: as far as training leaves idle cores for it, not at all, "
            "with LZ4, or as far as pays.",
            meaning="conduct",
            kept=False,
        ),
    )
    budget: float = field(
        default=DEFAULT_BUDGET,
        metadata=about(
            "With effort auto: the share of a step that recording is to take from the loop where no core is "
            "idle, as far as compressing less can help.",
            0,
            meaning="conduct",
            kept=False,
        ),
    )
    durability: Literal["process", "power"] = field(
        default="process",
        metadata=about(
            "What recorded steps survive: the death of the process, or a power cut too.", meaning="conduct"
        ),
    )
    sync_seconds: float = field(
        default=1.0,
        metadata=about(
            "With durability power: how often the steps not sealed yet are synced.", 0, meaning="conduct"
        ),
    )
    sync_steps: int = field(
        default=0,
        metadata=about(
            "With durability power: sync as soon as this many steps wait; 0 for by time only.",
            0,
            meaning="conduct",
        ),
    )
    checkpoint_every: int = field(
        default=0,
        metadata=about("Save a checkpoint every N steps; 0 for none at fixed steps.", 0, meaning="conduct"),
    )
    checkpoint_seconds: float = field(
        default=60.0,
        metadata=about(
            "Save a checkpoint when this many seconds have passed since the last; 0 for none by time.",
            0,
            meaning="conduct",
        ),
    )
    checkpoint_at: str = field(
        default=_NEVER,
        metadata=about(
            "Save checkpoints at these steps, and keep them all: written as for --schedule, such as "
            "0,1,10,100 or log:3.",
            meaning="conduct",
            kept=False,
        ),
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for setting in fields(self):
            value = checked(setting.name, getattr(self, setting.name), hints[setting.name])
            minimum = setting.metadata["minimum"]
            if minimum is not None and value < minimum:
                raise ConfigError(f"{setting.name} is {value!r}; it must be at least {minimum}.")
            object.__setattr__(self, setting.name, value)
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} cannot be split among {self.heads} heads: choose a multiple.")
        if self.seed >= 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be below 2**63.")
        object.__setattr__(self, "record", ",".join(parse_record(self.record)))
        check_tokens(self.tokens, self.vocab_size)
        self._settle_schedule()
        self.steps_of_checkpoints()

    def _settle_schedule(self) -> None:
        """Say ``every:N`` in the one way there is of saying it, and refuse what cannot be read."""
        if self.schedule == _AS_EVERY:
            return
        schedule = _parsed("schedule", self.schedule)
        alone = schedule.series[0] if not schedule.per_decade and not schedule.listed else ()
        if len(schedule.series) == 1 and len(alone) == 2 and alone[0] == 0:
            if self.every not in (1, alone[1]):
                raise ConfigError(
                    f"every is {self.every} and schedule is {self.schedule!r}: give one of them."
                )
            object.__setattr__(self, "every", alone[1])
            object.__setattr__(self, "schedule", _AS_EVERY)
        elif self.every != 1:
            raise ConfigError(f"every is {self.every} and schedule is {self.schedule!r}: give one of them.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "the configuration") -> Self:
        """A configuration from settings by name; what is not named keeps its default.

        Raises:
            ConfigError: a name is unknown, or a value has the wrong type or cannot work.
        """
        names = [setting.name for setting in fields(cls)]
        for name in values:
            if name not in names:
                if isinstance(values[name], Mapping):
                    raise ConfigError(f"{source}: settings are not in a table: leave out the line [{name}].")
                near = difflib.get_close_matches(_SHORT.get(name, name), names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known settings: {', '.join(names)}."
                raise ConfigError(f"{source}: unknown setting {name!r}; {hint}")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error

    def to_mapping(self) -> dict[str, Any]:
        """All settings by name, as plain values."""
        return dataclasses.asdict(self)

    def to_kept(self) -> dict[str, Any]:
        """What a run keeps of them: all but newer settings that have their default."""
        return {
            setting.name: getattr(self, setting.name)
            for setting in fields(self)
            if setting.metadata["kept"] or getattr(self, setting.name) != setting.default
        }

    @property
    def has_schedule(self) -> bool:
        """Whether the steps that are recorded are others than every N-th."""
        return self.schedule != _AS_EVERY

    def steps_to_record(self) -> Schedule:
        """The steps that are recorded: step 0 and the last are among them."""
        chosen = _parsed("schedule", self.schedule) if self.has_schedule else every(self.every)
        return chosen | at([0, self.steps])

    def steps_of_checkpoints(self) -> Schedule:
        """The steps whose checkpoints are kept for good."""
        return at([]) if self.checkpoint_at == _NEVER else _parsed("checkpoint_at", self.checkpoint_at)

    @classmethod
    def meanings(cls) -> dict[str, Meaning]:
        """What each setting means for the numbers, by name."""
        return {setting.name: setting.metadata["meaning"] for setting in fields(cls)}

    def to_experiment(self) -> dict[str, Any]:
        """What a run says of its settings, for whoever does not know their names; docs/format.md lists it."""
        meanings = self.meanings()
        return {
            "settings": {name: meanings[name] for name in self.to_kept()},
            "initialisation": "normal" if self.init == "normal" else "singular",
            # The last position of an example predicts nothing, and yet the loss is divided by all of them.
            "loss_labels": [self.context - 1, self.context],
            "last_step": self.steps,
            **({"schedule": self.schedule} if self.has_schedule else {"every": self.every}),
        }

    def to_toml(self) -> str:
        """The TOML text that :func:`load_settings` reads back."""
        return tomli_w.dumps(self.to_kept())

    def run_name(self) -> str:
        """A plain name for a run of this configuration, such as ``qwen-bfloat16-seed42``."""
        return f"{self.init}-{self.dtype}-seed{self.seed}"


def overridden(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others in place of some of them: ``every`` and ``schedule`` replace each other.

    Raises:
        ConfigError: the others have both, and they are not the same steps.
    """
    replaced = {**settings, **options}
    given = [name for name in ("every", "schedule") if name in options]
    if len(given) == 1:
        replaced.pop("schedule" if given == ["every"] else "every", None)
    elif given and ExperimentConfig.from_mapping({"schedule": options["schedule"]}).every != options["every"]:
        raise ConfigError(
            f"--every {options['every']} and --schedule {options['schedule']} are not the same steps: give "
            "one of them."
        )
    return replaced


def load_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, or those a run was recorded with.

    Args:
        path: a TOML file, or the directory of a run.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
        NotARunError: the directory is not a run.
    """
    if path.is_dir():
        return settings_of(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}. --config takes a TOML file or a run."
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path} is not TOML: it is UTF-16 text. Save it as UTF-8.")
    try:
        # Editors on Windows put a byte order mark first.
        return tomllib.loads(data.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def settings_of(run_dir: Path) -> dict[str, Any]:
    """The settings that a run was recorded with.

    Raises:
        NotARunError: there is no such run.
        ConfigError: it was not recorded by the experiment, and has none.
    """
    config = open_run(run_dir).config
    if not config:
        raise ConfigError(f"{run_dir} was not recorded by embevo train: it has no configuration.")
    return config


def _parsed(name: str, text: str) -> Schedule:
    try:
        return parse_schedule(text)
    except ArgumentError as error:
        raise ConfigError(f"{name} is {text!r}: {error}") from error
