"""Run a grid of methods, data sets, seeds and protocols, several runs at once, on this machine or on SLURM.

    python tools/sweep.py --config configs/sweeps/demo_full.yaml
    python tools/sweep.py --methods coop sep --protocols base2new few_shot --datasets dtd eurosat --seeds 1 2 3
    python tools/sweep.py --methods all --protocols xd dg --engine slurm --partition gpu --time 600 --dry-run

What is finished is skipped, so the same command goes on where it was stopped. A run that fails is tried once more.
Environment: DATA, OUTPUT, CFG, LOADEP, FORCE and METHOD_PATH (or --methods-from FOLDER) as for the scripts
(harness/running/launch.py), and SEEDS, which takes the place of a file's. docs/sweep.md says more.

Exit code: 0 all runs are done; 1 one failed; 2 wrong arguments, or data sets are missing; 130 interrupted.
"""

import argparse
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness import catalogue
from harness.errors import exit_with, fail
from harness.running import engines, grid, launch, protocols, sweep_file
from harness.running.sweep import WAITING, Sweep


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("the grid, from a file or from flags")
    what.add_argument("--config", metavar="FILE", help="a file of configs/sweeps/")
    what.add_argument("--methods", nargs="+", metavar="NAME", help="folders of scripts/, or all")
    what.add_argument("--protocols", nargs="+", choices=protocols.PROTOCOLS, default=["base2new"], metavar="NAME")
    what.add_argument(
        "--datasets", nargs="+", default=[], metavar="NAME", help="of xd and dg targets; default: papers'"
    )
    what.add_argument("--seeds", nargs="+", default=[], metavar="N", help="default: 1 2 3")
    what.add_argument("--shots", nargs="+", default=[], metavar="N", help="default: 16; few_shot: 1 2 4 8 16")
    what.add_argument("--source", default="imagenet", metavar="NAME", help="what xd and dg train on")
    what.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="config keys of all runs")
    where = parser.add_argument_group("where it runs")
    where.add_argument("--engine", choices=["local", "slurm"], default="local")
    where.add_argument("--jobs", type=int, metavar="N", help="runs at once; local: one for each GPU, 1 without any")
    where.add_argument("--dry-run", action="store_true", help="say what would run and what is done, and stop")
    slurm = parser.add_argument_group("what a SLURM job asks for")
    default = engines.SlurmOptions()
    slurm.add_argument("--partition", metavar="NAME")
    slurm.add_argument("--account", metavar="NAME")
    slurm.add_argument("--time", type=int, default=default.time, metavar="MINUTES", help="default: %(default)s")
    slurm.add_argument("--memory", type=int, metavar="GB")
    slurm.add_argument("--gpus", type=int, default=default.gpus, metavar="N", help="default: %(default)s")
    slurm.add_argument("--cpus", type=int, metavar="N")
    args = parser.parse_args(argv)
    if bool(args.config) == bool(args.methods):
        parser.error("name a grid with --config or with --methods")
    if args.jobs is not None and args.jobs < 1:
        parser.error("--jobs must be at least 1")
    if len(args.set) % 2:
        parser.error(f"--set: {args.set[-1]} stands alone; give keys and values in pairs")
    return args


def tasks_of(args, environ):
    if args.config:
        seeds = args.seeds or environ.get("SEEDS", "").split()
        return sweep_file.read(args.config, numbers("seeds", seeds), args.set)
    rest = args.datasets, numbers("seeds", args.seeds), numbers("shots", args.shots), args.source
    series = [
        grid.series_of(protocol, method, *rest)
        for protocol in args.protocols
        for method in grid.methods_of(args.methods, protocol)
    ]
    return grid.tasks_of(series, {method.folder: args.set for method in catalogue.METHODS})


def numbers(name, texts):
    return [launch.number(name, text) for text in texts]


def engine_of(args, tasks, environment):
    """(engine, how many runs it does at once)."""
    if args.engine == "slurm":
        jobs = args.jobs or engines.SlurmOptions().jobs
        options = (args.partition, args.account, args.time, args.memory, args.gpus, args.cpus, jobs)
        return lambda: engines.Slurm(tasks, environment, engines.SlurmOptions(*options)), jobs
    devices = engines.devices()
    slots = [devices[i % len(devices)] for i in range(args.jobs or len(devices))]
    return lambda: engines.Local(tasks, environment, slots), len(slots)


def main(argv=None):
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        environment, tasks = launch.read_environment(os.environ), tasks_of(args, os.environ)
        make_engine, slots = engine_of(args, tasks, environment)
        if environment.force and not args.dry_run:
            launch.need_writable((task.folder(environment) for task in tasks), environment)
            environment = grid.clear(tasks, environment)
        sweep = Sweep(tasks, environment, slots)
        missing = grid.missing_data(sweep.of(WAITING), environment)
        if missing:
            get = f"python tools/prepare_data.py get {' '.join(missing)}"
            folders = ", ".join(missing.values())
            print(f"error: data sets are missing: no {folders}; {get} fetches them, DATA says where they are",
                  file=sys.stderr)  # fmt: skip
        if args.dry_run:
            sweep.preview()
        elif not missing and sweep.of(WAITING):
            launch.need_writable((task.folder(environment) for task in sweep.of(WAITING)), environment)
        return 2 if missing else 0 if args.dry_run else sweep.go(make_engine())
    except launch.Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except engines.Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    except Exception as error:
        return fail(error, 2)


if __name__ == "__main__":
    exit_with(main)
