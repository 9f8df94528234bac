"""Settings of a job that differ from those its model and purpose imply. No Qt."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.calibration import TEXT_SETTINGS, CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import OF_EXPERTS, PruningConfig, Vocabulary
from surgeon_engine.api.config.purposes import Purpose
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_gui.base.latest import latest
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import settings_list
from surgeon_gui.state.job.purposes import with_languages, with_purpose
from surgeon_gui.state.job.targets import target_of


def without_changes(state: AppState) -> RunConfig:
    """Return the draft with the implied settings.

    Its model, texts, size, folder, samples and purpose stay. Of a job without a purpose
    it is the one with the fewest changes. Of a model that has not been read, the
    structure tells whether it has experts.
    """
    return _implied(state.config, state.model, state.default_device)


@latest
def _implied(
    config: RunConfig, model: ModelSummary | None, device: Device
) -> RunConfig:
    texts = {name: getattr(config.calibration, name) for name in TEXT_SETTINGS}
    plain = RunConfig(
        model=ModelConfig(config.model.source, device=device),
        calibration=CalibrationConfig(**texts),
        pruning=PruningConfig(**target_of(config.pruning)),
        export=ExportConfig(folder=config.export.folder),
        samples=config.samples,
    )
    if config.pruning.vocabulary is Vocabulary.AUTOMATIC:
        plain = with_languages(plain, config.pruning.kept_texts)
    if model is None and config.pruning.structure in OF_EXPERTS:
        pruning = replace(plain.pruning, structure=config.pruning.structure)
        plain = replace(plain, pruning=pruning)
    jobs = [with_purpose(plain, purpose, model) for purpose in Purpose]
    return min(jobs, key=lambda job: len(_changed(config, job)))


def changes(state: AppState) -> tuple[str, ...]:
    """Return each changed setting as its label and value, as in "Method: Magnitude"."""
    if not state.model_is_chosen:
        return ()
    changed = _changed(state.config, without_changes(state))
    return tuple(f"{each.label}: {each.value}" for each in changed)


def _changed(config: RunConfig, implied: RunConfig) -> list[settings_list.Setting]:
    """Return the settings of a job that another lacks or has with another value.

    One that the other job lacks is changed unless it has its default.
    """
    values = {each.name: each.value for each in settings_list.settings(implied)}
    return [
        each
        for each in settings_list.settings(config)
        if each.value != values.get(each.name, each.value if each.is_default else None)
    ]
