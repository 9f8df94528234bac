"""Other words by which people look for a setting or a command, such as programs."""

from __future__ import annotations

from surgeon_gui.text.captions import CAPTIONS

_LLAMA_CPP = "LM Studio, Ollama, llama.cpp, GGUF, Jan, GPT4All, KoboldCpp"
_TRANSFORMERS = "vLLM, SGLang, transformers, Hugging Face, safetensors, MLX"

# By the object name of the input or of the action.
WORDS = {
    "calibration_text": CAPTIONS["preview_button"].label,  # on its page
    "export_format": f"{_LLAMA_CPP}, {_TRANSFORMERS}",
    "export_dtype": f"{_LLAMA_CPP}, quantization",
    "pruning_widths": _TRANSFORMERS,
    "open_gguf_action": _LLAMA_CPP,
    "open_folder_action": _TRANSFORMERS,
    "search_hub_action": "Hugging Face",
}
