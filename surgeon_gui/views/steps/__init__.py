"""Pages of the steps: model, calibration, target, run and export."""
