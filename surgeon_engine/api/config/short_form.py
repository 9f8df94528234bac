"""Convert jobs in the short form to the form that Surgeon writes.

In the short form, the settings of a target, a structure or a damping stand beside the
name of its kind:

    [pruning]                       [pruning.structure]
    structure = "n_m"               kind = "n_m"
    pattern = "2:4"          for    pattern = "2:4"
    sparsity = 0.5                  [pruning.target]
                                    kind = "prunable_share"
                                    sparsity = 0.5
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgeon_engine.api.config.fields import Field, fields_of, settings_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.base.errors import ConfigError


def without_short_form(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decoded job with a table for each target, structure and damping.

    Unknown names are kept.

    Raises:
        ConfigError: A kind is unknown, or a setting is given twice or belongs to
            another kind.
    """
    pruning = job.get("pruning", {})
    if not isinstance(pruning, Mapping):
        return dict(job)
    values = dict(pruning)
    for field in fields_of(PruningConfig):
        given = values.get(field.name, {})
        if field.members and isinstance(given, str | Mapping):
            table = {"kind": given} if isinstance(given, str) else dict(given)
            table.setdefault("kind", field.default.__struct_config__.tag)
            values[field.name] = _with_settings(field, table, values)
    settings = settings_of(PruningConfig)
    names = {field.name for field in fields_of(PruningConfig)}
    for name in values.keys() & settings.keys() - names:
        setting = settings[name]
        raise ConfigError(
            "{name} belongs to another {choice} than that of this job.",
            "Leave it out, or set {choice} to one of: {kinds}.",
            name=name,
            choice=setting.choice,
            kinds=", ".join(setting.kinds),
        )
    return {**job, "pruning": values}


def _with_settings(
    field: Field, table: dict[str, Any], values: dict[str, Any]
) -> dict[str, Any]:
    """Return the table of a member, with its settings moved there from `values`."""
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in field.members:
        raise ConfigError(
            "pruning.{field} has no kind called {kind}.",
            "Its kinds are {members}.",
            field=field.name,
            kind=repr(kind),
            members=", ".join(field.members),
        )
    for own in fields_of(field.members[kind]):
        if own.setting not in values:
            continue
        if own.name in table:
            raise ConfigError(
                "{setting} is given twice.",
                "Leave out the one in the short form.",
                setting=own.setting,
            )
        table[own.name] = values.pop(own.setting)
    return table
