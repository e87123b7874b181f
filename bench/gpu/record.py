"""The file of measurements: runs (machine, commit, command) and rows, merged so that a bench may be taken in parts.

A row belongs to a run by its number.  A later row of the same part, form and shape takes the earlier one's place; a run without rows goes.
"""
import json
import os

SCHEMA = "lamina/gpu-measurements/1"
IDENTITY = ("part", "form", "B", "N", "C", "H", "dtype", "direction", "extras", "variant")


def empty():
    return {"schema": SCHEMA, "runs": [], "rows": []}


def read(path):
    with open(path) as file:
        record = json.load(file)
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema is {record.get('schema')!r}, expected {SCHEMA!r}")
    return record


def write(path, record):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path + ".new", "w") as file:
        file.write('{"schema": ' + json.dumps(record["schema"]) + ',\n "runs": [\n  ')
        file.write(",\n  ".join(json.dumps(run) for run in record["runs"]))
        file.write('\n ],\n "rows": [\n  ' + ",\n  ".join(json.dumps(row) for row in record["rows"]) + "\n ]}\n")
    os.replace(path + ".new", path)


def identity(row):
    return tuple(row.get(name) for name in IDENTITY)


def merged(records):
    """One record; of rows that measure the same thing the last stays, at the place of the first."""
    rows, runs = {}, []
    for record in records:
        runs += record["runs"]
        shift = len(runs) - len(record["runs"])
        for row in record["rows"]:
            rows[identity(row)] = row | {"run": row["run"] + shift}
    used = sorted({row["run"] for row in rows.values()})
    number = {old: new for new, old in enumerate(used)}
    return {"schema": SCHEMA, "runs": [runs[i] for i in used], "rows": [row | {"run": number[row["run"]]} for row in rows.values()]}
