"""Remove secrets from text before it is shared.

    hf_AbCdEf0123456789         [removed]
    HF_TOKEN=whatever-it-is     HF_TOKEN=[removed]
    https://me:secret@host/     https://[removed]@host/
    /home/ada/models            ~/models, or /home/user/models for another user

Values of environment variables with names of secrets are removed everywhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

REMOVED = "[removed]"

_MIN_LENGTH = 6  # of a value; shorter ones would match ordinary words
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.I)
_KNOWN_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|gh[opsu]_\w{16,}|github_pat_\w{16,}|sk-[\w-]{16,}"
    r"|AKIA[0-9A-Z]{16})"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{8,}")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)")
_NAMED = re.compile(
    r"(?i)\b(\w*(?:token|secret|password|passwd|api_?key)\"?\s*[=:]\s*[\"']?)"
    r"([^\s\"',;}\]]{6,})"
)
_ANY_HOME = re.compile(r"(?i)(/home/|/Users/|\\Users\\|\\\\Users\\\\)[^/\\\s\"':]+")


def redacted(text: str, home: str, environment: Mapping[str, str] | None = None) -> str:
    """Return `text` without secrets and without the names of home folders."""
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, REMOVED)
    text = _KNOWN_TOKEN.sub(REMOVED, text)
    text = _BEARER.sub(rf"\1\2{REMOVED}", text)
    text = _IN_ADDRESS.sub(REMOVED, text)
    text = _NAMED.sub(rf"\1{REMOVED}", text)
    if len(home) > 1:  # a home of / would match everywhere
        for spelling in {json.dumps(home)[1:-1], home}:
            text = re.sub(re.escape(spelling) + r"(?![\w.-])", "~", text)
    return _ANY_HOME.sub(r"\1user", text)


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets, longest first, because one may be a prefix of another."""
    found = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and len(value) >= _MIN_LENGTH
    }
    return sorted(found, key=len, reverse=True)
