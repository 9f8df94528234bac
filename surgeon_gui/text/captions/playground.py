"""The playground: original and pruned model generate from the same prompt."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    "playground_tab": Caption(
        tr("Playground"),
        tr("Generate text with the original and the pruned model."),
    ),
    "playground_prompt": Caption(
        tr("Prompt"),
        tr("Start of both texts. Press Ctrl+Return to generate."),
    ),
    "playground_examples_combo": Caption(tr("Examples"), tr("Example prompts.")),
    "playground_seed": Caption(
        tr("Seed"),
        tr("The same seed gives the same texts. Both models use the same seed."),
    ),
    "playground_new_seed_button": Caption(
        tr("New seed"), tr("Draw a new random seed.")
    ),
    "playground_temperature": Caption(
        tr("Temperature"),
        tr(
            "Randomness of sampling. 0: always the most likely token, regardless of "
            "the seed. 1: the probabilities of the model."
        ),
    ),
    "playground_top_p": Caption(
        tr("Top-p"),
        tr(
            "Sample only from the most likely tokens whose probabilities add up to "
            "this value. 1: all tokens."
        ),
    ),
    "playground_length": Caption(
        tr("Length"), tr("Maximum number of tokens to generate.")
    ),
    "playground_chat_check": Caption(
        tr("As a chat message"),
        tr("Wrap the prompt in the chat template of the original model."),
    ),
    "playground_generate_button": Caption(
        tr("Generate"), tr("Generate with both models in turns (Ctrl+Return).")
    ),
    "playground_stop_button": Caption(
        tr("Stop"),
        tr("Stop and compare the text so far. Press again to stop immediately."),
    ),
    "playground_run_button": Caption(
        tr("Use the run's models"),
        tr("Compare the original and the export of the shown run."),
    ),
    "playground_original_button": Caption(
        tr("Choose original"),
        tr("Choose the original model to compare with."),
    ),
    "playground_original_demo_action": Caption(tr("Bundled demo"), ""),
    "playground_original_folder_action": Caption(tr("Model folder…"), ""),
    "playground_original_gguf_action": Caption(tr("GGUF file…"), ""),
    "playground_pruned_button": Caption(
        tr("Choose pruned"),
        tr("Choose a pruned model or the folder of a finished run."),
    ),
    "playground_pruned_folder_action": Caption(tr("Checkpoint or run folder…"), ""),
    "playground_pruned_gguf_action": Caption(tr("GGUF file…"), ""),
    "playground_original_text": Caption(
        tr("Text of the original"), tr("The prompt and the text of the original.")
    ),
    "playground_pruned_text": Caption(
        tr("Text of the pruned model"),
        tr("The prompt and the text of the pruned model."),
    ),
    "playground_original_copy_button": Caption(
        tr("Copy"), tr("Copy the prompt and the text of the original.")
    ),
    "playground_pruned_copy_button": Caption(
        tr("Copy"), tr("Copy the prompt and the text of the pruned model.")
    ),
    "playground_differences": Caption(
        tr("Largest differences"),
        tr("Select a line to highlight its token in the text."),
    ),
}
