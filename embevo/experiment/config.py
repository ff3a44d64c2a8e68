"""The settings of an experiment: one frozen dataclass, and its TOML form."""

import codecs
import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args, get_origin, get_type_hints

import tomli_w

from embevo.errors import ConfigError
from embevo.run.format.settings import Meaning
from embevo.run.reading.reader import open_run

Init = Literal["normal", "qwen", "qwen-unit"]
FloatType = Literal["float32", "bfloat16"]
Objective = Literal["next-token", "seed"]
# What settings are called elsewhere, on the command line above all.
_SHORT: Final = {"lr": "learning_rate", "batch_size": "batch"}


def _about(text: str, minimum: float | None = None, meaning: Meaning = "numbers") -> dict[str, Any]:
    """Metadata of a setting: its help, the smallest value that works, and what it means for the numbers."""
    return {"help": text, "minimum": minimum, "meaning": meaning}


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides what a run computes and records. The defaults are the notebook's.

    Raises:
        ConfigError: a value has the wrong type or cannot work.
    """

    vocab_size: Literal[128, 256] = field(
        default=128, metadata=_about("Token ids: 128 for ASCII, 256 for all bytes.")
    )
    dim: int = field(default=64, metadata=_about("Width of the embedding matrix.", 1))
    layers: int = field(default=2, metadata=_about("Transformer blocks.", 1))
    heads: int = field(default=2, metadata=_about("Attention heads; they divide dim.", 1))
    context: int = field(default=128, metadata=_about("Tokens per training example.", 3))
    init: Init = field(
        default="qwen",
        metadata=_about(
            "Embedding at step 0: GPT-2's own, one N(0, I) vector for all tokens, or that at length 1.",
        ),
    )
    init_sigma: float = field(
        default=0.0, metadata=_about("Standard deviation of Gaussian jitter on every element at step 0.", 0)
    )
    init_dtype: FloatType = field(default="float32", metadata=_about("Where the jitter is drawn and added."))
    learning_rate: float = field(
        default=1e-3, metadata=_about("AdamW's learning rate at step 1; it falls linearly to 0.", 0)
    )
    weight_decay: float = field(
        default=0.01, metadata=_about("AdamW's decay, not applied to biases and LayerNorm.", 0)
    )
    batch: int = field(default=16, metadata=_about("Training examples per step.", 1))
    steps: int = field(default=5000, metadata=_about("Training steps.", 1))
    corpus: str = field(
        default="python-reference",
        metadata=_about(
            "A corpus by name (see embevo corpus list), or the path of a file.", meaning="content"
        ),
    )
    drop_out_of_vocab: bool = field(
        default=False, metadata=_about("Leave out corpus bytes that are not token ids.")
    )
    seed: int = field(
        default=42, metadata=_about("Seed of initialisation and sampling.", 0, meaning="sample")
    )
    device: str = field(
        default="auto",
        metadata=_about(
            "auto, cpu, cuda, cuda:N or mps; auto takes the first of cuda, mps, cpu.", meaning="conduct"
        ),
    )
    dtype: FloatType = field(default="bfloat16", metadata=_about("Type of the model's parameters."))
    matmul: Literal["auto", "native", "float32"] = field(
        default="auto",
        metadata=_about(
            "Products of bfloat16 matrices: PyTorch's own, or accumulated in float32 and rounded. auto takes "
            "float32 on CPUs without bfloat16 instructions, where it is several times as fast."
        ),
    )
    compile: bool = field(
        default=False,
        metadata=_about(
            "Train with torch.compile: more steps a second, other bits. It needs a C++ compiler on CPUs."
        ),
    )
    objective: Objective = field(
        default="next-token",
        metadata=_about("Predict the next byte, or two bytes ahead as the notebook did by mistake."),
    )
    store: Literal["zarr", "safetensors", "both"] = field(
        default="both", metadata=_about("What to write: trajectory, files, or both.", meaning="storage")
    )
    zarr_dtype: Literal["float32", "native"] = field(
        default="float32",
        metadata=_about("How Zarr stores a 16-bit matrix: widened exactly, or as it is.", meaning="storage"),
    )
    every: int = field(
        default=1, metadata=_about("Record every N-th step; step 0 and the last are always recorded.", 1)
    )
    when_full: Literal["block", "drop", "error"] = field(
        default="block",
        metadata=_about(
            "What a capture does when the disk is too slow and the ring is full.", meaning="conduct"
        ),
    )
    durability: Literal["process", "power"] = field(
        default="process",
        metadata=_about(
            "What recorded steps survive: the death of the process, or a power cut too.", meaning="conduct"
        ),
    )
    sync_seconds: float = field(
        default=1.0,
        metadata=_about(
            "With durability power: how often the steps not sealed yet are synced.", 0, meaning="conduct"
        ),
    )
    sync_steps: int = field(
        default=0,
        metadata=_about(
            "With durability power: sync as soon as this many steps wait; 0 for by time only.",
            0,
            meaning="conduct",
        ),
    )
    checkpoint_every: int = field(
        default=0,
        metadata=_about("Save a checkpoint every N steps; 0 for none at fixed steps.", 0, meaning="conduct"),
    )
    checkpoint_seconds: float = field(
        default=60.0,
        metadata=_about(
            "Save a checkpoint when this many seconds have passed since the last; 0 for none by time.",
            0,
            meaning="conduct",
        ),
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for setting in fields(self):
            value = _checked(setting.name, getattr(self, setting.name), hints[setting.name])
            minimum = setting.metadata["minimum"]
            if minimum is not None and value < minimum:
                raise ConfigError(f"{setting.name} is {value!r}; it must be at least {minimum}.")
            object.__setattr__(self, setting.name, value)
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} cannot be split among {self.heads} heads: choose a multiple.")
        if self.seed >= 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be below 2**63.")

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

    @classmethod
    def meanings(cls) -> dict[str, Meaning]:
        """What each setting means for the numbers, by name."""
        return {setting.name: setting.metadata["meaning"] for setting in fields(cls)}

    def to_experiment(self) -> dict[str, Any]:
        """What a run says of its settings, for whoever does not know their names; docs/format.md lists it."""
        return {
            "settings": self.meanings(),
            "initialisation": "normal" if self.init == "normal" else "singular",
            # The last position of an example predicts nothing, and yet the loss is divided by all of them.
            "loss_labels": [self.context - 1, self.context],
            "last_step": self.steps,
            "every": self.every,
        }

    def to_toml(self) -> str:
        """The TOML text that :func:`load_settings` reads back."""
        return tomli_w.dumps(self.to_mapping())

    def run_name(self) -> str:
        """A plain name for a run of this configuration, such as ``qwen-bfloat16-seed42``."""
        return f"{self.init}-{self.dtype}-seed{self.seed}"


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


_NAMES: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _checked(name: str, value: Any, hint: Any) -> Any:
    """The value in the type of its setting; an int is taken for a float, nothing else is converted."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if type(value) is not type(choices[0]) or value not in choices:
            raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}.")
        return value
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ConfigError(f"{name} is {value!r}; it must be {_NAMES[hint]}.")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; it must be finite.")
    return value
