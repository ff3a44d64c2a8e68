"""Options that several commands have, with one meaning."""

from typing import Final

import click

store: Final = click.option(
    "--store", default="both", show_default=True, type=click.Choice(["zarr", "safetensors", "both"])
)
zarr_dtype: Final = click.option(
    "--zarr-dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "native"]),
    help="How Zarr stores a 16-bit matrix: widened exactly, or as it is.",
)
patience: Final = click.option(
    "--patience",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="Seconds after which a storage that does not answer is given up.",
)
