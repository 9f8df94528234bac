"""The tab in which original and pruned model write on from the same prompt."""

from __future__ import annotations

from surgeon_gui.base.translation import tr
from surgeon_gui.text.captions.caption import Caption

CAPTIONS = {
    "playground_tab": Caption(
        tr("Playground"),
        tr("Let the original and the pruned model write on from the same prompt."),
    ),
    "playground_prompt": Caption(
        tr("Prompt"),
        tr("What both texts begin with. Ctrl+Return lets the models write."),
    ),
    "playground_examples_combo": Caption(tr("Examples"), tr("Prompts to begin with.")),
    "playground_seed": Caption(
        tr("Seed"),
        tr("The same seed gives the same texts, and both models the same chances."),
    ),
    "playground_new_seed_button": Caption(
        tr("New seed"), tr("Draw another seed, for other texts.")
    ),
    "playground_temperature": Caption(
        tr("Temperature"),
        tr(
            "How freely tokens are drawn. 0: always the likeliest, whatever the seed; "
            "1: as likely as the model says."
        ),
    ),
    "playground_top_p": Caption(
        tr("Top-p"),
        tr(
            "Only the likeliest tokens that together have this probability are drawn. "
            "1: all of them."
        ),
    ),
    "playground_length": Caption(
        tr("Length"), tr("How many tokens each model writes at most.")
    ),
    "playground_chat_check": Caption(
        tr("As a chat message"),
        tr("Put the prompt into the chat template of the original's tokenizer."),
    ),
    "playground_generate_button": Caption(
        tr("Generate"), tr("Let both models write, in turns (Ctrl+Return).")
    ),
    "playground_stop_button": Caption(
        tr("Stop"),
        tr("End the writing and compare what there is; once more: end at once."),
    ),
    "playground_run_button": Caption(
        tr("Use the run's models"),
        tr("Compare the original and the export of the run that is shown."),
    ),
    "playground_original_button": Caption(
        tr("Choose original"),
        tr("Choose the model that the pruned one is held against."),
    ),
    "playground_original_demo_action": Caption(tr("Bundled demo"), ""),
    "playground_original_folder_action": Caption(tr("Model folder…"), ""),
    "playground_original_gguf_action": Caption(tr("GGUF file…"), ""),
    "playground_pruned_button": Caption(
        tr("Choose pruned"),
        tr("Choose a pruned model, or the folder of a finished run."),
    ),
    "playground_pruned_folder_action": Caption(tr("Checkpoint or run folder…"), ""),
    "playground_pruned_gguf_action": Caption(tr("GGUF file…"), ""),
    "playground_original_text": Caption(
        tr("Text of the original"), tr("The prompt, and what the original has written.")
    ),
    "playground_pruned_text": Caption(
        tr("Text of the pruned model"),
        tr("The prompt, and what the pruned model has written."),
    ),
    "playground_original_copy_button": Caption(
        tr("Copy"), tr("Copy the prompt and the original's text.")
    ),
    "playground_pruned_copy_button": Caption(
        tr("Copy"), tr("Copy the prompt and the pruned model's text.")
    ),
    "playground_differences": Caption(
        tr("Tokens that differ most"),
        tr("Choose a line to see its token in the text."),
    ),
}
