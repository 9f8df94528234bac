"""Edits of the draft: its config, its preset, undo and redo. Pure functions, no Qt."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.presets import Preset, presets
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_gui.base.latest import latest
from surgeon_gui.state.app import AppState, without_requests
from surgeon_gui.state.job.draft import Draft, DraftHistory
from surgeon_gui.state.job.purposes import fitted_to, kinds_of
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.problems import Step

_OF_DRAFT = (
    RequestKind.INSPECTION,
    RequestKind.DESCRIPTION,
    RequestKind.PREVIEW,
    RequestKind.VOCABULARY,
)


def new_config(source: str, device: Device) -> RunConfig:
    """Return the config of a new job: the defaults, and samples to watch."""
    samples = SamplesConfig(after_shots=True)
    return RunConfig(ModelConfig(source, device=device), samples=samples)


def with_config(state: AppState, config: RunConfig) -> AppState:
    """Return the state with another draft, without obsolete requests about the old.

    Consent to replace an export holds as long as the destination stays the same.
    """
    old = state.config
    before, after = _inputs_of_requests(old), _inputs_of_requests(config)
    obsolete = [kind for kind in after if before[kind] != after[kind]]
    same_destination = config.export.folder == old.export.folder
    same_model = config.model.source == old.model.source
    return replace(
        without_requests(state, *obsolete),
        config=config,
        may_replace=state.may_replace and same_destination,
        facts=state.facts if same_model else None,
        job_file=state.job_file if config == old else "",
    )


def fitted(state: AppState) -> AppState:
    """Return the state with a draft that suits the newly chosen model, once it is read.

    It is no edit of its own: undo restores the draft before the model was chosen.
    """
    if not state.is_fitting or state.model is None:
        return state
    config = fitted_to(state.config, state.model)
    return replace(with_config(state, config), is_fitting=False)


def _inputs_of_requests(config: RunConfig) -> dict[RequestKind, tuple[object, ...]]:
    """Return the settings on which each request about a draft depends."""
    model, texts, pruning = config.model, config.calibration, config.pruning
    tokens = pruning.vocabulary, pruning.vocabulary_tokens, pruning.kept_texts
    return {
        RequestKind.INSPECTION: (model.source,),
        RequestKind.DESCRIPTION: (texts.text, texts.dataset_config, texts.split),
        RequestKind.PREVIEW: (model.source, model.dtype, texts, config.own_windows),
        RequestKind.VOCABULARY: (model.source, texts, *tokens),
    }


def with_preset(state: AppState, preset: Preset) -> AppState:
    """Return the state with a preset; the settings from before are remembered.

    They may come from a preset, too, as in a new job.
    """
    own = _own_settings(state) or state.config
    config = preset.applied_to(own)
    return replace(with_config(state, config), own_config=own, rejected={})


def without_preset(state: AppState) -> AppState:
    """Return the state with the user's own settings in place of the preset."""
    own = _own_settings(state)
    if own is None or preset_in(state) is None:
        return state
    return replace(with_config(state, own), own_config=None, rejected={})


def _own_settings(state: AppState) -> RunConfig | None:
    """Return the draft without its preset; None if unknown.

    Settings outside of the preset may have been edited since it was chosen.
    """
    preset = preset_in(state)
    if preset is None:
        return state.config
    if state.own_config is None:
        return None
    own, now = state.own_config, state.config
    text = {name: getattr(own.calibration, name) for name in preset.calibration}
    judging = {name: getattr(own.evaluation, name) for name in preset.evaluation}
    return replace(
        now,
        pruning=own.pruning,
        recovery=own.recovery,
        calibration=replace(now.calibration, **text),
        evaluation=replace(now.evaluation, **judging),
    )


def preset_in(state: AppState) -> Preset | None:
    """Return the preset that the target page shows; None for custom settings."""
    if Step.TARGET in state.rejected:
        return None
    return _first_in(all_presets(state), state.config)


@latest
def _first_in(presets: tuple[Preset, ...], config: RunConfig) -> Preset | None:
    return next((each for each in presets if each.is_in(config)), None)


def all_presets(state: AppState) -> tuple[Preset, ...]:
    """Return the built-in presets and the user's own, as they are for the model."""
    kinds = kinds_of(state.model)
    return tuple(each.for_model(kinds) for each in (*presets(), *state.own_presets))


def draft_of(state: AppState) -> Draft:
    """Return the part of the state that undo restores."""
    requests = {kind: state.request(kind) for kind in _OF_DRAFT}
    known = {k: each for k, each in requests.items() if each.response is not None}
    return Draft(state.config, state.own_config, state.model_is_chosen, known)


def with_draft(state: AppState, draft: Draft, history: DraftHistory) -> AppState:
    """Return the state with an earlier or later draft, and what was read of it."""
    state = with_config(state, draft.config)
    state = replace(state, requests={**state.requests, **draft.known})
    return replace(
        state,
        is_fitting=state.is_fitting and state.model is None,
        own_config=draft.own_config,
        rejected={},
        model_is_chosen=draft.model_is_chosen,
        draft_history=history,
    )
