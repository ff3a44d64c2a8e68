"""Records many tiny steps and prints samples of what that costs, as JSON."""

import json
import resource
import sys
import time
from pathlib import Path

import torch

from embevo.recording.recorder import Recorder
from embevo.run.writing.sealing import Sealer

SAMPLES = 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def slow_down() -> None:
    original = Sealer.seal

    def seal(sealer: Sealer, journal: object, stop: int) -> None:
        time.sleep(0.05)
        original(sealer, journal, stop)  # type: ignore[arg-type]

    Sealer.seal = seal  # type: ignore[method-assign, assignment]


def main() -> None:
    path, steps, policy = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if policy != "fast":
        slow_down()
    parameter = torch.zeros(4, 4)
    samples = []
    recorder = Recorder(
        path,
        {"embeddings": parameter},
        store="zarr",
        when_full="drop" if policy == "drop" else "block",
        block_steps=128,
    )
    with recorder:
        for sample in range(SAMPLES):
            before = cpu_seconds()
            for step in range(sample * steps // SAMPLES, (sample + 1) * steps // SAMPLES):
                parameter.fill_(step)
                recorder.capture(step, loss=float(step))
            if policy == "fast":
                # What a sample costs includes the writing of it.
                recorder.flush()
            samples.append(
                {
                    "cpu_seconds": cpu_seconds() - before,
                    "resident_bytes": resident_bytes(),
                    "files": sum(1 for file in path.rglob("*") if file.is_file()),
                }
            )
        stats = recorder.stats
    print(
        json.dumps(
            {"samples": samples, "captured": stats.captured, "dropped": stats.dropped, "waits": stats.waits}
        )
    )


if __name__ == "__main__":
    main()
