"""Convert jobs in the short form, and jobs of earlier versions, to the current form.

In the short form, the settings of a target, a structure or a damping stand beside the
name of its kind:

    [pruning]                       [pruning.structure]
    structure = "n_m"               kind = "n_m"
    pattern = "2:4"          for    pattern = "2:4"
    sparsity = 0.5                  [pruning.target]
                                    kind = "prunable_share"
                                    sparsity = 0.5

Settings that belong to other kinds are checked and dropped. Earlier versions wrote only
the short form, with all settings, and some under other names. Instead of recovery they
had a correction, which is dropped: recovery is off for jobs that name it.

What earlier versions did not know needs no conversion: a job without [samples] writes
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgeon_engine.api.config.fields import Field, Member, fields_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.base.decoding import convert
from surgeon_engine.base.errors import ConfigError

_RENAMED = {
    "perplexity_rise": "max_perplexity_increase",
    "keep_at_least": "min_density",
    "limits": "layer_min_density",
}
_PATTERN = {"kept": "pattern", "of": "pattern"}  # as in pattern = "2:4"
_MIN_WINDOWS = 4  # fewer cannot be split to search a damping


def migrate(job: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a job in the current form, and notes on what it has of earlier versions.

    `job` is decoded TOML or JSON. Unknown names are kept. The job is the subject of the
    notes, which are sentences without it.

    Raises:
        ConfigError: A kind is unknown, or a setting is given twice.
    """
    pruning = job.get("pruning", {})
    if not isinstance(pruning, Mapping):
        return dict(job), ()
    notes = [*_notes_on_names(pruning), *_notes_on_correction(job, pruning)]
    values = _in_new_names(pruning)
    if _uses_given_damping(values, job.get("calibration")):
        values["damping"] = "fixed"
    has_correction = values.pop("correction", None) is not None
    migrated = {**job, "pruning": _nested(values)}
    if has_correction:
        migrated.setdefault("recovery", {"level": "off"})
    return migrated, tuple(notes)


def _notes_on_names(pruning: Mapping[str, Any]) -> list[str]:
    renamed = _RENAMED | _PATTERN
    names = [f"{old} (now {new})" for old, new in renamed.items() if old in pruning]
    if not names:
        return []
    return [
        f"has old names in [pruning]: {', '.join(names)}. Save it again to update them."
    ]


def _notes_on_correction(
    job: Mapping[str, Any], pruning: Mapping[str, Any]
) -> list[str]:
    value = pruning.get("correction")
    if value is None or (value == "none" and "recovery" in job):
        return []
    effect = "it is left out" if "recovery" in job else "recovery is off"
    return [f"names a correction, which this version does not have: {effect}."]


def _in_new_names(pruning: Mapping[str, Any]) -> dict[str, Any]:
    values = {k: v for k, v in pruning.items() if k not in (*_RENAMED, *_PATTERN)}
    for old, new in _RENAMED.items():
        if old in pruning:
            _add(values, new, pruning[old])
    is_old = any(name in pruning for name in _PATTERN)
    if is_old and pruning.get("structure") == "n_m":
        _add(values, "pattern", f"{pruning.get('kept', 2)}:{pruning.get('of', 4)}")
    return values


def _uses_given_damping(values: Mapping[str, Any], calibration: Any) -> bool:
    """Return True if an old job relies on fixed damping implicitly.

    SparseGPT did, and runs with too few windows for a search.
    """
    if values.get("damping", "automatic") != "automatic":
        return False
    given = {"cost_damping": 0.01, "update_damping": 0.1}  # the defaults
    if all(values.get(name, default) == default for name, default in given.items()):
        return False
    windows = calibration.get("windows") if isinstance(calibration, Mapping) else None
    has_few = isinstance(windows, int) and windows < _MIN_WINDOWS
    return has_few or values.get("method") == "sparsegpt"


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Move the settings of each member into its own table."""
    for field in fields_of(PruningConfig):
        given = values.get(field.name, {})
        if field.members and isinstance(given, str | Mapping):
            table = {"kind": given} if isinstance(given, str) else dict(given)
            table.setdefault("kind", field.default.__struct_config__.tag)
            values[field.name] = _completed(table, field, values)
    return values


def _completed(
    table: dict[str, Any], field: Field, values: dict[str, Any]
) -> dict[str, Any]:
    """Merge short-form settings into a member's table."""
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in field.members:
        raise ConfigError(
            f"pruning.{field.name} has no kind called {kind!r}.",
            f"Its kinds are {', '.join(field.members)}.",
        )
    # The chosen one is last: what it shares with others belongs to it.
    members = [each for name, each in field.members.items() if name != kind]
    owners = {
        own.setting: (member, own.name)
        for member in (*members, field.members[kind])
        for own in fields_of(member)
    }
    for setting, (member, name) in owners.items():
        if setting not in values:
            continue
        value = values.pop(setting)
        if member is field.members[kind]:
            _add(table, name, value)
        else:
            _check(member, name, value)
    return table


def _check(member: type[Member], name: str, value: Any) -> None:
    """Check a setting that does not apply; it would be wrong once it did."""
    convert({"kind": member.__struct_config__.tag, name: value}, member)


def _add(values: dict[str, Any], name: str, value: Any) -> None:
    if name in values:
        raise ConfigError(
            f"{name} is given twice.", "Leave out the one with the old or short name."
        )
    values[name] = value
