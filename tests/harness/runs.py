"""Folders of finished runs, as the scripts leave them."""

import json

PARTS = {
    "base": "base2new/train_base",
    "new": "base2new/test_new",
    "joint": "base2new/test_joint",
    "source": "xd/train",
    "target": "xd/test",
    "few_shot": "few_shot",
}


def run_dir(output, part, seed, dataset="shapes", trainer="SEP", cfg="shapes", shots=16):
    return output / f"{PARTS[part]}/{dataset}/shots_{shots}/{trainer}/{cfg}/seed{seed}"


def finish(output, part, seed, accuracy, source="", settings=None, record=None, **where):
    """Write a run's metrics.json; `source` is what the model of a target was trained on, `record` what else it says."""
    folder = run_dir(output, part, seed, **where)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"accuracy": accuracy, "subsample_classes": part if part in ("base", "new") else "all", "seed": seed}
    metrics.update(trainer=where.get("trainer", "SEP"), shots=where.get("shots", 16))
    metrics["model_dir"] = str(run_dir(output, "source", seed, **{**where, "dataset": source})) if source else ""
    if settings is not None:
        metrics["settings"] = {"SEED": seed, **settings}
    metrics.update(record or {})
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics))
    return path


def interrupt(output, part, seed, **where):
    """Leave a run's folder without a result."""
    run_dir(output, part, seed, **where).mkdir(parents=True)


def as_dicts(table):
    return [dict(zip(table.headers, row)) for row in table.rows]
