"""Commands that stand for Slurm's: jobs begin at once, or stay queued; states are files."""

from pathlib import Path

_SBATCH = """#!/bin/sh
cd {folder}/jobs
number=$(($(ls | wc -l) + 1))
echo "Submitted batch job $number"
case ' {held} ' in *" $number "*) echo PENDING > $number; exit;; esac
echo RUNNING > $number
cp "$1" ../script.$number
export SLURM_JOB_ID=$number SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1
setsid sh -c "bash ../script.$number; echo COMPLETED > $number" > ../output.$number 2>&1 < /dev/null &
"""
_SRUN = """#!/bin/sh
while [ "${{1#--}}" != "$1" ]; do
  case $1 in --output) output=$2; shift;; --error) error=$2; shift;; esac
  shift
done
numbered() {{ echo "$1" | sed "s/%j/$SLURM_JOB_ID/g; s/%t/0/g"; }}
exec "$@" >> "$(numbered "$output")" 2>> "$(numbered "$error")"
"""
_SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
cd {folder}/jobs
for job in *; do echo "$job|$(cat $job)|here"; done
"""
_SCANCEL = """#!/bin/sh
echo CANCELLED > {folder}/jobs/$1
"""


def install(folder: Path, held: tuple[int, ...]) -> Path:
    """Make the commands in a folder.

    Args:
        folder: it is made.
        held: numbers of jobs that stay queued; they count from 1.

    Returns:
        the folder that belongs onto the path.
    """
    commands = folder / "bin"
    (folder / "jobs").mkdir(parents=True)
    commands.mkdir()
    for name, text in (("sbatch", _SBATCH), ("srun", _SRUN), ("sacct", _SACCT), ("scancel", _SCANCEL)):
        (commands / name).write_text(text.format(folder=folder, held=" ".join(map(str, held))))
        (commands / name).chmod(0o755)
    return commands


def states(folder: Path) -> dict[int, str]:
    """What has become of the jobs, by number."""
    return {int(job.name): job.read_text().strip() for job in sorted((folder / "jobs").iterdir())}
